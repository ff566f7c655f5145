package hythe_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/memnet"
)

// serveInMemory serves, and returns a function that dials and one that drains.
func serveInMemory(srv *hythe.Server) (dial func() *memnet.Conn, drain func()) {
	var network memnet.Network
	ln, err := network.Listen("server")
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- srv.Serve(ctx, ln) }()
	dial = func() *memnet.Conn {
		c, err := network.Dial(ctx, "server")
		if err != nil {
			log.Fatal(err)
		}
		return c
	}
	return dial, func() {
		cancel()
		if err := <-served; err != nil {
			fmt.Println(err)
		}
	}
}

// exchange sends what a client has to say, and prints what it hears.
func exchange(svc hythe.Service, say string) {
	dial, drain := serveInMemory(&hythe.Server{Service: svc})
	c := dial()
	fmt.Fprint(c, say)
	c.CloseWrite()
	heard, err := io.ReadAll(c)
	fmt.Print(string(heard))
	if err != nil {
		fmt.Println(err)
	}
	c.Close()
	drain()
}

func ExampleHandler() {
	type request struct{ A, B int }
	type answer struct{ Sum int }
	exchange(hythe.Handler(codec.Pair(codec.JSONLines[request](), codec.JSONLines[answer]()),
		func(c *hythe.Conn[request, answer], r request) error {
			return c.Send(answer{r.A + r.B})
		}), `{"A": 1, "B": 2}`+"\n"+`{"A": 20, "B": 22}`+"\n")
	// Output:
	// {"Sum":3}
	// {"Sum":42}
}

// A conversation asks when it wants to know something.
func ExampleConversation() {
	ask := func(c *hythe.Conn[string, string], question string) (string, error) {
		if err := c.Send(question); err != nil {
			return "", err
		}
		return c.Receive()
	}
	exchange(hythe.Conversation(codec.Lines(), func(ctx context.Context, c *hythe.Conn[string, string]) error {
		name, err := ask(c, "Who are you?")
		if err != nil {
			return err
		}
		for {
			switch word, err := ask(c, "And the password, "+name+"?"); {
			case err != nil:
				return err
			case word == "please":
				return c.Send("Come in.")
			}
		}
	}), "Ann\nnow\nplease\n")
	// Output:
	// Who are you?
	// And the password, Ann?
	// And the password, Ann?
	// Come in.
}

// Code that wants a net.Conn gets one, with the server's clocks and its drain.
func ExampleNetConns() {
	exchange(hythe.NetConns(func(ctx context.Context, nc net.Conn) error {
		_, err := io.Copy(nc, nc)
		return err
	}), "there and back\n")
	// Output: there and back
}
