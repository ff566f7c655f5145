package link

import (
	"context"
	"net"
	"runtime"
	"testing"
	"time"
)

func upLink(b *testing.B) *Link[*fake] {
	p := newPeer()
	l := &Link[*fake]{Dial: p.dial}
	if err := l.Wait(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close(); <-l.Done() })
	return l
}

func BenchmarkConn(b *testing.B) {
	l := upLink(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := l.Conn(); !ok {
			b.Fatal("down")
		}
	}
}

func BenchmarkGet(b *testing.B) {
	l, ctx := upLink(b), context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Get(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGetParallel(b *testing.B) {
	l, ctx := upLink(b), context.Background()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := l.Get(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkAcquireRelease(b *testing.B) {
	l, ctx := upLink(b), context.Background()
	b.ReportAllocs()
	for b.Loop() {
		le, err := l.Acquire(ctx)
		if err != nil {
			b.Fatal(err)
		}
		le.Release()
	}
}

// BenchmarkIdleLink reports what a link costs that is up and idle, without its
// connection: bytes in all, and how many of them are stack.
func BenchmarkIdleLink(b *testing.B) {
	const n = 2000
	measure := func() (all, stack float64) {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc + m.StackInuse), float64(m.StackInuse)
	}
	for b.Loop() {
		one := new(fake)
		one.closed = make(chan struct{})
		all, stack := measure()
		goroutines := runtime.NumGoroutine()
		links := make([]*Link[*fake], n)
		for i := range links {
			links[i] = &Link[*fake]{Dial: func(context.Context, Attempt) (*fake, error) { return one, nil }}
			if err := links[i].Wait(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
		time.Sleep(50 * time.Millisecond)
		nowAll, nowStack := measure()
		b.ReportMetric((nowAll-all)/n, "B/link")
		b.ReportMetric((nowStack-stack)/n, "B-stack/link")
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/n, "goroutines/link")
		for _, l := range links {
			l.Close()
			<-l.Done()
		}
	}
}

// BenchmarkReconnect measures the time from the moment at which a peer listens
// again to a subscriber's Connected, over TCP on this machine. tried-now: the
// link is told (TryNow). after-pauses: it finds out, with the default backoff,
// after an outage of 100 ms; the pauses are nearly all of it.
func BenchmarkReconnect(b *testing.B) {
	for name, now := range map[string]bool{"tried-now": true, "after-pauses": false} {
		b.Run(name, func(b *testing.B) {
			e := startEcho(b, "tcp", "127.0.0.1:0")
			addr := e.ln.Addr().String()
			l := &Link[net.Conn]{Dial: TCP, Endpoints: []string{addr}, Stable: -1, Throttle: Throttle{Attempts: -1}}
			b.Cleanup(func() { l.Close(); <-l.Done() })
			connected := make(chan time.Time, 1)
			l.Subscribe(&Funcs[net.Conn]{OnConnected: func(net.Conn) { connected <- time.Now() }})
			<-connected
			var total time.Duration
			for b.Loop() {
				c, err := l.Get(context.Background())
				if err != nil {
					b.Fatal(err)
				}
				e.stop()
				l.Report(c, errDown)
				for l.State().Phase != Waiting {
					runtime.Gosched()
				}
				time.Sleep(100 * time.Millisecond)
				e = startEcho(b, "tcp", addr)
				up := time.Now()
				if now {
					l.TryNow()
				}
				total += (<-connected).Sub(up)
			}
			b.ReportMetric(float64(total.Microseconds())/float64(b.N), "µs/peer-up-to-connected")
		})
	}
}
