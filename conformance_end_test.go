package hythe_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

// POE goes on delivering what was in the same read. We do not.
func TestShutdown_NothingMoreIsDelivered(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		var j journal
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{
				input: func(c *lines, in string) error {
					j.add("%s", in)
					c.Send(in)
					if in == "quit" {
						c.Shutdown()
						c.Shutdown() // harmless
						wantClosed(t, "Send after Shutdown", c.Send("x"), hythe.Finished)
						wantClosed(t, "TrySend after Shutdown", c.TrySend("x"), hythe.Finished)
						wantClosed(t, "CloseWrite after Shutdown", c.CloseWrite(), hythe.Finished)
						wantClosed(t, "Post after Shutdown", c.Post("x"), hythe.Finished)
						if n, err := c.Write([]byte("x")); n != 0 {
							t.Errorf("Write after Shutdown = %d, %v", n, err)
						}
					}
					return nil
				},
				disconnected: func(c *lines, why error) {
					j.add("disconnected")
					wantClosed(t, "Send in Disconnected", c.Send("x"), hythe.Finished)
				},
			}
		})
		p := h.dial()
		p.send("a\nquit\nb\nc\n")
		p.want("a", "quit")
		p.wantEOF()
		p.close()
		h.wantEnd(hythe.Finished)
		j.want(t, "a", "quit", "disconnected")
	})
}

func TestShutdown_Flushes(t *testing.T) {
	big := strings.Repeat("x", 50_000)
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{
			Limits: hythe.Limits{HighWater: 8 << 20},
			Service: sessions(func(c *lines) *hooks {
				return &hooks{input: func(c *lines, in string) error {
					for range 60 { // 3 MB wait when Shutdown is called
						c.Send(big)
					}
					c.Shutdown()
					return nil
				}}
			}),
		})
		p := h.dial()
		p.send("go\n")
		for range 60 {
			p.want(big)
		}
		p.wantEOF()
		p.close()
		h.wantEnd(hythe.Finished)
	})
}

func TestClose(t *testing.T) {
	for _, inside := range []bool{true, false} {
		name := map[bool]string{true: "in a hook", false: "from outside"}[inside]
		t.Run(name, func(t *testing.T) {
			inWorlds(t, allWorlds, func(t *testing.T, w world) {
				var j journal
				conns := make(chan *lines, 1)
				h := w.serve(t, func(c *lines) *hooks {
					return &hooks{
						input: func(c *lines, in string) error {
							j.add("input")
							if inside {
								c.Close()
								c.Close()
								wantClosed(t, "Send after Close", c.Send("x"), hythe.Closed)
							}
							conns <- c
							return nil
						},
						disconnected: func(c *lines, why error) { j.add("disconnected") },
					}
				})
				p := h.dial()
				p.send("1\n2\n")
				c := get(t, w, conns, "Input")
				if !inside {
					get(t, w, conns, "Input")
					c.Close()
				}
				p.wantGone() // the client need not do anything
				h.wantEnd(hythe.Closed)
				wantClosed(t, "Send after the end", c.Send("x"), hythe.Closed)
				wantClosed(t, "Post after the end", c.Post("x"), hythe.Closed)
				wantClosed(t, "the context's cause", context.Cause(c.Context()), hythe.Closed)
				c.Shutdown()
				c.Close()
				if c.LocalAddr(); c.RemoteAddr() == nil {
					t.Error("RemoteAddr is nil after the end")
				}
				if inside {
					j.want(t, "input", "disconnected")
				}
			})
		})
	}
}

// Close does not wait for a peer that does not read.
func TestClose_FullQueue(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		sent := make(chan error, 1)
		conns := make(chan *lines, 1)
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				conns <- c
				for {
					if err := c.Send(strings.Repeat("x", 60_000)); err != nil {
						sent <- err
						return err
					}
				}
			}}
		})
		p := h.dial()
		p.send("go\n")
		c := <-conns
		eventually(t, w, func() bool { return c.Stats().Queued > 64<<10 }, "a full queue")
		time.Sleep(20 * time.Millisecond)
		c.Close()
		wantClosed(t, "the blocked Send", get(t, w, sent, "Send"), hythe.Closed)
		h.wantEnd(hythe.Closed)
	})
}

func TestCloseWrite(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		var j journal
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				j.add("%s", in)
				if in == "end" {
					c.Send("last")
					if err := c.CloseWrite(); err != nil {
						t.Errorf("CloseWrite = %v", err)
					}
				}
				if j.has("end") {
					if err := c.Send("more"); !errors.Is(err, net.ErrClosed) {
						t.Errorf("Send after CloseWrite = %v", err)
					}
				}
				return nil
			}}
		})
		p := h.dial()
		p.send("a\nend\n")
		p.want("last")
		p.wantEOF()
		p.send("b\nc\n") // input goes on
		p.closeWrite()
		h.wantEnd(hythe.PeerDone)
		j.want(t, "a", "end", "b", "c")
	})
}

func TestOnClose(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		var j journal
		conns := make(chan *lines, 1)
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{
				input: func(c *lines, in string) error {
					c.OnClose(func(why error) { j.add("first") })
					remove := c.OnClose(func(why error) { j.add("removed") })
					c.OnClose(func(why error) {
						wantClosed(t, "OnClose's reason", why, hythe.PeerDone)
						j.add("second")
					})
					if !remove() || remove() {
						t.Error("remove must be true once")
					}
					conns <- c
					return nil
				},
				disconnected: func(c *lines, why error) {
					j.add("disconnected")
					c.OnClose(func(error) { j.add("in disconnected") })
				},
			}
		})
		p := h.dial()
		p.send("x\n")
		c := <-conns
		p.close()
		h.wantEnd(hythe.PeerDone)
		all := j.entries()
		if len(all) != 4 || all[0] != "disconnected" || !j.has("first") || !j.has("second") || !j.has("in disconnected") {
			t.Errorf("journal = %q", all)
		}
		var late error // after the end it is called at once
		remove := c.OnClose(func(why error) { late = why })
		wantClosed(t, "a late OnClose's reason", late, hythe.PeerDone)
		if remove() {
			t.Error("removing a function that was called reports true")
		}
	})
}

// Functions that are registered while the connection ends are called once too.
func TestOnClose_Race(t *testing.T) {
	inWorlds(t, []world{tcpWorld, netWorld}, func(t *testing.T, w world) {
		conns := make(chan *lines, 1)
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{connected: func(c *lines) error { conns <- c; return nil }}
		})
		for range 30 {
			p := h.dial()
			c := <-conns
			var called sync.WaitGroup
			for range 4 {
				called.Add(8)
				go func() {
					for range 8 {
						c.OnClose(func(why error) { called.Done() })
					}
				}()
			}
			p.close()
			h.nextEnd()
			called.Wait()
		}
	})
}

// Shutdown from elsewhere ends a Send that waits for room.
func TestShutdown_EndsWaitingSend(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		sent, conns := make(chan error, 1), make(chan *lines, 1)
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				conns <- c
				for {
					if err := c.Send(strings.Repeat("x", 60_000)); err != nil {
						sent <- err
						return nil
					}
				}
			}}
		})
		p := h.dial()
		p.send("go\n")
		c := <-conns
		eventually(t, w, func() bool { return c.Stats().Queued > 64<<10 }, "a full queue")
		time.Sleep(20 * time.Millisecond)
		c.Shutdown()
		wantClosed(t, "the waiting Send", get(t, w, sent, "Send"), hythe.Finished)
		got := get(t, w, p.readAll(), "EOF") // what was taken before is delivered
		if len(got) == 0 || len(got)%60_001 != 0 {
			t.Errorf("client got %d bytes, ending in %.50q", len(got), got[max(0, len(got)-50):])
		}
		p.close()
		h.wantEnd(hythe.Finished)
	})
}

// A connection that is cut while output waits ends for the reason that cut it.
func TestShutdown_ThenReset(t *testing.T) {
	inWorlds(t, []world{tcpWorld, netWorld, memWorld}, func(t *testing.T, w world) {
		shut := make(chan bool, 1)
		h := w.start(t, &hythe.Server{
			Limits: hythe.Limits{HighWater: 32 << 20},
			Service: sessions(func(c *lines) *hooks {
				return &hooks{input: func(c *lines, in string) error {
					for range 200 {
						c.Send(strings.Repeat("x", 60_000))
					}
					c.Shutdown()
					shut <- true
					return nil
				}}
			}),
		})
		p := h.dial()
		p.send("x\n")
		<-shut
		time.Sleep(20 * time.Millisecond)
		p.reset()
		h.wantEnd(hythe.PeerReset)
	})
}

func TestDisconnected_ExactlyOnce(t *testing.T) {
	inWorlds(t, []world{tcpWorld, unixW, netWorld}, func(t *testing.T, w world) {
		const n = 60
		var mu sync.Mutex
		connected, disconnected, closed := map[uint64]int{}, map[uint64]int{}, map[uint64]int{}
		count := func(m map[uint64]int, id uint64) { mu.Lock(); m[id]++; mu.Unlock() }
		h := w.start(t, &hythe.Server{Service: hythe.Sessions(codec.Lines(), func(c *lines) *hooks {
			c.OnClose(func(error) { count(closed, c.ID()) })
			return &hooks{
				connected: func(c *lines) error {
					if c.ID()%5 == 0 {
						return errors.New("no")
					}
					count(connected, c.ID())
					return nil
				},
				input: func(c *lines, in string) error {
					go c.Close()
					go c.Shutdown()
					return c.Send(in)
				},
				disconnected: func(c *lines, why error) { count(disconnected, c.ID()) },
			}
		})})
		for i := range n {
			p := h.dial()
			if i%2 == 0 {
				p.nc.Write([]byte("x\n"))
			}
			if i%3 == 0 {
				p.reset()
			} else {
				p.close()
			}
		}
		for range n {
			h.nextEnd()
		}
		mu.Lock()
		defer mu.Unlock()
		for id := range uint64(n) {
			id++
			if connected[id] != disconnected[id] || connected[id] > 1 || closed[id] != 1 {
				t.Errorf("connection %d: connected %d, disconnected %d, closed %d", id, connected[id], disconnected[id], closed[id])
			}
		}
	})
}

// What Reset does is told from an end in peace, also when nothing waited to be sent.
func TestReset_IsTold(t *testing.T) {
	inWorlds(t, []world{tcpWorld, netWorld, memWorld, tlsWorld}, func(t *testing.T, w world) {
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				if in == "more" { // than the kernel takes
					for range 1000 {
						c.TrySend(strings.Repeat("x", 10_000))
					}
				}
				c.Reset()
				return nil
			}}
		})
		for _, what := range []string{"none\n", "more\n"} {
			p := h.dial()
			p.send(what)
			if _, err := io.Copy(io.Discard, p.r); !isReset(err) {
				t.Errorf("%q: the client's input ended with %v", what, err)
			}
			h.wantEnd(hythe.Closed)
		}
	})
}
