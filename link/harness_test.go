package link

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// errDown is what a dial to a peer that is down returns.
var errDown = errors.New("peer is down")

// A fake is a connection that does nothing.
type fake struct {
	n      int // the how-manieth dial it was
	at     string
	closed chan struct{}
	once   sync.Once
}

func (f *fake) Close() error {
	f.once.Do(func() { close(f.closed) })
	return nil
}

// A peer makes fakes, and counts.
type peer struct {
	mu    sync.Mutex
	down  map[string]error // by endpoint; "*" is all
	dials []string         // "1.2s endpoint"
	conns []*fake
	began time.Time
}

func newPeer() *peer { return &peer{down: make(map[string]error), began: time.Now()} }

func (p *peer) dial(_ context.Context, a Attempt) (*fake, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dials = append(p.dials, strings.TrimSpace(fmt.Sprint(time.Since(p.began), " ", a.Endpoint)))
	for _, at := range []string{"*", a.Endpoint} {
		if err := p.down[at]; err != nil {
			return nil, err
		}
	}
	f := &fake{n: len(p.conns), at: a.Endpoint, closed: make(chan struct{})}
	p.conns = append(p.conns, f)
	return f, nil
}

// set has dials to an endpoint fail with err, or work again.
func (p *peer) set(at string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down[at] = err
}

func (p *peer) last() *fake {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns[len(p.conns)-1]
}

func (p *peer) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.dials)
}

// takeDials returns the dials since the last call.
func (p *peer) takeDials() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.dials
	p.dials = nil
	return d
}

// open returns how many connections have not been closed.
func (p *peer) open() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		if !isClosed(c.closed) {
			n++
		}
	}
	return n
}

// bubble runs f in a bubble with a link to p, and closes the link afterwards.
func bubble(t *testing.T, f func(t *testing.T, l *Link[*fake], p *peer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := newPeer()
		l := &Link[*fake]{Dial: p.dial, random: middle}
		f(t, l, p)
		l.Close()
		<-l.Done()
		if n := p.open(); n > 0 {
			t.Errorf("%d connections have not been discarded", n)
		}
	})
}

// middle is a random number without any chance in it.
func middle(n int64) int64 { return n / 2 }

// A diary records what a subscriber is told.
type diary struct {
	mu    sync.Mutex
	lines []string
	up    bool
	bad   string // how the calls did not alternate
}

func (d *diary) Connected(c *fake) { d.note(true, fmt.Sprint("connected ", c.n)) }
func (d *diary) Disconnected(cause error) {
	d.note(false, fmt.Sprint("disconnected: ", cause))
}

func (d *diary) note(up bool, line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.up == up {
		d.bad = line
	}
	d.up = up
	d.lines = append(d.lines, line)
}

func (d *diary) want(t *testing.T, lines ...string) {
	t.Helper()
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.lines, lines) {
		t.Errorf("the subscriber was told\n%q, want\n%q", d.lines, lines)
	}
	if d.bad != "" {
		t.Errorf("%q came twice in a row", d.bad)
	}
}

func mustGet(t *testing.T, l *Link[*fake]) *fake {
	t.Helper()
	c, err := l.Get(t.Context())
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	return c
}

func wantPhase(t *testing.T, l interface{ State() State }, want Phase) State {
	t.Helper()
	synctest.Wait()
	st := l.State()
	if st.Phase != want {
		t.Fatalf("the state is %v, want %v", st, want)
	}
	return st
}
