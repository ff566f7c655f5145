// Clock tells every client the time, each in its own time zone. It shows posted
// events: one goroutine posts to all connections, and every session deals with
// the event in its own turn, beside its input, without a lock.
//
//	go run ./examples/clock
//	(echo Asia/Tokyo; cat) | nc 127.0.0.1 7000
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
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

type conn = hythe.Conn[string, string]

// session is one connection. Input and Posted never run at the same time.
type session struct{ zone *time.Location }

// Input takes the name of a time zone.
func (s *session) Input(c *conn, name string) error {
	zone, err := time.LoadLocation(name)
	if err != nil {
		return c.Send("error: " + err.Error())
	}
	s.zone = zone
	return nil
}

// Posted is called with what tick has posted.
func (s *session) Posted(c *conn, event any) error {
	now := event.(time.Time)
	err := c.TrySend(now.In(s.zone).Format(time.RFC3339))
	if errors.Is(err, hythe.ErrFull) {
		return nil // who does not listen misses the time
	}
	return err
}

// tick tells all connections what time it is.
func tick(srv *hythe.Server, now time.Time) {
	for c := range srv.Conns() {
		c.Post(now) // an error means that it is ending, or that too many events wait
	}
}

func newServer() *hythe.Server {
	return &hythe.Server{
		Service:  hythe.Sessions(codec.Lines(), func(*conn) *session { return &session{time.UTC} }),
		Timeouts: hythe.Timeouts{FirstInput: -1}, // nobody has to say anything
	}
}

func main() {
	endpoint := flag.String("listen", "tcp://127.0.0.1:7000", "where to listen")
	every := flag.Duration("every", time.Second, "how often the time is told")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	srv := newServer()
	srv.OnListen = func(a net.Addr) { log.Print("listening on ", a) }
	go func() { // as long as the process
		for now := range time.Tick(*every) {
			tick(srv, now)
		}
	}()
	if err := srv.ListenAndServe(ctx, *endpoint); err != nil {
		log.Fatal(err)
	}
}
