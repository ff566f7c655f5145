// Package admin serves what an operator looks at: the status page, which is
// complete without JavaScript and live with it, its data as JSON and as a stream
// of events, metrics for Prometheus, and the health checks.
package admin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/hythe-go/hythe/cmd/hythe/internal/status"
)

// A Source is the daemon. Its methods are safe for concurrent use.
type Source interface {
	// Snapshot describes the daemon at this moment. It is called about once
	// a second while somebody looks, and must not block.
	Snapshot() status.Snapshot

	// Requeue takes the dead letters of a route's output up again, and returns
	// how many there were.
	Requeue(ctx context.Context, route, output string) (n int, err error)
}

// policy lets the page use what comes from here, and nothing else.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

//go:embed assets
var assets embed.FS

// site is what Handler returns.
type site struct {
	src   Source
	guard guard
	board board
	seats chan struct{} // has an element for each client of the events
}

// Handler returns the handler of the admin address. Everything but /healthz and
// the bare answer of /readyz is only for those whom the options let in.
func Handler(src Source, o Options) http.Handler {
	s := &site{src: src, guard: newGuard(o), board: board{src: src}, seats: make(chan struct{}, maxClients)}

	behind := http.NewServeMux()
	files := sha256.New()
	for _, f := range []struct{ name, kind string }{
		{"icon.svg", "image/svg+xml"}, {"live.js", "text/javascript; charset=utf-8"}, {"style.css", "text/css; charset=utf-8"},
	} {
		b, err := assets.ReadFile("assets/" + f.name)
		if err != nil {
			panic(err) // it is embedded
		}
		files.Write(b)
		behind.HandleFunc("GET /"+f.name, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", f.kind)
			w.Header().Set("Cache-Control", "private, max-age=86400") // the address changes with the content
			w.Write(b)
		})
	}
	s.board.files = hex.EncodeToString(files.Sum(nil)[:6])
	behind.HandleFunc("GET /{$}", s.page)
	behind.HandleFunc("GET /status.json", s.json)
	behind.HandleFunc("GET /events", s.events)
	behind.Handle("GET /metrics", metrics(src))
	behind.Handle("POST /requeue", new(http.CrossOriginProtection).Handler(http.HandlerFunc(s.requeue)))

	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", alive)
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("/", s.guard.protect(behind))
	return secure(mux)
}

// secure sets the headers that every answer has.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "same-origin") // with none, a form of ours would be sent with Origin: null
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// page answers with the status page.
func (s *site) page(w http.ResponseWriter, r *http.Request) {
	var notice string
	if n, err := strconv.ParseUint(r.FormValue("requeued"), 10, 64); err == nil {
		notice = requeued(n)
	}
	b, err := s.board.page(notice)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(b)
}

// json answers with the snapshot.
func (s *site) json(w http.ResponseWriter, _ *http.Request) {
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(s.src.Snapshot()); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(b.Bytes())
}

// requeue takes dead letters up again. A browser's form is led back to the page;
// everybody else gets the outcome.
func (s *site) requeue(w http.ResponseWriter, r *http.Request) {
	route, output := r.FormValue("route"), r.FormValue("output")
	if route == "" || output == "" {
		http.Error(w, "which route, and which output?", http.StatusBadRequest)
		return
	}
	n, err := s.src.Requeue(r.Context(), route, output)
	s.board.outdate()
	if err != nil {
		if n > 0 {
			err = fmt.Errorf("after %d messages: %w", n, err)
		}
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		w.Header().Set("Location", "./?requeued="+strconv.Itoa(n)) // relative, for whoever is behind a proxy
		w.WriteHeader(http.StatusSeeOther)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, requeued(uint64(n)))
}

// requeued says what requeue has done.
func requeued(n uint64) string {
	switch n {
	case 0:
		return "There were no dead letters to requeue."
	case 1:
		return "1 dead letter was requeued."
	}
	return count(n) + " dead letters were requeued."
}
