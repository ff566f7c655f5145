package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/link"
)

// serve runs an echo server at addr, and returns where that is and how to stop
// it.
func serve(t *testing.T, addr string) (at string, stop func()) {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	srv := &hythe.Server{
		Service:  hythe.Handler(codec.Lines(), func(c *conn, line string) error { return c.Send("echo: " + line) }),
		Timeouts: hythe.Timeouts{Linger: 100 * time.Millisecond},
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(context.Background(), ln) }()
	return ln.Addr().String(), func() {
		srv.Close()
		<-served
	}
}

func TestReconnect(t *testing.T) {
	addr, stop := serve(t, "127.0.0.1:0")
	r, w := io.Pipe()
	answers := bufio.NewScanner(r)
	c := newClient(w, addr)
	c.Backoff = link.Backoff{First: 10 * time.Millisecond}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	want := func(line string) {
		t.Helper()
		if !answers.Scan() || answers.Text() != line {
			t.Errorf("got %q, want %q", answers.Text(), line)
		}
	}
	if err := send(ctx, c, strings.NewReader("one\n")); err != nil {
		t.Fatal(err)
	}
	want("echo: one")

	stop()
	for ev := range c.Events(ctx) {
		if ev.Phase == link.Waiting {
			break
		}
	}
	for n, _ := c.Pending(); n > 0 && ctx.Err() == nil; n, _ = c.Pending() { // the first line is settled about now
		time.Sleep(time.Millisecond)
	}
	if err := send(ctx, c, strings.NewReader("two\nthree\n")); err != nil {
		t.Fatal(err)
	}
	if n, _ := c.Pending(); n != 2 {
		t.Errorf("%d lines wait, want 2", n)
	}
	_, stop = serve(t, addr)
	want("echo: two")
	want("echo: three")
	if err := c.Drain(ctx); err != nil {
		t.Errorf("Drain = %v", err)
	}
	stop()
}
