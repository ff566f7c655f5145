package memnet_test

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe/memnet"
)

// listen makes a listener that is closed when the test ends.
func listen(t testing.TB, n *memnet.Network, name string) net.Listener {
	t.Helper()
	ln, err := n.Listen(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// dial makes both ends of a connection, closed when the test ends.
func dial(t testing.TB, n *memnet.Network, ln net.Listener) (dialled, accepted *memnet.Conn) {
	t.Helper()
	d, err := n.Dial(t.Context(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	a, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Close()
		a.Close()
	})
	return d, a.(*memnet.Conn)
}

func TestDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		ln := listen(t, &network, "echo")
		if got := ln.Addr(); got.Network() != "mem" || got.String() != "echo" {
			t.Errorf("listener's address is %s %s, want mem echo", got.Network(), got)
		}
		for _, want := range []string{"echo#1", "echo#2"} {
			c, s := dial(t, &network, ln)
			if c.LocalAddr().String() != want || s.RemoteAddr() != c.LocalAddr() {
				t.Errorf("the dialled end's address is %v here and %v there, want %s", c.LocalAddr(), s.RemoteAddr(), want)
			}
			if c.RemoteAddr() != ln.Addr() || s.LocalAddr() != ln.Addr() {
				t.Errorf("the accepted end's address is %v there and %v here, want echo", c.RemoteAddr(), s.LocalAddr())
			}
			mustWrite(t, c, "hello")
			wantRead(t, s, "hello")
		}
	})
}

func TestDialFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		ln := listen(t, &network, "echo")
		from := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4000}
		c, err := network.DialFrom(t.Context(), from, "echo")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		s, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if c.LocalAddr() != net.Addr(from) || s.RemoteAddr() != net.Addr(from) {
			t.Errorf("addresses %v and %v, want %v", c.LocalAddr(), s.RemoteAddr(), from)
		}
	})
}

func TestDialRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		_, err := network.Dial(t.Context(), "nobody")
		wantErr(t, "Dial", err, syscall.ECONNREFUSED)
		if got, want := err.Error(), "dial mem nobody: connect: connection refused"; got != want {
			t.Errorf("Dial error = %q, want %q", got, want)
		}

		ln := listen(t, &network, "gone")
		ln.Close()
		_, err = network.DialContext(t.Context(), "tcp", "gone")
		wantErr(t, "DialContext", err, syscall.ECONNREFUSED)
	})
}

func TestListenInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		ln := listen(t, &network, "echo")
		_, err := network.Listen("echo")
		wantErr(t, "Listen", err, syscall.EADDRINUSE)
		ln.Close()
		ln = listen(t, &network, "echo") // free again
		dial(t, &network, ln)

		// Other networks have their own names.
		listen(t, new(memnet.Network), "echo")
	})
}

func TestListenWithoutName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		listen(t, &network, "mem#1")
		a, b := listen(t, &network, ""), listen(t, &network, "")
		if a.Addr() == b.Addr() {
			t.Errorf("both listeners are named %v", a.Addr())
		}
		dial(t, &network, a)
		dial(t, &network, b)
	})
}

func TestBacklog(t *testing.T) {
	tests := []struct{ backlog, want int }{{0, 128}, {3, 3}, {-1, 0}}
	for _, test := range tests {
		synctest.Test(t, func(t *testing.T) {
			network := memnet.Network{Backlog: test.backlog}
			ln := listen(t, &network, "echo")
			for i := range test.want {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				c, err := network.Dial(ctx, "echo")
				if err != nil {
					t.Fatalf("Backlog %d: dial %d: %v", test.backlog, i+1, err)
				}
				defer c.Close()
			}

			// One more waits until ctx ends.
			begin := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := network.Dial(ctx, "echo")
			if nerr, ok := errors.AsType[*net.OpError](err); !ok || !nerr.Timeout() || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Dial error = %v, want a timeout", err)
			}
			if got := time.Since(begin); got != time.Minute {
				t.Errorf("Dial returned after %v, want 1m", got)
			}

			// Or until there is room.
			dialled := start(func() error {
				c, err := network.Dial(t.Context(), "echo")
				if err == nil {
					c.Close()
				}
				return err
			})
			synctest.Wait()
			if len(dialled) != 0 {
				t.Fatalf("Backlog %d: dial %d did not wait: %v", test.backlog, test.want+1, <-dialled)
			}
			s, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
			wantErr(t, "Dial", <-dialled, nil)
		})
	}
}

func TestDialWithEndedContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		listen(t, &network, "echo")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := network.Dial(ctx, "echo")
		wantErr(t, "Dial", err, context.Canceled)
	})
}

func TestOnConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.Network{OnConnect: func(dialled, accepted *memnet.Conn) {
			accepted.SetMaxRead(1)
			dialled.AtRead(2, dialled.Reset)
		}}
		c, s := dial(t, &network, listen(t, &network, "echo"))
		mustWrite(t, c, "ab")
		wantRead(t, s, "a")
		wantRead(t, s, "b")
		mustWrite(t, s, "abc")
		wantRead(t, c, "ab")
		wantReadErr(t, c, syscall.ECONNRESET)
	})
}
