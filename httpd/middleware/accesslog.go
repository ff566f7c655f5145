package middleware

import (
	"net/http"
	"strconv"
	"time"
)

// An Entry is what an access log tells of one request.
type Entry struct {
	// Request is as AccessLog got it. Its Pattern is the route that a ServeMux
	// inside has chosen, if no middleware in between gave it another Request. It
	// must not be used once the function that got the Entry has returned.
	Request *http.Request

	// User is the name that BasicAuth accepted, or empty.
	User string

	// Status is the final status code, or 0 if there was none: the handler took
	// the connection, or panicked before it answered.
	Status int

	// Bytes is how much of a body the server took from the handler, of which the
	// end may not have reached the client; 0 for HEAD.
	Bytes int64

	// Start is when AccessLog was called and Duration how long the rest took.
	Start    time.Time
	Duration time.Duration

	// Cut says that the client cannot have got all of the answer: the handler
	// panicked, or wrote less than it said it would, or writing failed, or the
	// client left before the handler returned.
	Cut bool

	// Hijacked says that the handler took the connection. Nothing is known of
	// what it did with it.
	Hijacked bool
}

// AccessLog calls done for each request, once its handler has returned or
// panicked, and so for streams and for answers that were broken off, too. done is
// called by many requests at once; Common, Combined and Slog make one.
func AccessLog(done func(*Entry)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			start := time.Now()
			lw := &writer{ResponseWriter: w}
			returned := false
			defer func() { // without recover, which would cost the panic's stack
				done(lw.entry(r, start, returned))
			}()
			next.ServeHTTP(lw, r)
			returned = true
		})
	}
}

func (w *writer) entry(r *http.Request, start time.Time, returned bool) *Entry {
	if returned && !w.hijacked {
		w.began() // the server answers 200
	}
	if r.Method == http.MethodHead {
		w.bytes = 0 // the server has thrown them away
	}
	return &Entry{
		Request:  r,
		User:     w.user,
		Status:   w.status,
		Bytes:    w.bytes,
		Start:    start,
		Duration: time.Since(start),
		Cut:      !returned || w.err != nil || r.Context().Err() != nil || w.isShort(r.Method),
		Hijacked: w.hijacked,
	}
}

// isShort reports whether the handler announced more than it wrote, which the
// server answers by closing the connection.
func (w *writer) isShort(method string) bool {
	if method == http.MethodHead || !hasBody(w.status) || w.hijacked {
		return false
	}
	n, err := strconv.ParseInt(w.Header().Get("Content-Length"), 10, 64)
	return err == nil && w.bytes < n
}

// hasBody reports whether answers with this status have one: RFC 9110, 6.4.1.
func hasBody(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}
