package httpd

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hythe-go/hythe"
)

// A conn is the protocol of one connection, for all of its life. While there is
// nothing to do it is moored, and in turns; what comes has it taken out of them,
// and net/http serves it:
//
//	moored ──Input──► taken ──net/http reads nothing for MoorAfter──► moored
//	                    │
//	                    ├── net/http closes it ──► shut down
//	                    └── Detach ──► detached: in turns, with an Out
type conn struct {
	srv    *Server
	st     *hythe.Stream
	opened time.Time

	requests   atomic.Uint64
	closeAfter atomic.Bool
	active     atomic.Bool // a handler has been called for the request at hand

	timed bool // net/http sets a deadline for writing, which is meant for streams. Set before it serves

	mu      sync.Mutex
	wire    *wire  // while net/http has it. Guarded by mu
	out     *Out   // once it is detached. Guarded by mu
	tell    func() // tells the Observer of the last request. Guarded by mu
	rawDone func() // of a connection that net/http has as it is

	handlers int    // of HTTP/2 that have not returned, which net/http does not wait for. Guarded by mu
	last     func() // to be called when none is left. Guarded by mu

	draining chan struct{} // closed by Draining; made when it is asked for. Guarded by mu
	drains   bool          // Guarded by mu
	isOver   bool          // Closed was called. Guarded by mu
}

// Open makes the Server a [hythe.Service].
func (s *Server) Open(st *hythe.Stream) (hythe.Protocol, error) {
	s.init()
	c := &conn{srv: s, st: st, opened: time.Now()}
	if state, ok := st.TLS(); ok && state.NegotiatedProtocol == "h2" {
		if p := s.protocols(); !p.HTTP2() {
			return nil, errors.New("httpd: the client was offered HTTP/2 by hythe.Server.TLS, but Protocols does not have it")
		}
		// net/http wants the TLS connection itself.
		return c, st.Take(c.serveRaw)
	}
	return c, nil
}

// Input is called with the first bytes of a request, and with what comes on a
// detached connection, where nobody wants it.
func (c *conn) Input(src []byte, eof bool) (int, error) {
	out := c.detached()
	switch {
	case out != nil:
		if eof {
			out.peerDone()
		}
		return len(src), nil
	case len(src) == 0:
		return 0, nil
	}
	came := src
	if c.requests.Load() > 0 {
		came = bytes.TrimLeft(src, emptyLines) // as wire.skipLines does
	}
	if len(came) == 0 {
		return len(src), nil
	}
	first := bytes.Clone(came)
	return len(src), c.st.Take(func(t *hythe.Taken) { c.serve(t, first) })
}

// serve has net/http serve the connection until it is moored or ends: until
// wire.Close. No goroutine waits for that.
func (c *conn) serve(t *hythe.Taken, first []byte) {
	w := newWire(c, t, first)
	w.http2 = bytes.HasPrefix(first, preface[:4])
	w.done = t.Keep()
	c.mu.Lock()
	c.wire = w
	c.mu.Unlock()
	nc := net.Conn(w)
	if state, ok := c.st.TLS(); ok {
		nc = &tlsWire{w, state}
	}
	c.hand(c.srv.engineFor(first), nc)
}

// served is called when net/http has closed the wire, or its hijacker has.
func (c *conn) served(w *wire) {
	c.mu.Lock()
	c.wire = nil
	c.mu.Unlock()
	w.end()
	w.reading.Unlock()
	c.afterHandlers(w.done)
}

// serveRaw has net/http serve a connection as it is, until it ends.
func (c *conn) serveRaw(t *hythe.Taken) {
	nc := t.NetConn()
	c.rawDone = t.Keep()
	c.srv.raw.Store(nc, c)
	c.hand(c.srv.h2, nc)
}

func (c *conn) rawClosed(nc net.Conn) {
	c.srv.raw.Delete(nc)
	c.afterHandlers(c.rawDone)
}

// afterHandlers calls f when the handlers of HTTP/2 have returned.
func (c *conn) afterHandlers(f func()) {
	c.mu.Lock()
	busy := c.handlers > 0
	if busy {
		c.last = f
	}
	c.mu.Unlock()
	if !busy {
		f()
	}
}

// handles counts the handlers of HTTP/2.
func (c *conn) handles(n int) {
	c.mu.Lock()
	c.handlers += n
	var f func()
	if c.handlers == 0 {
		f, c.last = c.last, nil
	}
	c.mu.Unlock()
	if f != nil {
		f()
	}
}

// hand hands net/http the connection, as a listener that has no other.
func (c *conn) hand(e *http.Server, nc net.Conn) {
	l := &single{nc: nc, addr: c.st.LocalAddr()}
	c.timed = e.WriteTimeout > 0
	if e.Serve(l) == http.ErrServerClosed && l.nc != nil {
		c.timed = true
		c.srv.last.Serve(l) // it came while the server began to drain
	}
}

// single is a listener that has one connection.
type single struct {
	nc   net.Conn // nil once it was accepted
	addr net.Addr
}

func (l *single) Accept() (net.Conn, error) {
	if nc := l.nc; nc != nil {
		l.nc = nil
		return nc, nil
	}
	return nil, net.ErrClosed
}

func (l *single) Close() error   { return nil }
func (l *single) Addr() net.Addr { return l.addr }

// Draining is called when the hythe.Server drains.
func (c *conn) Draining() {
	c.srv.drain() // first: who hears of it may answer at once
	w, out := c.tellDraining()
	if w != nil {
		w.drain()
	}
	if out != nil {
		out.Close(nil)
	}
}

// tellDraining tells those who wait for that. It returns who is to be told as well.
func (c *conn) tellDraining() (*wire, *Out) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.drains && c.draining != nil {
		close(c.draining)
	}
	c.drains = true
	return c.wire, c.out
}

// whenDraining returns a channel that is closed when the server drains, and when the
// connection has ended.
func (c *conn) whenDraining() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining == nil {
		c.draining = make(chan struct{})
		if c.drains {
			close(c.draining)
		}
	}
	return c.draining
}

// isDraining reports whether the server drains, and the connection has not ended.
func (c *conn) isDraining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.drains && !c.isOver
}

// Closed is the connection's last call.
func (c *conn) Closed(reason error) {
	c.mu.Lock()
	c.isOver = true
	c.mu.Unlock()
	if _, out := c.tellDraining(); out != nil {
		out.over(reason)
	}
}

// Flushed says that all output of a detached answer has left.
func (c *conn) Flushed() {
	if out := c.detached(); out != nil {
		out.flushed()
	}
}

// Posted asks for a call of Flushed.
func (c *conn) Posted(any) error {
	if c.st.Stats().Queued == 0 {
		c.Flushed()
	}
	return nil
}

// begin counts a request.
func (c *conn) begin() {
	c.requests.Add(1)
	c.active.Store(true)
}

// detached returns what Detach has made of the connection, nil if nothing.
func (c *conn) detached() *Out {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out
}

// A Conn is the connection that a request came on. All requests of a connection
// have the same one, whatever becomes of it between them. Its methods are safe
// for concurrent use.
type Conn struct{ c *conn }

// ConnOf returns the connection of a request, by its context; nil if the context
// is not one of a request that a Server serves.
func ConnOf(ctx context.Context) *Conn {
	if c, ok := ctx.Value(connKey{}).(*conn); ok {
		return &Conn{c}
	}
	return nil
}

// ConnInfo describes a connection.
type ConnInfo struct {
	ID       uint64
	Remote   net.Addr
	Opened   time.Time
	Requests uint64 // that have begun
	In, Out  uint64 // bytes, without TLS; 0 for HTTP/2 over TLS
}

// Info describes the connection at this moment.
func (c *Conn) Info() ConnInfo {
	st := c.c.st.Stats()
	return ConnInfo{
		ID: c.c.st.ID(), Remote: c.c.st.RemoteAddr(), Opened: st.Opened,
		Requests: c.c.requests.Load(), In: st.BytesIn, Out: st.BytesOut,
	}
}

// ID returns the connection's number, unique in its hythe.Server.
func (c *Conn) ID() uint64 { return c.c.st.ID() }

// OnClose has f called when the connection has ended, with the *hythe.CloseError
// that says why, however long after the request that is. The returned function
// takes f back and reports whether it was in time.
func (c *Conn) OnClose(f func(reason error)) (remove func() bool) { return c.c.st.OnClose(f) }

// Abort ends the connection now, without an answer. Everything that is under way
// on it is lost. The reason is Closed.
func (c *Conn) Abort() { c.c.st.Close() }

// CloseAfter has the connection end with the answer to its next request. A
// handler that wants it to end with its own answer sets Connection: close.
func (c *Conn) CloseAfter() { c.c.closeAfter.Store(true) }

// Draining returns a channel that is closed when the server drains, and when the
// connection has ended. It is meant for hijacked connections, which a drain waits
// for.
func (c *Conn) Draining() <-chan struct{} { return c.c.whenDraining() }

var _ interface{ ConnectionState() tls.ConnectionState } = (*tlsWire)(nil)
