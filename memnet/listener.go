package memnet

import (
	"net"
	"sync"
)

// A listener takes the connections that are dialled to one name.
type listener struct {
	network *Network
	addr    Addr
	backlog chan *Conn    // dialled and not accepted yet; never closed
	closed  chan struct{} // closed by Close, under network.mu
	once    sync.Once     // closes closed
}

// Accept waits for the next connection and returns it; it is a [*Conn]. After
// Close its error matches [net.ErrClosed].
func (l *listener) Accept() (net.Conn, error) {
	if !l.isClosed() {
		select {
		case c := <-l.backlog:
			return c, nil
		case <-l.closed:
		}
	}
	return nil, l.opError("accept")
}

// Close frees the name, ends calls of Accept and Dial that wait, and resets
// connections that were dialled but not accepted.
func (l *listener) Close() error {
	err := l.opError("close")
	l.once.Do(func() {
		l.network.mu.Lock()
		delete(l.network.listeners, l.addr.String())
		close(l.closed)
		l.network.mu.Unlock()
		l.resetBacklog()
		err = nil
	})
	return err
}

// Addr returns the name, as an [Addr].
func (l *listener) Addr() net.Addr { return l.addr }

// isClosed reports whether Close has been called.
func (l *listener) isClosed() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

// resetBacklog resets the connections that nobody will accept.
func (l *listener) resetBacklog() {
	for {
		select {
		case c := <-l.backlog:
			c.Reset()
			c.Close()
		default:
			return
		}
	}
}

// opError returns the error of a call on a closed listener.
func (l *listener) opError(op string) error {
	return &net.OpError{Op: op, Net: networkName, Addr: l.addr, Err: net.ErrClosed}
}
