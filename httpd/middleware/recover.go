package middleware

import (
	"net/http"
	"runtime/debug"
)

// Recover answers 500 when a handler panics before it has answered. After that
// there is no way to say so but to break the answer off, which it does with
// http.ErrAbortHandler. That value itself is passed on, always.
//
// report, if not nil, is told what the panic was and the stack it came from. It
// is called on the handler's goroutine, before anything is answered.
func Recover(report func(r *http.Request, value any, stack []byte)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rw := &writer{ResponseWriter: w}
			defer func() {
				value := recover()
				switch {
				case value == nil:
					return
				case value == http.ErrAbortHandler:
					panic(value)
				}
				if report != nil {
					report(r, value, debug.Stack())
				}
				if rw.status != 0 || rw.hijacked {
					panic(http.ErrAbortHandler)
				}
				for _, name := range []string{"Cache-Control", "Content-Encoding", "Etag", "Last-Modified", "Trailer"} {
					w.Header().Del(name) // they spoke of another answer
				}
				http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
			}()
			next.ServeHTTP(rw, r)
		})
	}
}
