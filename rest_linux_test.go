package hythe_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/hythe-go/hythe"
)

// A TLS connection that has nothing to say has no goroutine, and is as alive as
// any other.
func TestIdleTLSHasNoGoroutine(t *testing.T) {
	w := tlsWorld
	had := runtime.NumGoroutine() + runtime.GOMAXPROCS(0) // the loops'
	h := w.start(t, &hythe.Server{Service: sessions(func(c *lines) *hooks {
		return &hooks{input: echo, posted: func(c *lines, event any) error { return c.Send(fmt.Sprint(event)) }}
	})})
	const n = 50
	var peers [n]*peer
	rest := func() {
		t.Helper()
		eventually(t, w, func() bool { return runtime.NumGoroutine() < had+n/2 }, "few goroutines")
	}
	for i := range peers {
		peers[i] = h.dial()
		peers[i].send("hello\n")
		peers[i].want("hello")
	}
	rest()
	for i, p := range peers { // input wakes one
		p.send(fmt.Sprint(i, "\n"))
		p.want(fmt.Sprint(i))
	}
	rest()
	for s := range h.srv.Conns() { // an event is delivered to one that rests
		s.Post("posted")
	}
	for _, p := range peers {
		p.want("posted")
	}
	rest()
	peers[0].close() // its end is seen
	h.wantEnd(hythe.PeerDone)
	peers[1].reset()
	h.wantEnd(hythe.PeerReset)
	for s := range h.srv.Conns() {
		s.Close()
		break
	}
	h.wantEnd(hythe.Closed)
	if _, err := h.srv.Drain(t.Context()); err != nil {
		t.Errorf("Drain = %v", err)
	}
	for range n - 3 {
		h.wantEnd(hythe.Drained)
	}
}
