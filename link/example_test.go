package link_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/link"
	"github.com/hythe-go/hythe/memnet"
)

func ExampleLink() {
	var network memnet.Network
	ln, _ := network.Listen("greeter")
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "hello")
			c.Close()
		}
	}()
	defer ln.Close()

	d := link.Dialer{DialContext: network.DialContext} // or link.TCP, without a Dialer
	l := &link.Link[net.Conn]{
		Dial:      d.TCP,
		Endpoints: []string{"greeter"},
		Backoff:   link.Backoff{First: time.Millisecond},
	}
	for range 3 {
		c, err := l.Get(context.Background())
		if err != nil {
			fmt.Println(err)
			break
		}
		greeting, err := io.ReadAll(c) // until the end, which the link hears of
		fmt.Printf("%s %v\n", greeting, err)
	}
	l.Close()
	<-l.Done()
	// Output:
	// hello <nil>
	// hello <nil>
	// hello <nil>
}

// An error says why there is no connection.
func ExampleLink_Try() {
	l := &link.Link[net.Conn]{
		Name: "ledger",
		Dial: func(context.Context, link.Attempt) (net.Conn, error) {
			return nil, link.Permanent(errors.New("wrong password"))
		},
	}
	_, err := l.Try(context.Background(), 1)
	var down *link.DownError
	fmt.Println(errors.As(err, &down), down.State.Phase, down.State.Cause)
	l.Close()
	<-l.Done()
	// Output: true failed wrong password
}

func ExampleLink_Subscribe() {
	l := &link.Link[string]{
		Dial: func(context.Context, link.Attempt) (string, error) { return "a connection", nil },
	}
	up := make(chan bool)
	l.Subscribe(&link.Funcs[string]{
		OnConnected: func(c string) {
			fmt.Println("connected:", c)
			close(up)
		},
		OnDisconnected: func(cause error) { fmt.Println("disconnected:", cause) },
	})
	<-up
	l.Close()
	<-l.Done()
	// Output:
	// connected: a connection
	// disconnected: link: closed
}

type conn = hythe.Conn[string, string]

type answers chan string

func (a answers) Input(_ *conn, line string) error {
	a <- line
	return nil
}

// A client whose messages wait for the server.
func ExampleClient() {
	var network memnet.Network
	d := link.Dialer{DialContext: network.DialContext}
	got := make(answers, 1)
	settled := make(chan link.Outcome, 1)
	c := &link.Client[string, string]{
		Link: link.Link[*conn]{
			Endpoints: []string{"echo"},
			Dial:      link.Sessions(d.TCP, codec.Lines(), func(*conn) answers { return got }),
			Backoff:   link.Backoff{First: time.Millisecond},
		},
		WhileDown: link.Queue,
		Settled:   func(_ string, o link.Outcome, _ error) { settled <- o },
	}
	fmt.Println(c.Send(context.Background(), "hello")) // nobody is there yet

	ln, _ := network.Listen("echo")
	go (&hythe.Server{
		Service: hythe.Handler(codec.Lines(), func(c *conn, line string) error { return c.Send("echo: " + line) }),
	}).Serve(context.Background(), ln)
	fmt.Println(<-settled)
	fmt.Println(<-got)
	c.Close()
	<-c.Done()
	ln.Close()
	// Output:
	// <nil>
	// sent
	// echo: hello
}

// A link that waits shows it.
func ExampleGroup() {
	var links link.Group
	for _, name := range []string{"b", "a"} {
		l := &link.Link[net.Conn]{
			Name:  name,
			Group: &links,
			Dial:  func(context.Context, link.Attempt) (net.Conn, error) { return nil, errors.New("no route") },
		}
		l.Try(context.Background(), 1)
	}
	for _, s := range links.Links() {
		fmt.Println(s.Name, s.Phase, s.Cause)
	}
	links.Drain(context.Background())
	// Output:
	// a waiting no route
	// b waiting no route
}
