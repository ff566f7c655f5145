package middleware

import (
	"crypto/rand"
	"net/http"
	"strings"
)

// requestID is the header that has a request's ID.
const requestID = "X-Request-Id"

// RequestID gives each request an ID of its own: 26 letters and digits that
// nobody can guess, in the header X-Request-Id of the request, where handlers
// find it, and of the answer. An ID that came with the request is kept only if
// trust, asked about the request, says so, and it consists of at most 128
// letters, digits and "-._~+/=:". A nil trust means never.
func RequestID(trust func(*http.Request) bool) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id := r.Header[requestID]
			if len(id) != 1 || !isID(id[0]) || trust == nil || !trust(r) {
				id = []string{rand.Text()}
				r.Header[requestID] = id
			}
			w.Header()[requestID] = id[:1:1]
			next.ServeHTTP(w, r)
		})
	}
}

func isID(s string) bool {
	return s != "" && len(s) <= 128 && strings.IndexFunc(s, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("-._~+/=:", c))
	}) < 0
}
