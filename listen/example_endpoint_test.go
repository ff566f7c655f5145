package listen_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/hythe-go/hythe/listen"
	"github.com/hythe-go/hythe/memnet"
)

// An endpoint is a plain value, and a string for operators.
func ExampleEndpoint() {
	e := listen.Endpoint{Scheme: listen.SchemeUnix, Path: "/run/echo.sock", Mode: 0o660, Owner: ":www-data"}
	fmt.Println(e)
	again, err := listen.Parse(e.String())
	fmt.Println(again == e, err)
	// Output:
	// unix:///run/echo.sock?mode=0660&owner=:www-data
	// true <nil>
}

// All mistakes are told at once.
func ExampleEndpointError() {
	_, err := listen.Parse("tcp://localhost?backlog=many&mode=0660")
	if e, ok := errors.AsType[*listen.EndpointError](err); ok {
		for _, problem := range e.Problems {
			fmt.Println(problem)
		}
	}
	// Output:
	// the port or service is missing: want host:service
	// option backlog="many": want a whole number above zero
	// option "mode" does not belong to tcp
}

// A program that listens where its operator says can be tested in memory.
func ExampleConfig_mem() {
	var network memnet.Network
	config := listen.Config{Mem: &network}
	ls, err := config.Listen(context.Background(), "mem:echo")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ls[0].Close()
	c, err := network.Dial(context.Background(), "echo")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	accepted, err := ls[0].Accept()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer accepted.Close()
	fmt.Println(ls[0].Endpoint(), "has accepted", accepted.RemoteAddr())
	// Output: mem:echo has accepted echo#1
}
