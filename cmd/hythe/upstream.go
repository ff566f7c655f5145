package main

import (
	"context"
	"io"
	"log"
	"net"
	"time"

	"github.com/hythe-go/hythe/listen"
)

const (
	minRetry    = time.Second
	maxRetry    = 30 * time.Second
	dialTimeout = 10 * time.Second
	lingerTime  = 2 * time.Second
)

// An upstream is a destination that is dialled, again and again. Between two
// attempts it waits minRetry, twice as long after each, at most maxRetry, and
// minRetry again after a connection that lasted for maxRetry.
type upstream struct {
	to    listen.Endpoint
	dial  func(ctx context.Context) (net.Conn, error)
	notes *log.Logger

	retry time.Duration // the last wait; zero: there was no failure
	since time.Time     // when the last connection was made
}

func newUpstream(to listen.Endpoint, notes *log.Logger) *upstream {
	d := net.Dialer{Timeout: dialTimeout}
	network, address := to.Scheme, net.JoinHostPort(to.Host, to.Service)
	if to.Scheme == listen.SchemeUnix {
		network, address = "unix", to.Path
	}
	return &upstream{to: to, notes: notes, dial: func(ctx context.Context) (net.Conn, error) {
		return d.DialContext(ctx, network, address)
	}}
}

func (u *upstream) open(ctx context.Context, broke error) (connection, error) {
	if broke != nil && time.Since(u.since) >= maxRetry {
		u.retry = 0
	}
	for err := broke; ; {
		if err != nil {
			if err := u.wait(ctx, err); err != nil {
				return nil, err
			}
		}
		var nc net.Conn
		if nc, err = u.dial(ctx); err == nil {
			u.since = time.Now()
			u.notes.Printf("connected to %v", u.to)
			return newUpstreamConn(nc), nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
	}
}

// wait waits before the next attempt, because of err.
func (u *upstream) wait(ctx context.Context, err error) error {
	u.retry = min(max(2*u.retry, minRetry), maxRetry)
	u.notes.Printf("%v: %v; input waits, next attempt in %v", u.to, err, u.retry)
	t := time.NewTimer(u.retry)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return err
	}
}

// An upstreamConn is a connection to an upstream.
type upstreamConn struct {
	net.Conn
	left chan struct{} // closed when the goroutine that reads has returned
}

// newUpstreamConn starts a goroutine that reads nc, to learn when the other side
// has left; it ends when nc is closed, at the latest. What the other side sends
// has no meaning.
func newUpstreamConn(nc net.Conn) *upstreamConn {
	c := &upstreamConn{nc, make(chan struct{})}
	go func() {
		defer close(c.left)
		io.Copy(io.Discard, nc)
	}()
	return c
}

func (c *upstreamConn) gone() <-chan struct{} { return c.left }

func (c *upstreamConn) finish(ctx context.Context) {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		linger := time.NewTimer(lingerTime)
		defer linger.Stop()
		select {
		case <-c.left:
		case <-linger.C:
		case <-ctx.Done():
		}
	}
	c.abort()
	<-c.left
}

func (c *upstreamConn) abort() { c.Conn.Close() }
