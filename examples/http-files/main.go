// Http-files is a file server with an access log. It shows that static files need
// nothing but net/http, which the kernel sends without a copy through the logging
// middleware, and that text is compressed for those who take it.
//
//	go run ./examples/http-files -root .
//	curl -r 0-9 http://127.0.0.1:7000/go.mod
package main

import (
	"context"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
	"github.com/hythe-go/hythe/httpd/middleware"
)

// newServer serves the files in root. No name leads out of it, not by "..", nor
// by a symbolic link.
func newServer(root *os.Root, accessLog io.Writer) *hythe.Server {
	files := http.FileServerFS(root.FS())
	handler := middleware.AccessLog(middleware.Combined(accessLog))(middleware.Compress{}.Wrap(files))
	return &hythe.Server{Service: &httpd.Server{Handler: handler}}
}

func main() {
	endpoint := flag.String("listen", "tcp://127.0.0.1:7000", "where to listen")
	dir := flag.String("root", ".", "the directory whose files are served")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	root, err := os.OpenRoot(*dir)
	if err != nil {
		log.Fatal(err)
	}
	srv := newServer(root, os.Stdout)
	srv.OnListen = func(a net.Addr) { log.Print("listening on ", a) }
	if err := srv.ListenAndServe(ctx, *endpoint); err != nil {
		log.Fatal(err)
	}
}
