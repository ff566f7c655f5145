package hythe_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

// A counter is the session of one connection. Its methods are never called at
// the same time, so its fields need no lock.
type counter struct{ lines int }

func (s *counter) Connected(c *hythe.Conn[string, string]) error { return c.Send("hello") }

func (s *counter) Input(c *hythe.Conn[string, string], line string) error {
	s.lines++
	if line == "quit" {
		c.Shutdown()
		return nil
	}
	return c.Send(fmt.Sprintf("%d: %s", s.lines, strings.ToUpper(line)))
}

func (s *counter) Disconnected(_ *hythe.Conn[string, string], why error) { fmt.Println("server:", why) }

// A server that counts the lines of each client, and a client of it.
func Example() {
	bound := make(chan net.Addr)
	srv := hythe.Server{
		Service:  hythe.Sessions(codec.Lines(), func(*hythe.Conn[string, string]) *counter { return new(counter) }),
		OnListen: func(a net.Addr) { bound <- a },
	}
	ctx, cancel := context.WithCancel(context.Background()) // a daemon has signal.NotifyContext here
	defer cancel()
	served := make(chan error)
	go func() { served <- srv.ListenAndServe(ctx, "tcp://127.0.0.1:0") }()

	c, err := net.Dial("tcp", (<-bound).String())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Fprint(c, "one\ntwo\nquit\n")
	for lines := bufio.NewScanner(c); lines.Scan(); {
		fmt.Println("client:", lines.Text())
	}
	c.Close()

	cancel() // drains
	fmt.Println(<-served)
	// Output:
	// client: hello
	// client: 1: ONE
	// client: 2: TWO
	// server: hythe: finished
	// <nil>
}
