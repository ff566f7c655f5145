// Chat is a room: whatever one says, all others hear. It shows a Group, which
// broadcasts without ever waiting for a member: one that does not read what the
// others say is cut, and the others are told.
//
//	go run ./examples/chat
//	nc 127.0.0.1 7000     # in two terminals; the first line is your name
package main

import (
	"context"
	"errors"
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

// member is one connection. Its calls never overlap, so name needs no lock.
type member struct {
	room *hythe.Group[string]
	name string // empty until the first line
}

func (m *member) Connected(c *conn) error { return c.Send("What is your name?") }

func (m *member) Input(c *conn, line string) error {
	switch {
	case m.name != "":
		m.room.Broadcast(m.name+": "+line, c)
	case line == "":
		return c.Send("What is your name?")
	default:
		m.name = line
		m.room.Broadcast("* " + m.name + " comes in")
		m.room.Join(c) // until the connection ends
		return c.Send("* hello " + m.name)
	}
	return nil
}

func (m *member) Draining(c *conn) { c.TrySend("* the room closes") }

func (m *member) Disconnected(c *conn, why error) {
	switch {
	case m.name == "":
	case errors.Is(why, hythe.Slow):
		m.room.Broadcast("* " + m.name + " does not listen and is shown the door")
	default:
		m.room.Broadcast("* " + m.name + " leaves")
	}
}

func newServer() *hythe.Server {
	var room hythe.Group[string]
	return &hythe.Server{
		Service: hythe.Sessions(codec.Lines(), func(*conn) *member { return &member{room: &room} }),
		// A member may be this far behind. SlowDrop instead of SlowCut would keep
		// it, and leave out what it has no room for.
		Limits:   hythe.Limits{HighWater: 64 << 10},
		Slow:     hythe.SlowCut,
		Timeouts: hythe.Timeouts{FirstInput: -1, Idle: -1}, // listening is all right
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
