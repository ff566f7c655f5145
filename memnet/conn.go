package memnet

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// defaultBuffer is the bound of one direction's buffer, in bytes.
const defaultBuffer = 64 << 10

// A Conn is one end of a connection in memory. It is made by [Network.Dial],
// by the Accept of a listener, or by [Pipe]. All methods are safe for
// concurrent use.
//
// Errors are [*net.OpError] values, except io.EOF. They match
// [net.ErrClosed] after Close, [os.ErrDeadlineExceeded] after a deadline,
// [syscall.ECONNRESET] after a reset and [syscall.EPIPE] for writing to an end
// that has closed, or after CloseWrite.
type Conn struct {
	pair          *pair
	in, out       *half
	local, remote net.Addr
}

var _ net.Conn = (*Conn)(nil)

// A pair is a connection: both ends and both directions, in one piece.
type pair struct {
	ends   [2]Conn
	halves [2]half
}

// newPair returns the two ends of a new connection with n's settings.
func newPair(n *Network, aAddr, bAddr net.Addr) (a, b *Conn) {
	p := new(pair)
	for i := range p.halves {
		h := &p.halves[i]
		h.init()
		h.limitBytes = orDefault(n.Buffer)
		h.latency = n.Latency
		h.maxRead = n.MaxRead
		h.maxWrite = n.MaxWrite
	}
	a, b = &p.ends[0], &p.ends[1]
	*a = Conn{pair: p, in: &p.halves[0], out: &p.halves[1], local: aAddr, remote: bAddr}
	*b = Conn{pair: p, in: &p.halves[1], out: &p.halves[0], local: bAddr, remote: aAddr}
	return a, b
}

// orDefault returns the buffer bound that a setting of n bytes stands for.
func orDefault(n int) int {
	if n <= 0 {
		return defaultBuffer
	}
	return n
}

// Read waits until there are bytes and returns those that there are, at most
// len(b) and at most the limit of [Conn.SetMaxRead]. It returns io.EOF when the
// peer has ended its direction and all bytes have been read.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.in.read(b)
	return n, c.opError("read", err)
}

// WaitRead waits until Read would not: until there are bytes, the end of the
// stream, an error, or a deadline has passed. It takes nothing and needs no
// buffer. It returns nil for bytes and for the end of the stream, and
// otherwise the error that Read would return.
func (c *Conn) WaitRead() error {
	return c.opError("read", c.in.waitRead())
}

// Write writes all of b, waiting for room in the buffer as often as needed. If
// it fails, n bytes have been written and the peer may read them.
func (c *Conn) Write(b []byte) (n int, err error) {
	n, err = c.out.write(b)
	return n, c.opError("write", err)
}

// TryWrite writes as much of b as there is room for, at most the limit of
// [Conn.SetMaxWrite], and returns without waiting. With a nil error n may be
// less than len(b), also 0: there is no room, or a call of Write is waiting for
// it. It fails when Write would fail.
func (c *Conn) TryWrite(b []byte) (n int, err error) {
	n, err = c.out.tryWrite(b)
	return n, c.opError("write", err)
}

// Close ends both directions and does not wait. Calls waiting on c fail, the
// peer reads what has been written, then io.EOF. If bytes from the peer have
// not been read, the connection is reset instead, and the peer loses what it
// has not read; see the package documentation. A second Close returns an error
// that matches [net.ErrClosed].
func (c *Conn) Close() error {
	defer c.lock()()
	if c.in.readerClosed {
		return c.opError("close", net.ErrClosed)
	}
	c.in.readerClosed = true
	c.out.writerClosed = true
	c.in.readDeadline.stop()
	c.out.writeDeadline.stop()
	if c.in.unread() {
		c.in.fail()
		c.out.fail()
		return nil
	}
	c.in.discard()
	c.in.wake()
	c.out.wake()
	if !c.out.reset {
		c.out.finish()
	}
	return nil
}

// CloseWrite ends the direction from c to its peer, which reads what has been
// written, then io.EOF. Calls of Write that wait fail.
func (c *Conn) CloseWrite() error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if err := shutdownErr(c.out.writerClosed, c.out.reset); err != nil {
		return c.opError("shutdown", err)
	}
	c.out.finish()
	return nil
}

// CloseRead ends the direction from the peer to c: reads give io.EOF, and bytes
// which the peer has written and will write are thrown away. The peer does not
// notice until c closes: bytes thrown away are unread, so that Close resets.
func (c *Conn) CloseRead() error {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if err := shutdownErr(c.in.readerClosed, c.in.reset); err != nil {
		return c.opError("shutdown", err)
	}
	if !c.in.shut {
		c.in.shut = true
		c.in.discarded = c.in.unread()
		c.in.discard()
		c.in.wake()
	}
	return nil
}

// shutdownErr returns why a direction cannot be ended.
func shutdownErr(closed, reset bool) error {
	switch {
	case closed:
		return net.ErrClosed
	case reset:
		return syscall.ENOTCONN
	}
	return nil
}

// Reset breaks the connection as a TCP RST does, but for both ends and without
// delay: what is unread is lost, and reads and writes that wait or come later
// fail with an error that matches [syscall.ECONNRESET]. Both ends still have to
// be closed.
func (c *Conn) Reset() {
	defer c.lock()()
	c.in.fail()
	c.out.fail()
}

// Gone reports whether the connection is over in both directions, however much
// may still be read: the peer has closed it, or it was reset.
func (c *Conn) Gone() bool {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.reset || c.out.readerClosed
}

// LocalAddr returns the address of this end.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the address of the other end.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines; see [net.Conn].
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline sets the time at which Read and WaitRead fail, those that
// wait and those that come later. The zero time means never. A deadline may be
// moved at any time, and after it has passed.
func (c *Conn) SetReadDeadline(t time.Time) error {
	h := c.in
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.readerClosed {
		return c.opError("set", net.ErrClosed)
	}
	h.readDeadline.set(t)
	h.readable.Broadcast()
	return nil
}

// SetWriteDeadline sets the time at which Write and TryWrite fail, as
// SetReadDeadline does for reading. A Write that has written some bytes returns
// how many.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	h := c.out
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.writerClosed {
		return c.opError("set", net.ErrClosed)
	}
	h.writeDeadline.set(t)
	h.writable.Broadcast()
	return nil
}

// lock locks both directions, in the same order whichever end asks, and returns
// the function that unlocks them.
func (c *Conn) lock() (unlock func()) {
	p := c.pair
	p.halves[0].mu.Lock()
	p.halves[1].mu.Lock()
	return func() {
		p.halves[1].mu.Unlock()
		p.halves[0].mu.Unlock()
	}
}

// opError dresses err as package net does, so that code which looks into
// errors finds in them what it would find with sockets.
func (c *Conn) opError(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if _, ok := errors.AsType[syscall.Errno](err); ok {
		err = os.NewSyscallError(op, err)
	}
	return &net.OpError{Op: op, Net: networkName, Source: c.local, Addr: c.remote, Err: err}
}
