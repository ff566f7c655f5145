package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe/memnet"
)

func addrs(texts ...string) (as []netip.Addr) {
	for _, s := range texts {
		as = append(as, netip.MustParseAddr(s))
	}
	return as
}

func TestInterleave_RFC8305_4(t *testing.T) {
	for _, test := range []struct{ in, want []netip.Addr }{
		{nil, nil},
		{addrs("1.1.1.1"), addrs("1.1.1.1")},
		{addrs("::1", "::2", "::3", "1.1.1.1", "2.2.2.2"), addrs("::1", "1.1.1.1", "::2", "2.2.2.2", "::3")},
		{addrs("1.1.1.1", "::1", "::2"), addrs("1.1.1.1", "::1", "::2")},
		{addrs("::ffff:1.1.1.1", "::1", "2.2.2.2"), addrs("1.1.1.1", "::1", "2.2.2.2")},
	} {
		if got := interleave(test.in); !slices.Equal(got, test.want) {
			t.Errorf("interleave(%v) = %v, want %v", test.in, got, test.want)
		}
	}
}

// What the addresses of a race do: "ok 1s" answers after a second, "no 1s" fails
// then, "hang" does neither.
func TestRace_RFC8305_5(t *testing.T) {
	for _, test := range []struct {
		name  string
		does  []string
		limit time.Duration
		want  string // who won or the error, when, and when each dial began
	}{
		{"the first answers", []string{"ok 100ms", "ok 0s"}, 0, "0 100ms [0s]"},
		{"the first is slow", []string{"ok 1s", "ok 100ms"}, 0, "1 350ms [0s 250ms]"},
		{"the first wins though the second began", []string{"ok 300ms", "ok 100ms"}, 0, "0 300ms [0s 250ms]"},
		{"the first fails", []string{"no 10ms", "ok 10ms"}, 0, "1 20ms [0s 10ms]"},
		{"a failure hurries the next only", []string{"hang", "no 50ms", "hang", "ok 10ms"}, 0, "3 560ms [0s 250ms 300ms 550ms]"},
		{"every address is tried", []string{"hang", "hang", "hang", "hang", "ok 0s"}, 0, "4 1s [0s 250ms 500ms 750ms 1s]"},
		{"all fail", []string{"no 10ms", "no 10ms"}, 0, "0 failed\n1 failed 20ms [0s 10ms]"},
		{"time runs out", []string{"hang", "hang"}, time.Second, "0 context deadline exceeded\n1 context deadline exceeded 1s [0s 250ms]"},
		{"none", nil, 0, "link: the name has no address 0s []"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var began []time.Duration
				var conns []*memnet.Conn
				var mu sync.Mutex
				start := time.Now()
				ctx := t.Context()
				if test.limit > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.limit)
					defer cancel()
				}
				all := make([]netip.Addr, len(test.does))
				for i := range all {
					all[i] = netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
				}
				won, err := race(ctx, all, 250*time.Millisecond, func(ctx context.Context, a netip.Addr) (net.Conn, error) {
					i := a.As4()[3]
					mu.Lock()
					began = append(began, time.Since(start))
					mu.Unlock()
					verb, wait := "", time.Hour
					var text string
					if n, _ := fmt.Sscan(test.does[i], &verb, &text); n == 2 {
						wait, _ = time.ParseDuration(text)
					}
					select {
					case <-time.After(wait):
					case <-ctx.Done():
						return nil, fmt.Errorf("%d %w", i, ctx.Err())
					}
					if verb == "no" {
						return nil, fmt.Errorf("%d failed", i)
					}
					c, _ := memnet.Pipe()
					mu.Lock()
					defer mu.Unlock()
					conns = append(conns, c)
					return namedConn{c, fmt.Sprint(i)}, nil
				})
				who := fmt.Sprint(err)
				if err == nil {
					who = won.(namedConn).name
				}
				if got := fmt.Sprint(who, " ", time.Since(start), " ", began); got != test.want {
					t.Errorf("got  %s\nwant %s", got, test.want)
				}
				if err == nil {
					won.Close()
				}
				for i, c := range conns {
					if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
						t.Errorf("connection %d was not closed: %v", i, err)
					}
				}
			})
		})
	}
}

// A loser that answers at the same moment as the winner is closed.
func TestRace_LoserIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var conns []*memnet.Conn
		var mu sync.Mutex
		won, err := race(t.Context(), addrs("::1", "::2"), time.Second, func(_ context.Context, a netip.Addr) (net.Conn, error) {
			if a == addrs("::1")[0] {
				time.Sleep(2 * time.Second)
			} else {
				time.Sleep(time.Second)
			}
			c, _ := memnet.Pipe()
			mu.Lock()
			defer mu.Unlock()
			conns = append(conns, c)
			return c, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range conns {
			_, err := c.Write([]byte("x"))
			if closed := errors.Is(err, net.ErrClosed); closed == (c == won) {
				t.Errorf("closed: %t, winner: %t", closed, c == won)
			}
		}
		if len(conns) != 2 {
			t.Errorf("%d connections were made, want 2", len(conns))
		}
		won.Close()
	})
}

type namedConn struct {
	net.Conn
	name string
}
