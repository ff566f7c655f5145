package hythe_test

import (
	"runtime"
	"testing"

	"github.com/hythe-go/hythe"
)

// A last hook that ends its goroutine takes neither the OnClose functions nor
// the connection's place with it.
func TestGoexit_InDisconnected(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		var j journal
		h := w.serve(t, func(c *lines) *hooks {
			c.OnClose(func(error) { j.add("closed") })
			return &hooks{
				input:        func(c *lines, in string) error { return c.Send(in) },
				disconnected: func(*lines, error) { runtime.Goexit() },
			}
		})
		for range 3 {
			p := h.dial()
			p.send("x\n")
			p.want("x")
			p.close()
			h.wantEnd(hythe.PeerDone)
		}
		if n := j.count("closed"); n != 3 {
			t.Errorf("OnClose was called %d times, want 3", n)
		}
		p := h.dial()
		p.wantLive()
	})
}
