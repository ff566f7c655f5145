// Package extest has what the tests of the examples share: a server on a free
// port, and a client that talks lines to it.
package extest

import (
	"bufio"
	"context"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// Start serves srv on a free port of 127.0.0.1 until the test ends, and returns
// its address.
func Start(t testing.TB, srv *hythe.Server) net.Addr {
	t.Helper()
	return StartAt(t, srv, "tcp://127.0.0.1:0")
}

// StartAt serves srv at an endpoint until the test ends, and returns its
// address.
func StartAt(t testing.TB, srv *hythe.Server, endpoint string) net.Addr {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	listening := make(chan net.Addr, 1)
	srv.OnListen = func(a net.Addr) { listening <- a }
	served := make(chan error, 1)
	go func() { served <- srv.ListenAndServe(ctx, endpoint) }()
	select {
	case addr := <-listening:
		t.Cleanup(func() {
			cancel()
			if err := <-served; err != nil {
				t.Errorf("ListenAndServe = %v", err)
			}
		})
		return addr
	case err := <-served:
		cancel()
		t.Fatalf("ListenAndServe = %v", err)
		return nil
	}
}

// A Client talks to a server as nc does. Its methods end the test when
// something goes wrong, or takes too long.
type Client struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

// Dial connects to a server. The connection is closed when the test ends.
func Dial(t testing.TB, addr net.Addr) *Client {
	t.Helper()
	nc, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	return Talk(t, nc)
}

// Talk makes a Client of a connection.
func Talk(t testing.TB, nc net.Conn) *Client {
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	return &Client{nc, t, bufio.NewReader(nc)}
}

// Read reads what the server sends.
func (c *Client) Read(b []byte) (int, error) { return c.r.Read(b) }

// Send sends lines.
func (c *Client) Send(lines ...string) {
	c.t.Helper()
	if _, err := io.WriteString(c, strings.Join(lines, "\n")+"\n"); err != nil {
		c.t.Fatalf("sending %q: %v", lines, err)
	}
}

// Line returns the next line.
func (c *Client) Line() string {
	c.t.Helper()
	line, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Fatalf("reading a line: got %q, %v", line, err)
	}
	return strings.TrimRight(line, "\r\n")
}

// Expect reads as many lines as it is given and compares them.
func (c *Client) Expect(lines ...string) {
	c.t.Helper()
	for _, want := range lines {
		if got := c.Line(); got != want {
			c.t.Fatalf("got the line %q, want %q", got, want)
		}
	}
}

// ExpectEnd wants the server to have finished.
func (c *Client) ExpectEnd() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
		c.t.Fatalf("got %q, %v; want the end", rest, err)
	}
}

// Done tells the server that nothing more comes, as nc -N does at the end of
// its input.
func (c *Client) Done() {
	c.t.Helper()
	if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		c.t.Fatal(err)
	}
}

// Build builds the program in the test's directory and returns its path.
func Build(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}
