// Http-drain is a web server that ends in peace: when it is told to stop it takes
// no more connections, closes those on which nothing is going on, has the others
// finish, and says what became of each. It shows the report of a drain, and a
// handler that hears of it and hurries up.
//
//	go run ./examples/http-drain
//	curl 'http://127.0.0.1:7000/work?for=5s'
//	curl 'http://127.0.0.1:7000/news?for=1h'
//	curl 'http://127.0.0.1:7000/work?for=1h'
//
// with the three curls in terminals of their own. Then interrupt the server, with
// Ctrl-C or SIGTERM: the first is finished, the second gets its answer at once,
// and the third is cut after the patience (-patience) is over.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
)

// work takes its time, whatever happens.
func work(w http.ResponseWriter, r *http.Request) {
	d, _ := time.ParseDuration(r.FormValue("for"))
	select {
	case <-time.After(d):
		fmt.Fprintln(w, "done")
	case <-r.Context().Done(): // the client has left, or was cut
	}
}

// news waits for news, of which there are none, as long as there is no hurry.
func news(w http.ResponseWriter, r *http.Request) {
	d, _ := time.ParseDuration(r.FormValue("for"))
	select {
	case <-time.After(d):
	case <-httpd.ConnOf(r.Context()).Draining():
	case <-r.Context().Done():
	}
	fmt.Fprintln(w, "no news")
}

// newServer says what it is asked.
func newServer(patience time.Duration, say func(...any)) *hythe.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /work", work)
	mux.HandleFunc("GET /news", news)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		say(r.Method, " ", r.URL)
		mux.ServeHTTP(w, r)
	})
	return &hythe.Server{
		Service:  &httpd.Server{Handler: handler},
		Timeouts: hythe.Timeouts{Drain: patience},
	}
}

func main() {
	endpoint := flag.String("listen", "tcp://127.0.0.1:7000", "where to listen")
	patience := flag.Duration("patience", 10*time.Second, "how long requests may take to finish")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	srv := newServer(*patience, log.Print)
	srv.OnListen = func(a net.Addr) { log.Print("listening on ", a) }
	err := srv.ListenAndServe(ctx, *endpoint)
	report := srv.Report()
	log.Print(report)
	for _, c := range report.Cut {
		log.Printf("cut: connection %d from %v, %v old", c.ID, c.Remote, c.Age.Round(time.Millisecond))
	}
	if cut := new(hythe.DrainError); errors.As(err, &cut) {
		os.Exit(1)
	}
	if err != nil {
		log.Fatal(err)
	}
}
