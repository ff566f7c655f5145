package listen

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A Listener is a [net.Listener] that outlives trouble: Accept deals with
// passing errors, waits out a lack of descriptors or memory, binds again what
// died, and can be paused without giving up the port. It is made by [Listen] or
// [Wrap]. All methods are safe for concurrent use.
type Listener struct {
	lastCall atomic.Bool // CloseWhenEmpty was called

	cfg      Config
	endpoint Endpoint
	addr     net.Addr
	rebind   func(context.Context) (socket, error) // nil: what dies stays dead

	accepted, retried, starved, rebinds atomic.Uint64

	shortage shortage

	life context.Context // ended by Close
	end  context.CancelFunc

	mu            sync.Mutex
	sock          socket        // guarded by mu; another one after binding again
	raw           *rawListener  // guarded by mu; sock's descriptor, nil until AcceptFD needs it
	unlinkOnClose bool          // guarded by mu
	closed        bool          // guarded by mu
	paused        bool          // guarded by mu
	pauses        uint64        // guarded by mu; how often Pause interrupted accepting
	changed       chan struct{} // guarded by mu; closed and replaced when closed, paused or reviving change
	reviving      bool          // guarded by mu; one Accept binds again, the others wait
	dead          error         // guarded by mu; why Accept is over, nil if it is not
	born          time.Time     // guarded by mu; when sock was last bound again
	tries         int           // guarded by mu; since it was last healthy
}

// Stats are counts since the listener was made, but for the last field.
type Stats struct {
	Accepted  uint64 // connections handed out
	Retried   uint64 // errors after which accepting went on at once
	Starved   uint64 // failures for lack of descriptors or memory
	Rebinds   uint64 // successful ones
	Shortages uint64 // episodes of such a lack, the current one included
	Short     bool   // there is one now
}

func newListener(cfg Config, e Endpoint, s socket) *Listener {
	l := &Listener{
		cfg: cfg, endpoint: e, sock: s, addr: s.ln.Addr(),
		unlinkOnClose: true,
		changed:       make(chan struct{}),
	}
	l.life, l.end = context.WithCancel(context.Background())
	return l
}

// rebindTCP makes l be bound again to a when it dies.
func (l *Listener) rebindTCP(a tcpAddr) {
	l.rebind = func(context.Context) (socket, error) { return l.cfg.openTCP(l.endpoint, a) }
}

// rebindUnix makes l be bound again to its path when it dies.
func (l *Listener) rebindUnix() {
	l.rebind = func(ctx context.Context) (socket, error) { return l.cfg.openUnix(ctx, l.endpoint) }
}

// Wrap gives any listener the accept behaviour of this package, with the zero
// Config; see [Config.Wrap].
func Wrap(ln net.Listener) *Listener { return new(Config).Wrap(ln) }

// Wrap gives any listener the accept behaviour of this package, except that it
// is not bound again when it dies. A *Listener is returned as it is. The
// Listener owns ln: use it no more, but for settings of its own.
//
// Pause interrupts a waiting Accept if ln has a SetDeadline method, as those of
// package net have. Otherwise that Accept may still take one connection, and
// keeps it back until Resume.
func (c *Config) Wrap(ln net.Listener) *Listener {
	if l, ok := ln.(*Listener); ok {
		return l
	}
	var cfg Config
	if c != nil {
		cfg = *c
	}
	prepareWrapped(ln)
	return newListener(cfg, endpointOf(ln.Addr()), socket{ln: ln})
}

// endpointOf returns the endpoint that describes a, the zero one if none does.
func endpointOf(a net.Addr) Endpoint {
	switch a := a.(type) {
	case *net.TCPAddr:
		ap := a.AddrPort()
		host, port, err := net.SplitHostPort(ap.String())
		if err == nil {
			return Endpoint{Scheme: SchemeTCP, Host: host, Service: port}
		}
	case *net.UnixAddr:
		if a.Name != "" {
			return Endpoint{Scheme: SchemeUnix, Path: a.Name}
		}
	}
	return Endpoint{}
}

// Addr returns the address that was really bound; it is known before the first
// Accept and stays the same.
func (l *Listener) Addr() net.Addr { return l.addr }

// Endpoint returns the endpoint that the listener was made from; for one made
// by Wrap, the endpoint that describes its address, or the zero Endpoint.
func (l *Listener) Endpoint() Endpoint { return l.endpoint }

// Stats returns the counts.
func (l *Listener) Stats() Stats {
	s := Stats{
		Accepted: l.accepted.Load(), Retried: l.retried.Load(),
		Starved: l.starved.Load(), Rebinds: l.rebinds.Load(),
	}
	s.Shortages, s.Short = l.shortage.stats()
	return s
}

// Pause stops accepting until Resume. The socket stays, so the port is kept and
// the kernel goes on queueing connections up to the backlog. A blocked Accept
// or AcceptFD goes on blocking: once Pause has returned, neither hands out a
// connection until Resume, and AcceptFD takes none from the queue. Pausing what
// is paused does nothing.
func (l *Listener) Pause() { l.setPaused(true) }

// Resume ends a pause. Without one it does nothing.
func (l *Listener) Resume() { l.setPaused(false) }

// Paused reports whether the listener is paused.
func (l *Listener) Paused() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.paused
}

// longAgo is a deadline that interrupts whoever waits.
var longAgo = time.Unix(1, 0)

// interrupt has whoever waits look again, until the deadline is lifted. l.mu is
// held.
func (l *Listener) interrupt(deadline time.Time) {
	if !deadline.IsZero() {
		l.pauses++
	}
	l.raw.setDeadline(deadline)
	if d, ok := l.sock.ln.(interface{ SetDeadline(time.Time) error }); ok {
		d.SetDeadline(deadline) // an error means it is closed, and nobody waits
	}
}

func (l *Listener) setPaused(paused bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.paused == paused {
		return
	}
	l.paused = paused
	if paused {
		l.interrupt(longAgo)
	} else {
		l.interrupt(time.Time{})
	}
	l.notify()
}

// notify wakes those who wait for a change. mu is held.
func (l *Listener) notify() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// Close stops listening and ends every Accept with an error that matches
// net.ErrClosed. Connections still in the backlog are reset. The path of a
// Unix socket is removed if it is still the one that was bound. Closing again
// does nothing and returns nil.
func (l *Listener) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.notify()
	s, raw, unlink := l.sock, l.raw, l.unlinkOnClose
	l.raw = nil
	dead := l.dead != nil || l.reviving
	l.mu.Unlock()

	l.end()
	if s.unlink != nil && unlink && !dead {
		// Before closing: while we listen, nobody replaces it. What a dead socket
		// has left, the next starter finds stale.
		s.unlink()
	}
	raw.close()
	err := s.ln.Close()
	l.endShortage(true)
	if dead {
		return nil // it was closed when it died
	}
	return err
}

// CloseWhenEmpty closes the listener as soon as no connection waits in its
// backlog, where Close would reset those that do: Accept and AcceptFD go on
// returning connections until then. New ones may go on coming, so the caller
// bounds the time, with Close. A listener that is paused, or has no descriptor,
// is closed at once.
func (l *Listener) CloseWhenEmpty() error {
	if !l.CanAcceptFD() || l.Paused() {
		return l.Close()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.lastCall.Store(true)
		l.interrupt(longAgo)
	}
	return nil
}

// SetUnlinkOnClose says whether Close removes the path of a Unix socket. It
// does, unless the socket was inherited from a service manager. A predecessor
// that has handed its listener over says false.
func (l *Listener) SetUnlinkOnClose(unlink bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unlinkOnClose = unlink
	if ul, ok := l.sock.ln.(*net.UnixListener); ok && l.sock.unlink == nil {
		ul.SetUnlinkOnClose(unlink) // a wrapped one removes its path itself
	}
}

// File returns a further descriptor for the listening socket, for a successor
// process; see [Export]. It is non-blocking and close-on-exec, and must stay
// non-blocking, since the mode belongs to the socket and not to the descriptor.
// The caller closes it. The error matches errors.ErrUnsupported if the listener
// has no descriptor.
func (l *Listener) File() (*os.File, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, l.errClosed("file")
	}
	return dup(l.sock.ln)
}

func (l *Listener) errClosed(op string) error {
	return &net.OpError{Op: op, Net: l.addr.Network(), Addr: l.addr, Err: net.ErrClosed}
}

func (l *Listener) errUnsupported() error {
	return &net.OpError{Op: "accept", Net: l.addr.Network(), Addr: l.addr, Err: errors.ErrUnsupported}
}
