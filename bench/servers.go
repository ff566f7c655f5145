package main

import (
	"bufio"
	"context"
	"net"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/bench/internal/child"
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

	gnetServer    = "gnet"
	netpollServer = "netpoll"
	nbioServer    = "nbio"
)

// Those that speak FastCGI, HTTP, or pass lines on.
const (
	fcgiServer    = "hythe fcgi"
	goFcgiServer  = "net/http/fcgi"
	libfcgiServer = "libfcgi" // in C, 64 threads
	phpServer     = "php-fpm" // 32 processes

	httpdServer     = "hythe httpd"
	netHTTPServer   = "net/http"
	clockedServer   = "net/http with clocks" // its four time-outs are set
	fasthttpServer  = "fasthttp"
	relayServer     = "hythe relay"           // durable: synced to disk before it is passed on
	rsyslogSynced   = "rsyslog, synced queue" // durable
	rsyslogDisk     = "rsyslog, disk queue"   // kept by the kernel, not synced
	rsyslogInMemory = "rsyslog, memory"       // on disk only when it comes to too much
)

// heed does what a line asks for: sleep, or panic.
func heed[T string | []byte](line T, nap time.Duration) {
	if len(line) == 0 {
		return
	}
	switch line[0] {
	case child.NapMark:
		time.Sleep(nap)
	case child.PanicMark:
		panic("a handler panics")
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

// peers are the servers that are neither hythe's nor the standard library's.
var peers = []string{gnetServer, netpollServer, nbioServer, fasthttpServer, libfcgiServer, phpServer, rsyslogSynced, rsyslogDisk, rsyslogInMemory}
