package hythe_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

// alternates checks that the edges come in turns, high first.
func alternates(t *testing.T, edges []string) {
	t.Helper()
	for i, e := range edges {
		if want := []string{"high", "low"}[i%2]; e != want {
			t.Errorf("edge %d of %q is %s", i, edges, e)
			return
		}
	}
}

// POE's high mark practically never fires.
func TestMarks_Alternate(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		const rounds = 10
		var j journal
		sent, done := make(chan int), make(chan bool, 1)
		h := w.start(t, &hythe.Server{
			Limits: hythe.Limits{HighWater: 64 << 10},
			Service: sessions(func(c *lines) *hooks {
				return &hooks{
					input: func(c *lines, in string) error {
						for range rounds {
							n := 0
							for c.TrySend(strings.Repeat("x", 8000)) == nil {
								n++
							}
							sent <- n
							if err := c.Flush(); err != nil {
								return err
							}
						}
						done <- true
						return nil
					},
					high: func(c *lines) { j.add("high") },
					low:  func(c *lines) { j.add("low") },
				}
			}),
		})
		p := h.dial()
		p.send("go\n")
		for range rounds {
			io.CopyN(io.Discard, p.r, 8001*int64(get(t, w, sent, "a full queue")))
		}
		get(t, w, done, "the sending")
		eventually(t, w, func() bool { e := j.entries(); return len(e) > 0 && e[len(e)-1] == "low" }, "LowWater")
		alternates(t, j.entries())
	})
}

// The edges alternate too when they come while the turn is busy elsewhere, and
// say in the end how the queue is.
func TestMarks_AlternateBehindABlockedTurn(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		var j journal
		conns, release := make(chan *lines), make(chan struct{})
		h := w.start(t, &hythe.Server{
			Limits: hythe.Limits{HighWater: 8 << 20},
			Service: sessions(func(c *lines) *hooks {
				return &hooks{
					input: func(c *lines, in string) error { conns <- c; <-release; return nil },
					high:  func(c *lines) { j.add("high") },
					low:   func(c *lines) { j.add("low") },
				}
			}),
		})
		p := h.dial()
		p.send("go\n")
		c := <-conns
		time.Sleep(10 * time.Millisecond) // the turn is late now
		piece := strings.Repeat("x", 60_000)
		n := 0
		fill := func() {
			for c.TrySend(piece) == nil {
				n++
			}
		}
		read := func() {
			if _, err := io.CopyN(io.Discard, p.r, int64(n)*60_001); err != nil {
				t.Fatal(err)
			}
			n = 0
		}
		fill() // high
		read() // low
		eventually(t, w, func() bool { return c.Stats().Queued == 0 }, "an empty queue")
		fill() // high
		close(release)
		time.Sleep(20 * time.Millisecond)
		if e := j.entries(); len(e) == 0 || e[len(e)-1] != "high" {
			t.Errorf("with a full queue the edges are %q", e)
		}
		read()
		eventually(t, w, func() bool { e := j.entries(); return len(e) > 0 && e[len(e)-1] == "low" }, "LowWater")
		alternates(t, j.entries())
	})
}

// An edge is told once, however soon the next one follows.
func TestMarks_AreToldOnce(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		const rounds = 300
		var highs, lows atomic.Int64
		conns := make(chan *lines, 1)
		h := w.start(t, &hythe.Server{
			Limits: hythe.Limits{HighWater: 16 << 10},
			Service: sessions(func(c *lines) *hooks {
				return &hooks{
					connected: func(c *lines) error { conns <- c; return nil },
					high:      func(c *lines) { highs.Add(1) },
					low:       func(c *lines) { lows.Add(1) },
				}
			}),
		})
		p := h.dial()
		defer p.close()
		go io.Copy(io.Discard, p.r)
		c := get(t, w, conns, "Connected")
		piece := strings.Repeat("x", 20_000)
		for range rounds { // each crosses both marks once
			if err := c.Send(piece); err != nil {
				t.Fatal(err)
			}
			for c.Stats().Queued > 0 {
				runtime.Gosched()
			}
		}
		eventually(t, w, func() bool { return highs.Load() > 0 && highs.Load() == lows.Load() }, "LowWater")
		if n := highs.Load(); n > rounds {
			t.Errorf("after %d crossings HighWater was called %d times", rounds, n)
		}
	})
}

// What Connected sends is watched as well.
func TestMarks_InConnected(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		var j journal
		counted := make(chan int, 1)
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{
				connected: func(c *lines) error {
					n := 0
					for range 2 { // what the kernel took meanwhile, once more
						for c.TrySend(strings.Repeat("x", 20_000)) == nil {
							n++
						}
						time.Sleep(10 * time.Millisecond)
					}
					for c.TrySend(strings.Repeat("x", 20_000)) == nil {
						n++
					}
					counted <- n
					return nil
				},
				high:    func(c *lines) { j.add("high") },
				low:     func(c *lines) { j.add("low") },
				flushed: func(c *lines) { j.add("flushed") },
			}
		})
		p := h.dial()
		n := get(t, w, counted, "Connected")
		eventually(t, w, func() bool { return j.has("high") }, "HighWater")
		for range n {
			p.want(strings.Repeat("x", 20_000))
		}
		eventually(t, w, func() bool { return j.has("flushed") }, "Flushed")
		j.want(t, "high", "low", "flushed")
	})
}

func TestFlushed(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		var n int
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{
				input: func(c *lines, in string) error { return c.Send("0") },
				flushed: func(c *lines) { // streams 20 chunks, each when the last has left
					if n++; n <= 20 {
						c.Send(fmt.Sprint(n) + strings.Repeat("x", 40_000))
					} else {
						c.Shutdown()
					}
				},
			}
		})
		p := h.dial()
		p.send("go\n")
		p.want("0")
		for i := range 20 {
			p.want(fmt.Sprint(i+1) + strings.Repeat("x", 40_000))
		}
		p.wantEOF()
		p.close()
		h.wantEnd(hythe.Finished)
	})
}

// Send in a hook waits above the high mark and goes on below the low one.
func TestSend_WaitsForRoom(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		const n = 300
		conns, done := make(chan *lines, 1), make(chan error, 1)
		piece := strings.Repeat("x", 20_000)
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				conns <- c
				for range n {
					if err := c.Send(piece); err != nil {
						done <- err
						return err
					}
				}
				done <- nil
				return nil
			}}
		})
		p := h.dial()
		p.send("go\n")
		c := <-conns
		eventually(t, w, func() bool { return c.Stats().Queued > 64<<10 }, "a full queue")
		time.Sleep(30 * time.Millisecond)
		if len(done) > 0 && !w.unix && !w.mem {
			t.Skip("the kernel's buffers took everything")
		}
		if q := c.Stats().Queued; q > 256<<10+len(piece)+1 {
			t.Errorf("%d bytes are queued, which is more than the high mark and one message", q)
		}
		for range n {
			p.want(piece)
		}
		if err := get(t, w, done, "Send"); err != nil {
			t.Error(err)
		}
	})
}

func TestTrySend_Full(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		conns, heard := make(chan *lines, 1), make(chan string, 1)
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{
				connected: func(c *lines) error { conns <- c; return nil },
				input:     func(c *lines, in string) error { heard <- in; return nil },
			}
		})
		p := h.dial()
		c := <-conns
		piece := strings.Repeat("x", 50_000)
		n := 0
		for {
			err := c.TrySend(piece)
			if err == hythe.ErrFull {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if n++; n > 2000 {
				t.Fatal("100 MB were accepted for a client that does not read")
			}
		}
		if err := c.TryWrite([]byte("x")); err != hythe.ErrFull {
			t.Errorf("TryWrite to a full queue = %v", err)
		}
		p.send("hello\n") // input goes on: TrySend holds nothing
		get(t, w, heard, "Input")
		for range n {
			p.want(piece)
		}
		if err := c.TrySend("room"); err != nil {
			t.Errorf("TrySend to an empty queue = %v", err)
		}
		p.want("room")
	})
}

func TestFlush(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		conns, flushed := make(chan *lines, 1), make(chan error, 1)
		h := w.start(t, &hythe.Server{
			Limits: hythe.Limits{HighWater: 64 << 20},
			Service: sessions(func(c *lines) *hooks {
				return &hooks{
					input: func(c *lines, in string) error {
						c.Send("now")
						if err := c.Flush(); err != nil { // also in a hook
							return err
						}
						if q := c.Stats().Queued; q != 0 {
							t.Errorf("after Flush %d bytes are queued", q)
						}
						conns <- c
						return nil
					},
				}
			}),
		})
		p := h.dial()
		p.send("x\n")
		p.want("now")
		c := <-conns
		const n = 200
		for range n {
			c.Send(strings.Repeat("x", 60_000))
		}
		go func() { flushed <- c.Flush() }()
		select {
		case err := <-flushed:
			t.Fatalf("Flush = %v with a client that does not read", err)
		case <-time.After(30 * time.Millisecond):
		}
		for range n {
			p.want(strings.Repeat("x", 60_000))
		}
		if err := get(t, w, flushed, "Flush"); err != nil {
			t.Error(err)
		}
		for range n {
			c.Send(strings.Repeat("x", 60_000))
		}
		go func() { flushed <- c.Flush() }()
		time.Sleep(10 * time.Millisecond)
		c.Close()
		wantClosed(t, "Flush of a closed connection", get(t, w, flushed, "Flush"), hythe.Closed)
	})
}

// Frames that wait because the connection's own answers fill the queue are
// decoded when there is room again, without another byte from the peer.
func TestHeld_BufferedFramesGoOn(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		const n = 400
		answer := strings.Repeat("x", 30_000)
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{input: func(c *lines, in string) error { return c.Send(in + answer) }}
		})
		p := h.dial()
		p.send(strings.Repeat("q\n", n)) // in one read
		time.Sleep(30 * time.Millisecond)
		for range n {
			p.want("q" + answer)
		}
	})
}

// A client that sends and never reads costs a bounded amount, and its input is
// held back: the kernel's buffers fill, and it has to wait.
func TestNeverReads(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{Service: echoService()})
		p := h.dial()
		p.nc.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		chunk := bytes.Repeat([]byte(strings.Repeat("x", 99)+"\n"), 1000)
		var total int
		for total < 64<<20 {
			n, err := p.nc.Write(chunk)
			total += n
			if err != nil {
				break
			}
		}
		if total >= 64<<20 {
			t.Error("the server took 64 MiB of a client that does not read")
		}
		if m := h.srv.Stats().Memory; m > 1<<20 {
			t.Errorf("%d bytes are held for one client", m)
		}
		p.raw.Close()
		h.nextEnd()
	})
}

// A frame may be as large as the limit, and not larger.
func TestFrameBytes(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{
			Limits:  hythe.Limits{FrameBytes: 200_000},
			Service: hythe.Sessions(codec.Line{Max: 1 << 20}.Strings(), func(*lines) onInput { return echo }),
		})
		p := h.dial()
		fits := strings.Repeat("x", 190_000)
		p.send(fits + "\n")
		p.want(fits)
		go io.Copy(p.nc, io.LimitReader(zeros{}, 500_000))
		p.wantGone()
		p.close()
		h.wantEnd(hythe.FrameTooLarge)
	})
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

// Write is a writer for streams, with backpressure.
func TestWrite_Stream(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		const size = 3 << 20
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				if n, err := io.Copy(c, io.LimitReader(zeros{}, size)); n != size || err != nil {
					return errors.Join(err, fmt.Errorf("copied %d", n))
				}
				c.Shutdown()
				return nil
			}}
		})
		p := h.dial()
		p.send("go\n")
		n, err := io.Copy(io.Discard, p.r)
		if n != size || err != nil {
			t.Errorf("client got %d bytes, %v", n, err)
		}
		p.close()
		h.wantEnd(hythe.Finished)
	})
}

// Flush says so when output was lost, also afterwards.
func TestFlush_AfterOutputWasLost(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		conns := make(chan *lines, 1)
		h := w.start(t, &hythe.Server{Service: sessions(func(c *lines) *hooks {
			return &hooks{connected: func(c *lines) error { conns <- c; return nil }}
		})})
		h.dial()
		c := get(t, w, conns, "the connection")
		for c.TrySend(strings.Repeat("x", 10_000)) == nil {
		}
		c.Close()
		h.wantEnd(hythe.Closed)
		if err := c.Flush(); !errors.Is(err, hythe.Closed) {
			t.Errorf("Flush = %v, want Closed", err)
		}
	})
}
