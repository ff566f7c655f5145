package output

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay/relaytest"
	"github.com/hythe-go/hythe/link"
	"github.com/hythe-go/hythe/memnet"
)

// webConfig is an output's configuration with the usual defaults.
func webConfig(to ...string) *config.Output {
	return &config.Output{
		To: to, Format: "lines", BatchMessages: 1000, BatchBytes: 1 << 20, Lanes: 1,
		Timeout: config.Duration(30 * time.Second), Retry: config.Duration(2 * time.Second), RetryMax: config.Duration(time.Minute),
	}
}

// probe is the pause of a Failed link with webConfig.
const probe = 5 * time.Minute

// A posted is a request that a receiver got.
type posted struct {
	key   string
	lines []string
	head  http.Header
	at    time.Time
}

// A receiver is a server that takes lines, unless answer does something else.
type receiver struct {
	answer func(w http.ResponseWriter, r *http.Request, p posted) (answered bool)

	mu    sync.Mutex
	taken []string // guarded by mu
	posts []posted // guarded by mu
}

func (v *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	p := posted{key: r.Header.Get("Idempotency-Key"), lines: strings.SplitAfter(string(body), "\n"), head: r.Header, at: time.Now()}
	p.lines = slices.DeleteFunc(p.lines, func(s string) bool { return s == "" })
	for i := range p.lines {
		p.lines[i] = strings.TrimSuffix(p.lines[i], "\n")
	}
	v.mu.Lock()
	v.posts = append(v.posts, p)
	v.mu.Unlock()
	if v.answer != nil && v.answer(w, r, p) {
		return
	}
	v.mu.Lock()
	v.taken = append(v.taken, p.lines...)
	v.mu.Unlock()
}

func (v *receiver) all() []posted {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.posts)
}

func (v *receiver) lines() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.taken)
}

// once has the first n requests answered by f.
func once(n int, f http.HandlerFunc) func(http.ResponseWriter, *http.Request, posted) bool {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request, _ posted) bool {
		mu.Lock()
		n--
		mine := n >= 0
		mu.Unlock()
		if mine {
			f(w, r)
		}
		return mine
	}
}

// A bench is a receiver at http://web in memory, and a route that posts there.
type bench struct {
	*relaytest.Fixture
	*receiver
	network *memnet.Network
	dialled atomic.Int64 // connections
	out     *relay.Linked[*poster]
}

// inBubble runs a test in fake time. configure may be nil.
func inBubble(t *testing.T, configure func(c *config.Output), v *receiver, test func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{receiver: v, network: new(memnet.Network)}
		b.network.OnConnect = func(_, _ *memnet.Conn) { b.dialled.Add(1) }
		serveAt(t, b.network, "web:80", v)
		c := webConfig("http://web/in")
		if configure != nil {
			configure(c)
		}
		b.Fixture = relaytest.NewWith(t, 1, func(int) (_ relay.Output, err error) {
			b.out, err = newWeb(c, Options{Name: "web", dialer: &link.Dialer{DialContext: b.network.DialContext}})
			return b.out, err
		})
		test(t, b)
	})
}

// serveAt serves at an address of the network until the test ends, or stop is called.
func serveAt(t *testing.T, network *memnet.Network, address string, h http.Handler) (stop func()) {
	t.Helper()
	ln, err := network.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.Serve(ln)
	}()
	stop = sync.OnceFunc(func() {
		srv.Close()
		<-done
	})
	t.Cleanup(stop)
	return stop
}

// settled waits until nothing is left to deliver, and returns how long that took.
func (b *bench) settled(t *testing.T) time.Duration {
	t.Helper()
	start := time.Now()
	for b.Backlog() > 0 {
		if time.Since(start) > 3*time.Hour {
			t.Fatalf("%d messages not settled: link %v", b.Backlog(), b.out.L.State())
		}
		time.Sleep(min(max(time.Millisecond, time.Since(start)/16), time.Second)) // fake time
	}
	return time.Since(start)
}

// delivered checks what the receiver has taken, and that nothing is dead.
func (b *bench) delivered(t *testing.T, want ...string) {
	t.Helper()
	if got := b.lines(); !slices.Equal(got, want) {
		t.Errorf("taken: %.200q, want %.200q", got, want)
	}
	if dead := b.Dead(); len(dead) != 0 {
		t.Errorf("%d dead letters, the first because of %s", len(dead), dead[0].Cause)
	}
}

func numbered(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("message %03d", i)
	}
	return list
}

func bodiesOf(msgs []relay.Message) []string {
	var list []string
	for _, m := range msgs {
		list = append(list, string(bytes.Clone(m.Body)))
	}
	return list
}
