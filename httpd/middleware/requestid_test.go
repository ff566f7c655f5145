package middleware_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/hythe-go/hythe/httpd/middleware"
)

func TestRequestID(t *testing.T) {
	seen := ""
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = strings.Join(r.Header["X-Request-Id"], "|") })
	ids := make(map[string]bool)
	ask := func(trust bool, given ...string) string {
		t.Helper()
		r := request("GET", "/")
		r.Header["X-Request-Id"] = given
		w, _ := run(middleware.RequestID(func(*http.Request) bool { return trust })(h), r)
		if got := strings.Join(w.Header()["X-Request-Id"], "|"); got != seen || got == "" {
			t.Errorf("the answer has %q, the handler %q", got, seen)
		}
		return seen
	}
	for _, id := range []string{ask(false), ask(false, "mine"), ask(true, "bad\nid"), ask(true, ""), ask(true, strings.Repeat("x", 129)), ask(true, "a", "b"), ask(true, "ü")} {
		if len(id) != 26 || ids[id] {
			t.Errorf("%q is not a new ID", id)
		}
		ids[id] = true
	}
	if got := ask(true, "aZ09-._~+/=:"); got != "aZ09-._~+/=:" {
		t.Errorf("a trusted ID became %q", got)
	}
}
