package memnet_test

import (
	"bytes"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe/memnet"
)

func TestHalfClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, swap := range []bool{false, true} {
			a, b := pipe(t, &memnet.Network{})
			if swap {
				a, b = b, a
			}
			mustWrite(t, a, "request")
			for range 2 { // the second time nothing is left to do
				wantErr(t, "CloseWrite", a.CloseWrite(), nil)
			}
			wantWriteErr(t, a, syscall.EPIPE)
			wantRead(t, b, "request")
			wantReadErr(t, b, io.EOF)
			wantReadErr(t, b, io.EOF)

			// The other direction goes on.
			mustWrite(t, b, "reply")
			wantRead(t, a, "reply")
			wantErr(t, "Close", b.Close(), nil)
			wantReadErr(t, a, io.EOF)
			wantErr(t, "Close", a.Close(), nil)
		}
	})
}

func TestCloseWriteWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pipe(t, &memnet.Network{Buffer: 1})
		read := start(func() error { _, err := b.Read(make([]byte, 1)); return err })
		synctest.Wait()
		a.CloseWrite()
		wantErr(t, "waiting Read", <-read, io.EOF)

		write := start(func() error { _, err := b.Write([]byte("12")); return err })
		synctest.Wait()
		b.CloseWrite()
		wantErr(t, "waiting Write", <-write, syscall.EPIPE)
		wantRead(t, a, "1")
		wantReadErr(t, a, io.EOF)
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pipe(t, &memnet.Network{})
		mustWrite(t, a, "last words")
		wantErr(t, "Close", a.Close(), nil)

		wantWriteErr(t, b, syscall.EPIPE)
		_, err := b.TryWrite([]byte("x"))
		wantErr(t, "TryWrite", err, syscall.EPIPE)
		wantRead(t, b, "last words")
		wantReadErr(t, b, io.EOF)

		wantReadErr(t, a, net.ErrClosed)
		wantWriteErr(t, a, net.ErrClosed)
		wantErr(t, "WaitRead", a.WaitRead(), net.ErrClosed)
		wantErr(t, "Close", a.Close(), net.ErrClosed)
		wantErr(t, "CloseWrite", a.CloseWrite(), net.ErrClosed)
		wantErr(t, "CloseRead", a.CloseRead(), net.ErrClosed)
		wantErr(t, "SetDeadline", a.SetDeadline(time.Time{}), net.ErrClosed)
	})
}

func TestCloseWakesBothEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pipe(t, &memnet.Network{})
		a.Stall()
		b.Stall()
		var errs [4]<-chan error
		for i, c := range []*memnet.Conn{a, b} {
			errs[2*i] = start(func() error { _, err := c.Read(make([]byte, 1)); return err })
			errs[2*i+1] = start(func() error { _, err := c.Write(make([]byte, 1)); return err })
		}
		synctest.Wait()
		a.Close()
		for i, want := range []error{net.ErrClosed, net.ErrClosed, io.EOF, syscall.EPIPE} {
			wantErr(t, []string{"own Read", "own Write", "peer's Read", "peer's Write"}[i], <-errs[i], want)
		}
	})
}

// A server that answers and closes while the request is still coming in
// destroys its own answer. One that lingers does not.
func TestCloseWithUnreadDataResets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pipe(t, &memnet.Network{})
		mustWrite(t, client, "a long request")
		server.Read(make([]byte, 6))
		mustWrite(t, server, "too long")
		server.Close()
		wantReadErr(t, client, syscall.ECONNRESET)
		wantWriteErr(t, client, syscall.ECONNRESET)

		client, server = pipe(t, &memnet.Network{})
		mustWrite(t, client, "a long request")
		server.Read(make([]byte, 6))
		mustWrite(t, server, "too long")
		server.CloseWrite()
		drained := start(func() error { _, err := io.Copy(io.Discard, server); server.Close(); return err })
		wantRead(t, client, "too long")
		wantReadErr(t, client, io.EOF)
		client.Close()
		wantErr(t, "drain", <-drained, nil)
	})
}

func TestCloseWithUnreadDataUnderWayResets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pipe(t, &memnet.Network{Latency: time.Second})
		mustWrite(t, client, "request")
		server.Close()
		wantReadErr(t, client, syscall.ECONNRESET)
	})
}

func TestCloseRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pipe(t, &memnet.Network{Buffer: 4})
		write := start(func() error { _, err := a.Write(make([]byte, 1000)); return err })
		synctest.Wait()
		wantErr(t, "CloseRead", b.CloseRead(), nil)
		wantErr(t, "waiting Write", <-write, nil)
		wantErr(t, "Write", func() error { _, err := a.Write(make([]byte, 1000)); return err }(), nil)
		wantErr(t, "WaitRead", b.WaitRead(), nil)
		wantReadErr(t, b, io.EOF)
		wantErr(t, "CloseRead", b.CloseRead(), nil)

		// The other direction goes on.
		mustWrite(t, b, "yes")
		wantRead(t, a, "yes")

		// Thrown away is not read.
		b.Close()
		wantReadErr(t, a, syscall.ECONNRESET)
	})
}

func TestCloseReadOfNothingDoesNotReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pipe(t, &memnet.Network{})
		read := start(func() error { _, err := b.Read(make([]byte, 1)); return err })
		synctest.Wait()
		b.CloseRead()
		wantErr(t, "waiting Read", <-read, io.EOF)
		mustWrite(t, b, "bye")
		b.Close()
		wantRead(t, a, "bye")
		wantReadErr(t, a, io.EOF)
	})
}

func TestReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pipe(t, &memnet.Network{Buffer: 4})
		mustWrite(t, a, "lost")
		write := start(func() error { _, err := a.Write([]byte("x")); return err })
		read := start(func() error { _, err := a.Read(make([]byte, 1)); return err })
		synctest.Wait()
		b.Reset()
		wantErr(t, "waiting Write", <-write, syscall.ECONNRESET)
		wantErr(t, "waiting Read", <-read, syscall.ECONNRESET)
		for _, c := range []*memnet.Conn{a, b} {
			wantReadErr(t, c, syscall.ECONNRESET)
			wantWriteErr(t, c, syscall.ECONNRESET)
			_, err := c.TryWrite([]byte("x"))
			wantErr(t, "TryWrite", err, syscall.ECONNRESET)
			wantErr(t, "WaitRead", c.WaitRead(), syscall.ECONNRESET)
			wantErr(t, "CloseWrite", c.CloseWrite(), syscall.ENOTCONN)
			wantErr(t, "CloseRead", c.CloseRead(), syscall.ENOTCONN)
			wantErr(t, "Close", c.Close(), nil)
			wantReadErr(t, c, net.ErrClosed)
		}
	})
}

func TestErrorsLookLikeNetErrors(t *testing.T) {
	a, b := pipe(t, &memnet.Network{})
	b.Reset()
	_, err := a.Read(make([]byte, 1))
	if got, want := err.Error(), "read mem a->b: read: connection reset by peer"; got != want {
		t.Errorf("Read error = %q, want %q", got, want)
	}
}

func TestBackpressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bound = 10_000
		a, b := pipe(t, &memnet.Network{Buffer: bound})
		mustWrite(t, a, strings.Repeat("x", bound)) // fits exactly

		write := start(func() int { n, _ := a.Write(make([]byte, 100)); return n })
		blocked := func() bool {
			synctest.Wait()
			return len(write) == 0
		}
		if !blocked() {
			t.Fatal("Write did not wait for room")
		}
		if n, err := b.Read(make([]byte, 99)); n != 99 || err != nil {
			t.Fatalf("Read = %d, %v, want 99", n, err)
		}
		if !blocked() {
			t.Fatal("Write went on with one byte too little room")
		}
		if n, err := b.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Fatalf("Read = %d, %v, want 1", n, err)
		}
		if got := <-write; got != 100 {
			t.Errorf("Write = %d bytes, want 100", got)
		}
		if n, err := a.TryWrite([]byte("x")); n != 0 || err != nil {
			t.Errorf("TryWrite into the full buffer = %d, %v, want 0, nil", n, err)
		}
	})
}

func TestSetBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pipe(t, &memnet.Network{Buffer: 4})
		mustWrite(t, a, "1234")
		try := func(want int) {
			t.Helper()
			if n, err := a.TryWrite(make([]byte, 1<<20)); n != want || err != nil {
				t.Errorf("TryWrite = %d, %v, want %d", n, err, want)
			}
		}
		try(0)
		b.SetReadBuffer(6)
		try(2)
		a.SetWriteBuffer(3) // lower than what is held
		try(0)
		b.Read(make([]byte, 3))
		try(0)
		b.Read(make([]byte, 1))
		try(1)
		a.SetWriteBuffer(0)
		try(64<<10 - 3)

		// A waiting Write sees a raised bound.
		write := start(func() error { _, err := a.Write([]byte("x")); return err })
		synctest.Wait()
		a.SetWriteBuffer(64<<10 + 1)
		wantErr(t, "Write", <-write, nil)
	})
}

func TestWritesAreNotMixed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const writers, size = 8, 1000
		a, b := pipe(t, &memnet.Network{Buffer: 7, MaxWrite: 3})
		done := make(chan error, writers)
		for i := range writers {
			go func() {
				_, err := a.Write(bytes.Repeat([]byte{byte('a' + i)}, size))
				done <- err
			}()
		}
		for range writers {
			buf := make([]byte, size)
			if _, err := io.ReadFull(b, buf); err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(buf, buf[:1]); n != size {
				t.Errorf("a write of %d bytes %q holds others: %d", size, buf[0], size-n)
			}
			wantErr(t, "Write", <-done, nil)
		}
	})
}

func TestWaitingWriteFollowsDeadlineWhileAnotherWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := pipe(t, &memnet.Network{Buffer: 1})
		first := start(func() error { _, err := a.Write([]byte("12")); return err })
		synctest.Wait()
		second := start(func() error { _, err := a.Write([]byte("34")); return err })
		synctest.Wait()
		if n, err := a.TryWrite([]byte("5")); n != 0 || err != nil {
			t.Errorf("TryWrite = %d, %v, want 0, nil", n, err)
		}
		a.Close()
		wantErr(t, "first Write", <-first, net.ErrClosed)
		wantErr(t, "second Write", <-second, net.ErrClosed)
	})
}

func TestTryWriteNeverWaits(t *testing.T) {
	// In a bubble with no other goroutine, waiting would be a deadlock.
	synctest.Test(t, func(t *testing.T) {
		a, b := pipe(t, &memnet.Network{Buffer: 5})
		try := func(s string, want int) {
			t.Helper()
			if n, err := a.TryWrite([]byte(s)); n != want || err != nil {
				t.Errorf("TryWrite(%q) = %d, %v, want %d", s, n, err, want)
			}
		}
		try("", 0)
		try("123", 3)
		try("456", 2)
		try("6", 0)
		wantRead(t, b, "12345")
		b.Stall()
		try("6", 0)
		b.Unstall()
		a.SetMaxWrite(2)
		try("6789", 2)
		wantRead(t, b, "67")
	})
}

func TestWaitRead(t *testing.T) {
	tests := []struct {
		name string
		wake func(c, peer *memnet.Conn)
		want error
	}{
		{"data", func(_, peer *memnet.Conn) { peer.Write([]byte("x")) }, nil},
		{"end of stream", func(_, peer *memnet.Conn) { peer.CloseWrite() }, nil},
		{"peer closed", func(_, peer *memnet.Conn) { peer.Close() }, nil},
		{"reset", func(_, peer *memnet.Conn) { peer.Reset() }, syscall.ECONNRESET},
		{"closed", func(c, _ *memnet.Conn) { c.Close() }, net.ErrClosed},
		{"read side closed", func(c, _ *memnet.Conn) { c.CloseRead() }, nil},
		{"deadline", func(c, _ *memnet.Conn) { c.SetReadDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, peer := pipe(t, &memnet.Network{})
				done := start(c.WaitRead)
				synctest.Wait()
				if len(done) != 0 {
					t.Fatalf("WaitRead returned %v with nothing to read", <-done)
				}
				test.wake(c, peer)
				err := <-done
				wantErr(t, "WaitRead", err, test.want)
				// Nothing was taken, and it does not wait now.
				if again := c.WaitRead(); (again == nil) != (err == nil) {
					t.Errorf("second WaitRead error = %v, first %v", again, err)
				}
				if test.name == "data" {
					wantRead(t, c, "x")
				}
			})
		})
	}
}

func TestZeroLengthRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := pipe(t, &memnet.Network{})
		if n, err := a.Read(nil); n != 0 || err != nil {
			t.Errorf("Read(nil) = %d, %v, want 0, nil without waiting", n, err)
		}
	})
}
