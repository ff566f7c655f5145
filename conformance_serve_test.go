package hythe_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
)

// What Serve returns.
func TestServe_Returns(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{Service: echoService()})
		h.dial().wantLive()
		if err := h.srv.Serve(t.Context(), notListening{}.listener()); err != hythe.ErrServing {
			t.Errorf("a second Serve = %v", err)
		}
		h.srv.Close()
		if err := h.wait(); err != hythe.ErrServerClosed {
			t.Errorf("Serve after Close = %v", err)
		}
		h.wantEnd(hythe.ServerClosed)
		if err := h.srv.Serve(t.Context(), notListening{}.listener()); err != hythe.ErrServerClosed {
			t.Errorf("Serve after the end = %v", err)
		}
		if _, err := h.srv.Drain(t.Context()); err != hythe.ErrServerClosed {
			t.Errorf("Drain after Close = %v", err)
		}
		h.srv.Close()
	})
}

// listener makes a listener that is never asked.
func (notListening) listener() net.Listener {
	_, c := newMem().Pipe()
	return notListening{c}
}

func TestServe_ListenerFails(t *testing.T) {
	inMem(t, func(t *testing.T) {
		h := memWorld.start(t, &hythe.Server{Service: echoService()})
		srv := &hythe.Server{Service: echoService()}
		err := srv.Serve(t.Context(), failing{h.ln})
		if !errors.Is(err, errBoom) {
			t.Errorf("Serve with a listener that fails = %v", err)
		}
	})
}

type failing struct{ net.Listener }

func (failing) Accept() (net.Conn, error) { return nil, errBoom }
func (failing) Close() error              { return nil }

// A context that has ended already drains at once.
func TestServe_CancelledContext(t *testing.T) {
	inMem(t, func(t *testing.T) {
		ln, _ := newMem().Listen("")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := (&hythe.Server{Service: echoService()}).Serve(ctx, ln); err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
}

// Pause keeps the port: who connects meanwhile waits.
func TestPauseResume(t *testing.T) {
	inWorlds(t, plainWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{Service: echoService()})
		p := h.dial()
		p.wantLive()
		h.srv.Pause()
		q := h.dial()
		q.send("hello\n")
		time.Sleep(20 * time.Millisecond)
		if n := h.srv.Stats().Opened; n != 1 {
			t.Errorf("while paused %d were opened", n)
		}
		p.wantLive()
		h.srv.Resume()
		q.want("hello")
		h.srv.Pause()
		h.srv.Pause()
		h.cancel() // a paused server drains as well
		p.wantEOF()
		q.wantEOF()
		p.close()
		q.close()
		if err := h.wait(); err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
}

// The values of Serve's context reach the hooks; its end does not.
func TestServe_ContextValues(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		type key struct{}
		h := w.startWith(t, context.WithValue(t.Context(), key{}, "value"), &hythe.Server{Service: sessions(func(c *lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				c.Send(c.Context().Value(key{}).(string))
				time.Sleep(30 * time.Millisecond)
				if err := c.Context().Err(); err != nil {
					t.Errorf("draining has cancelled the context: %v", err)
				}
				return c.Send("done")
			}}
		})}, newMem())
		p := h.dial()
		p.send("x\n")
		p.want("value")
		h.cancel()
		p.want("done")
		p.wantEOF()
	})
}

// Whoever closes the listener himself ends Serve, in peace.
func TestServe_ListenerClosedBySomebodyElse(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.serve(t, func(*lines) *hooks { return &hooks{} })
		p := h.dial()
		p.wantLive()
		h.ln.Close()
		if err := h.wait(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve = %v, want what the listener said", err)
		}
		p.wantEOF()
		h.wantEnd(hythe.Drained)
	})
}
