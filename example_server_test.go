package hythe_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

// Whatever one says, all others hear.
func ExampleGroup() {
	var room hythe.Group[string]
	dial, drain := serveInMemory(&hythe.Server{
		Service: hythe.Conversation(codec.Lines(), func(_ context.Context, c *hythe.Conn[string, string]) error {
			room.Join(c) // until the connection ends
			if err := c.Send("welcome"); err != nil {
				return err
			}
			for line := range c.Messages() {
				room.Broadcast(line, c)
			}
			return c.Err()
		}),
	})
	defer drain()
	ann, bob := dial(), dial()
	defer ann.Close()
	defer bob.Close()
	toAnn, toBob := bufio.NewScanner(ann), bufio.NewScanner(bob)
	toAnn.Scan()
	toBob.Scan()

	fmt.Fprintln(ann, "hello, Bob")
	toBob.Scan()
	fmt.Println("Bob hears:", toBob.Text())
	fmt.Fprintln(bob, "hello, Ann")
	toAnn.Scan()
	fmt.Println("Ann hears:", toAnn.Text())
	// Output:
	// Bob hears: hello, Bob
	// Ann hears: hello, Ann
}

// A connection for which there is no room hears a word about it.
func ExampleLimits() {
	dial, drain := serveInMemory(&hythe.Server{
		Service: hythe.Conversation(codec.Lines(), func(_ context.Context, c *hythe.Conn[string, string]) error {
			c.Send("welcome")
			_, err := c.Receive()
			return err
		}),
		Limits:   hythe.Limits{Conns: 1},
		AtLimit:  hythe.Refuse,
		Farewell: []byte("come back later\n"),
	})
	defer drain()
	first := dial()
	defer first.Close()
	line, _ := bufio.NewReader(first).ReadString('\n')
	fmt.Print(line)
	second := dial()
	defer second.Close()
	rest, _ := io.ReadAll(second)
	fmt.Print(string(rest))
	// Output:
	// welcome
	// come back later
}

// Every connection ends for one reason, which all that tells of it shows.
func ExampleReason() {
	ended := make(chan error, 1)
	srv := &hythe.Server{
		Service: hythe.Handler(codec.Netstrings(), func(c *hythe.Conn[[]byte, []byte], b []byte) error {
			return c.Send(b)
		}),
		Observer: func(e hythe.Event) {
			if e.Kind == hythe.ConnEnded {
				ended <- &hythe.CloseError{Reason: e.Reason, Err: e.Err}
			}
		},
	}
	dial, drain := serveInMemory(srv)
	c := dial()
	fmt.Fprint(c, "5;hello")
	io.Copy(io.Discard, c) // until the server has closed it
	c.Close()
	why := <-ended
	var bad *codec.DecodeError
	fmt.Println(errors.Is(why, hythe.BadFrame), errors.As(why, &bad))
	fmt.Println(why)
	drain()
	fmt.Println(srv.Stats().Ended[hythe.BadFrame])
	// Output:
	// true true
	// hythe: bad frame: codec: netstring: byte 1: ';' in a length
	// 1
}
