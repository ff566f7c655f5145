package hythetest_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/hythetest"
	"github.com/hythe-go/hythe/memnet"
)

// TestServe_SeveralClients has each expect the reason of its own connection.
func TestServe_SeveralClients(t *testing.T) {
	inBoth(t, func(t *testing.T) {
		s := hythetest.Serve(t, &hythe.Server{Service: sessions(moody)})
		a, b, c, d := s.Dial(), s.DialFrom("bob"), s.DialFrom("bob"), s.DialFrom("192.0.2.7:4000")
		for _, c := range []*hythetest.Conn{a, b, c, d} {
			c.Write("hello\n")
			c.WantLine("hello")
		}
		c.Write("quit\n")
		a.CloseWrite()
		b.Reset()
		d.Stream().Close()
		d.WantClosed(hythe.Closed)
		b.WantClosed(hythe.PeerReset)
		a.WantClosed(hythe.PeerDone)
		c.WantClosed(hythe.Finished)
		for c, want := range map[*hythetest.Conn]string{a: "client-1", b: "bob", c: "bob", d: "192.0.2.7:4000"} {
			if got := c.Stream().RemoteAddr().String(); got != want {
				t.Errorf("the server saw %s, want %s", got, want)
			}
		}
		if _, ok := d.Stream().RemoteAddr().(*net.TCPAddr); !ok {
			t.Errorf("the server saw a %T, want a *net.TCPAddr", d.Stream().RemoteAddr())
		}
	})
}

// TestServe_Limits dials more than there is room for.
func TestServe_Limits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := hythetest.Serve(t, &hythe.Server{
			Service:  sessions(echo),
			Limits:   hythe.Limits{ConnsPerIP: 1},
			Farewell: []byte("full\n"),
		})
		first := s.DialFrom("192.0.2.7:4000")
		first.Write("a\n")
		first.WantLine("a")
		second := s.DialFrom("192.0.2.7:4001")
		second.WantLine("full")
		second.WantClosed(hythe.Refused)
		s.DialFrom("192.0.2.8:4000").WantNothing(time.Second)
	})
}

// TestServe_TheirHooks has a server with an Observer and an OnListen.
func TestServe_TheirHooks(t *testing.T) {
	inBoth(t, func(t *testing.T) {
		var mu sync.Mutex
		var kinds []hythe.EventKind
		listening := 0
		c := hythetest.Dial(t, &hythe.Server{
			Service: sessions(echo),
			Observer: func(ev hythe.Event) {
				mu.Lock()
				defer mu.Unlock()
				kinds = append(kinds, ev.Kind)
			},
			OnListen: func(net.Addr) { listening++ },
		})
		c.CloseWrite()
		c.WantClosed(hythe.PeerDone)
		mu.Lock()
		defer mu.Unlock()
		if len(kinds) != 2 || kinds[0] != hythe.ConnAccepted || kinds[1] != hythe.ConnEnded {
			t.Errorf("their Observer got %v", kinds)
		}
		if listening != 1 {
			t.Errorf("their OnListen was called %d times", listening)
		}
	})
}

// TestServeOn has a slow network, and a client that was not dialled by Dial.
func TestServeOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &memnet.Network{Latency: time.Second}
		s := hythetest.ServeOn(t, network, &hythe.Server{Service: sessions(echo)})
		foreign, err := network.Dial(t.Context(), s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c := s.Dial()
		c.Write("a\n")
		c.WantNothing(2*time.Second - time.Millisecond)
		c.WantLine("a")
		if err := foreign.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestDrain(t *testing.T) {
	inBoth(t, func(t *testing.T) {
		s := hythetest.Serve(t, &hythe.Server{Service: hythe.Sessions(codec.Lines(), func(*lines) *polite { return new(polite) })})
		idle, busy := s.Dial(), s.Dial()
		idle.Stream()
		busy.Write("work\n")
		busy.WantLine("working")
		report := s.Drain(time.Minute)
		idle.WantLine("goodbye")
		idle.WantClosed(hythe.Drained)
		busy.WantLine("goodbye")
		busy.Stream().Post("done")
		busy.WantLine("done")
		busy.WantClosed(hythe.Drained)
		if r := report(); len(r.Idle)+len(r.Finished) != 2 || len(r.Cut) != 0 {
			t.Error(&r)
		}
		if r := report(); len(r.Idle)+len(r.Finished) != 2 {
			t.Error("the second time:", &r)
		}
	})
}

// polite works until something is posted.
type polite struct{ release func() }

func (p *polite) Input(c *lines, in string) error {
	p.release = c.Hold()
	return c.Send("working")
}

func (p *polite) Draining(c *lines) { c.Send("goodbye") }

func (p *polite) Posted(c *lines, event any) error {
	p.release()
	return c.Send(event.(string))
}

// TestDrain_Cut has a client that the test means to be cut.
func TestDrain_Cut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := hythetest.Serve(t, &hythe.Server{Service: sessions(func(c *lines, in string) error {
			c.Hold()
			return nil
		})})
		c := s.Dial()
		c.Write("a\n")
		c.WantNothing(0)
		report := s.Drain(time.Second)
		c.WantNothing(time.Second / 2)
		c.WantClosed(hythe.DrainTimeout)
		if r := report(); len(r.Cut) != 1 {
			t.Error(&r)
		}
	})
}

// TestStop_AfterClose has a test that ends its server by itself.
func TestStop_AfterClose(t *testing.T) {
	inBoth(t, func(t *testing.T) {
		srv := &hythe.Server{Service: sessions(echo)}
		c := hythetest.Dial(t, srv)
		c.Stream()
		srv.Close()
		c.WantClosed(hythe.ServerClosed)
	})
}

// TestServerFailures is TestFailures for whole servers.
func TestServerFailures(t *testing.T) {
	var release func() // what hangs, so that the bubble can end
	for _, tt := range []struct {
		name string
		test func(t testing.TB)
		want []string
	}{
		{"no service", func(t testing.TB) {
			hythetest.Dial(t, &hythe.Server{}) // fails
		}, []string{`Serve: hythe: Server.Service is nil`}},
		{"served before", func(t testing.TB) {
			srv := &hythe.Server{Service: sessions(echo)}
			hythetest.Serve(t, srv)
			hythetest.Serve(t, srv) // fails
		}, []string{`Serve: hythe: server has been started before`}},
		{"dialling nobody", func(t testing.TB) {
			s := hythetest.Serve(t, &hythe.Server{Service: sessions(echo)})
			s.Drain(time.Second)()
			s.Dial() // fails
		}, []string{`dial mem client-1->mem#1: connect: connection refused`}},
		{"not accepted", func(t testing.TB) {
			srv := &hythe.Server{Service: sessions(echo)}
			s := hythetest.Serve(t, srv)
			srv.SetMaxConns(0)
			s.DialFrom("bob").WantClosed(hythe.Refused) // fails
		}, []string{`the server has not accepted the connection from bob within 10s`}},
		{"a held connection", func(t testing.TB) {
			c := hythetest.Dial(t, &hythe.Server{Service: sessions(func(c *lines, in string) error { // fails
				c.Hold()
				return c.Send(in)
			})})
			c.Write("a\n")
			c.WantLine("a")
		}, []string{`after the test: connection 1 from client-1 did not end within 10s, though its client had gone and the server drained`}},
		{"a hook that hangs", func(t testing.TB) {
			hang := make(chan struct{})
			release = func() { close(hang) }
			s := hythetest.Serve(t, &hythe.Server{Service: sessions(func(c *lines, in string) error { // fails
				<-hang
				return nil
			})})
			c := s.Dial()
			c.Write("a\n")
			c.WantNothing(0)
			s.Drain(time.Hour)
		}, []string{
			`after the test: connection 1 from client-1 did not end within 10s`,
			`after the test: connection 1 from client-1 was cut and is still there: a hook has not returned`,
			`after the test: goroutines remain:`,
		}},
		{"a goroutine", func(t testing.TB) {
			hang := make(chan struct{})
			release = func() { close(hang) }
			c := hythetest.Dial(t, &hythe.Server{Service: sessions(func(c *lines, in string) error { // fails
				go func() { <-hang }()
				return c.Send(in)
			})})
			c.Write("a\n")
			c.WantLine("a")
		}, []string{`after the test: goroutines remain:`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release = func() {}
				got := record(tt.test)
				release()
				if len(got) != len(tt.want) {
					t.Fatalf("got %d failures %q\nwant %q", len(got), got, tt.want)
				}
				for i, f := range got {
					if !strings.Contains(f.message, tt.want[i]) {
						t.Errorf("got %q\nwant %q", f.message, tt.want[i])
					}
					if !strings.HasPrefix(f.message, "after the test") && !strings.HasSuffix(f.line, "// fails") {
						t.Errorf("%q is at the line %s", f.message, f.line)
					}
				}
			})
		})
	}
}

// TestStop_OtherGoroutines has goroutines that are none of the server's.
func TestStop_OtherGoroutines(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { <-ctx.Done() }()
	other := hythetest.Dial(t, &hythe.Server{Service: sessions(echo)})
	other.Stream()
	got := record(func(t testing.TB) {
		c := hythetest.Dial(t, &hythe.Server{Service: sessions(echo)})
		c.Write("a\n")
		c.WantLine("a")
	})
	if len(got) != 0 {
		t.Errorf("got %q", got)
	}
}

// TestServe_PreConnect has a server that gives connections another address.
func TestServe_PreConnect(t *testing.T) {
	inBoth(t, func(t *testing.T) {
		errNo := errors.New("no")
		s := hythetest.Serve(t, &hythe.Server{
			Service: sessions(echo),
			PreConnect: func(ctx context.Context, nc net.Conn) (net.Conn, error) {
				if nc.RemoteAddr().String() == "mallory" {
					return nil, errNo
				}
				return renamed{nc}, nil
			},
		})
		mallory, alice := s.DialFrom("mallory"), s.DialFrom("alice")
		mallory.WantClosed(hythe.Denied)
		mallory.WantClosed(errNo)
		alice.Write("a\n")
		alice.WantLine("a")
		if got := alice.Stream().RemoteAddr().String(); got != "elsewhere" {
			t.Errorf("RemoteAddr = %s", got)
		}
		alice.Stream().Close()
		alice.WantClosed(hythe.Closed)
	})
}

type renamed struct{ net.Conn }

func (renamed) RemoteAddr() net.Addr { return memnet.Addr("elsewhere") }
