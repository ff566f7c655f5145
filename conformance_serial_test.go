package hythe_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/memnet"
)

func TestPost_OrderAndSerial(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		const posters, each = 4, 200
		conns := make(chan *lines, 1)
		var inside atomic.Int32
		last := make([]int, posters)
		got := 0
		done := make(chan bool, 1)
		in := func() func() {
			if inside.Add(1) != 1 {
				t.Error("two hooks at once")
			}
			return func() { inside.Add(-1) }
		}
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{
				connected: func(c *lines) error { conns <- c; return nil },
				input:     func(c *lines, s string) error { defer in()(); return c.Send(s) },
				posted: func(c *lines, event any) error {
					defer in()()
					e := event.([2]int)
					if e[1] != last[e[0]]+1 {
						t.Errorf("poster %d: event %d after %d", e[0], e[1], last[e[0]])
					}
					last[e[0]] = e[1]
					if got++; got == posters*each {
						done <- true
					}
					return nil
				},
			}
		})
		p := h.dial()
		c := <-conns
		for i := range posters {
			go func() {
				for n := range each {
					for c.Post([2]int{i, n + 1}) == hythe.ErrFull {
						time.Sleep(time.Millisecond)
					}
				}
			}()
		}
		for range 100 {
			p.send("x\n")
			p.want("x")
		}
		get(t, w, done, "all events")
	})
}

func TestPost_Bounded(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		conns, release := make(chan *lines, 1), make(chan bool)
		var got atomic.Int32
		h := w.start(t, &hythe.Server{
			Limits: hythe.Limits{Events: 10},
			Service: sessions(func(c *lines) *hooks {
				return &hooks{
					input:  func(c *lines, in string) error { conns <- c; <-release; return nil },
					posted: func(c *lines, ev any) error { got.Add(1); return nil },
				}
			}),
		})
		p := h.dial()
		p.send("x\n")
		c := <-conns
		for i := range 10 {
			if err := c.Post(i); err != nil {
				t.Fatalf("Post %d = %v", i, err)
			}
		}
		if err := c.Post(11); err != hythe.ErrFull {
			t.Errorf("one Post too many = %v, want ErrFull", err)
		}
		close(release)
		eventually(t, w, func() bool { return got.Load() == 10 }, "the events")
		if err := c.Post(12); err != nil {
			t.Errorf("Post = %v", err)
		}
	})
}

func TestPost_Error(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		var j journal
		conns := make(chan *lines, 1)
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{
				connected: func(c *lines) error {
					c.Post("early") // is delivered when Connected has returned
					c.Post("second")
					c.Post("third")
					conns <- c
					return nil
				},
				posted: func(c *lines, ev any) error {
					j.add("%s", ev)
					c.Send(ev.(string))
					if ev == "second" {
						return errBoom
					}
					return nil
				},
			}
		})
		p := h.dial()
		p.want("early", "second")
		p.wantEOF()
		p.close()
		if ev := h.wantEnd(hythe.Failed); ev.Err != errBoom {
			t.Errorf("Err = %v", ev.Err)
		}
		j.want(t, "early", "second")
		wantClosed(t, "Post after the end", (<-conns).Post(1), hythe.Failed)
	})
}

// A session that posts to itself does not starve its input.
func TestPost_ToItself(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{
				connected: func(c *lines) error { return c.Post(0) },
				posted:    func(c *lines, ev any) error { return c.Post(ev.(int) + 1) },
				input:     func(c *lines, in string) error { c.Send(in); c.Close(); return nil },
			}
		})
		if w.mem {
			return // a bubble in which somebody is always busy is never idle
		}
		p := h.dial()
		p.send("x\n")
		p.wantGone()
		h.wantEnd(hythe.Closed)
	})
}

// Hooks of one connection never overlap, whoever runs them.
func TestSerial(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		const conns, rounds = 6, 60
		h := w.start(t, &hythe.Server{
			Limits: hythe.Limits{HighWater: 4000},
			Service: hythe.Sessions(codec.Lines(), func(c *lines) *hooks {
				var inside atomic.Int32
				plain := 0 // no atomic: the race detector watches it
				hook := func() func() {
					if inside.Add(1) != 1 {
						t.Error("two hooks of one connection at once")
					}
					plain++
					return func() { inside.Add(-1) }
				}
				return &hooks{
					connected: func(c *lines) error { defer hook()(); return nil },
					input: func(c *lines, in string) error {
						defer hook()()
						if strings.HasSuffix(in, "7") {
							time.Sleep(5 * time.Millisecond) // the loop goes on without this turn
						}
						go c.Post(in)
						go c.TrySend("aside")
						return c.Send(in + strings.Repeat("x", 1000))
					},
					posted: func(c *lines, ev any) error {
						defer hook()()
						if strings.HasSuffix(ev.(string), "3") {
							time.Sleep(3 * time.Millisecond)
						}
						return nil
					},
					flushed:      func(c *lines) { defer hook()() },
					high:         func(c *lines) { defer hook()() },
					low:          func(c *lines) { defer hook()() },
					disconnected: func(c *lines, why error) { defer hook()() },
				}
			}),
		})
		var clients sync.WaitGroup
		for range conns {
			p := h.dial()
			clients.Go(func() {
				go func() {
					for i := range rounds {
						fmt.Fprintf(p.nc, "%d\n", i)
						if i%10 == 0 {
							time.Sleep(2 * time.Millisecond)
						}
					}
				}()
				next := 0
				for next < rounds {
					line, err := p.r.ReadString('\n')
					if err != nil {
						t.Error(err)
						return
					}
					if line == "aside\n" {
						continue
					}
					if want := fmt.Sprint(next) + strings.Repeat("x", 1000) + "\n"; line != want {
						t.Errorf("got %.20q, want %.20q", line, want)
						return
					}
					next++
				}
				p.closeWrite()
				io.Copy(io.Discard, p.r)
			})
		}
		clients.Wait()
		for range conns {
			h.wantEnd(hythe.PeerDone)
		}
	})
}

func TestBlocked_OthersGoOn(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		release := make(chan bool)
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				if in == "block" {
					c.Send("blocking")
					<-release
				}
				return c.Send(in)
			}}
		})
		var blocked []*peer
		for range 8 { // more than there are loops
			p := h.dial()
			p.send("block\n")
			blocked = append(blocked, p)
		}
		for _, p := range blocked {
			p.want("blocking") // leaves although the hook has not returned
		}
		for range 8 {
			p := h.dial()
			start := time.Now()
			for range 20 {
				p.wantLive()
			}
			if d := time.Since(start); d > 2*time.Second {
				t.Errorf("20 echoes took %v", d)
			}
		}
		close(release)
		for _, p := range blocked {
			p.want("block")
		}
	})
}

// What a blocked hook sends, leaves at once after the first millisecond.
func TestBlocked_SendsLeave(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		step := make(chan bool)
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				for i := range 5 {
					c.Send(fmt.Sprint(i))
					<-step
				}
				return nil
			}}
		})
		p := h.dial()
		p.send("go\n")
		for i := range 5 {
			p.want(fmt.Sprint(i))
			step <- true
		}
	})
}

// The same in the hook that follows, as long as the turn goes on.
func TestBlocked_SendsOfTheNextHookLeave(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		gate := make(chan struct{})
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{
				input: func(c *lines, in string) error {
					c.Post(in)
					time.Sleep(20 * time.Millisecond)
					return nil
				},
				posted: func(c *lines, _ any) error {
					c.Send("working")
					<-gate
					return c.Send("done")
				},
			}
		})
		p := h.dial()
		p.send("x\n")
		p.want("working")
		close(gate)
		p.want("done")
	})
}

// The same when the goroutine of an earlier turn is still writing as the hook
// begins, and ends before it is late.
func TestBlocked_SendsLeaveBehindAnEarlierWrite(t *testing.T) {
	inMem(t, func(t *testing.T) {
		started, written, release := make(chan bool), make(chan bool), make(chan bool)
		defer close(release)
		h := memWorld.startWith(t, t.Context(), &hythe.Server{Service: sessions(func(*lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				if in == "fill" {
					return c.Send(strings.Repeat("x", 500))
				}
				started <- true
				<-written
				c.Send("blocking")
				<-release
				return nil
			}}
		})}, &memnet.Network{Buffer: 100})
		p := h.dial()
		p.send("fill\n")
		time.Sleep(10 * time.Millisecond) // its write blocks, and is late
		p.send("block\n")
		<-started
		p.want(strings.Repeat("x", 500))
		synctest.Wait() // the earlier goroutine has ended
		close(written)
		p.want("blocking")
	})
}

// The context of a hook that blocks ends when the peer is gone.
func TestBlocked_Context(t *testing.T) {
	tests := []struct {
		name   string
		onEOF  bool
		leave  func(p *peer)
		why    hythe.Reason
		worlds []world
	}{
		{"reset", false, (*peer).reset, hythe.PeerReset, []world{tcpWorld, netWorld, memWorld, tlsWorld}},
		{"eof", true, (*peer).closeWrite, hythe.PeerDone, allWorlds},
		{"close with CancelOnEOF", true, (*peer).close, hythe.PeerDone, []world{tcpWorld, netWorld, memWorld}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorlds(t, tt.worlds, func(t *testing.T, w world) {
				causes, ends := make(chan error, 1), make(chan error, 2)
				h := w.start(t, &hythe.Server{
					CancelOnEOF: tt.onEOF,
					Service: sessions(func(c *lines) *hooks {
						c.OnClose(func(why error) { ends <- why })
						return &hooks{
							input: func(c *lines, in string) error {
								ctx := c.Context()
								c.Send("blocking")
								<-ctx.Done()
								var ce *hythe.CloseError
								if !errors.As(context.Cause(ctx), &ce) {
									t.Errorf("cause = %v", context.Cause(ctx))
								}
								causes <- context.Cause(ctx)
								return nil
							},
							disconnected: func(c *lines, why error) { ends <- why },
						}
					}),
				})
				p := h.dial()
				p.send("x\n")
				p.want("blocking")
				tt.leave(p)
				cause := get(t, w, causes, "the context")
				h.wantEnd(tt.why)
				for range 2 {
					if end := <-ends; end.Error() != cause.Error() || !errors.Is(end, tt.why) {
						t.Errorf("ended with %v, the context's cause was %v", end, cause)
					}
				}
			})
		})
	}
}

// The same when the peer has sent more, which nobody has read yet.
func TestBlocked_ContextWithInputPending(t *testing.T) {
	inWorlds(t, []world{tcpWorld, netWorld}, func(t *testing.T, w world) {
		causes := make(chan error, 1)
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				ctx := c.Context()
				if in == "x" {
					c.Send("blocking")
					<-ctx.Done()
					causes <- context.Cause(ctx)
				}
				return nil
			}}
		})
		p := h.dial()
		p.send("x\n")
		p.want("blocking")
		p.send("y\n")
		time.Sleep(10 * time.Millisecond)
		p.send("z\n")
		time.Sleep(10 * time.Millisecond)
		p.reset()
		wantClosed(t, "the context's cause", get(t, w, causes, "the context"), hythe.PeerReset)
		h.wantEnd(hythe.PeerReset)
	})
}

// A turn that takes long is told to the Observer, and counted.
func TestBlocked_TurnLate(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		late := make(chan uint64, 16)
		h := w.start(t, &hythe.Server{
			Observer: func(ev hythe.Event) {
				if ev.Kind == hythe.TurnLate {
					late <- ev.Conn.ID()
				}
			},
			Service: sessions(func(*lines) *hooks {
				return &hooks{input: func(c *lines, in string) error { time.Sleep(30 * time.Millisecond); return c.Send(in) }}
			}),
		})
		p := h.dial()
		p.send("x\n")
		if id := get(t, w, late, "TurnLate"); id != 1 {
			t.Errorf("connection %d was late", id)
		}
		p.want("x")
		if n := h.srv.Stats().Late; n == 0 {
			t.Error("Stats.Late = 0")
		}
	})
}

// Without CancelOnEOF a peer that has only finished sending gets its answer.
func TestBlocked_EOFDoesNotCancel(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				c.Send("blocking")
				select {
				case <-c.Context().Done():
					t.Errorf("cancelled: %v", context.Cause(c.Context()))
				case <-time.After(100 * time.Millisecond):
				}
				return c.Send("answer")
			}}
		})
		p := h.dial()
		p.send("x\n")
		p.closeWrite()
		p.want("blocking", "answer")
		p.wantEOF()
		h.wantEnd(hythe.PeerDone)
	})
}

// Close from outside ends the context of a blocked hook, and the connection,
// before the hook returns.
func TestBlocked_Close(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		conns, release := make(chan *lines, 1), make(chan bool)
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				conns <- c
				<-c.Context().Done()
				<-release
				return nil
			}}
		})
		p := h.dial()
		p.send("x\n")
		c := <-conns
		time.Sleep(20 * time.Millisecond)
		c.Close()
		p.wantGone()
		wantClosed(t, "the context's cause", context.Cause(c.Context()), hythe.Closed)
		close(release)
		h.wantEnd(hythe.Closed)
	})
}

// Events that come while a hook blocks are not lost.
func TestBlocked_InputComesMeanwhile(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				if in == "block" {
					time.Sleep(20 * time.Millisecond)
				}
				return c.Send(in)
			}}
		})
		p := h.dial()
		for range 5 {
			p.send("block\n")
			time.Sleep(5 * time.Millisecond)
			p.send("b\n")
			p.send("c\n")
			p.want("block", "b", "c")
		}
		p.send("block\n")
		time.Sleep(5 * time.Millisecond)
		p.send("d")
		p.closeWrite()
		p.want("block", "d")
		p.wantEOF()
	})
}

// Sending from many goroutines mixes messages, not bytes.
func TestSend_Concurrent(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		const senders, each = 4, 100
		conns := make(chan *lines, 1)
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{connected: func(c *lines) error { conns <- c; return nil }}
		})
		p := h.dial()
		c := <-conns
		for i := range senders {
			go func() {
				for n := range each {
					c.Send(fmt.Sprintf("%d %d %s", i, n, strings.Repeat("x", n*20)))
				}
			}()
		}
		next := make([]int, senders)
		for range senders * each {
			line, err := p.r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			var i, n int
			var x string
			fmt.Sscanf(line, "%d %d %s", &i, &n, &x)
			if n != next[i] || x != strings.Repeat("x", n*20) {
				t.Fatalf("sender %d: got message %d of %d bytes, want %d", i, n, len(x), next[i])
			}
			next[i]++
		}
	})
}
