// Faketime counts the lines of its clients, and lets go of those that say
// nothing for ten minutes. Its test is what it shows: ten minutes of silence,
// and a day of it, in a few milliseconds.
//
//	go run ./examples/faketime
//	nc 127.0.0.1 7000
//	go test -v ./examples/faketime
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
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

type session struct {
	lines int
	since time.Time
}

func (s *session) Input(c *conn, line string) error {
	s.lines++
	return c.Send(fmt.Sprintf("line %d, after %v", s.lines, time.Since(s.since)))
}

func (s *session) Disconnected(c *conn, why error) {
	if errors.Is(why, hythe.Idle) {
		log.Printf("%v fell asleep after %d lines", c.RemoteAddr(), s.lines)
	}
}

func newServer() *hythe.Server {
	return &hythe.Server{
		Service: hythe.Sessions(codec.Lines(), func(*conn) *session { return &session{since: time.Now()} }),
		Timeouts: hythe.Timeouts{
			FirstInput: time.Minute,
			Idle:       10 * time.Minute,
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
