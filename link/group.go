package link

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hythe-go/hythe"
)

// A Group has the links of a process, or of a part of it: it shows them all in
// one place, paces their attempts, and ends them together. The zero value is
// ready for use. Fields must not be changed once a link of the group has
// started. It is safe for concurrent use.
type Group struct {
	// Rate is how many attempts per second the links may begin together: 50.
	// Those that have to wait take turns. Negative: no limit.
	Rate float64

	// Burst is how many may begin at one moment if none has for a while: 5. It
	// must not be negative.
	Burst int

	// Server, if set, carries the typed connections of the links. It must not
	// serve anything else, and is closed with the group. Without it they have
	// one with a client's clocks: no FirstInput, no Idle and no Lifetime, and
	// no limit to the number of connections.
	Server *hythe.Server

	mu     sync.Mutex
	links  map[member]struct{}
	closed bool
	booked time.Time // when the last attempt would begin at an even pace
	own    host
}

// member is a Link of any type.
type member interface {
	status() Status
	Close() error
	Drain(ctx context.Context) error
	Done() <-chan struct{}
}

// A Status is a link's name and state.
type Status struct {
	Name string
	State
}

// String describes the status for people.
func (s Status) String() string { return s.Name + ": " + s.State.String() }

func (l *Link[C]) status() Status { return Status{l.name(), l.State()} }

// Links returns the state of every link of the group that has started and not
// ended, by name.
func (g *Group) Links() []Status {
	var all []Status
	for _, m := range g.members() {
		all = append(all, m.status())
	}
	slices.SortFunc(all, func(a, b Status) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func (g *Group) members() []member {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]member, 0, len(g.links))
	for m := range g.links {
		all = append(all, m)
	}
	return all
}

// Close closes all links, and those that would still join. Like Link.Close it
// does not wait. It returns nil.
func (g *Group) Close() error {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	for _, m := range g.members() {
		m.Close()
	}
	g.own.close()
	return nil
}

// Drain drains all links at once; see Link.Drain. It returns their errors.
func (g *Group) Drain(ctx context.Context) error {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	all := g.members()
	errs := make([]error, len(all))
	var drains sync.WaitGroup
	for i, m := range all {
		drains.Go(func() { errs[i] = m.Drain(ctx) })
	}
	drains.Wait()
	g.own.close()
	g.own.wait()
	return errors.Join(errs...)
}

// join takes a link that starts. It reports false when the group is closed. A
// nil group takes everybody.
func (g *Group) join(m member) bool {
	if g == nil {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	if g.links == nil {
		g.links = make(map[member]struct{})
	}
	g.links[m] = struct{}{}
	return true
}

func (g *Group) leave(m member) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.links, m)
}

// reserve returns when an attempt may begin, for which it books the place.
func (g *Group) reserve(now time.Time) time.Time {
	if g == nil || g.Rate < 0 {
		return now
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	each := time.Duration(float64(time.Second) / cmp.Or(g.Rate, 50))
	burst := each * time.Duration(cmp.Or(g.Burst, 5)-1)
	if g.booked.Before(now) {
		g.booked = now
	}
	at := g.booked.Add(-burst)
	g.booked = g.booked.Add(each)
	return at
}
