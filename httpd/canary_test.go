package httpd_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The package stands on facts of net/http that are documented loosely or not at
// all. These tests look at net/http alone: when one fails, mooring has to be
// thought through again, with the Go release that made it fail.

// A tracedConn writes down what net/http does with it. It has input to read,
// and then the end.
type tracedConn struct {
	once sync.Once // of Close

	net.Conn // nil: nothing else is to be called
	input    io.Reader
	output   bytes.Buffer
	closed   chan struct{}

	mu      sync.Mutex
	changed *sync.Cond
	calls   []string // guarded by mu
	past    bool     // the deadline for reading has passed. Guarded by mu
}

func (c *tracedConn) note(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, what)
	c.changed.Broadcast()
}

// Read ends while net/http waits for a request, and waits for its deadline
// before.
func (c *tracedConn) Read(b []byte) (int, error) {
	if n, _ := c.input.Read(b); n > 0 {
		return n, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.past:
			return 0, os.ErrDeadlineExceeded
		case slices.Contains(c.calls, "idle"):
			c.calls = append(c.calls, "end")
			return 0, io.EOF
		}
		c.changed.Wait()
	}
}

func (c *tracedConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.past = !t.IsZero() && t.Before(time.Now())
	c.calls = append(c.calls, "deadline")
	c.changed.Broadcast()
	return nil
}

func (c *tracedConn) Write(b []byte) (int, error) {
	c.note("write")
	return c.output.Write(b)
}

func (c *tracedConn) Close() error {
	c.note("close")
	c.once.Do(func() { close(c.closed) }) // it is its own listener, which is closed as well
	return nil
}

func (c *tracedConn) LocalAddr() net.Addr                { return &net.TCPAddr{} }
func (c *tracedConn) RemoteAddr() net.Addr               { return &net.TCPAddr{} }
func (c *tracedConn) SetDeadline(t time.Time) error      { c.note("deadline"); return nil }
func (c *tracedConn) SetWriteDeadline(t time.Time) error { c.note("deadline"); return nil }

// Accept makes it a listener for itself.
func (c *tracedConn) Accept() (net.Conn, error) {
	c.mu.Lock()
	first := !slices.Contains(c.calls, "accept")
	c.mu.Unlock()
	if first {
		c.note("accept")
		return c, nil
	}
	<-c.closed
	return nil, net.ErrClosed
}

func (c *tracedConn) Addr() net.Addr { return &net.TCPAddr{} }

// tracedTLS has what a *tls.Conn is asked for.
type tracedTLS struct{ *tracedConn }

func (c tracedTLS) ConnectionState() tls.ConnectionState {
	return tls.ConnectionState{HandshakeComplete: true, ServerName: "example.com"}
}

type tlsListener struct{ *tracedConn }

func (l tlsListener) Accept() (net.Conn, error) {
	nc, err := l.tracedConn.Accept()
	if err != nil {
		return nil, err
	}
	return tracedTLS{nc.(*tracedConn)}, nil
}

// A listenerOnly hides the connection's Close from http.Server, which closes its
// listeners.
type listenerOnly struct{ net.Listener }

func (listenerOnly) Close() error { return nil }

func trace(t *testing.T, h http.HandlerFunc, listener func(*tracedConn) net.Listener) (c *tracedConn, logged string) {
	t.Helper()
	c = &tracedConn{input: strings.NewReader("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), closed: make(chan struct{})}
	c.changed = sync.NewCond(&c.mu)
	var lines bytes.Buffer
	l := listener(c)
	srv := &http.Server{
		Handler:  h,
		ErrorLog: log.New(&lines, "", 0),
		ConnState: func(nc net.Conn, s http.ConnState) {
			switch nc.(type) {
			case *tracedConn, tracedTLS:
			default:
				t.Errorf("ConnState got a %T", nc)
			}
			c.note(s.String())
		},
		ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
			switch nc.(type) {
			case *tracedConn, tracedTLS:
			default:
				t.Errorf("ConnContext got a %T", nc)
			}
			return ctx
		},
	}
	srv.Serve(listenerOnly{l})
	srv.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c, lines.String()
}

func TestCanary_TheEndWhileIdleIsSilentAndCloseIsTheLastCall(t *testing.T) {
	c, logged := trace(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") },
		func(c *tracedConn) net.Listener { return c })
	if logged != "" {
		t.Errorf("net/http logs %q when an idle connection ends", logged)
	}
	if n := strings.Count(c.output.String(), "HTTP/1.1 "); n != 1 {
		t.Errorf("net/http writes when an idle connection ends: %q", c.output.String())
	}
	calls := c.calls
	if n := len(calls); n < 2 || calls[n-2] != "close" || calls[n-1] != "closed" {
		t.Errorf("Close is not the last call: %v", calls)
	}
	if !slices.Contains(calls, "end") {
		t.Errorf("net/http does not wait for another request behind StateIdle: %v", calls)
	}
}

func TestCanary_RequestTLSComesFromConnectionState(t *testing.T) {
	var name string
	trace(t, func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil {
			name = r.TLS.ServerName
		}
	}, func(c *tracedConn) net.Listener { return tlsListener{c} })
	if name != "example.com" {
		t.Errorf("Request.TLS has the name %q", name)
	}
}
