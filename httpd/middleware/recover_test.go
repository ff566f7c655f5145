package middleware_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/hythe-go/hythe/httpd/middleware"
)

func TestRecover(t *testing.T) {
	var value any
	var trace string
	report := func(_ *http.Request, v any, stack []byte) { value, trace = v, string(stack) }
	w, panicked := run(middleware.Recover(report)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Etag", `"x"`)
		w.Header().Set("Cache-Control", "max-age=100000")
		explode()
	})), request("GET", "/"))
	if w.Code != 500 || panicked != nil || w.Body.String() != "Internal Server Error\n" {
		t.Errorf("got %d %q, panic %v", w.Code, w.Body, panicked)
	}
	if value != "boom" || !strings.Contains(trace, "explode") {
		t.Errorf("the report is %v from %s", value, trace)
	}
	for _, name := range []string{"Content-Length", "Content-Encoding", "Etag", "Cache-Control"} {
		if v := w.Header().Get(name); v != "" {
			t.Errorf("%s: %s is still there", name, v)
		}
	}
}

func explode() { panic("boom") }

func TestRecover_AfterTheAnswerBegan(t *testing.T) {
	reports := 0
	rec := middleware.Recover(func(*http.Request, any, []byte) { reports++ })
	for name, begin := range map[string]func(w http.ResponseWriter){
		"header": func(w http.ResponseWriter) { w.WriteHeader(200) },
		"body":   func(w http.ResponseWriter) { io.WriteString(w, "x") },
		"flush":  func(w http.ResponseWriter) { http.NewResponseController(w).Flush() },
		"copy":   func(w http.ResponseWriter) { io.Copy(w, strings.NewReader("x")) },
	} {
		_, panicked := run(rec(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			begin(w)
			panic("boom")
		})), request("GET", "/"))
		if panicked != http.ErrAbortHandler {
			t.Errorf("%s: the panic is %v, want ErrAbortHandler", name, panicked)
		}
	}
	if reports != 4 {
		t.Errorf("%d reports, want 4", reports)
	}
	_, panicked := run(rec(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })), request("GET", "/"))
	if panicked != http.ErrAbortHandler || reports != 4 {
		t.Errorf("ErrAbortHandler became %v, with %d reports", panicked, reports)
	}
}
