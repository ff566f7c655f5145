// Fcgi-filter puts a file of the web server's through a filter before the
// client gets it: the role of Filter. The request's body is one stream, the
// file is another. Few web servers have the role; the specification has it, and
// so has this.
//
//	go run ./examples/fcgi-filter -listen tcp://127.0.0.1:9000
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/fcgi"
)

// number puts a number before each line of the file.
func number(w http.ResponseWriter, r *http.Request) {
	file := fcgi.Data(r)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if !file.ModTime.IsZero() {
		w.Header().Set("Last-Modified", file.ModTime.UTC().Format(http.TimeFormat))
	}
	lines := bufio.NewReader(file)
	for i := 1; ; i++ {
		line, err := lines.ReadString('\n')
		if line != "" {
			fmt.Fprintf(w, "%4d  %s", i, line)
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return
		default: // less came than the web server had announced
			panic(http.ErrAbortHandler)
		}
	}
}

func newServer() *hythe.Server {
	return &hythe.Server{Service: &fcgi.Server{Filter: http.HandlerFunc(number)}}
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
