package fcgi_test

import (
	"io"
	"log/slog"
	"net/http"

	"github.com/hythe-go/hythe/fcgi"
)

// What is logged with a request's context is written to the web server's error
// log.
func ExampleLogHandler() {
	logger := slog.New(fcgi.LogHandler(func(w io.Writer) slog.Handler {
		return slog.NewTextHandler(w, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == "time" { // to have the same output every time
					return slog.Attr{}
				}
				return a
			},
		})
	}))
	served(&fcgi.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			logger.WarnContext(r.Context(), "nothing here", "path", r.URL.Path)
			http.NotFound(w, r)
		}),
	}, 1)
	// Output:
	// level=WARN msg="nothing here" path=/world
	// Status: 404 Not Found
	// Content-Length: 19
	// Content-Type: text/plain; charset=utf-8
	// X-Content-Type-Options: nosniff
	//
	// 404 page not found
}
