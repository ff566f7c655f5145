package main

import (
	"io"
	"net/http"

	"github.com/hythe-go/hythe/bench/internal/child"
)

// answer is the handler of all servers of net/http's handlers: a greeting, or
// the body back.
func answer(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		w.Header().Set("Content-Type", "application/octet-stream")
		io.Copy(w, r.Body)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	io.WriteString(w, child.Greeting)
}
