package hythe_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

// startTLSService answers lines, and STARTTLS.
func startTLSService(j *journal) hythe.Service {
	return sessions(func(c *lines) *hooks {
		return &hooks{
			input: func(c *lines, in string) error {
				_, secure := c.TLS()
				j.add("%s %v", in, secure)
				if in == "STARTTLS" {
					c.Send("go ahead")
					return c.StartTLS(serverTLS())
				}
				return c.Send(in)
			},
			posted: func(c *lines, ev any) error { return c.Send("posted") },
		}
	})
}

func TestStartTLS(t *testing.T) {
	inWorlds(t, plainWorlds, func(t *testing.T, w world) {
		var j journal
		h := w.start(t, &hythe.Server{Service: startTLSService(&j)})
		p := h.dial()
		p.wantLive()
		p.send("STARTTLS\n")
		p.want("go ahead")
		p.startTLS()
		p.wantLive()
		for c := range h.srv.Conns() {
			c.Post(1)
		}
		p.want("posted")
		p.send("a\nb")
		p.closeWrite()
		p.want("a", "b")
		p.wantEOF()
		h.wantEnd(hythe.PeerDone)
		j.want(t, "still there? false", "STARTTLS false", "still there? true", "a true", "b true")
	})
}

// prefixConn writes prefix in front of its first Write.
type prefixConn struct {
	net.Conn
	prefix string
}

func (c *prefixConn) Write(b []byte) (int, error) {
	if c.prefix == "" {
		return c.Conn.Write(b)
	}
	both := append([]byte(c.prefix), b...)
	c.prefix = ""
	if _, err := c.Conn.Write(both); err != nil {
		return 0, err
	}
	return len(b), nil
}

// afterLine reads a line before the first Read.
type afterLine struct {
	net.Conn
	r    *bufio.Reader
	line string
}

func (c *afterLine) Read(b []byte) (int, error) {
	if c.line == "" {
		var err error
		if c.line, err = c.r.ReadString('\n'); err != nil {
			return 0, err
		}
	}
	return c.r.Read(b)
}

// The ClientHello may come in the same segment as the command.
func TestStartTLS_Pipelined(t *testing.T) {
	inWorlds(t, plainWorlds, func(t *testing.T, w world) {
		var j journal
		h := w.start(t, &hythe.Server{Service: startTLSService(&j)})
		p := h.dial()
		below := &afterLine{Conn: &prefixConn{p.raw, "STARTTLS\n"}, r: p.r}
		tc := tls.Client(below, clientTLS())
		if err := tc.Handshake(); err != nil {
			t.Fatal(err)
		}
		if below.line != "go ahead\n" {
			t.Errorf("the line in clear was %q", below.line)
		}
		p.nc, p.r = tc, bufio.NewReader(tc)
		p.wantLive()
	})
}

// What somebody injects in clear behind the command must not be executed
// (CVE-2011-0411 and its many successors).
func TestStartTLS_InjectedPlaintext(t *testing.T) {
	inWorlds(t, plainWorlds, func(t *testing.T, w world) {
		var j journal
		h := w.start(t, &hythe.Server{Service: startTLSService(&j)})
		p := h.dial()
		p.send("STARTTLS\nevil\n")
		p.want("go ahead")
		p.wantGone()
		p.close()
		h.wantEnd(hythe.HandshakeFailed)
		j.want(t, "STARTTLS false")
	})
}

// A message sent by somebody else during the change is encrypted.
func TestStartTLS_SendMeanwhile(t *testing.T) {
	inWorlds(t, plainWorlds, func(t *testing.T, w world) {
		conns := make(chan *lines, 1)
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				c.Send("go ahead")
				if err := c.StartTLS(serverTLS()); err != nil {
					return err
				}
				if err := c.StartTLS(serverTLS()); err == nil {
					t.Error("a second StartTLS was taken")
				}
				conns <- c
				return nil
			}}
		})
		p := h.dial()
		p.send("STARTTLS\n")
		p.want("go ahead")
		c := <-conns
		if err := c.Send("secret"); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Millisecond)
		p.startTLS()
		p.want("secret")
	})
}

func TestStartTLS_Timeout(t *testing.T) {
	inWorlds(t, plainWorlds, func(t *testing.T, w world) {
		var j journal
		h := w.start(t, &hythe.Server{Service: startTLSService(&j), Timeouts: hythe.Timeouts{Handshake: 200 * time.Millisecond}})
		p := h.dial()
		p.send("STARTTLS\n")
		p.want("go ahead")
		h.wantEnd(hythe.HandshakeTimeout)
		p.wantGone()
	})
}

func TestDetach(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		big := strings.Repeat("x", 50_000)
		detached := make(chan error, 1)
		var j journal
		h := w.start(t, &hythe.Server{
			Limits: hythe.Limits{HighWater: 8 << 20},
			Service: sessions(func(c *lines) *hooks {
				return &hooks{
					input: func(c *lines, in string) error {
						for range 40 {
							c.Send(big) // must all leave first
						}
						return c.Detach(func(nc net.Conn) {
							j.add("detached")
							defer nc.Close()
							_, err := io.Copy(nc, nc)
							detached <- err
						})
					},
					disconnected: func(c *lines, why error) {
						wantClosed(t, "Disconnected's reason", why, hythe.Detached)
						j.add("disconnected")
					},
				}
			}),
		})
		p := h.dial()
		p.send("detach\nleft over\n") // the rest is what the net.Conn reads first
		for range 40 {
			p.want(big)
		}
		p.want("left over")
		h.wantEnd(hythe.Detached)
		j.want(t, "disconnected", "detached")
		p.send("more\n")
		p.want("more") // the server knows nothing of it any more
		h.srv.Close()
		h.wait()
		p.send("even more\n")
		p.want("even more")
		p.closeWrite()
		p.wantEOF()
		if err := get(t, w, detached, "the copy"); err != nil {
			t.Error(err)
		}
	})
}

// What can no longer be sent is refused, not lost.
func TestDetach_SendAfter(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				err := c.Detach(func(nc net.Conn) { nc.Close() })
				if c.Send("too late") == nil {
					t.Error("Send after Detach was accepted")
				}
				return err
			}}
		})
		p := h.dial()
		p.send("detach\n")
		p.wantEOF()
		h.wantEnd(hythe.Detached)
	})
}

// moored is a service that takes the connection for each command and moors it
// again: how an HTTP server stands on us.
type moored struct {
	s *hythe.Stream
	j *journal
}

func (m *moored) Input(src []byte, eof bool) (int, error) {
	if len(src) == 0 {
		return 0, nil
	}
	return 0, m.s.Take(func(t *hythe.Taken) {
		r := bufio.NewReaderSize(t, 16)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				m.j.add("read: %v", err)
				return
			}
			line = strings.TrimSpace(line)
			switch line {
			case "panic":
				panic(errBoom)
			case "return":
				return
			case "wait":
				m.j.add("waiting")
				<-m.s.Context().Done()
				m.j.add("%v", context.Cause(m.s.Context()))
				return
			}
			fmt.Fprintf(t, "%s\n", line)
			if r.Buffered() == 0 {
				if err := t.Moor(); err != nil {
					m.j.add("moor: %v", err)
				}
				return
			}
		}
	})
}

func (m *moored) Draining()        { m.j.add("draining") }
func (m *moored) Closed(why error) { m.j.add("closed %v", why) }

func mooredService(j *journal) hythe.Service {
	return hythe.ServiceFunc(func(s *hythe.Stream) (hythe.Protocol, error) { return &moored{s, j}, nil })
}

func TestTake_MoorAndWake(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		var j journal
		h := w.start(t, &hythe.Server{Service: mooredService(&j)})
		var peers []*peer
		for range 5 {
			peers = append(peers, h.dial())
		}
		for i := range 50 {
			for _, p := range peers {
				p.send(fmt.Sprintf("%d\n%d again\n", i, i))
			}
			for _, p := range peers {
				p.want(fmt.Sprint(i), fmt.Sprint(i, " again"))
			}
		}
		for _, p := range peers {
			p.closeWrite()
			p.wantEOF()
			h.wantEnd(hythe.PeerDone)
		}
	})
}

func TestTake_Ends(t *testing.T) {
	tests := []struct {
		send string
		why  hythe.Reason
	}{
		{"return\n", hythe.Finished},
		{"panic\n", hythe.Panicked},
	}
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		for _, tt := range tests {
			var j journal
			h := w.start(t, &hythe.Server{Service: mooredService(&j)})
			p := h.dial()
			p.send("a\n")
			p.want("a")
			p.send(tt.send)
			p.wantGone()
			h.wantEnd(tt.why)
		}
	})
}

func TestTake_CloseWhileTaken(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		var j journal
		h := w.start(t, &hythe.Server{Service: mooredService(&j)})
		p := h.dial()
		p.send("wait\n")
		eventually(t, w, func() bool { return j.has("waiting") }, "Take")
		for c := range h.srv.Conns() {
			if err := c.TryWrite([]byte("x")); !errors.Is(err, hythe.ErrNotHere) {
				t.Errorf("TryWrite to a taken connection = %v, want ErrNotHere", err)
			}
			c.Close()
		}
		p.wantGone()
		h.wantEnd(hythe.Closed)
		eventually(t, w, func() bool { return len(j.entries()) == 3 }, "the end of Take's function")
		if !j.has("closed hythe: closed") || !j.has("hythe: closed") {
			t.Errorf("journal = %q", j.entries())
		}
	})
}

// A drain tells a taken connection and waits for it.
func TestTake_DrainWhileTaken(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		var j journal
		h := w.start(t, &hythe.Server{Service: mooredService(&j)})
		idle, busy := h.dial(), h.dial()
		idle.send("a\n")
		idle.want("a")
		busy.send("half a li")
		eventually(t, w, func() bool {
			for c := range h.srv.Conns() {
				if c.ID() == 2 && c.TryWrite(nil) == hythe.ErrNotHere {
					return true
				}
			}
			return false
		}, "Take")
		h.cancel()
		idle.wantEOF() // moored: closed at once
		eventually(t, w, func() bool { return j.count("draining") == 2 }, "Draining")
		busy.send("ne\n")
		busy.want("half a line")
		busy.wantEOF() // closed once it is moored
		busy.close()
		if err := h.wait(); err != nil {
			t.Errorf("Serve = %v", err)
		}
		h.wantEnd(hythe.Drained)
		h.wantEnd(hythe.Drained)
	})
}

func TestNetConns(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		type key struct{}
		ctx := context.WithValue(t.Context(), key{}, "value")
		h := w.startWith(t, ctx, &hythe.Server{Service: hythe.NetConns(func(ctx context.Context, nc net.Conn) error {
			r := bufio.NewReader(nc)
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return nil
				}
				if line == "error\n" {
					return errBoom
				}
				if line == "value\n" {
					line = ctx.Value(key{}).(string) + "\n"
				}
				if _, err := io.WriteString(nc, line); err != nil {
					return err
				}
			}
		})}, newMem())
		p := h.dial()
		p.send("value\n")
		p.want("value")
		p.wantLive()
		p.closeWrite()
		p.wantGone()
		h.wantEnd(hythe.Finished)
		p = h.dial()
		p.send("error\n")
		p.wantGone()
		if ev := h.wantEnd(hythe.Failed); ev.Err != errBoom {
			t.Errorf("Err = %v", ev.Err)
		}
	})
}

func TestTake_WriteStall(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		errs := make(chan error, 1)
		h := w.start(t, &hythe.Server{
			Timeouts: hythe.Timeouts{WriteStall: 300 * time.Millisecond},
			Service: hythe.NetConns(func(ctx context.Context, nc net.Conn) error {
				b := make([]byte, 100_000)
				for {
					if _, err := nc.Write(b); err != nil {
						errs <- err
						return err
					}
				}
			}),
		})
		h.dial()
		get(t, w, errs, "the end of Write")
		h.wantEnd(hythe.WriteStalled)
	})
}

// What comes while a connection is being moored, and what comes later.
func TestMoor_InputInTheSameTurn(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{Service: hythe.ServiceFunc(func(s *hythe.Stream) (hythe.Protocol, error) {
			return echoing{s}, s.Take(func(c *hythe.Taken) {
				io.WriteString(c, "taken\n")
				c.MoorThen(func() { time.Sleep(50 * time.Millisecond) }) // the first turn takes long
			})
		})})
		p := h.dial()
		p.want("taken")
		for _, line := range []string{"first", "second", "third"} {
			p.send(line + "\n")
			p.want(line)
		}
		p.close()
		h.wantEnd(hythe.PeerDone)
	})
}

// echoing is a protocol that sends back what comes.
type echoing struct{ s *hythe.Stream }

func (e echoing) Input(src []byte, eof bool) (int, error) { return e.s.Write(src) }

// PreConnect may put another net.Conn in the connection's place.
func TestPreConnect(t *testing.T) {
	inWorlds(t, plainWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{
			Service: hythe.Sessions(codec.Lines(), func(*lines) onInput { return echo }),
			PreConnect: func(ctx context.Context, nc net.Conn) (net.Conn, error) {
				var b [1]byte
				if _, err := io.ReadFull(nc, b[:]); err != nil {
					return nil, err
				}
				switch b[0] {
				case '-':
					return nil, errBoom
				case '!':
					panic(errBoom)
				case 't':
					return tls.Server(nc, serverTLS()), nil
				}
				return nc, nil
			},
		})
		p := h.dial()
		p.send("+")
		p.wantLive()
		p = h.dial()
		p.send("-")
		p.wantGone()
		if ev := h.wantEnd(hythe.Denied); !errors.Is(ev.Err, errBoom) {
			t.Errorf("Err = %v", ev.Err)
		}
		p = h.dial()
		p.send("!")
		p.wantGone()
		h.wantEnd(hythe.Panicked)
		p = h.dial()
		p.send("t")
		p.startTLS()
		p.wantLive()
	})
}

// A taken connection that is shut down delivers all that was written to it, even
// if its peer goes on sending.
func TestTaken_ShutdownLingers(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{Service: hythe.ServiceFunc(func(s *hythe.Stream) (hythe.Protocol, error) {
			return discard{}, s.Take(func(c *hythe.Taken) {
				io.WriteString(c, "go away\n")
				c.Shutdown()
			})
		})})
		p := h.dial()
		p.send("unread\n")
		p.want("go away")
		p.wantEOF()
		p.close()
		h.wantEnd(hythe.Finished)
	})
}

func TestTaken_CloseFor(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		why := errors.New("because")
		h := w.start(t, &hythe.Server{Service: hythe.ServiceFunc(func(s *hythe.Stream) (hythe.Protocol, error) {
			return discard{}, s.Take(func(c *hythe.Taken) { c.CloseFor(hythe.WriteStalled, why) })
		})})
		h.dial()
		if ev := h.wantEnd(hythe.WriteStalled); ev.Err != why {
			t.Errorf("Err = %v", ev.Err)
		}
	})
}

func TestTaken_ReadFrom(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		const size = 1_000_000
		name := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(name, []byte(strings.Repeat("x", size)), 0o600); err != nil {
			t.Fatal(err)
		}
		h := w.start(t, &hythe.Server{Service: hythe.ServiceFunc(func(s *hythe.Stream) (hythe.Protocol, error) {
			return discard{}, s.Take(func(c *hythe.Taken) {
				f, err := os.Open(name)
				if err != nil {
					t.Error(err)
					return
				}
				defer f.Close()
				if n, err := io.Copy(c, &io.LimitedReader{R: f, N: size - 1}); n != size-1 || err != nil {
					t.Errorf("Copy = %d, %v", n, err)
				}
				c.Shutdown()
			})
		})})
		p := h.dial()
		if n, err := io.Copy(io.Discard, p.r); n != size-1 || err != nil {
			t.Errorf("the client read %d bytes, %v", n, err)
		}
		p.close()
		if ev := h.wantEnd(hythe.Finished); ev.Conn.Stats().BytesOut != size-1 {
			t.Errorf("%d bytes were counted", ev.Conn.Stats().BytesOut)
		}
	})
}

// discard is a protocol that is never in a turn.
type discard struct{}

func (discard) Input(src []byte, eof bool) (int, error) { return len(src), nil }

func TestTaken_ShutdownFor(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		why := errors.New("because")
		h := w.start(t, &hythe.Server{Service: hythe.ServiceFunc(func(s *hythe.Stream) (hythe.Protocol, error) {
			return discard{}, s.Take(func(c *hythe.Taken) { c.ShutdownFor(hythe.BadFrame, why) })
		})})
		p := h.dial()
		p.wantEOF()
		p.close()
		if ev := h.wantEnd(hythe.BadFrame); ev.Err != why {
			t.Errorf("Err = %v", ev.Err)
		}
	})
}

// A taken connection that says so counts as idle.
func TestTaken_SetIdleIsReported(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		for _, idle := range []bool{true, false} {
			p := &untilDrain{draining: make(chan bool)}
			written := make(chan bool)
			h := w.start(t, &hythe.Server{Service: hythe.ServiceFunc(func(s *hythe.Stream) (hythe.Protocol, error) {
				return p, s.Take(func(c *hythe.Taken) {
					c.SetIdle(true)
					c.SetIdle(idle)
					io.WriteString(c, "taken\n")
					close(written)
					<-p.draining
					c.Shutdown()
				})
			})})
			client := h.dial()
			client.want("taken")
			<-written // until then it is not idle, nor while its first turn runs
			time.Sleep(50 * time.Millisecond)
			go func() {
				client.wantGone()
				client.close()
			}()
			report, err := h.srv.Drain(context.Background())
			if err != nil || len(report.Idle) == 1 != idle || len(report.Finished) == 1 == idle {
				t.Errorf("idle %t: %v, %v", idle, report, err)
			}
			h.wait()
		}
	})
}

type untilDrain struct {
	discard
	draining chan bool
}

func (p *untilDrain) Draining() { close(p.draining) }
