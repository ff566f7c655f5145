package link_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/link"
	"github.com/hythe-go/hythe/memnet"
)

// A client in the straight-line form: it asks and waits for the answer. OnUp
// would log in, on every new connection.
func ExampleConversation() {
	var network memnet.Network
	ln, err := network.Listen("dictionary")
	if err != nil {
		log.Fatal(err)
	}
	srv := hythe.Server{Service: hythe.Handler(codec.Lines(), func(c *hythe.Conn[string, string], word string) error {
		return c.Send(word + " has " + fmt.Sprint(len(word)) + " letters")
	})}
	served := make(chan error)
	go func() { served <- srv.Serve(context.Background(), ln) }()

	d := link.Dialer{DialContext: network.DialContext} // link.TCP is for the network
	answers := make(chan string)
	l := &link.Link[*hythe.Conn[string, string]]{
		Endpoints: []string{"dictionary"},
		Dial: link.Conversation(d.TCP, codec.Lines(), func(ctx context.Context, c *hythe.Conn[string, string]) error {
			if err := c.Send("hythe"); err != nil {
				return err
			}
			answer, err := c.Receive()
			if err == nil {
				answers <- answer
			}
			return err
		}),
		Backoff: link.Backoff{First: time.Hour}, // until the next one
	}
	if err := l.Start(); err != nil { // what is wrong with the settings
		log.Fatal(err)
	}
	fmt.Println(<-answers)
	l.Close()
	<-l.Done()
	srv.Close()
	<-served
	// Output: hythe has 5 letters
}

// What has been begun over a leased connection can be finished, though the link
// drains.
func ExampleLink_Acquire() {
	l := &link.Link[string]{
		Dial:    func(context.Context, link.Attempt) (string, error) { return "a connection", nil },
		Discard: func(c string) { fmt.Println("closed:", c) },
	}
	lease, err := l.Acquire(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	draining := make(chan error)
	go func() { draining <- l.Drain(context.Background()) }()
	for e := range l.Events(context.Background()) {
		if e.Phase == link.Draining {
			break
		}
	}
	fmt.Println("still used:", lease.Conn)
	lease.Release()
	fmt.Println(<-draining)
	// Output:
	// still used: a connection
	// closed: a connection
	// <nil>
}
