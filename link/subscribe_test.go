package link

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestSubscribe_LateIsToldAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		mustGet(t, l)
		time.Sleep(time.Hour)
		var d diary
		began := time.Now()
		l.Subscribe(&d)
		d.want(t, "connected 0")
		if took := time.Since(began); took > 0 {
			t.Errorf("it took %v", took)
		}
	})
}

// The end is told to everybody who knows of a connection, and only to them.
func TestSubscribe_HearsTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		var d diary
		l.Subscribe(&d)
		mustGet(t, l)
		d.want(t, "connected 0")
		l.Close()
		<-l.Done()
		d.want(t, "connected 0", "disconnected: link: closed")
		l.Subscribe(&d) // a link that has ended tells nobody anything
		d.want(t, "connected 0", "disconnected: link: closed")
	})
}

// A slow subscriber hears the end of what it knows, and then only of the latest.
func TestSubscribe_SlowIsCoalesced(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		var fast, slow diary
		l.Subscribe(&fast)
		l.Subscribe(&Funcs[*fake]{
			OnConnected: func(c *fake) {
				slow.Connected(c)
				if c.n == 0 {
					time.Sleep(time.Minute)
				}
			},
			OnDisconnected: slow.Disconnected,
		})
		for i, cause := range []string{"a", "b", "c"} {
			c := mustGet(t, l)
			synctest.Wait()
			if c.n != i {
				t.Fatalf("connection %d is number %d", i, c.n)
			}
			l.Report(c, errors.New(cause))
		}
		mustGet(t, l)
		fast.want(t, "connected 0", "disconnected: a", "connected 1", "disconnected: b", "connected 2", "disconnected: c", "connected 3")
		slow.want(t, "connected 0")
		time.Sleep(time.Minute)
		slow.want(t, "connected 0", "disconnected: a", "connected 3")
	})
}

// A subscriber that never returns delays nobody, and Drain says so.
func TestSubscribe_BlockedForEver(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		free := make(chan struct{})
		l.Subscribe(&Funcs[*fake]{OnConnected: func(*fake) { <-free }})
		var d diary
		l.Subscribe(&d)
		c := mustGet(t, l)
		synctest.Wait()
		l.Report(c, errDown)
		mustGet(t, l)
		d.want(t, "connected 0", "disconnected: peer is down", "connected 1")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := l.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Drain = %v, want the context's error", err)
		}
		if p.open() > 0 || isClosed(l.Done()) {
			t.Errorf("%d connections are open, done: %t", p.open(), isClosed(l.Done()))
		}
		close(free)
		<-l.Done()
	})
}

func TestSubscribe_InsideCallbacks(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		var outer, inner diary
		var cancel func()
		ready := make(chan struct{})
		cancel = l.Subscribe(&Funcs[*fake]{
			OnConnected: func(c *fake) {
				<-ready
				outer.Connected(c)
				l.Subscribe(&inner)
				l.Report(c, errDown)
				l.Report(c, errDown)
			},
			OnDisconnected: func(err error) {
				outer.Disconnected(err)
				cancel() // nothing more, though another connection follows
			},
		})
		close(ready)
		time.Sleep(time.Minute)
		outer.want(t, "connected 0", "disconnected: peer is down")
		if n := len(inner.lines); n == 0 || inner.lines[n-1] != "connected 1" || inner.bad != "" {
			t.Errorf("the inner subscriber was told %q", inner.lines) // of the first perhaps as well
		}
	})
}

// After cancel no call begins, not even the one that is due.
func TestSubscribe_Cancel(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		var d diary
		cancel := l.Subscribe(&d)
		c := mustGet(t, l)
		d.want(t, "connected 0")
		cancel()
		l.Report(c, errDown)
		mustGet(t, l)
		d.want(t, "connected 0")
		if len(l.subs) != 0 {
			t.Errorf("%d subscriptions are left", len(l.subs))
		}
	})
}

// The same while a call is being made and another is due.
func TestSubscribe_CancelInsideCallback(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		var d diary
		var cancel func()
		ready := make(chan struct{})
		cancel = l.Subscribe(&Funcs[*fake]{
			OnConnected: func(c *fake) {
				<-ready
				d.Connected(c)
				l.Report(c, errDown)
				time.Sleep(time.Minute) // until the next one is up
				cancel()
			},
			OnDisconnected: d.Disconnected,
		})
		close(ready)
		time.Sleep(time.Hour)
		d.want(t, "connected 0")
	})
}

// A subscriber that ends its goroutine, as t.Fatal does, is told the rest.
func TestSubscribe_Goexit(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		var d diary
		l.Subscribe(&Funcs[*fake]{
			OnConnected:    func(c *fake) { d.Connected(c); runtime.Goexit() },
			OnDisconnected: func(err error) { d.Disconnected(err); runtime.Goexit() },
		})
		c := mustGet(t, l)
		synctest.Wait()
		l.Report(c, errDown)
		d.want(t, "connected 0", "disconnected: peer is down")
	})
}

// Values that cannot be compared can subscribe: each time as a new subscriber.
type odd struct {
	f func()
	_ []int
}

func (o odd) Connected(*fake)    { o.f() }
func (o odd) Disconnected(error) {}

func TestSubscribe_Uncomparable(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		n := atomic.Int32{}
		o := odd{f: func() { n.Add(1) }}
		l.Subscribe(o)
		l.Subscribe(o)
		mustGet(t, l)
		synctest.Wait()
		if n.Load() != 2 {
			t.Errorf("told %d times, want 2", n.Load())
		}
	})
}

// A subscriber that is only weakly held goes away when nobody else has it, and
// not before.
func TestSubscribeWeak(t *testing.T) {
	p := newPeer()
	l := &Link[*fake]{Dial: p.dial, Backoff: Backoff{First: time.Millisecond, Fixed: true}}
	defer func() { l.Close(); <-l.Done() }()
	var told atomic.Int32
	kept := &counter{n: &told}
	SubscribeWeak(l, kept)
	SubscribeWeak(l, kept) // one subscription
	func() {
		SubscribeWeak(l, &counter{n: new(atomic.Int32)})
		SubscribeWeak(l, &counter{n: new(atomic.Int32)})
	}()
	subs := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.subs)
	}
	for end := time.Now().Add(20 * time.Second); subs() != 1; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d subscriptions are left, want 1", subs())
		}
		runtime.GC()
	}
	c, err := l.Get(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for told.Load() == 0 {
		runtime.Gosched()
	}
	l.Report(c, errDown)
	if _, err := l.Get(context.Background()); err != nil {
		t.Fatal(err)
	}
	for told.Load() != 3 { // connected, disconnected, connected
		runtime.Gosched()
	}
	runtime.KeepAlive(kept)
}

type counter struct{ n *atomic.Int32 }

func (c *counter) Connected(*fake)    { c.n.Add(1) }
func (c *counter) Disconnected(error) { c.n.Add(1) }

// Callbacks may call every method.
func TestSubscribe_AnyMethodInsideCallbacks(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		var seen []Phase
		l.Subscribe(&Funcs[*fake]{
			OnConnected: func(c *fake) {
				seen = append(seen, l.State().Phase)
				l.TryNow()
				l.Start()
				if le, err := l.Acquire(context.Background()); err != nil || le.Conn != c {
					t.Errorf("Acquire = %v, %v", le, err)
				} else {
					le.Report(errDown)
					le.Release()
				}
			},
			OnDisconnected: func(error) {
				seen = append(seen, l.State().Phase)
				l.Close()
			},
		})
		<-l.Done()
		if want := []Phase{Up, Waiting}; !slices.Equal(seen, want) {
			t.Errorf("the phases in the callbacks were %v, want %v", seen, want)
		}
	})
}
