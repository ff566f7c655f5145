// Echo sends every line back. It shows the smallest server there is: a codec,
// which makes lines of bytes, and a session, which is told of each line.
//
//	go run ./examples/echo
//	printf 'one\ntwo\n' | nc -N 127.0.0.1 7000
package main

import (
	"context"
	"flag"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

type conn = hythe.Conn[string, string] // strings come, strings go

// session is one connection. It has no state, so it has no fields.
type session struct{}

// Input is called with each line, in order.
func (session) Input(c *conn, line string) error { return c.Send(line) }

func newServer() *hythe.Server {
	return &hythe.Server{
		Service: hythe.Sessions(codec.Lines(), func(*conn) session { return session{} }),
	}
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
