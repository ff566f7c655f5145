package faultnet

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/hythe-go/hythe/internal/leaktest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Main(m)) }

// echo listens and sends everything back.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr().String()
}

func dial(t *testing.T, p *Proxy) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	return c.(*net.TCPConn)
}

// say sends and returns what comes back.
func say(t *testing.T, c net.Conn, what string) string {
	t.Helper()
	if _, err := c.Write([]byte(what)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(what))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	return string(got)
}

func TestBytesAndTheEndGoThrough(t *testing.T) {
	c := dial(t, New(t, echo(t)))
	want := bytes.Repeat([]byte("hythe"), 100_000)
	go func() {
		c.Write(want)
		c.CloseWrite()
	}()
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d bytes (%v), want %d", len(got), err, len(want))
	}
}

func TestLatencyDelaysEachWay(t *testing.T) {
	p := New(t, echo(t))
	c := dial(t, p)
	say(t, c, "warm")
	p.SetLatency(30 * time.Millisecond)
	start := time.Now()
	say(t, c, "hello")
	if took := time.Since(start); took < 60*time.Millisecond {
		t.Errorf("there and back in %v, want at least 60ms", took)
	}
}

func TestRateBoundsEachWay(t *testing.T) {
	p := New(t, echo(t))
	p.SetRate(100_000)
	c := dial(t, p)
	start := time.Now()
	say(t, c, string(make([]byte, 20_000)))
	if took := time.Since(start); took < 150*time.Millisecond || took > 2*time.Second {
		t.Errorf("20,000 bytes at 100,000 a second took %v", took)
	}
}

func TestStoppedConnectionIsSilentAndOpen(t *testing.T) {
	p := New(t, echo(t))
	c := dial(t, p)
	say(t, c, "hello")
	p.Stop(Down)
	if _, err := c.Write([]byte("again")); err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := c.Read(make([]byte, 5)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d bytes (%v) through a stopped proxy", n, err)
	}
	p.Resume()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	got := make([]byte, 5)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "again" {
		t.Errorf("after Resume: %q, %v", got, err)
	}
}

func TestResetIsAReset(t *testing.T) {
	p := New(t, echo(t))
	c := dial(t, p)
	say(t, c, "hello")
	if n := p.Reset(); n != 1 {
		t.Errorf("%d were reset, want 1", n)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %v, want a reset", err)
	}
	say(t, dial(t, p), "the next is well")
}

func TestCloseConnsIsTheEnd(t *testing.T) {
	p := New(t, echo(t))
	c := dial(t, p)
	say(t, c, "hello")
	p.CloseConns()
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read: %v, want the end", err)
	}
}

// expectReset dials, and is reset in it or behind it.
func expectReset(t *testing.T, p *Proxy) {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err == nil {
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
}

func TestRefusedConnectionIsReset(t *testing.T) {
	p := New(t, echo(t))
	p.Refuse(true)
	expectReset(t, p)
	p.Refuse(false)
	say(t, dial(t, p), "hello")
	if p.Accepted() != 2 {
		t.Errorf("%d accepted, want 2", p.Accepted())
	}
}

func TestResetAfterSoManyBytes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := New(t, l.Addr().String())
	p.ResetAfter(1000)
	c := dial(t, p)
	if _, err := c.Write(make([]byte, 5000)); err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if got, _ := io.ReadAll(server); len(got) != 1000 {
		t.Errorf("%d bytes arrived, want 1000", len(got))
	}
	if _, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %v, want a reset", err)
	}
}

func TestTargetThatIsAwayIsAReset(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	p := New(t, l.Addr().String())
	expectReset(t, p)
	p.SetTarget(echo(t))
	say(t, dial(t, p), "hello")
}
