package memnet_test

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"

	"github.com/hythe-go/hythe/internal/leaktest"
	"github.com/hythe-go/hythe/memnet"
)

func TestMain(m *testing.M) {
	os.Exit(leaktest.Main(m))
}

// wantErr fails the test unless err matches want and, if it is not io.EOF, is a
// *net.OpError.
func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s error = %v, want one that matches %q", what, err, want)
		return
	}
	if err == nil || err == io.EOF {
		return
	}
	op, ok := errors.AsType[*net.OpError](err)
	if !ok {
		t.Errorf("%s error is a %T, want a *net.OpError", what, err)
		return
	}
	if op.Timeout() != errors.Is(want, os.ErrDeadlineExceeded) {
		t.Errorf("%s error %v: Timeout() = %v", what, err, op.Timeout())
	}
}

// mustWrite writes all of s or ends the test.
func mustWrite(t testing.TB, c net.Conn, s string) {
	t.Helper()
	if n, err := c.Write([]byte(s)); n != len(s) || err != nil {
		t.Fatalf("Write(%q) = %d, %v, want all", s, n, err)
	}
}

// wantRead makes one call of Read, which must return all of want.
func wantRead(t testing.TB, c net.Conn, want string) {
	t.Helper()
	buf := make([]byte, len(want)+64)
	n, err := c.Read(buf)
	if string(buf[:n]) != want || err != nil {
		t.Errorf("Read = %q, %v, want %q", buf[:n], err, want)
	}
}

// wantReadErr makes one call of Read, which must fail.
func wantReadErr(t testing.TB, c net.Conn, want error) {
	t.Helper()
	n, err := c.Read(make([]byte, 64))
	if n != 0 {
		t.Errorf("Read = %d bytes, want an error that matches %q", n, want)
	}
	wantErr(t, "Read", err, want)
}

// wantWriteErr makes one call of Write, which must fail.
func wantWriteErr(t testing.TB, c net.Conn, want error) {
	t.Helper()
	n, err := c.Write([]byte("x"))
	if n != 0 {
		t.Errorf("Write = %d bytes, want an error that matches %q", n, want)
	}
	wantErr(t, "Write", err, want)
}

// pipe returns a connection of n that is closed when the test ends.
func pipe(t testing.TB, n *memnet.Network) (a, b *memnet.Conn) {
	t.Helper()
	a, b = n.Pipe()
	t.Cleanup(func() {
		a.Close()
		b.Close()
	})
	return a, b
}

// start runs f in a goroutine and returns a channel that gives its result.
func start[T any](f func() T) <-chan T {
	done := make(chan T, 1)
	go func() { done <- f() }()
	return done
}
