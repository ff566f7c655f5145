// Fcgi-stream sends the lines of a slow source as they come, each reaching the
// client at once: a chunk of the answer for each step of an iterator, which is
// not asked for more than the web server takes, and stops when the client has
// left.
//
//	go run ./examples/fcgi-stream -listen 'unix:///tmp/stream.sock?mode=0666'
//
// nginx holds answers back unless it is told not to: by fastcgi_buffering off,
// or by the header that the handler sets.
package main

import (
	"context"
	"flag"
	"fmt"
	"iter"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/fcgi"
)

// ticks yields a line every so often, until n were or ctx ends.
func ticks(ctx context.Context, n int, every time.Duration) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for i := range n {
			if !yield(fmt.Appendf(nil, "tick %d\n", i), nil) {
				return
			}
			select {
			case <-time.After(every):
			case <-ctx.Done():
				yield(nil, context.Cause(ctx))
				return
			}
		}
	}
}

type app struct{ every time.Duration }

func (a app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Accel-Buffering", "no")
	if err := fcgi.Stream(w, ticks(r.Context(), 10, a.every)); err != nil {
		// The first error is enough; the request ends when we return.
		fmt.Fprintln(fcgi.Stderr(r.Context()), "streaming:", err)
	}
}

func newServer(every time.Duration) *hythe.Server {
	return &hythe.Server{Service: &fcgi.Server{Handler: app{every}}}
}

func main() {
	endpoint := flag.String("listen", "tcp://127.0.0.1:9000", "where to listen")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	srv := newServer(time.Second)
	srv.OnListen = func(a net.Addr) { log.Print("listening on ", a) }
	if err := srv.ListenAndServe(ctx, *endpoint); err != nil {
		log.Fatal(err)
	}
}
