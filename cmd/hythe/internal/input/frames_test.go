package input

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay/relaytest"
	"github.com/hythe-go/hythe/hythetest"
)

// serve serves frames in memory.
func serve(t *testing.T, c *config.Input, in *relay.Intake) *hythetest.Server {
	t.Helper()
	return hythetest.Serve(t, server(t, c, in))
}

func server(t testing.TB, c *config.Input, in *relay.Intake) *hythe.Server {
	t.Helper()
	svc, err := NewFrames(c, in)
	if err != nil {
		t.Fatal(err)
	}
	return &hythe.Server{Service: svc, Timeouts: hythe.Timeouts{Idle: -1, FirstInput: -1, Lifetime: -1}}
}

// inBubble runs a test in fake time, with an intake on a spool on a real disk.
func inBubble(t *testing.T, test func(t *testing.T, f *relaytest.IntakeFixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, relaytest.NewIntake(t)) })
}

func framed32(s string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(s)))) + s
}

func TestFrames_AcknowledgeInTheirFraming(t *testing.T) {
	for _, test := range []struct {
		framing, ack, send, want string
	}{
		{"lines", "message", "one\n\r\n\ntwo\r\n", "one\ntwo\n"},
		{"nul", "message", "one\x00two\x00", "one\x00two\x00"},
		{"netstring", "message", "3:one,0:,3:two,", "3:one,0:,3:two,"},
		{"length8", "message", "\x03one\x03two", "\x03one\x03two"},
		{"length16", "message", "\x00\x03one\x00\x03two", "\x00\x03one\x00\x03two"},
		{"length32", "message", framed32("one") + framed32("two"), framed32("one") + framed32("two")},
		{"uvarint", "message", "\x03one\x03two", "\x03one\x03two"},
		{"json", "message", `{"n":1} 2 `, "{\"n\":1}\n2\n"},
		{"lines", "id", "one\ntwo\n", "ID\nID\n"},
		{"length8", "id", "\x03one\x03two", "\x12ID\x12ID"},
		{"json", "id", `{"n":1} 2 `, "\"ID\"\n\"ID\"\n"},
	} {
		t.Run(test.framing+"/"+test.ack, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
				c := serve(t, conf(func(c *config.Input) { c.Framing, c.Ack, c.MaxMessage = test.framing, test.ack, 10 }), f.Intake).Dial()
				release := f.Hold()
				c.Write(test.send)
				synctest.Wait()
				c.WantNothing(0)
				release()
				got := make([]byte, len(test.want)+64)
				n, err := io.ReadAtLeast(c.Conn(), got, len(test.want))
				if err != nil {
					t.Fatal(err)
				}
				text := string(got[:n])
				for _, m := range f.Messages() {
					text = strings.Replace(text, string(m.ID), "ID", 1)
				}
				if want := test.want; text != want {
					t.Errorf("acknowledged %q, want %q", text, want)
				}
			})
		})
	}
}

func TestFrames_EmptyFramesAreMessagesButEmptyLinesAreNot(t *testing.T) {
	inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
		c := serve(t, conf(func(c *config.Input) { c.Framing = "length8" }), f.Intake).Dial()
		c.Write("\x00\x01x\x00")
		c.CloseWrite()
		c.WantClosed(hythe.PeerDone)
		wantTaken(t, f, "", "x", "")
	})
	inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
		c := serve(t, conf(nil), f.Intake).Dial()
		c.Write("\n\r\nx\n\ny")
		c.CloseWrite()
		c.WantClosed(hythe.PeerDone)
		wantTaken(t, f, "x", "y")
	})
}

func TestFrames_RawIsOneMessageToTheEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
		c := serve(t, conf(func(c *config.Input) { c.Framing = "raw" }), f.Intake).Dial()
		c.Write("a\nb")
		time.Sleep(time.Second)
		c.Write("\nc\n")
		c.CloseWrite()
		c.WantClosed(hythe.PeerDone)
		wantTaken(t, f, "a\nb\nc\n")
	})
}

func TestFrames_HytheCountsAndKeepsTheEnvelope(t *testing.T) {
	inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
		c := serve(t, conf(func(c *config.Input) { c.Framing = "hythe" }), f.Intake).Dial()
		sent := relay.Message{
			ID: []byte("first-1"), Received: time.Unix(1e9, 7), Source: []byte("a b"), Key: []byte("k"),
			Cause: []byte("rejected"), Only: []byte("out"), Body: []byte("hello"),
		}
		release := f.Hold()
		c.Write(framed32(string(sent.Append(nil))))
		synctest.Wait()
		c.WantNothing(0)
		release()
		c.Want(framed32("\x00\x00\x00\x00\x00\x00\x00\x01"))
		sent.ID = nil
		again := framed32(string(sent.Append(nil)))
		c.Write(again + again)
		c.Want(framed32("\x00\x00\x00\x00\x00\x00\x00\x03"))
		got := f.Messages()
		m := got[0]
		if string(m.ID) != "first-1" || m.Received.UnixNano() != 1e18+7 || string(m.Source) != "a b" || string(m.Key) != "k" || string(m.Body) != "hello" {
			t.Errorf("became %+v", m)
		}
		if len(m.Cause) > 0 || len(m.Only) > 0 {
			t.Errorf("is still a dead letter, for %q: %q", m.Only, m.Cause)
		}
		if len(got[1].ID) == 0 || string(got[1].ID) == string(got[2].ID) {
			t.Errorf("ids %q and %q", got[1].ID, got[2].ID)
		}
	})
}

func TestFrames_SourceIsInputAndPeer(t *testing.T) {
	inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
		c := serve(t, conf(func(c *config.Input) { c.Ack = "message" }), f.Intake).DialFrom("192.0.2.7:4000")
		before := time.Now()
		c.Write("x\n")
		c.WantLine("x")
		m := f.Messages()[0]
		if string(m.Source) != "in 192.0.2.7:4000" || m.Received.Before(before) || len(m.ID) == 0 {
			t.Errorf("%+v", m)
		}
	})
}

func TestFrames_NoMoreThanTheWindowIsOnItsWay(t *testing.T) {
	inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
		c := serve(t, conf(func(c *config.Input) { c.Ack, c.Window = "message", 4 }), f.Intake).Dial()
		release := f.Hold()
		var all []string
		for i := range 11 {
			all = append(all, fmt.Sprint(i))
		}
		c.Write(strings.Join(all, "\n") + "\n")
		synctest.Wait()
		if n := len(f.Messages()); n > 4 { // written, not durable
			t.Errorf("%d are on their way", n)
		}
		c.WantNothing(0)
		release()
		for _, line := range all {
			c.WantLine(line)
		}
		wantTaken(t, f, all...)
	})
}

func TestFrames_HalfClosedClientsGetTheirAcknowledgements(t *testing.T) {
	inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
		c := serve(t, conf(func(c *config.Input) { c.Ack, c.Window = "message", 2 }), f.Intake).Dial()
		release := f.Hold()
		c.Write("1\n2\n3\n4\n5")
		c.CloseWrite()
		synctest.Wait()
		c.WantNothing(time.Hour)
		release()
		c.Want("1\n2\n3\n4\n5\n")
		c.WantEOF()
		c.WantClosed(hythe.PeerDone)
		wantTaken(t, f, "1", "2", "3", "4", "5")
	})
}

func TestFrames_DrainTakesAndAcknowledgesWhatWasRead(t *testing.T) {
	inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
		s := serve(t, conf(func(c *config.Input) { c.Ack, c.Window = "message", 2 }), f.Intake)
		c, idle := s.Dial(), s.Dial()
		release := f.Hold()
		c.Write("1\n2\n3\n")
		synctest.Wait()
		report := s.Drain(time.Minute)
		idle.WantClosed(hythe.Drained)
		c.WantNothing(10 * time.Second)
		release()
		c.Want("1\n2\n3\n")
		c.WantClosed(hythe.Drained)
		if r := report(); len(r.Cut) > 0 {
			t.Error(&r)
		}
		wantTaken(t, f, "1", "2", "3")
	})
}

func TestFrames_WhatCameBeforeAnErrorIsTakenAndAcknowledged(t *testing.T) {
	envelope := framed32(string((&relay.Message{ID: []byte("i"), Body: []byte("1")}).Append(nil)))
	one := framed32("\x00\x00\x00\x00\x00\x00\x00\x01")
	for _, test := range []struct {
		name, framing, good, bad, acks string
		eof                            bool
		why                            error
	}{
		{"too large a line", "lines", "1\n", strings.Repeat("x", 200), "1\n", false, hythe.FrameTooLarge},
		{"too large a length", "length32", framed32("1"), "\xff\xff\xff\xff", framed32("1"), false, hythe.FrameTooLarge},
		{"no netstring", "netstring", "1:1,", "hello", "1:1,", false, hythe.BadFrame},
		{"no JSON", "json", "1 ", "{nonsense}", "1\n", false, hythe.BadFrame},
		{"end within a frame", "length32", framed32("1"), "\x00\x00", framed32("1"), true, hythe.Truncated},
		{"no envelope", "hythe", envelope, framed32("hello"), one, false, hythe.BadFrame},
		{"too large a message in an envelope", "hythe", envelope, framed32(string((&relay.Message{Body: make([]byte, 101)}).Append(nil))), one, false, hythe.FrameTooLarge},
	} {
		for _, good := range []int{0, 1} {
			t.Run(fmt.Sprintf("%s/behind %d", test.name, good), func(t *testing.T) {
				inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
					c := serve(t, conf(func(c *config.Input) { c.Framing, c.Ack, c.MaxMessage = test.framing, "message", 100 }), f.Intake).Dial()
					c.Write(strings.Repeat(test.good, good) + test.bad)
					if test.eof {
						c.CloseWrite()
					}
					c.Want(strings.Repeat(test.acks, good))
					c.WantEOF()
					c.WantClosed(test.why)
					wantTaken(t, f, slices.Repeat([]string{"1"}, good)...)
					if _, _, refused, _ := f.Intake.Counts(); refused != 1 {
						t.Errorf("%d were refused, want 1", refused)
					}
				})
			})
		}
	}
}

func TestFrames_NoRouteEndsTheConnectionBehindWhatHasOne(t *testing.T) {
	for _, good := range []string{"", "yes1\nyes2\n"} {
		synctest.Test(t, func(t *testing.T) {
			in := onlyPrefix(t, "yes")
			c := serve(t, conf(func(c *config.Input) { c.Ack = "message" }), in).Dial()
			c.Write(good + "no\nyes3\n")
			c.Want(good)
			c.WantEOF()
			c.WantClosed(relay.ErrNoRoute)
			c.WantClosed(hythe.BadFrame)
			if n, _, _, _ := in.Counts(); n != uint64(strings.Count(good, "\n")) {
				t.Errorf("%d were taken", n)
			}
		})
	}
}

func TestFrames_TroubleStopsReadingAndKeepsOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
		c := serve(t, conf(func(c *config.Input) { c.Ack, c.Window = "message", 10 }), f.Intake).Dial()
		const lines = 3000
		go func() {
			for i := range lines {
				fmt.Fprintln(c.Conn(), i)
				time.Sleep(time.Millisecond)
			}
		}()
		acked := make(chan int)
		go func() {
			r := bufio.NewReader(c.Conn())
			for i := range lines {
				if line, err := r.ReadString('\n'); line != fmt.Sprintln(i) || err != nil {
					t.Errorf("acknowledged %q, want %d (%v)", line, i, err)
					break
				}
				acked <- i
			}
			close(acked)
		}()
		next := 0
		for range 5 {
			for range 100 {
				next = <-acked + 1
			}
			f.Fail(syscall.ENOSPC)
			for quiet := false; !quiet; {
				select {
				case i := <-acked:
					next = i + 1
				case <-time.After(time.Second):
					quiet = true
				}
			}
			before := c.Stream().Stats().BytesIn
			select {
			case i := <-acked:
				t.Errorf("%d was acknowledged while the disk was full", i)
			case <-time.After(30 * time.Second):
			}
			if read := c.Stream().Stats().BytesIn - before; read > 0 {
				t.Errorf("%d bytes were read while the disk was full", read)
			}
			f.Fail(nil)
		}
		for i := range acked {
			next = i + 1
		}
		if next != lines {
			t.Errorf("%d were acknowledged, want %d", next, lines)
		}
	})
}

// A trickler is one whose frame is not whole when the disk fills up.
func TestFrames_TroubleIsNoDelayOfThePeers(t *testing.T) {
	inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
		c := serve(t, conf(func(c *config.Input) { c.Ack = "message" }), f.Intake).Dial()
		f.Fail(syscall.ENOSPC)
		c.Write("1\n2")
		c.WantNothing(10 * time.Minute)
		f.Fail(nil)
		c.WantLine("1")
		c.Write("2\n")
		c.WantLine("22")
	})
}

func TestFrames_WhoeverDoesNotReadIsNotReadFrom(t *testing.T) {
	inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
		srv := server(t, conf(func(c *config.Input) { c.Ack = "message" }), f.Intake)
		srv.Limits = hythe.Limits{HighWater: 32 << 10, LowWater: 8 << 10}
		c := hythetest.Dial(t, srv)
		c.Stall()
		line := strings.Repeat("x", 1023)
		go func() {
			for range 1000 {
				if _, err := io.WriteString(c.Conn(), line+"\n"); err != nil {
					return
				}
			}
		}()
		time.Sleep(10 * time.Second)
		read := c.Stream().Stats()
		if read.Queued > 32<<10+64<<10+1024 || read.BytesIn > 512<<10 {
			t.Errorf("%d bytes were read and %d queued", read.BytesIn, read.Queued)
		}
		c.Unstall()
		for range 1000 {
			c.Within(time.Minute).WantLine(line)
		}
		c.Stall()
		c.Write(strings.Repeat("y\n", 20000))
		c.Within(time.Minute).WantClosed(hythe.WriteStalled)
	})
}

// Past the budget of all connections there is no room before everything was read.
func TestFrames_AcknowledgementsArriveWithTheBudgetUsedUp(t *testing.T) {
	inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
		srv := server(t, conf(func(c *config.Input) { c.Ack = "message" }), f.Intake)
		srv.Limits.Memory = 1
		c := hythetest.Dial(t, srv)
		c.Stall()
		line := strings.Repeat("x", 3000)
		for range 10 {
			c.Write(line + "\n")
			synctest.Wait()
		}
		c.Unstall()
		for range 10 {
			c.WantLine(line)
		}
	})
}

func TestFrames_OneInputHasBoundedBytesOnTheirWay(t *testing.T) {
	inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
		c := conf(func(c *config.Input) { c.Ack = "message" })
		srv := server(t, c, f.Intake)
		room := &srv.Service.(*frames).room
		s := hythetest.Serve(t, srv)
		f.Fail(syscall.ENOSPC)
		line := strings.Repeat("x", 60<<10)
		var all []*hythetest.Conn
		for range 2 * maxInFlight / len(line) {
			c := s.Dial()
			c.Write(line + "\n")
			all = append(all, c)
		}
		synctest.Wait()
		gone := s.Dial()
		gone.Write(line + "\n")
		synctest.Wait()
		gone.Stream().Close()
		synctest.Wait()
		room.mu.Lock()
		if room.taken > maxInFlight+len(line) || len(room.reading) == 0 || len(room.reading) > len(all)*2/3 {
			t.Errorf("%d bytes are on their way, and %d connections wait", room.taken, len(room.reading))
		}
		if _, waits := room.reading[gone.Stream()]; waits {
			t.Error("a connection that has ended still waits")
		}
		room.mu.Unlock()
		time.Sleep(2 * time.Minute)
		f.Fail(nil)
		for _, c := range all {
			c.Within(time.Minute).WantLine(line)
		}
		synctest.Wait()
		for _, c := range all {
			c.Close()
		}
		synctest.Wait()
		if room.taken != 0 || len(room.reading) != 0 {
			t.Errorf("%d bytes are still on their way, %d connections known", room.taken, len(room.reading))
		}
	})
}

func TestFrames_WhoeverIsCutMeanwhileIsForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
		srv := server(t, conf(nil), f.Intake)
		room := &srv.Service.(*frames).room
		c := hythetest.Dial(t, srv)
		release := f.Hold()
		c.Write("1\n")
		synctest.Wait()
		c.Stream().Close()
		c.WantClosed(hythe.Closed)
		release()
		synctest.Wait()
		wantTaken(t, f, "1")
		if room.taken != 0 || len(room.reading) != 0 {
			t.Errorf("%d bytes are still on their way, %d connections known", room.taken, len(room.reading))
		}
	})
}

func TestFrames_ManyConnectionsThroughADiskThatComesAndGoes(t *testing.T) {
	inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
		s := serve(t, conf(func(c *config.Input) { c.Framing, c.Window = "hythe", 7 }), f.Intake)
		const conns, each = 8, 300
		done := make(chan error, conns)
		for k := range conns {
			c := s.Dial().Conn()
			go func() {
				defer c.Close()
				go func() {
					for i := range each {
						m := relay.Message{ID: fmt.Appendf(nil, "%d-%d", k, i), Body: fmt.Append(nil, i)}
						if _, err := io.WriteString(c, framed32(string(m.Append(nil)))); err != nil {
							return
						}
						time.Sleep(time.Millisecond)
					}
				}()
				last := uint64(0)
				for b := make([]byte, 12); last < each; {
					if _, err := io.ReadFull(c, b); err != nil {
						done <- err
						return
					}
					if n := binary.BigEndian.Uint64(b[4:]); n <= last {
						done <- fmt.Errorf("%d after %d", n, last)
						return
					} else {
						last = n
					}
				}
				done <- nil
			}()
		}
		for range 20 {
			time.Sleep(10 * time.Millisecond)
			f.Fail(errors.New("disk on fire"))
			time.Sleep(30 * time.Millisecond)
			f.Fail(nil)
		}
		for range conns {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		next := make(map[string]int)
		for _, m := range f.Messages() {
			conn, n, _ := strings.Cut(string(m.ID), "-")
			if n != fmt.Sprint(next[conn]) && n >= fmt.Sprint(next[conn]) {
				t.Errorf("connection %s: %s where %d should be", conn, n, next[conn])
			}
			next[conn]++
		}
		for k := range conns {
			if n := next[fmt.Sprint(k)]; n < each {
				t.Errorf("connection %d: %d of %d", k, n, each)
			}
		}
	})
}

func TestNewFrames_SaysWhatIsWrong(t *testing.T) {
	if _, err := NewFrames(conf(func(c *config.Input) { c.Framing = "morse" }), relay.NewIntake("in", relay.NewIDs())); err == nil {
		t.Error("morse is known")
	}
}
