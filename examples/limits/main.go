// Limits is an echo that cannot be overrun. It shows what bounds a server's
// connections, and how those for which there is no room are told.
//
//	go run ./examples/limits
//	nc 127.0.0.1 7000     # in three terminals
package main

import (
	"context"
	"flag"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

type conn = hythe.Conn[string, string]

type session struct{}

func (session) Input(c *conn, line string) error { return c.Send(line) }

// newServer sets a few of the limits that a server has; each of them, and those
// that are not set here, has a default.
func newServer() *hythe.Server {
	return &hythe.Server{
		Service: hythe.Sessions(codec.Line{Max: 1000}.Strings(), func(*conn) session { return session{} }),
		Limits: hythe.Limits{
			Conns:      100,
			ConnsPerIP: 2,
			HighWater:  16 << 10, // of output; a client that does not read is not read from either
			Memory:     1 << 20,  // of all connections together
		},
		AtLimit:  hythe.Refuse, // rather than leave them waiting in the kernel
		Farewell: []byte("too many connections, try later\n"),
		Timeouts: hythe.Timeouts{
			FirstInput: 10 * time.Second,
			Idle:       time.Minute,
			WriteStall: 10 * time.Second,
			Lifetime:   time.Hour,
		},
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
