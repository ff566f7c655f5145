package hythe_test

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
)

// The abuse suite: hostile peers and hostile hooks, on both drivers. Each test
// asserts the bound that the documentation promises, the reason that the server
// gives, and that neighbours are served meanwhile.

// abuseWorlds are the drivers over real sockets.
var abuseWorlds = []world{tcpWorld, netWorld}

// neighbours are clients that ping all the time. A service that has them echoes
// lines that begin with "ping".
type neighbours struct {
	h     *host
	quit  chan struct{}
	once  sync.Once
	busy  sync.WaitGroup
	pause time.Duration // between an answer and the next ping: their pace

	mu    sync.Mutex
	took  []time.Duration
	rants []string // what went wrong
}

// neighbours dials n of them and has them ping until check or the test's end.
func (h *host) neighbours(n int) *neighbours {
	h.Helper()
	ns := &neighbours{h: h, quit: make(chan struct{}), pause: max(time.Millisecond, time.Duration(n)*200*time.Microsecond)}
	if h.w.mem {
		ns.pause = 250 * time.Millisecond
	}
	ns.took = make([]time.Duration, 0, 1<<14)
	for i := range n {
		p := h.dial()
		if err := ns.ping(p, fmt.Sprintf("ping %d", i)); err != nil {
			h.Fatalf("neighbour %d: first ping: %v", i, err)
		}
		ns.busy.Go(func() { ns.run(p, i) })
	}
	h.Cleanup(ns.stop)
	return ns
}

func (ns *neighbours) ping(p *peer, line string) error {
	p.nc.SetDeadline(time.Now().Add(ns.h.w.patience()))
	if _, err := io.WriteString(p.nc, line+"\n"); err != nil {
		return err
	}
	got, err := p.r.ReadString('\n')
	if err == nil && got != line+"\n" {
		err = fmt.Errorf("got %.60q, want %q", got, line)
	}
	return err
}

func (ns *neighbours) run(p *peer, i int) {
	defer p.close()
	pace := time.NewTimer(ns.pause)
	defer pace.Stop()
	for k := 0; ; k++ {
		began := time.Now()
		err := ns.ping(p, fmt.Sprintf("ping %d.%d", i, k))
		ns.mu.Lock()
		ns.took = append(ns.took, time.Since(began))
		if err != nil {
			ns.rants = append(ns.rants, fmt.Sprintf("neighbour %d, ping %d: %v", i, k, err))
		}
		ns.mu.Unlock()
		if err != nil {
			return
		}
		pace.Reset(ns.pause)
		select {
		case <-pace.C:
		case <-ns.quit:
			return
		}
	}
}

func (ns *neighbours) stop() {
	ns.once.Do(func() { close(ns.quit) })
	ns.busy.Wait()
}

// check ends the neighbours, who must all have been served to the end, and of
// whose pings hardly any may have taken longer than bound, nor any four times as
// long.
func (ns *neighbours) check(bound time.Duration) {
	ns.h.Helper()
	ns.stop()
	slices.Sort(ns.took)
	for i, rant := range ns.rants {
		if i == 5 {
			ns.h.Errorf("... and %d more", len(ns.rants)-i)
			break
		}
		ns.h.Error(rant)
	}
	p99, worst := ns.quantile(0.99), ns.quantile(1)
	ns.h.Logf("neighbours: %d pings, median %v, p99 %v, worst %v", len(ns.took), ns.quantile(0.5), p99, worst)
	if p99 > bound || worst > 4*bound {
		ns.h.Errorf("neighbours waited for %v, one for %v, want at most %v", p99, worst, bound)
	}
}

// quantile is the latency that a share q of all pings did not pass; unless q is 1
// the slowest is left out, however few they are. The pings must be over.
func (ns *neighbours) quantile(q float64) time.Duration {
	last := len(ns.took) - 1
	if last < 0 {
		return 0
	}
	if q < 1 {
		last = max(last-1, 0)
	}
	return ns.took[min(last, int(q*float64(len(ns.took))))]
}

// inFive measures until it is within bound, five times at most: a busy machine
// may spoil some of them. It returns the least.
func inFive(t testing.TB, what string, bound time.Duration, measure func() time.Duration) time.Duration {
	t.Helper()
	least := measure()
	for i := 1; i < 5 && least > bound; i++ {
		t.Logf("%s: %v, want at most %v: again", what, least, bound)
		least = min(least, measure())
	}
	return least
}

// withPing is an Input that serves neighbours and leaves the rest to f.
func withPing(f func(c *lines, in string) error) func(c *lines, in string) error {
	return func(c *lines, in string) error {
		if strings.HasPrefix(in, "ping") {
			return c.Send(in)
		}
		return f(c, in)
	}
}

// pingService is a service of sessions that do f with what is no ping.
func pingService(f func(c *lines, in string) error) hythe.Service {
	return sessions(func(*lines) *hooks { return &hooks{input: withPing(f)} })
}

// neighbourBound is what a neighbour's ping may take in a world, when the abuse
// lasts longer than that. On real sockets it is generous: the machine is shared,
// and the race detector is slow.
func (w world) neighbourBound() time.Duration {
	if w.mem {
		return 0 // fake time: nobody may have waited for a clock
	}
	return 400 * time.Millisecond
}

// liveHeap is how many bytes are in use, garbage not counted.
func liveHeap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // the pools' victims
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A gauge remembers the largest value that it was shown.
type gauge struct{ peak atomic.Int64 }

func (g *gauge) show(v int64) {
	for p := g.peak.Load(); v > p && !g.peak.CompareAndSwap(p, v); p = g.peak.Load() {
	}
}

// watchMemory looks at the server's account over and over until the returned
// function is called, which returns the most that it has seen.
func (h *host) watchMemory() (peak func() int64) {
	var g gauge
	var watching sync.WaitGroup
	quit := make(chan struct{})
	stop := sync.OnceFunc(func() { close(quit); watching.Wait() })
	watching.Go(func() {
		every := time.NewTicker(2 * time.Millisecond)
		defer every.Stop()
		for {
			g.show(h.srv.Stats().Memory)
			select {
			case <-every.C:
			case <-quit:
				return
			}
		}
	})
	h.Cleanup(stop)
	return func() int64 { stop(); return g.peak.Load() }
}

// wantEnds waits for n ends, each for one of the reasons, and returns how many
// there were of each.
func (h *host) wantEnds(n int, why ...hythe.Reason) map[hythe.Reason]int {
	h.Helper()
	got := make(map[hythe.Reason]int)
	for range n {
		ev := h.nextEnd()
		if got[ev.Reason]++; !slices.Contains(why, ev.Reason) {
			h.Errorf("connection %d ended: %v (%v), want one of %v", ev.Conn.ID(), ev.Reason, ev.Err, why)
		}
	}
	return got
}

// wantLiveConns waits until n connections are left.
func (h *host) wantLiveConns(n int) {
	h.Helper()
	eventually(h, h.w, func() bool { return h.srv.Stats().Live == n }, fmt.Sprintf("%d live connections", n))
	h.checkSum()
}

// openDescriptors is how many descriptors the process has, or -1.
func openDescriptors() int {
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(all)
}

// abusers runs f count times, on so many goroutines at once, and waits for all.
func abusers(count, atOnce int, f func(i int)) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(count, atOnce) {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(count); i = next.Add(1) - 1 {
				f(int(i))
			}
		})
	}
	all.Wait()
}

// within fails the test if what took longer than bound by more than a slow
// machine explains, and logs it.
func within(t testing.TB, what string, took, bound time.Duration) {
	t.Helper()
	t.Logf("%s: %v (bound %v)", what, took, bound)
	if took > bound+time.Second {
		t.Errorf("%s took %v, want at most %v", what, took, bound)
	}
}
