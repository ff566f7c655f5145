package hythe

import (
	"net"
)

// A driver is what a connection's turns need of its socket, and who runs them.
// There are two: loopDriver, on which a turn costs no switch of goroutines, and
// netDriver for any net.Conn. Nothing above this interface can tell which.
//
// Events reach the turn through Stream.acquire: readable, writable, and what
// the driver knows about the peer.
type driver interface {
	// read reads what there is, without blocking: errAgain when that is
	// nothing, io.EOF at the end of the input. Turn only.
	read(b []byte) (int, error)

	// push gives the kernel what it takes of the output queue, without
	// blocking, or sees to it that somebody else does. Stream.mu is held.
	push(w *worker)

	// closeWrite half-closes. Stream.mu is held.
	closeWrite()

	// abort ends the connection in both directions and wakes whoever is blocked
	// in it; the descriptor stays taken. Stream.mu is held.
	abort()

	// reset is called before abort to have what the kernel has not sent
	// discarded, and the peer told by a reset, where there is such a thing.
	// Stream.mu is held.
	reset()

	// close gives the descriptor up. Turn only, Stream.mu is held.
	close()

	// schedule has a turn run soon, on another goroutine. The caller owns the
	// turn and gives it away.
	schedule()

	// arm has evClock signalled at the time at of the server's clock.
	arm(at int64)

	// peerTook says how much the peer has taken of what the kernel was given, counted
	// from anywhere, if the kernel tells. Stream.mu is held.
	peerTook() (n int64, known bool)

	// watchPeer cancels the context of a connection that is worked for if its
	// peer has left; with Server.CancelOnEOF also if it has finished sending.
	watchPeer()

	// detach gives the connection up, as a net.Conn that still has what the
	// driver has read ahead. Turn only.
	detach() (net.Conn, error)

	localAddr() net.Addr

	// netConn is the connection as a net.Conn, nil if there is only a
	// descriptor. Stream.mu is held.
	netConn() net.Conn
}
