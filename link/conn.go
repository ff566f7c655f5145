package link

import (
	"errors"
	"io"
	"net"
	"os"
)

// A conn is what the dialers return: a net.Conn that reports its own death to
// the link that dialled it.
type conn struct {
	net.Conn
	report func(error)
}

// Read reads. Any error but a deadline's means the connection's end.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.check(err)
	return n, err
}

// Write writes. Any error but a deadline's means the connection's end.
func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.check(err)
	return n, err
}

// ReadFrom lets io.Copy use what the kernel offers.
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	if _, ok := c.Conn.(io.ReaderFrom); !ok {
		return io.Copy(struct{ io.Writer }{c}, r)
	}
	return io.Copy(c.Conn, r) // r's error is not the connection's: the next Write tells
}

// Close closes the connection, which the link hears of.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.report(net.ErrClosed)
	return err
}

// CloseWrite tells the peer that nothing more comes, where that is possible.
func (c *conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}

// NetConn returns the connection inside: a *net.TCPConn, *net.UnixConn or
// *tls.Conn.
func (c *conn) NetConn() net.Conn { return c.Conn }

func (c *conn) check(err error) {
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.report(err)
	}
}
