// Fcgi-spawned is started by its web server, or by a process manager, with a
// listening socket as its descriptor 0. It ends when it is told to, after its
// last answer. Started for a single request it is a CGI program.
//
//	go build ./examples/fcgi-spawned
//	spawn-fcgi -s /tmp/app.sock -n ./fcgi-spawned
//
// or by lighttpd:
//
//	fastcgi.server = ( "/" => (( "socket" => "/tmp/app.sock", "bin-path" => "/srv/fcgi-spawned", "max-procs" => 1, "check-local" => "disable" )) )
//
// With -listen it listens by itself, which is of use while it is being written.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/fcgi"
)

// A program that was spawned has no standard error to write to: what it logs
// goes to the web server, with the request.
var logger = slog.New(fcgi.LogHandler(func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) }))

func hello(w http.ResponseWriter, r *http.Request) {
	logger.InfoContext(r.Context(), "asked", "path", r.URL.Path)
	fmt.Fprintf(w, "hello from process %d\n", os.Getpid())
}

func newServer() *fcgi.Server { return &fcgi.Server{Handler: http.HandlerFunc(hello)} }

func main() {
	endpoint := flag.String("listen", "", "where to listen, instead of on descriptor 0")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	if *endpoint == "" {
		if err := newServer().ServeSpawned(ctx); err != nil {
			log.Fatal(err)
		}
		return
	}
	srv := hythe.Server{
		Service:  newServer(),
		OnListen: func(a net.Addr) { log.Print("listening on ", a) },
	}
	if err := srv.ListenAndServe(ctx, *endpoint); err != nil {
		log.Fatal(err)
	}
}
