package hythe

import (
	"net"
	"syscall"
)

// withUnread returns nc with unread in front of what will be read from it.
func withUnread(nc net.Conn, unread []byte) net.Conn {
	if len(unread) == 0 {
		return nc
	}
	return &unreadConn{Conn: nc, unread: unread}
}

// unreadConn is a net.Conn of which a part was read already.
type unreadConn struct {
	net.Conn
	unread []byte // the reader's
}

func (c *unreadConn) Read(b []byte) (int, error) {
	if len(c.unread) > 0 {
		n := copy(b, c.unread)
		c.unread = c.unread[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// WaitRead blocks until a Read would not.
func (c *unreadConn) WaitRead() error {
	if len(c.unread) > 0 {
		return nil
	}
	return awaitRead(c.Conn)
}

func (c *unreadConn) CloseWrite() error { return closeWriteOf(c.Conn) }

// NetConn returns the connection whose first bytes were read already.
func (c *unreadConn) NetConn() net.Conn { return c.Conn }

// progressConn is what TLS writes to: it shows the write stall clock each piece
// that the kernel takes.
type progressConn struct {
	net.Conn
	s *Stream
}

func (c *progressConn) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var k int
		k, err = writeSome(c.Conn, b[n:])
		n += k
		if k > 0 && c.s.stalled.Load() != 0 {
			c.s.stalled.Store(c.s.srv.now())
		}
	}
	return n, err
}

func (c *progressConn) WaitRead() error   { return awaitRead(c.Conn) }
func (c *progressConn) CloseWrite() error { return closeWriteOf(c.Conn) }
func (c *progressConn) NetConn() net.Conn { return c.Conn }

func closeWriteOf(nc net.Conn) error {
	if c, ok := nc.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return syscall.ENOTSUP
}
