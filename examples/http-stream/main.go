// Http-stream sends a page in pieces, each made only when the one before has
// left: a client that reads slowly slows down the making of its page, and nothing
// else. It shows the two ways to write that, a loop and a function that is called
// back, and how an answer is broken off so that the client can tell.
//
//	go run ./examples/http-stream
//	curl -N http://127.0.0.1:7000/loop
//	curl -N http://127.0.0.1:7000/callback
//	curl -N 'http://127.0.0.1:7000/loop?pieces=5&fail=true'
//	curl --limit-rate 1M -o /dev/null 'http://127.0.0.1:7000/loop?pieces=1000000&pause=0s'
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"iter"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
)

var errNoMore = errors.New("the source has failed")

// A page is what a client has asked for.
type page struct {
	pieces int
	pause  time.Duration // before each piece but the first
	fail   bool          // where the last piece would be
}

func pageOf(r *http.Request) page {
	p := page{pieces: 10, pause: time.Second, fail: r.FormValue("fail") == "true"}
	if n, err := strconv.Atoi(r.FormValue("pieces")); err == nil {
		p.pieces = n
	}
	if d, err := time.ParseDuration(r.FormValue("pause")); err == nil {
		p.pause = d
	}
	return p
}

// piece makes the next piece of a page of which n have been made.
func (p page) piece(n int) ([]byte, error) {
	if p.fail && n == p.pieces-1 {
		return nil, errNoMore
	}
	return fmt.Appendf(nil, "Hello World %d\n", n), nil
}

// each yields the pieces. It is stopped when the client leaves.
func (p page) each(ctx context.Context) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for n := range p.pieces {
			if n > 0 && !sleep(ctx, p.pause) || !yield(p.piece(n)) {
				return
			}
		}
	}
}

// sleep reports whether it was allowed to sleep to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// loop lends the page a goroutine for as long as it lasts.
func loop(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err := httpd.Stream(w, r, pageOf(r).each(r.Context())); err != nil {
		log.Print("the client has left: ", err)
	}
}

// callback has the page go on by itself: between two pieces there is a timer, and
// over HTTP/1 no goroutine.
func callback(w http.ResponseWriter, r *http.Request) {
	p := pageOf(r)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	out, err := httpd.Detach(w, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	n := 0
	var next func(*httpd.Out)
	next = func(out *httpd.Out) { // all that was sent has left
		b, err := p.piece(n)
		if err != nil {
			out.Close(err) // the client sees that something is missing
			return
		}
		out.TryWrite(b) // there is room: nothing else waits
		if n++; n >= p.pieces {
			out.Close(nil)
			return
		}
		out.OnFlushed(nil) // until the pause is over
		time.AfterFunc(p.pause, func() { out.OnFlushed(next) })
	}
	out.OnFlushed(next)
}

func newServer() *hythe.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /loop", loop)
	mux.HandleFunc("GET /callback", callback)
	return &hythe.Server{Service: &httpd.Server{Handler: mux}}
}

func main() {
	endpoint := flag.String("listen", "tcp://127.0.0.1:7000", "where to listen")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	srv := newServer()
	srv.OnListen = func(a net.Addr) { log.Print("listening on ", a) }
	if err := srv.ListenAndServe(ctx, *endpoint); err != nil {
		log.Fatal(err)
	}
}
