package hythe_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

// A server that is told before it serves to admit nobody has its port, and
// admits those that wait when it is told to.
func TestSetMaxConns_BeforeServe(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &hythe.Server{Service: echoService()}
	srv.SetMaxConns(0)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, ln) }()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	io.WriteString(nc, "hello\n")
	nc.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := nc.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Error("somebody was admitted")
	}
	if n := srv.Stats().Opened; n != 0 {
		t.Errorf("%d were opened", n)
	}
	srv.SetMaxConns(1)
	nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	got := make([]byte, len("hello\n"))
	if _, err := io.ReadFull(nc, got); err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	nc.Close()
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve = %v", err)
	}
}

// Codec is the codec in use: the service's, then the one that was set.
func TestConn_Codec(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		first, second := codec.Lines(), codec.Line{Out: "\r\n"}.Strings()
		h := w.start(t, &hythe.Server{Service: hythe.Sessions(first, func(*lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				if c.Codec() != first {
					t.Error("Codec is not the service's")
				}
				if err := c.SetCodec(second); err != nil {
					return err
				}
				if c.Codec() != second {
					t.Error("Codec is not the one that was set")
				}
				return c.Send(in)
			}}
		})})
		p := h.dial()
		p.send("x\n")
		p.want("x\r")
	})
}

// Water marks that are changed hold for connections that exist.
func TestSetLimits_HighWater(t *testing.T) {
	inMem(t, func(t *testing.T) {
		conns := make(chan *lines, 1)
		h := memWorld.serve(t, func(*lines) *hooks {
			return &hooks{connected: func(c *lines) error { conns <- c; return nil }}
		})
		h.dial()
		c := <-conns
		if err := h.srv.SetLimits(hythe.Limits{HighWater: 1 << 20}); err != nil {
			t.Fatal(err)
		}
		sent := 0
		for c.TrySend(strings.Repeat("x", 9_999)) == nil {
			sent += 10_000
		}
		if q := c.Stats().Queued; q < 1<<20 || q > 1<<20+10_000 || sent < q {
			t.Errorf("%d bytes are queued of %d, want 1 MiB", q, sent)
		}
	})
}
