package hythetest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/memnet"
)

// A Conn is the client's end of a connection to a [Server]. Its methods end the
// test when something else happens than what they expect, and so belong on the
// goroutine that runs it.
type Conn struct {
	*peer
	patience time.Duration
}

// A peer is what the Conns with different patience share.
type peer struct {
	t    testing.TB
	addr net.Addr
	mem  *memnet.Conn // written under Server.mu
	nc   net.Conn     // mem, or TLS over it

	accepted chan struct{} // closed when stream is set
	stream   *hythe.Stream
	ended    chan struct{} // closed when end is set
	end      *hythe.CloseError
}

// Within returns the same connection with another patience: no call of its
// methods waits for longer than d, instead of ten seconds.
//
//	c.Within(6 * time.Minute).WantClosed(hythe.Idle)
func (c *Conn) Within(d time.Duration) *Conn { return &Conn{peer: c.peer, patience: d} }

// Write sends s. It waits while the server takes nothing and the connection's
// buffer, 64 KiB unless the network has another, is full.
func (c *Conn) Write(s string) {
	c.t.Helper()
	c.write([]byte(s))
}

// WriteBytes sends b.
func (c *Conn) WriteBytes(b []byte) {
	c.t.Helper()
	c.write(b)
}

func (c *Conn) write(b []byte) {
	c.t.Helper()
	c.nc.SetWriteDeadline(time.Now().Add(c.patience))
	defer c.nc.SetWriteDeadline(time.Time{})
	if n, err := c.nc.Write(b); err != nil {
		c.t.Fatalf("sent %d of %d bytes%s%s", n, len(b), c.outcome(err), c.fate(err))
	}
}

// WantLine reads a line, which must be want. Lines end with "\n" or "\r\n",
// which are not part of want; to expect one of them, use Want.
func (c *Conn) WantLine(want string) {
	c.t.Helper()
	line, err := c.readLine(len(want) + 4<<10)
	got := line
	if n := len(got); n > 0 && got[n-1] == '\n' {
		got = got[:n-1]
		if n > 1 && got[n-2] == '\r' {
			got = got[:n-2]
		}
		if string(got) == want {
			return
		}
	}
	c.t.Fatalf("%s%s%s", differ(string(got), "line ", want), c.outcome(err), c.fate(err))
}

// readLine reads to the end of a line, byte by byte so as not to read ahead. It
// gives up after most bytes.
func (c *Conn) readLine(most int) (line []byte, err error) {
	c.nc.SetReadDeadline(time.Now().Add(c.patience))
	defer c.nc.SetReadDeadline(time.Time{})
	var b [1]byte
	for len(line) < most {
		n, err := c.nc.Read(b[:])
		line = append(line, b[:n]...)
		if err != nil || n > 0 && b[0] == '\n' {
			return line, err
		}
	}
	return line, nil
}

// Want reads as many bytes as want has, which must be those of want. It fails
// at the first that is not.
func (c *Conn) Want(want string) {
	c.t.Helper()
	c.want(want)
}

// WantBytes is Want for a slice.
func (c *Conn) WantBytes(want []byte) {
	c.t.Helper()
	c.want(string(want))
}

func (c *Conn) want(want string) {
	c.t.Helper()
	c.nc.SetReadDeadline(time.Now().Add(c.patience))
	defer c.nc.SetReadDeadline(time.Time{})
	got := make([]byte, len(want))
	for n := 0; n < len(got); {
		k, err := c.nc.Read(got[n:])
		n += k
		if string(got[n-k:n]) != want[n-k:n] || err != nil && n < len(got) {
			c.t.Fatalf("%s%s%s", differ(string(got[:n]), "", want), c.outcome(err), c.fate(err))
		}
	}
}

// WantEOF expects that the server has nothing more to send and says so, by
// half-closing or closing the connection.
func (c *Conn) WantEOF() {
	c.t.Helper()
	c.nc.SetReadDeadline(time.Now().Add(c.patience))
	defer c.nc.SetReadDeadline(time.Time{})
	var b [256]byte
	if n, err := c.nc.Read(b[:]); n > 0 || err != io.EOF {
		if err == io.EOF {
			err = nil
		}
		c.t.Fatalf("got %s, want EOF%s%s", quote(string(b[:n])), c.outcome(err), c.fate(err))
	}
}

// WantNothing expects that nothing comes for d, neither bytes nor the end of the
// connection. In a bubble of [testing/synctest] d may be 0: then nothing may
// come before everything else in the bubble is blocked.
func (c *Conn) WantNothing(d time.Duration) {
	c.t.Helper()
	if d <= 0 {
		if reason := waitInBubble(); reason != nil {
			c.t.Fatalf("WantNothing(0): %v", reason)
		}
		d = time.Nanosecond // a deadline that has passed would hide what has come
	}
	c.nc.SetReadDeadline(time.Now().Add(d))
	defer c.nc.SetReadDeadline(time.Time{})
	var b [256]byte
	n, err := c.nc.Read(b[:])
	switch {
	case n > 0:
		c.t.Fatalf("got %s, want nothing%s", quote(string(b[:n])), c.fate(err))
	case err == io.EOF:
		c.t.Fatalf("got EOF, want nothing%s", c.fate(err))
	case !errors.Is(err, os.ErrDeadlineExceeded):
		c.t.Fatalf("got an error, want nothing: %v%s", err, c.fate(err))
	}
}

// waitInBubble waits until everything else in the bubble is blocked. It returns
// why it could not.
func waitInBubble() (reason any) {
	defer func() { reason = recover() }()
	synctest.Wait()
	return nil
}

// WantClosed waits until the server has ended the connection and has called its
// last hook, and expects that why is the reason for it, or the error behind it:
// what errors.Is finds in the [hythe.CloseError].
//
// A server that has ended a connection in peace lingers until its client has
// finished as well. WantClosed finishes for the client, by a CloseWrite, once
// the reason can change no more. What the client has not read can still be
// read. A server that could not deliver its output yet has not ended the
// connection: read first.
func (c *Conn) WantClosed(why error) {
	c.t.Helper()
	timer := time.NewTimer(c.patience)
	defer timer.Stop()
	s := c.awaitStream(timer.C)
	settled := s.Context().Done()
	for {
		select {
		case <-c.ended:
			if !errors.Is(c.end, why) {
				c.t.Fatalf("connection %d has ended: %v; want %v", s.ID(), c.end, why)
			}
			return
		case <-settled:
			settled = nil
			c.closeWrite()
		case <-timer.C:
			state := fmt.Sprintf("%d bytes of output wait", s.Stats().Queued)
			if err := context.Cause(s.Context()); err != nil {
				state = fmt.Sprintf("a hook is running, or the server lingers: %v", err)
			}
			c.t.Fatalf("connection %d has not ended within %v (%s); want %v", s.ID(), c.patience, state, why)
		}
	}
}

// Stream returns the server's end of the connection, for looking at it and for
// what is done to it from outside of its hooks. It waits until the server has
// accepted the connection.
func (c *Conn) Stream() *hythe.Stream {
	c.t.Helper()
	timer := time.NewTimer(c.patience)
	defer timer.Stop()
	return c.awaitStream(timer.C)
}

func (c *Conn) awaitStream(tooLate <-chan time.Time) *hythe.Stream {
	c.t.Helper()
	select {
	case <-c.accepted:
	case <-tooLate:
		c.t.Fatalf("the server has not accepted the connection from %v within %v", c.addr, c.patience)
	}
	return c.stream
}

// CloseWrite tells the server that nothing more will come. What it sends can
// still be read.
func (c *Conn) CloseWrite() {
	c.t.Helper()
	if err := c.closeWrite(); err != nil {
		c.t.Fatalf("CloseWrite: %v%s", err, c.fate(err))
	}
}

func (c *Conn) closeWrite() error {
	c.nc.SetWriteDeadline(time.Now().Add(c.patience))
	defer c.nc.SetWriteDeadline(time.Time{})
	return c.nc.(interface{ CloseWrite() error }).CloseWrite()
}

// Close hangs up. If the server has sent something that was not read, that
// resets the connection, as it does on TCP.
func (c *Conn) Close() { c.nc.Close() }

// Reset breaks the connection, as a peer that has crashed does.
func (c *Conn) Reset() {
	c.mem.Reset()
	c.mem.Close()
}

// Stall has the client take nothing more: the server's writes wait, even the
// first. What was sent before can be read. A client that just does not read is
// noticed only when the connection's buffer is full.
func (c *Conn) Stall() { c.mem.Stall() }

// Unstall undoes Stall.
func (c *Conn) Unstall() { c.mem.Unstall() }

// StartTLS goes on in TLS, as its client. It is to be called first if the Server
// has a TLS configuration, or where the protocol says so. A nil config trusts
// every certificate.
func (c *Conn) StartTLS(config *tls.Config) {
	c.t.Helper()
	if config == nil {
		config = &tls.Config{InsecureSkipVerify: true}
	}
	t := tls.Client(c.nc, config)
	c.nc.SetDeadline(time.Now().Add(c.patience))
	defer c.nc.SetDeadline(time.Time{})
	if err := t.Handshake(); err != nil {
		c.t.Fatalf("TLS handshake: %v%s", err, c.fate(err))
	}
	c.nc = t
}

// Conn returns the connection as it is now, for anything else: a [*tls.Conn]
// after StartTLS, otherwise a [*memnet.Conn]. The Conn has read nothing ahead
// and leaves no deadline behind, so both can be used in turn.
func (c *Conn) Conn() net.Conn { return c.nc }

// Mem returns the connection below any TLS, which can be slow, short of buffer,
// and faulty at a chosen byte.
func (c *Conn) Mem() *memnet.Conn { return c.mem }

// outcome says how reading or writing stopped, if not at its end.
func (c *Conn) outcome(err error) string {
	switch {
	case err == nil:
		return ""
	case err == io.EOF:
		return "; then EOF"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Sprintf("; then nothing for the rest of %v", c.patience)
	default:
		return fmt.Sprintf("; then %v", err)
	}
}

// fate says how the server has ended the connection, if it has. After an err
// that shows that it is about to, it gets the time to do it.
func (c *Conn) fate(err error) string {
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		timer := time.NewTimer(100 * time.Millisecond)
		defer timer.Stop()
		select {
		case <-c.ended:
		case <-timer.C:
		}
	}
	select {
	case <-c.ended:
		return fmt.Sprintf("; the server has ended the connection: %v", c.end)
	default:
		return ""
	}
}
