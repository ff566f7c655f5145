// Inherited is an echo that is started by its first client. It shows listening
// on sockets that another program has bound: a service manager, which can then
// start and restart the service without refusing a connection, or bind a port
// that the service itself may not.
//
//	go build ./examples/inherited
//	systemd-socket-activate -l 127.0.0.1:7000 ./inherited
//	echo hello | nc -N 127.0.0.1 7000
//
// As a unit echo.socket, with ListenStream=7000 beside an echo.service, it needs
// no flag either; -listen systemd:echo.socket takes the sockets of that name
// only, and fd:3 a descriptor by its number. By itself it listens on a port.
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

type conn = hythe.Conn[string, string]

type session struct{}

func (session) Input(c *conn, line string) error { return c.Send(line) }

// defaultEndpoint is all sockets that were passed, if any were.
func defaultEndpoint() string {
	if os.Getenv("LISTEN_FDS") != "" {
		return "systemd:"
	}
	return "tcp://127.0.0.1:7000"
}

func main() {
	endpoint := flag.String("listen", defaultEndpoint(), "where to listen")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	srv := hythe.Server{
		Service:  hythe.Sessions(codec.Lines(), func(*conn) session { return session{} }),
		OnListen: func(a net.Addr) { log.Print("listening on ", a) },
	}
	srv.Listen.UnsetEnv = true // the sockets are not for this program's children
	if err := srv.ListenAndServe(ctx, *endpoint); err != nil {
		log.Fatal(err)
	}
}
