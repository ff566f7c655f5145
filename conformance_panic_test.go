package hythe_test

import (
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

var errBoom = errors.New("boom")

// trapCodec is lines, but for two words that make it panic.
type trapCodec struct{ codec.Codec[string, string] }

func (c trapCodec) Decode(src []byte, eof bool) (int, string, error) {
	if strings.HasPrefix(string(src), "decode trap") {
		panic(errBoom)
	}
	return c.Codec.Decode(src, eof)
}

func (c trapCodec) Append(dst []byte, msg string) ([]byte, error) {
	if msg == "append trap" {
		panic(errBoom)
	}
	return c.Codec.Append(dst, msg)
}

// A panic in any hook ends its connection with Panicked, and nobody else's.
func TestPanic(t *testing.T) {
	boom := func(*lines) { panic(errBoom) }
	boomErr := func(*lines) error { panic(errBoom) }
	type act func(h *host, p *peer)
	say := func(s string) act { return func(h *host, p *peer) { p.send(s) } }
	tests := []struct {
		name  string
		hooks hooks
		act   act
	}{
		{"Connected", hooks{connected: boomErr}, nil},
		{"Input", hooks{input: func(*lines, string) error { panic(errBoom) }}, say("x\n")},
		{"Flushed", hooks{flushed: boom}, say("x\n")},
		{"HighWater", hooks{high: boom}, say(strings.Repeat("x", 3000) + "\n")},
		{"LowWater", hooks{low: boom}, say(strings.Repeat("x", 3000) + "\n")},
		{"Posted", hooks{posted: func(*lines, any) error { panic(errBoom) }}, func(h *host, p *peer) {
			p.send("x\n")
			p.want("x")
			for c := range h.srv.Conns() {
				if c.ID() == 2 {
					c.Post("event")
				}
			}
		}},
		{"InputFailed", hooks{inputFailed: func(*lines, error) { panic(errBoom) }}, say(strings.Repeat("x", 20_000))},
		{"Decode", hooks{}, say("decode trap")},
		{"Append", hooks{}, say("append trap\n")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorlds(t, allWorlds, func(t *testing.T, w world) { testPanic(t, w, tt.hooks, tt.act) })
		})
	}
	t.Run("InputClosed", func(t *testing.T) {
		inWorlds(t, allWorlds, func(t *testing.T, w world) {
			h := w.start(t, &hythe.Server{Service: hythe.Sessions(codec.Lines(), func(c *lines) *halfOpen {
				return &halfOpen{inputClosed: boomErr}
			})})
			p := h.dial()
			p.wantLive()
			p.closeWrite()
			p.wantEOF()
			h.wantEnd(hythe.Panicked)
		})
	})
}

func testPanic(t *testing.T, w world, hook hooks, act func(h *host, p *peer)) {
	var j journal
	connected := hook.connected
	h := w.start(t, &hythe.Server{
		Limits: hythe.Limits{HighWater: 1000},
		Service: hythe.Sessions[string, string](trapCodec{codec.Line{Max: 10_000}.Strings()}, func(c *lines) *hooks {
			if c.ID() == 1 {
				return &hooks{}
			}
			s := hook
			s.connected = func(c *lines) error {
				if connected != nil {
					return connected(c)
				}
				j.add("connected")
				return nil
			}
			s.disconnected = func(c *lines, why error) {
				j.add("disconnected")
				wantClosed(t, "Disconnected's reason", why, hythe.Panicked)
			}
			c.OnClose(func(why error) { wantClosed(t, "OnClose's reason", why, hythe.Panicked) })
			return &s
		}),
	})
	neighbour := h.dial()
	neighbour.wantLive()
	p := h.dial()
	if act != nil {
		act(h, p)
	}
	p.wantGone()
	p.close()
	ev := h.wantEnd(hythe.Panicked)
	var pe *hythe.PanicError
	if !errors.As(ev.Err, &pe) || pe.Value != errBoom || len(pe.Stack) == 0 || !errors.Is(ev.Err, errBoom) {
		t.Errorf("the end's error is %v, want a *PanicError with %v", ev.Err, errBoom)
	}
	if a, b := j.count("connected"), j.count("disconnected"); a != b {
		t.Errorf("%d times Connected, %d times Disconnected", a, b)
	}
	neighbour.wantLive()
}

func TestGoexit(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				if in == "exit" {
					c.Send("bye")
					runtime.Goexit()
				}
				return c.Send(in)
			}}
		})
		neighbours := []*peer{h.dial(), h.dial(), h.dial()}
		for range 5 {
			p := h.dial()
			p.send("1\nexit\n2\n")
			p.want("1", "bye")
			p.wantEOF()
			p.close()
			ev := h.wantEnd(hythe.Panicked)
			var pe *hythe.PanicError
			if !errors.As(ev.Err, &pe) || pe.Value != nil {
				t.Errorf("the end's error is %v, want a *PanicError without value", ev.Err)
			}
			for _, n := range neighbours {
				n.wantLive()
			}
		}
	})
}

// Disconnected, OnClose and Closed come after the end, so that their panics
// cannot be its reason; they are told to the Observer.
func TestPanic_AfterTheEnd(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		var j journal
		h := w.start(t, &hythe.Server{
			Observer: func(ev hythe.Event) {
				if ev.Kind == hythe.HookPanicked && errors.Is(ev.Err, errBoom) {
					j.add("hook panicked")
				}
			},
			Service: sessions(func(c *lines) *hooks {
				c.OnClose(func(error) { j.add("onclose"); panic(errBoom) })
				c.OnClose(func(error) { j.add("onclose"); panic(errBoom) })
				return &hooks{disconnected: func(c *lines, why error) { j.add("disconnected"); panic(errBoom) }}
			}),
		})
		p := h.dial()
		p.wantLive()
		p.closeWrite()
		p.wantEOF()
		h.wantEnd(hythe.PeerDone)
		j.want(t, "disconnected", "hook panicked", "onclose", "hook panicked", "onclose", "hook panicked")
	})
}

func TestPanic_Draining(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.serve(t, func(c *lines) *hooks { return &hooks{draining: func(*lines) { panic(errBoom) }} })
		p := h.dial()
		p.wantLive()
		h.cancel()
		p.wantGone()
		p.close()
		if err := h.wait(); err != nil {
			t.Errorf("Serve = %v", err)
		}
		h.wantEnd(hythe.Panicked)
	})
}

// A panic while the output of earlier answers still waits loses none of them.
func TestPanic_OutputIsDelivered(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		answer := strings.Repeat("y", 30_000)
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				for range 20 {
					if err := c.Send(answer); err != nil {
						return err
					}
				}
				panic(errBoom)
			}}
		})
		p := h.dial()
		p.send("go\n")
		for range 20 {
			p.want(answer)
		}
		p.wantEOF()
		p.close()
		h.wantEnd(hythe.Panicked)
	})
}

func TestPanic_OpenAndSession(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		for _, service := range []hythe.Service{
			hythe.Sessions(codec.Lines(), func(c *lines) onInput { panic(errBoom) }),
			hythe.ServiceFunc(func(*hythe.Stream) (hythe.Protocol, error) { panic(errBoom) }),
			hythe.Conversation(codec.Lines(), talk(func(*lines) error { panic(errBoom) })),
			hythe.Conversation(codec.Lines(), talk(func(c *lines) error {
				c.Receive()
				panic(errBoom)
			})),
		} {
			h := w.start(t, &hythe.Server{Service: service})
			p := h.dial()
			io.WriteString(p.nc, "hello\n")
			p.wantGone()
			p.close()
			ev := h.wantEnd(hythe.Panicked)
			if !errors.Is(ev.Err, errBoom) {
				t.Errorf("the end's error is %v", ev.Err)
			}
		}
	})
}

// runtime.Goexit in the other forms, and in what is called outside of turns.
func TestGoexit_Forms(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		for _, service := range []hythe.Service{
			hythe.Conversation(codec.Lines(), talk(func(c *lines) error {
				c.Receive()
				runtime.Goexit()
				return nil
			})),
			hythe.ServiceFunc(func(*hythe.Stream) (hythe.Protocol, error) { runtime.Goexit(); return nil, nil }),
		} {
			h := w.start(t, &hythe.Server{Service: service})
			for range 3 {
				p := h.dial()
				io.WriteString(p.nc, "hello\n")
				p.wantGone()
				p.close()
				h.wantEnd(hythe.Panicked)
			}
		}
	})
}
