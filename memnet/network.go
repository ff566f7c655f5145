package memnet

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	networkName    = "mem"
	defaultBacklog = 128
)

// An Addr is the name of a listener, or of an end that dialled.
type Addr string

// Network returns "mem".
func (Addr) Network() string { return networkName }

// String returns the name.
func (a Addr) String() string { return string(a) }

// A Network is a set of listeners, each with a name. The zero value is ready
// for use. Networks know nothing of each other. All methods are safe for
// concurrent use; the fields must not be changed after the first call.
type Network struct {
	// Buffer bounds, in bytes, what may have been written and not been read in
	// each direction of a connection. Zero or less means 64 KiB.
	Buffer int

	// Latency is the time that bytes take from one end to the other, so that a
	// round trip takes twice as much. Dialling takes no time. Zero or less means
	// none. See [Conn.SetLatency].
	Latency time.Duration

	// MaxRead limits how many bytes one Read returns. Zero or less means no
	// limit.
	MaxRead int

	// MaxWrite limits how many bytes are written at a time. Zero or less means
	// no limit. See [Conn.SetMaxWrite].
	MaxWrite int

	// Backlog bounds how many connections of one listener may wait to be
	// accepted; dialling waits when there are so many. Zero means 128. With a
	// negative value every dial waits to be accepted.
	Backlog int

	// OnConnect, if not nil, is called with both ends of every new connection
	// before anyone else has them, to set what only one end or one connection is
	// to have. The dialling goroutine makes the call, without locks.
	OnConnect func(dialled, accepted *Conn)

	mu        sync.Mutex
	listeners map[string]*listener // guarded by mu
	names     int64                // names made by unique; guarded by mu
}

// backlog returns the number that Backlog stands for.
func (n *Network) backlog() int {
	if n.Backlog == 0 {
		return defaultBacklog
	}
	return max(n.Backlog, 0)
}

// Listen makes a listener under a name, which its Addr shows. An empty name
// stands for one that is not in use. If the name is in use, the error is a
// [*net.OpError] that matches [syscall.EADDRINUSE]. Closing the listener frees
// the name.
func (n *Network) Listen(name string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for name == "" {
		name = n.unique("mem")
		if n.listeners[name] != nil {
			name = ""
		}
	}
	if n.listeners[name] != nil {
		return nil, &net.OpError{Op: "listen", Net: networkName, Addr: Addr(name), Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	l := &listener{
		network: n,
		addr:    Addr(name),
		backlog: make(chan *Conn, n.backlog()),
		closed:  make(chan struct{}),
	}
	if n.listeners == nil {
		n.listeners = make(map[string]*listener)
	}
	n.listeners[name] = l
	return l, nil
}

// Dial connects to the listener with a name. It returns when the connection is
// in the listener's backlog, accepted or not, and waits while the backlog is
// full. Errors are [*net.OpError] values. They match [syscall.ECONNREFUSED] if
// nobody listens or the listener closes, and ctx's error if that ends first; ctx
// has no influence on the connection later.
//
// The local address is a new name made from the listener's, such as "echo#1".
func (n *Network) Dial(ctx context.Context, name string) (*Conn, error) {
	return n.DialFrom(ctx, nil, name)
}

// DialContext is Dial in the form that [net/http.Transport] and others ask for.
// The name of the listener is all of address, port included if there is one;
// network is not looked at.
func (n *Network) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := n.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// DialFrom is Dial from an address of the caller's choice: it is the LocalAddr
// of the connection it returns and the RemoteAddr of the one accepted. A
// [*net.TCPAddr] lets a test stand for a client with a certain IP address. A
// nil address means the one Dial makes.
func (n *Network) DialFrom(ctx context.Context, from net.Addr, name string) (*Conn, error) {
	n.mu.Lock()
	l := n.listeners[name]
	if from == nil && l != nil {
		from = Addr(n.unique(name))
	}
	n.mu.Unlock()

	dialError := func(err error) error {
		return &net.OpError{Op: "dial", Net: networkName, Source: from, Addr: Addr(name), Err: err}
	}
	refused := os.NewSyscallError("connect", syscall.ECONNREFUSED)
	if err := ctx.Err(); err != nil {
		return nil, dialError(err)
	}
	if l == nil {
		return nil, dialError(refused)
	}
	dialled, accepted := newPair(n, from, l.addr)
	if n.OnConnect != nil {
		n.OnConnect(dialled, accepted)
	}
	select {
	case l.backlog <- accepted:
	case <-l.closed:
		return nil, dialError(refused)
	case <-ctx.Done():
		return nil, dialError(ctx.Err())
	}
	if l.isClosed() {
		// Close may have emptied the backlog before the connection got there.
		l.resetBacklog()
	}
	return dialled, nil
}

// unique returns a new name. n.mu is held.
func (n *Network) unique(name string) string {
	n.names++
	return fmt.Sprintf("%s#%d", name, n.names)
}

// Pipe returns the two ends of a new connection with n's settings. It needs no
// listener and does not call OnConnect.
func (n *Network) Pipe() (a, b *Conn) { return newPair(n, Addr("a"), Addr("b")) }

// Pipe returns the two ends of a new connection with the settings of a zero
// [Network]. Unlike those of [net.Pipe], they have buffers.
func Pipe() (a, b *Conn) { return new(Network).Pipe() }
