package fcgi_test

import (
	"net/http"
	"sync/atomic"
	"testing"
)

// A stream ends once. What comes behind the end of STDIN, another end included,
// is nothing: the request is neither begun nor answered again.
func TestSpec_3_3_StdinEndedTwice(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		for _, length := range []string{"4", ""} {
			g := newGate(t)
			var called atomic.Int32
			c := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
				called.Add(1)
				g.wait(r)
				readAll(w, r)
			}).dial()
			c.send(begin(1, keep), params(1, env("POST", "/", "CONTENT_LENGTH", length)), mk(tStdin, 1, "body"), mk(tStdin, 1, ""))
			get(t, w, g.entered, "the handler")
			c.send(mk(tStdin, 1, ""), mk(tStdin, 1, "more"), mk(tStdin, 1, ""))
			c.wantOpen()
			g.pass()
			c.wantBody(1, `"body" <nil>`)
			c.wantOpen()
			if n := called.Load(); n != 1 {
				t.Errorf("the handler was called %d times", n)
			}
		}
	})
}
