// Fcgi-hello answers a web server's FastCGI requests with an http.Handler. It
// shows the smallest application there is, and how nginx is told of it; the
// configuration is in nginx.conf.
//
//	go run ./examples/fcgi-hello -listen 'unix:///tmp/hello.sock?mode=0666'
//	nginx -p /tmp -c "$PWD/examples/fcgi-hello/nginx.conf"
//	curl http://127.0.0.1:8080/
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/fcgi"
)

func hello(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "hello, %s\n", r.URL.Path)
}

func newServer() *hythe.Server {
	return &hythe.Server{Service: &fcgi.Server{Handler: http.HandlerFunc(hello)}}
}

func main() {
	endpoint := flag.String("listen", "tcp://127.0.0.1:9000", "where to listen")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	srv := newServer()
	srv.OnListen = func(a net.Addr) { log.Print("listening on ", a) }
	if err := srv.ListenAndServe(ctx, *endpoint); err != nil {
		log.Fatal(err)
	}
}
