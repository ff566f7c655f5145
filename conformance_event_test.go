package hythe_test

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

func TestEvent_EchoAndOrder(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		var j journal
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{
				connected: func(c *lines) error { j.add("connected"); return c.Send("hello") },
				input:     func(c *lines, in string) error { j.add("input %s", in); return c.Send(in) },
				disconnected: func(c *lines, why error) {
					j.add("disconnected %s", why.(*hythe.CloseError).Reason.String())
				},
			}
		})
		p := h.dial()
		p.want("hello")
		p.send("a\nb\n")
		p.want("a", "b")
		p.send("c\n")
		p.want("c")
		p.closeWrite()
		p.wantEOF()
		h.wantEnd(hythe.PeerDone)
		j.want(t, "connected", "input a", "input b", "input c", "disconnected peer done")
	})
}

func TestEvent_HooksAreOptional(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{
			Service: hythe.Sessions(codec.Lines(), func(c *lines) onInput {
				return func(c *lines, in string) error {
					if err := c.Post(1); err != hythe.ErrNotHere {
						t.Errorf("Post to a session without Posted = %v, want ErrNotHere", err)
					}
					if _, err := c.Receive(); err != hythe.ErrNotHere {
						t.Errorf("Receive in the event form = %v, want ErrNotHere", err)
					}
					for range 40 { // past the marks, with no hook to hear of it
						if err := c.Send(strings.Repeat(in, 100)); err != nil {
							return err
						}
					}
					return nil
				}
			}),
			Limits: hythe.Limits{HighWater: 1000},
		})
		p := h.dial()
		p.send("x\n")
		for range 40 {
			p.want(strings.Repeat("x", 100))
		}
		p.closeWrite()
		p.wantEOF()
		h.wantEnd(hythe.PeerDone)
	})
}

// Every hook is found on a session that has it.
func TestEvent_HooksAreFound(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		var j journal
		h := w.start(t, &hythe.Server{
			Limits: hythe.Limits{HighWater: 1000},
			Service: hythe.Sessions(codec.Line{Max: 10_000}.Strings(), func(c *lines) *halfOpen {
				s := &halfOpen{inputClosed: func(c *lines) error { j.add("inputClosed"); c.Shutdown(); return nil }}
				s.hooks = hooks{
					connected:    func(c *lines) error { j.add("connected"); return nil },
					input:        func(c *lines, in string) error { j.add("input"); return c.Send(strings.Repeat(in, 3000)) },
					flushed:      func(c *lines) { j.add("flushed") },
					high:         func(c *lines) { j.add("high") },
					low:          func(c *lines) { j.add("low") },
					posted:       func(c *lines, ev any) error { j.add("posted %v", ev); return nil },
					disconnected: func(c *lines, why error) { j.add("disconnected") },
				}
				return s
			}),
		})
		p := h.dial()
		p.send("x\n")
		p.want(strings.Repeat("x", 3000))
		eventually(t, w, func() bool { return j.has("flushed") }, "Flushed")
		for c := range h.srv.Conns() {
			c.Post("event")
		}
		eventually(t, w, func() bool { return j.has("posted event") }, "Posted")
		p.closeWrite()
		p.wantEOF()
		h.wantEnd(hythe.Finished)
		j.want(t, "connected", "input", "high", "low", "flushed", "posted event", "inputClosed", "disconnected")
	})
}

func TestEvent_ConnectedError(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		var j journal
		sorry := errors.New("sorry")
		h := w.serve(t, func(c *lines) *hooks {
			c.OnClose(func(why error) { j.add("onclose %v", errors.Is(why, sorry)) })
			return &hooks{
				connected:    func(c *lines) error { c.Send("not you"); return sorry },
				input:        func(c *lines, in string) error { j.add("input"); return nil },
				disconnected: func(c *lines, why error) { j.add("disconnected") },
			}
		})
		p := h.dial()
		p.send("hi\n")
		p.want("not you") // what was sent is delivered all the same
		p.closeWrite()
		p.wantEOF()
		if ev := h.wantEnd(hythe.Failed); ev.Err != sorry {
			t.Errorf("Err = %v, want Connected's", ev.Err)
		}
		j.want(t, "onclose true")
	})
}

func TestEvent_InputError(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		var j journal
		boom := errors.New("boom")
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{
				input: func(c *lines, in string) error {
					j.add("%s", in)
					c.Send(in)
					if in == "2" {
						return boom
					}
					return nil
				},
				disconnected: func(c *lines, why error) {
					wantClosed(t, "Disconnected's reason", why, hythe.Failed)
					j.add("disconnected %v", errors.Is(why, boom))
				},
			}
		})
		p := h.dial()
		p.send("1\n2\n3\n")
		p.want("1", "2") // queued answers are still delivered
		p.wantEOF()
		p.closeWrite()
		h.wantEnd(hythe.Failed)
		j.want(t, "1", "2", "disconnected true")
	})
}

func TestEvent_InputFailed(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		var j journal
		h := w.start(t, &hythe.Server{Service: hythe.Sessions(codec.Line{Max: 10}.Strings(), func(c *lines) *hooks {
			return &hooks{
				inputFailed: func(c *lines, err error) {
					j.add("failed %v", errors.Is(err, codec.ErrFrameTooLarge))
					c.Send("bad line")
				},
				disconnected: func(c *lines, why error) { j.add("disconnected") },
			}
		})})
		p := h.dial()
		p.send("ok\nmuch too long a line\nok\n")
		p.want("ok", "bad line")
		p.wantEOF()
		p.closeWrite()
		h.wantEnd(hythe.FrameTooLarge)
		j.want(t, "failed true", "disconnected")
	})
}

// Connected may take its time; input waits for it, neighbours do not.
func TestEvent_ConnectedBlocks(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		release := make(chan struct{})
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{connected: func(c *lines) error {
				if c.ID() == 1 {
					c.Send("wait")
					<-release
				}
				return c.Send("welcome")
			}}
		})
		a := h.dial()
		a.want("wait") // leaves before the hook returns
		b := h.dial()
		b.send("b\n")
		b.want("welcome", "b")
		a.send("a\n")
		close(release)
		a.want("welcome", "a")
	})
}

func TestEvent_ConnDetails(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		type details struct {
			id            uint64
			local, remote net.Addr
			tls           bool
		}
		found := make(chan details, 2)
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{connected: func(c *lines) error {
				_, isTLS := c.TLS()
				found <- details{c.ID(), c.LocalAddr(), c.RemoteAddr(), isTLS}
				return nil
			}}
		})
		p := h.dial()
		d := get(t, w, found, "Connected")
		if got, want := d.local.String(), h.ln.Addr().String(); got != want {
			t.Errorf("LocalAddr = %s, want %s", got, want)
		}
		if got, want := d.remote.Network(), p.raw.LocalAddr().Network(); got != want {
			t.Errorf("RemoteAddr.Network = %s, want %s", got, want)
		}
		if got, want := d.remote.String(), p.raw.LocalAddr().String(); got != want && !w.unix {
			t.Errorf("RemoteAddr = %s, want %s", got, want)
		}
		if d.tls != w.tls {
			t.Errorf("TLS = %v", d.tls)
		}
		h.dial()
		if second := get(t, w, found, "Connected"); second.id == d.id || d.id == 0 {
			t.Errorf("IDs %d and %d", d.id, second.id)
		}
		p.wantLive()
		var all []hythe.Stats
		eventually(t, w, func() bool { // the counters follow the bytes
			for c := range h.srv.Conns() {
				if c.Stats().Queued > 0 {
					return false
				}
			}
			return true
		}, "empty queues")
		for c := range h.srv.Conns() {
			if c.ID() == d.id {
				all = append(all, c.Stats())
			}
		}
		n := uint64(len("still there?\n"))
		if len(all) != 1 || all[0].BytesIn != n || all[0].BytesOut != n || all[0].Frames != 1 || all[0].Queued != 0 || all[0].Opened.IsZero() {
			t.Errorf("Stats = %+v", all)
		}
	})
}

// Bytes that come one at a time and all at once make the same messages.
func TestEvent_Split(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{Service: echoService()})
		p := h.dial()
		want := []string{"a", "", strings.Repeat("b", 50), "c"}
		for _, b := range []byte(strings.Join(want, "\n") + "\n") {
			p.send(string(b))
		}
		p.want(want...)
		big := strings.Repeat("x", 60_000)
		go p.send(strings.Repeat(big+"\n", 20))
		for range 20 {
			p.want(big)
		}
	})
}

// Settings that make no sense are found at the start.
func TestServe_Validate(t *testing.T) {
	for name, srv := range map[string]*hythe.Server{
		"Service":  {},
		"LowWater": {Service: echoService(), Limits: hythe.Limits{HighWater: 10, LowWater: 20}},
		"Line.Max": {Service: hythe.Sessions(codec.Line{Max: -1}.Strings(), func(*lines) onInput { return echo })},
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := srv.Serve(t.Context(), ln); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("Serve with a bad %s = %v", name, err)
		}
		if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: Serve left its listener open", name)
		}
	}
}
