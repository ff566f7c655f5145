package link_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/hythe-go/hythe/link"
	"github.com/hythe-go/hythe/memnet"
)

// A link tries its endpoints in turn, and what it does can be followed.
func Example() {
	var network memnet.Network
	ln, err := network.Listen("db2")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "ready")
		}
	}()

	d := link.Dialer{DialContext: network.DialContext} // link.TCP is for the network
	l := &link.Link[net.Conn]{
		Dial:      d.TCP,
		Endpoints: []string{"db1", "db2"},
		Timeout:   5 * time.Second,
	}
	up := make(chan bool)
	go func() {
		defer close(up)
		for e := range l.Events(context.Background()) { // starts it
			fmt.Printf("%v %q\n", e.Phase, e.Endpoint)
			if e.Phase == link.Up {
				return
			}
		}
	}()
	<-up
	c, err := l.Get(context.Background())
	if err != nil {
		fmt.Println(err) // why there is no connection
		return
	}
	b := make([]byte, 5)
	_, err = io.ReadFull(c, b)
	fmt.Println(string(b), err)
	l.Close()
	<-l.Done()
	// Output:
	// idle ""
	// connecting "db1"
	// connecting "db2"
	// up "db2"
	// ready <nil>
}
