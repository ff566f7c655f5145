package hythe_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/hythe-go/hythe"
)

// A caller is a server that only has connections which it dialled.
type caller struct {
	testing.TB
	w    world
	srv  hythe.Server
	ends chan hythe.Event
}

func (w world) newCaller(t testing.TB) *caller {
	c := &caller{TB: t, w: w, ends: make(chan hythe.Event, 100)}
	c.srv.Goroutines = w.goroutines
	c.srv.Observer = func(ev hythe.Event) {
		if ev.Kind == hythe.ConnEnded {
			c.ends <- ev
		}
	}
	t.Cleanup(func() {
		c.srv.Close()
		c.srv.Drain(context.Background())
		if st := c.srv.Stats(); st.Live != 0 || st.Memory != 0 {
			t.Errorf("after Close: %+v", st)
		}
	})
	return c
}

func (c *caller) wantEnd(why hythe.Reason) {
	c.Helper()
	if ev := get(c, c.w, c.ends, "the end of the caller's connection"); ev.Reason != why {
		c.Errorf("the caller's connection ended: %v (%v), want %v", ev.Reason, ev.Err, why)
	}
}

// asking makes a client that sends question when it is connected and tells
// answers what comes back.
func asking(question string, answers chan<- string) hythe.Service {
	return sessions(func(*lines) *hooks {
		return &hooks{
			connected: func(c *lines) error { return c.Send(question) },
			input:     func(_ *lines, in string) error { answers <- in; return nil },
		}
	})
}

func TestAttach_SessionOnADialledConnection(t *testing.T) {
	inWorlds(t, plainWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{Service: echoService()})
		c := w.newCaller(t)
		answers := make(chan string, 1)
		s, err := c.srv.Attach(h.dial().nc, asking("hello", answers))
		if err != nil {
			t.Fatal(err)
		}
		if got := get(t, w, answers, "the answer"); got != "hello" {
			t.Errorf("got %q", got)
		}
		if st := c.srv.Stats(); st.Live != 1 || st.Opened != 1 {
			t.Errorf("attached: %+v", st)
		}
		s.Shutdown()
		c.wantEnd(hythe.Finished)
		h.wantEnd(hythe.PeerDone)
	})
}

func TestAttach_UsesTheServersServiceWhenGivenNone(t *testing.T) {
	inWorlds(t, plainWorlds, func(t *testing.T, w world) {
		answers := make(chan string, 1)
		h := w.start(t, &hythe.Server{Service: echoService()})
		c := w.newCaller(t)
		if _, err := c.srv.Attach(h.dial().nc, nil); err == nil {
			t.Error("attached without any service")
		}
		h.wantEnd(hythe.PeerDone)
		c.srv.Service = asking("hello", answers)
		if _, err := c.srv.Attach(h.dial().nc, nil); err != nil {
			t.Fatal(err)
		}
		if got := get(t, w, answers, "the answer"); got != "hello" {
			t.Errorf("got %q", got)
		}
	})
}

func TestAttach_CountsAgainstTheLimits(t *testing.T) {
	inWorlds(t, plainWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{Service: echoService()})
		c := w.newCaller(t)
		c.srv.Limits.Conns = 1
		first, err := c.srv.Attach(h.dial().nc, echoService())
		if err != nil {
			t.Fatal(err)
		}
		p := h.dial()
		if _, err := c.srv.Attach(p.nc, echoService()); err != hythe.ErrFull {
			t.Errorf("second Attach = %v, want ErrFull", err)
		}
		if _, err := p.nc.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a connection that was not attached: Read = %v, want it to be closed", err)
		}
		h.wantEnd(hythe.PeerDone)
		first.Shutdown()
		c.wantEnd(hythe.Finished)
		if _, err := c.srv.Attach(h.dial().nc, echoService()); err != nil {
			t.Errorf("Attach once there is room = %v", err)
		}
	})
}

func TestAttach_IsDrainedAndThenRefused(t *testing.T) {
	inWorlds(t, plainWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{Service: echoService()})
		c := w.newCaller(t)
		answers := make(chan string, 1)
		if _, err := c.srv.Attach(h.dial().nc, asking("hello", answers)); err != nil {
			t.Fatal(err)
		}
		get(t, w, answers, "the answer")
		report, err := c.srv.Drain(context.Background())
		if err != nil || len(report.Idle)+len(report.Finished) != 1 {
			t.Errorf("Drain = %v, %v", report, err)
		}
		c.wantEnd(hythe.Drained)
		if _, err := c.srv.Attach(h.dial().nc, echoService()); err != hythe.ErrServerClosed {
			t.Errorf("Attach after a drain = %v", err)
		}
	})
}

// A server may have both kinds of connections.
func TestAttach_BesideAListener(t *testing.T) {
	inWorlds(t, plainWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{Service: echoService()})
		answers := make(chan string, 1)
		if _, err := h.srv.Attach(h.dial().nc, asking("to myself", answers)); err != nil {
			t.Fatal(err)
		}
		if got := get(t, w, answers, "the answer"); got != "to myself" {
			t.Errorf("got %q", got)
		}
		if st := h.srv.Stats(); st.Live != 2 {
			t.Errorf("Live = %d", st.Live)
		}
	})
}

func TestStartTLSClient(t *testing.T) {
	inWorlds(t, plainWorlds, func(t *testing.T, w world) {
		var j journal
		h := w.start(t, &hythe.Server{Service: startTLSService(&j)})
		c := w.newCaller(t)
		answers := make(chan string, 1)
		_, err := c.srv.Attach(h.dial().nc, sessions(func(*lines) *hooks {
			return &hooks{
				connected: func(c *lines) error { return c.Send("STARTTLS") },
				input: func(c *lines, in string) error {
					if in != "go ahead" {
						state, _ := c.TLS()
						answers <- in + " " + state.ServerName
						return nil
					}
					if err := c.StartTLSClient(clientTLS()); err != nil {
						return err
					}
					return c.Send("secret")
				},
			}
		}))
		if err != nil {
			t.Fatal(err)
		}
		if got := get(t, w, answers, "the answer"); got != "secret hythe.test" {
			t.Errorf("got %q", got)
		}
		j.want(t, "STARTTLS false", "secret true")
	})
}
