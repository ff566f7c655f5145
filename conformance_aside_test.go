package hythe_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
)

// asides makes a service that answers a line aside: what f returns is sent.
func asides(f func(c *lines, in string) string) hythe.Service {
	return sessions(func(*lines) *hooks {
		return &hooks{input: func(c *lines, in string) error {
			release := c.Hold()
			c.Aside(func() {
				defer release()
				c.Send(f(c, in))
			})
			return nil
		}}
	})
}

func TestAside_ShortOnesKeepTheirOrder(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{Service: asides(func(_ *lines, in string) string { return in })})
		p := h.dial()
		var all []string
		for i := range 200 {
			all = append(all, fmt.Sprint(i))
		}
		p.send(strings.Join(all, "\n") + "\n")
		got := make(map[string]bool)
		for range all {
			line, err := p.r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			got[strings.TrimSpace(line)] = true
		}
		// On a busy machine one of them may have been late and been overtaken.
		for _, s := range all {
			if !got[s] {
				t.Errorf("no answer to %s", s)
			}
		}
		p.close()
		h.wantEnd(hythe.PeerDone)
	})
}

// What a short function sends leaves behind what the hook sent.
func TestAside_RunsBehindTheHook(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{Service: sessions(func(*lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				c.Aside(func() { c.Send(in + " aside") })
				return c.Send(in + " first")
			}}
		})})
		p := h.dial()
		p.send("a\n")
		p.want("a first", "a aside")
	})
}

// A long one stops neither the connection's input nor its output, nor another
// long one.
func TestAside_LongOnesAreOvertaken(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		gate := make(chan struct{})
		h := w.start(t, &hythe.Server{Service: asides(func(_ *lines, in string) string {
			if strings.HasPrefix(in, "slow") {
				<-gate
			}
			return in
		})})
		p := h.dial()
		p.send("slow 1\n")
		p.send("a\n")
		p.want("a")
		p.send("slow 2\nb\n")
		p.want("b")
		close(gate)
		got := map[string]bool{}
		for range 2 {
			line, err := p.r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			got[line] = true
		}
		if !got["slow 1\n"] || !got["slow 2\n"] {
			t.Errorf("got %v", got)
		}
		p.send("c\n")
		p.want("c")
		p.close()
		h.wantEnd(hythe.PeerDone)
	})
}

// A turn that was late before it came to the function cannot be told again.
func TestAside_InATurnThatIsLateAlready(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		gate := make(chan struct{})
		defer close(gate)
		h := w.start(t, &hythe.Server{Service: sessions(func(*lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				if in == "slow" {
					time.Sleep(20 * time.Millisecond)
					c.Aside(func() { <-gate })
				}
				return c.Send(in)
			}}
		})})
		h.stuck = true // until gate is closed, which is after the test's end
		p := h.dial()
		p.send("slow\n")
		p.want("slow")
		p.send("a\n")
		p.want("a")
	})
}

// The turn that is late may go on with what came meanwhile.
func TestAside_InTheNextRoundOfALateTurn(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		gate := make(chan struct{})
		defer close(gate)
		h := w.start(t, &hythe.Server{Service: sessions(func(*lines) *hooks {
			return &hooks{
				input: func(c *lines, in string) error {
					if in != "late" {
						return c.Send(in)
					}
					c.Post("now")
					time.Sleep(20 * time.Millisecond)
					return nil
				},
				posted: func(c *lines, _ any) error { c.Aside(func() { <-gate }); return nil },
			}
		})})
		h.stuck = true // until gate is closed, which is after the test's end
		p := h.dial()
		p.send("late\n")
		time.Sleep(100 * time.Millisecond)
		p.send("b\n")
		p.want("b")
	})
}

func TestAside_TwiceInAHook(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		gate := make(chan struct{})
		h := w.start(t, &hythe.Server{Service: sessions(func(*lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				c.Aside(func() { <-gate })
				c.Aside(func() { close(gate) })
				return c.Send(in)
			}}
		})})
		p := h.dial()
		p.send("a\n")
		p.want("a")
		p.close()
		h.wantEnd(hythe.PeerDone)
	})
}

// The peer's leaving cancels the context of a function that was left behind.
func TestAside_PeerGoes(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		cause := make(chan error, 1)
		h := w.start(t, &hythe.Server{Service: asides(func(c *lines, in string) string {
			ctx := c.Context()
			c.Send("begun")
			<-ctx.Done()
			cause <- context.Cause(ctx)
			return in
		})})
		p := h.dial()
		p.send("x\n")
		p.want("begun")
		p.reset()
		if err := get(t, w, cause, "the context's end"); !errors.Is(err, hythe.PeerReset) {
			t.Errorf("cause = %v", err)
		}
		h.wantEnd(hythe.PeerReset)
	})
}

func TestAside_PanicAndGoexit(t *testing.T) {
	for _, wait := range []time.Duration{0, 20 * time.Millisecond} {
		for name, end := range map[string]func(){"panic": func() { panic("boo") }, "Goexit": runtime.Goexit} {
			t.Run(fmt.Sprintf("%s after %v", name, wait), func(t *testing.T) {
				inWorlds(t, allWorlds, func(t *testing.T, w world) {
					h := w.start(t, &hythe.Server{Service: sessions(func(*lines) *hooks {
						return &hooks{input: func(c *lines, in string) error {
							if in == "end" {
								c.Aside(func() {
									time.Sleep(wait)
									end()
								})
							}
							return c.Send(in)
						}}
					})})
					other := h.dial()
					for range 3 {
						p := h.dial()
						p.send("end\n")
						p.want("end")
						p.wantGone()
						p.close()
						var pe *hythe.PanicError
						if ev := h.wantEnd(hythe.Panicked); !errors.As(ev.Err, &pe) || len(pe.Stack) == 0 {
							t.Errorf("Err = %v", ev.Err)
						}
						other.wantLive()
					}
				})
			})
		}
	}
}

// Held, it is waited for by a drain.
func TestAside_IsDrained(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		begun := make(chan bool, 1)
		h := w.start(t, &hythe.Server{Service: asides(func(_ *lines, in string) string {
			begun <- true
			time.Sleep(100 * time.Millisecond)
			return in
		})})
		p := h.dial()
		p.send("x\n")
		get(t, w, begun, "the function")
		go h.srv.Drain(context.Background())
		p.want("x")
		p.wantEOF()
		p.close()
		if err := h.wait(); err != nil {
			t.Errorf("Serve = %v", err)
		}
		h.wantEnd(hythe.Drained)
	})
}

// One that does not return does not keep a drain from ending.
func TestAside_IgnoresTheEnd(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		gate := make(chan struct{})
		defer close(gate)
		begun := make(chan bool, 1)
		h := w.start(t, &hythe.Server{Service: asides(func(_ *lines, in string) string {
			begun <- true
			<-gate
			return in
		})})
		p := h.dial()
		p.send("x\n")
		get(t, w, begun, "the function")
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		var de *hythe.DrainError
		if _, err := h.srv.Drain(ctx); !errors.As(err, &de) || len(de.Report.Cut) != 1 {
			t.Errorf("Drain = %v", err)
		}
		h.wait()
	})
}

// Many connections with functions of every length: all are answered.
func TestAside_Chaos(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		var n atomic.Int64
		h := w.start(t, &hythe.Server{Service: asides(func(_ *lines, in string) string {
			switch i := n.Add(1); {
			case i%7 == 0:
				time.Sleep(time.Duration(i%4) * time.Millisecond)
			case i%5 == 0:
				runtime.Gosched()
			}
			return in
		})})
		const conns, each = 16, 100
		done := make(chan error, conns)
		for i := range conns {
			p := h.dial()
			go func() {
				want := make(map[string]bool)
				for k := range each {
					s := fmt.Sprintf("%d-%d\n", i, k)
					want[s] = true
					p.send(s)
				}
				for range each {
					line, err := p.r.ReadString('\n')
					if err != nil || !want[line] {
						done <- fmt.Errorf("got %q, %v", line, err)
						return
					}
					delete(want, line)
				}
				p.close()
				done <- nil
			}()
		}
		for range conns {
			if err := get(t, w, done, "a client"); err != nil {
				t.Error(err)
			}
		}
		for range conns {
			// A client may have closed before its last function has let go.
			if ev := h.nextEnd(); ev.Reason != hythe.PeerDone && ev.Reason != hythe.PeerReset {
				t.Errorf("connection %d ended: %v (%v)", ev.Conn.ID(), ev.Reason, ev.Err)
			}
		}
	})
}
