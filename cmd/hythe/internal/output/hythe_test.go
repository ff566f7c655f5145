package output

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/faultnet"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay/relaytest"
	"github.com/hythe-go/hythe/link"
	"github.com/hythe-go/hythe/memnet"
)

// inMemory returns a delivery of framing hythe over memnet, and the other side of
// each of its connections.
func inMemory(t *testing.T, framing string) (f *relaytest.Fixture, out relay.Output, accept func() *hythePeer) {
	t.Helper()
	network := new(memnet.Network)
	l, err := network.Listen("peer:1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c := settings("tcp://peer:1")
	c.Framing = framing
	f, out = deliver(t, c, Options{dialer: &link.Dialer{DialContext: network.DialContext}})
	return f, out, func() *hythePeer {
		t.Helper()
		nc, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		return newHythePeer(nc)
	}
}

// expect reads the messages with these bodies.
func (p *hythePeer) expect(t *testing.T, bodies ...string) {
	t.Helper()
	for _, want := range bodies {
		m, err := p.next()
		if err != nil || string(m.Body) != want {
			t.Fatalf("got %q (%v), want %q", m.Body, err, want)
		}
		if len(m.ID) == 0 || m.Received.IsZero() {
			t.Errorf("%q has lost its id or its time", m.Body)
		}
	}
}

func TestHytheConfirmsWhatThePeerSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, accept := inMemory(t, "hythe")
		f.Put("1", "2", "3", "4", "5")
		p := accept()
		p.expect(t, "1", "2", "3", "4", "5")
		time.Sleep(time.Second)
		if f.Delivered() != 0 {
			t.Errorf("%d confirmed before the peer said so", f.Delivered())
		}
		for _, n := range []int{2, 2, 3, 5} {
			p.ack(uint64(n))
			synctest.Wait()
			time.Sleep(time.Millisecond)
			if f.Delivered() != n {
				t.Errorf("%d confirmed, want %d", f.Delivered(), n)
			}
		}
	})
}

func TestHytheSendsAgainWhatThePeerHasNotSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, accept := inMemory(t, "hythe")
		f.Put("1", "2", "3")
		p := accept()
		p.expect(t, "1", "2", "3")
		p.ack(1)
		p.Close()
		p = accept()
		p.expect(t, "2", "3") // and the counting begins anew
		p.ack(2)
		settled(t, f)
		if f.Again() != 2 || f.Delivered() != 3 {
			t.Errorf("%d sent again, %d delivered; want 2 and 3", f.Again(), f.Delivered())
		}
	})
}

func TestHytheCountThatCannotBeEndsTheConnection(t *testing.T) {
	for name, answer := range map[string][]byte{
		"more than was sent": {0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 4},
		"down":               {0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1},
		"wrong size":         {0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1},
		"huge":               {0, 0, 0, 8, 255, 255, 255, 255, 255, 255, 255, 255},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, out, accept := inMemory(t, "hythe")
				f.Put("1", "2", "3")
				p := accept()
				p.expect(t, "1", "2", "3")
				p.Write(answer)
				again := accept()
				first, _ := again.next()
				if want := fmt.Sprint(f.Delivered() + 1); string(first.Body) != want {
					t.Errorf("got %q first, want %q", first.Body, want)
				}
				if st, _ := out.Link(); st.Cause == nil || !strings.Contains(st.Cause.Error(), "not an acknowledgement") {
					t.Errorf("cause: %v", st.Cause)
				}
				if f.Delivered() == 3 {
					t.Error("it was believed")
				}
			})
		})
	}
}

func TestHytheAckClock(t *testing.T) {
	t.Run("runs while something is outstanding", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f, out, accept := inMemory(t, "hythe")
			p := accept()
			time.Sleep(45 * time.Second) // idle: nothing runs
			start := time.Now()
			f.Put("1", "2")
			p.expect(t, "1", "2")
			time.Sleep(20 * time.Second)
			p.ack(1) // progress: 30 s more
			accept().expect(t, "2")
			if took := time.Since(start).Round(10 * time.Millisecond); took != 50*time.Second {
				t.Errorf("given up after %v, want 50s", took)
			}
			if st, _ := out.Link(); !errors.Is(st.Cause, errSilent) {
				t.Errorf("cause: %v", st.Cause)
			}
		})
	})
	t.Run("does not run while nothing is", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f, out, accept := inMemory(t, "hythe")
			p := accept()
			f.Put("1")
			p.expect(t, "1")
			p.ack(1)
			time.Sleep(24 * time.Hour)
			if s := out.(*relay.Linked[net.Conn]).L.Stats(); s.Ups != 1 || f.Delivered() != 1 {
				t.Errorf("%d connections, %d delivered", s.Ups, f.Delivered())
			}
		})
	})
}

func TestPeerThatStopsReadingIsGivenUp(t *testing.T) {
	for _, framing := range []string{"hythe", "lines"} {
		t.Run(framing, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, _, accept := inMemory(t, framing)
				accept()
				f.Put(strings.Repeat("x", 1<<20))
				start := time.Now()
				accept()
				if took := time.Since(start); took < 29*time.Second || took > 31*time.Second {
					t.Errorf("given up after %v, want 30s", took)
				}
			})
		})
	}
}

func TestTheEndDoesNotWaitForAPeerThatHasStopped(t *testing.T) {
	for _, framing := range []string{"hythe", "lines"} {
		t.Run(framing, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, _, accept := inMemory(t, framing)
				accept()
				f.Put(strings.Repeat("x", 1<<20))
				time.Sleep(time.Second)
				start := time.Now()
				f.Route.Stop(relaytest.Output)
				if took := time.Since(start); took > 3*time.Second {
					t.Errorf("the end took %v", took)
				}
			})
		})
	}
}

func TestTheEndWaitsForAcknowledgements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, accept := inMemory(t, "hythe")
		f.Put("1", "2")
		p := accept()
		p.expect(t, "1", "2")
		go func() {
			time.Sleep(500 * time.Millisecond)
			p.ack(2)
			if _, err := p.next(); err != io.EOF {
				t.Errorf("got %v, want the end", err)
			}
			p.Close()
		}()
		start := time.Now()
		f.Route.Stop(relaytest.Output)
		if took := time.Since(start); took < 500*time.Millisecond || took > 600*time.Millisecond {
			t.Errorf("the end took %v, want 500ms", took)
		}
		if n := f.Route.Orphans()[relaytest.Output]; n != 0 {
			t.Errorf("%d would be delivered again", n)
		}
	})
}

// A keeper acknowledges what it has kept, over as many connections as it takes.
type keeper struct {
	work sync.WaitGroup
	mu   sync.Mutex
	got  []string // guarded by mu
}

func newKeeper(t *testing.T, l net.Listener) *keeper {
	k := new(keeper)
	k.work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			k.work.Go(func() { k.keep(newHythePeer(c)) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		k.work.Wait()
	})
	return k
}

func (k *keeper) keep(p *hythePeer) {
	defer p.Close()
	for n := uint64(1); ; n++ {
		m, err := p.next()
		if err != nil {
			return
		}
		k.mu.Lock()
		k.got = append(k.got, string(m.Body))
		k.mu.Unlock()
		if p.r.Buffered() == 0 || n%8 == 0 {
			p.ack(n)
		}
	}
}

func (k *keeper) all() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.got
}

func TestHytheLosesNothingOverAThousandFlaps(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0")
	k := newKeeper(t, l)
	proxy := faultnet.New(t, l.Addr().String())
	proxy.ResetAfter(1000)
	c := settings("tcp://" + proxy.Addr())
	c.Framing, c.BatchMessages = "hythe", 100
	f, _ := deliver(t, c, Options{})
	put := 0
	var want []string
	for proxy.Accepted() < 1000 {
		if f.Backlog() < 1000 {
			part := sequence(put, put+1000)
			put += 1000
			want = append(want, part...)
			f.Put(part...)
		}
		proxy.ResetAfter(1 + rand.Int64N(50_000))
		time.Sleep(time.Millisecond)
	}
	proxy.ResetAfter(0)
	settled(t, f)
	again := expectAll(t, k.all(), want)
	t.Logf("%d connections, %d messages, %d came again", proxy.Accepted(), len(want), again)
	if again > f.Again() {
		t.Errorf("%d came again, and %d were sent again", again, f.Again())
	}
}

func TestHytheLosesNothingHalfOpen(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0")
	k := newKeeper(t, l)
	proxy := faultnet.New(t, l.Addr().String())
	c := settings("tcp://" + proxy.Addr())
	c.Framing, c.Timeout = "hythe", config.Duration(200*time.Millisecond)
	f, out := deliver(t, c, Options{})
	var want []string
	for i, d := range []faultnet.Direction{faultnet.Up, faultnet.Down, faultnet.Both} {
		before := proxy.Accepted()
		part := sequence(i*2000, (i+1)*2000)
		want = append(want, part...)
		f.Put(part[:1000]...)
		proxy.Stop(d)
		f.Put(part[1000:]...)
		eventually(t, "another connection", func() bool { return proxy.Accepted() > max(before, 1) })
		if st, _ := out.Link(); st.Cause == nil {
			t.Error("there is no cause")
		}
		proxy.Resume()
		settled(t, f)
	}
	eventually(t, "the rest", func() bool { return len(k.all()) >= len(want) })
}
