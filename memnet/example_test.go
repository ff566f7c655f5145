package memnet_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe/memnet"
)

// serveEcho is a server to be tested: it sends back what it gets, and closes
// connections that have been silent for a time.
func serveEcho(ln net.Listener, idle time.Duration) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			buf := make([]byte, 1024)
			for {
				c.SetDeadline(time.Now().Add(idle))
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				if _, err := c.Write(buf[:n]); err != nil {
					return
				}
			}
		}()
	}
}

// The test of the package documentation.
func TestIdleClientIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		ln, err := network.Listen("echo")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		go serveEcho(ln, 10*time.Minute) // the server under test

		c, err := network.Dial(t.Context(), "echo")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		start := time.Now()
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("Read error = %v, want io.EOF", err)
		}
		if got := time.Since(start); got != 10*time.Minute {
			t.Errorf("closed after %v, want 10m", got)
		}
	})
}

func Example() {
	var network memnet.Network
	ln, err := network.Listen("echo")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ln.Close()
	go serveEcho(ln, time.Minute)

	c, err := network.Dial(context.Background(), "echo")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	fmt.Fprint(c, "hello")
	reply := make([]byte, 5)
	if _, err := io.ReadFull(c, reply); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s says %s\n", c.RemoteAddr(), reply)
	// Output: echo says hello
}

func ExampleNetwork_DialContext() {
	var network memnet.Network
	ln, err := network.Listen("greeter.test:80")
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello, %s", r.RemoteAddr)
	})}
	go srv.Serve(ln)
	defer srv.Close()

	transport := &http.Transport{DialContext: network.DialContext}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	res, err := client.Get("http://greeter.test/")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	fmt.Println(string(body), err)
	// Output: hello, greeter.test:80#1 <nil>
}

func ExampleNetwork_DialFrom() {
	var network memnet.Network
	ln, err := network.Listen("door")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ln.Close()
	from := &net.TCPAddr{IP: net.ParseIP("192.0.2.7"), Port: 4000}
	c, err := network.DialFrom(context.Background(), from, "door")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	accepted, err := ln.Accept()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer accepted.Close()
	fmt.Println("somebody at the door:", accepted.RemoteAddr())
	// Output: somebody at the door: 192.0.2.7:4000
}

func ExamplePipe() {
	a, b := memnet.Pipe()
	defer a.Close()
	defer b.Close()

	// Writes do not wait for reads, and each direction ends on its own.
	fmt.Fprint(a, "question")
	a.CloseWrite()
	question, _ := io.ReadAll(b)
	fmt.Fprintf(b, "answer to %s", question)
	b.CloseWrite()
	answer, err := io.ReadAll(a)
	fmt.Println(string(answer), err)
	// Output: answer to question <nil>
}

func ExampleConn_Close() {
	client, server := memnet.Pipe()
	fmt.Fprint(client, "a long request")

	// The server has seen enough, answers and closes. It should have lingered.
	server.Read(make([]byte, 6))
	fmt.Fprint(server, "too long")
	server.Close()

	answer, err := io.ReadAll(client)
	fmt.Printf("%q %v\n", answer, errors.Is(err, syscall.ECONNRESET))
	// Output: "" true
}

func ExampleConn_AtWrite() {
	a, b := memnet.Pipe()
	defer b.Close()

	// The connection ends in the middle of a line.
	a.AtWrite(10, func() { a.Close() })
	_, err := fmt.Fprint(a, "first\nsecond\n")
	fmt.Println(errors.Is(err, net.ErrClosed))
	got, _ := io.ReadAll(b)
	fmt.Printf("%q\n", got)
	// Output:
	// true
	// "first\nseco"
}

func ExampleConn_TryWrite() {
	network := memnet.Network{Buffer: 6}
	a, b := network.Pipe()
	defer a.Close()
	defer b.Close()
	fmt.Println(a.TryWrite([]byte("too much")))
	fmt.Println(a.TryWrite([]byte("ch")))
	b.Read(make([]byte, 10))
	fmt.Println(a.TryWrite([]byte("ch")))
	// Output:
	// 6 <nil>
	// 0 <nil>
	// 2 <nil>
}
