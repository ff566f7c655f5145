package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

// The servers, by the names under which the tables show them. All of hythe's run
// with the limits and clocks of the zero Server.
const (
	bytesServer     = "hythe bytes"      // event form, lines borrowed from the input
	stringsServer   = "hythe strings"    // event form, lines as strings
	talkServer      = "hythe talk"       // straight-line Conversation, lines as strings
	goroutineServer = "hythe goroutines" // event form, borrowed bytes, Server.Goroutines
	standardServer  = "standard loop"    // net and bufio
	copyServer      = "copy loop"        // net alone: bytes, no lines
)

// napMark begins a line whose handler sleeps before it answers.
const napMark = '!'

// heed sleeps if the line asks for it.
func heed[T string | []byte](line T, nap time.Duration) {
	if len(line) > 0 && line[0] == napMark {
		time.Sleep(nap)
	}
}

// echo is the session of every connection in the event form. It has no state.
type echo[T string | []byte] struct {
	nap time.Duration
}

func (e *echo[T]) Input(c *hythe.Conn[T, T], line T) error {
	heed(line, e.nap)
	return c.Send(line)
}

// echoService returns the event form's service over a codec.
func echoService[T string | []byte](c codec.Codec[T, T], nap time.Duration) hythe.Service {
	e := &echo[T]{nap}
	return hythe.Sessions(c, func(*hythe.Conn[T, T]) *echo[T] { return e })
}

// talkService returns the straight-line form's service.
func talkService(nap time.Duration) hythe.Service {
	return hythe.Conversation(codec.Lines(), func(_ context.Context, c *hythe.Conn[string, string]) error {
		for line := range c.Messages() {
			heed(line, nap)
			if err := c.Send(line); err != nil {
				return err
			}
		}
		return c.Err()
	})
}

// newHythe returns the hythe server with a name, nil if it is not one of them.
func newHythe(name string, nap time.Duration) *hythe.Server {
	switch name {
	case bytesServer:
		return &hythe.Server{Service: echoService(codec.Line{}.Borrowed(), nap)}
	case stringsServer:
		return &hythe.Server{Service: echoService(codec.Lines(), nap)}
	case talkServer:
		return &hythe.Server{Service: talkService(nap)}
	case goroutineServer:
		return &hythe.Server{Service: echoService(codec.Line{}.Borrowed(), nap), Goroutines: true}
	}
	return nil
}

// standardLoop is what one writes without a library: it bounds nothing, and has
// no clocks.
func standardLoop(c net.Conn, nap time.Duration) {
	defer c.Close()
	r, w := bufio.NewReader(c), bufio.NewWriter(c)
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		heed(line, nap)
		w.Write(line)
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
	}
}

// copyLoop does not know what a line is: no echo server can do less.
func copyLoop(c net.Conn) {
	defer c.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := c.Read(b)
		if err != nil {
			return
		}
		if _, err := c.Write(b[:n]); err != nil {
			return
		}
	}
}

// serveOn accepts connections until the listener is closed. The caller owns the
// goroutines of the connections, which end with their clients.
func serveOn(l net.Listener, handle func(net.Conn)) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go handle(c)
	}
}

// A running server. drain is nil where there is no such thing.
type running struct {
	addrs []net.Addr // as the endpoints were given
	drain func(context.Context) (hythe.Report, error)
}

// launch starts the named server on a TCP port of its own and on a Unix socket.
// It serves until the process ends.
func launch(name string, nap time.Duration, socket string) (*running, error) {
	if srv := newHythe(name, nap); srv != nil {
		addrs := make(chan net.Addr, 2)
		failed := make(chan error, 1)
		srv.OnListen = func(a net.Addr) { addrs <- a }
		go func() { failed <- srv.ListenAndServe(context.Background(), "tcp://127.0.0.1:0", "unix://"+socket) }()
		r := &running{drain: srv.Drain}
		for range cap(addrs) {
			select {
			case a := <-addrs:
				r.addrs = append(r.addrs, a)
			case err := <-failed:
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
		return r, nil
	}
	var handle func(net.Conn)
	switch name {
	case standardServer:
		handle = func(c net.Conn) { standardLoop(c, nap) }
	case copyServer:
		handle = copyLoop
	default:
		return nil, fmt.Errorf("there is no server %q", name)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	unix, err2 := net.Listen("unix", socket)
	if err := errors.Join(err, err2); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go serveOn(tcp, handle)
	go serveOn(unix, handle)
	return &running{addrs: []net.Addr{tcp.Addr(), unix.Addr()}}, nil
}

// addr returns the address on a network, "tcp" or "unix".
func (srv *running) addr(network string) string {
	i := slices.IndexFunc(srv.addrs, func(a net.Addr) bool { return a.Network() == network })
	if i < 0 {
		return ""
	}
	return srv.addrs[i].String()
}
