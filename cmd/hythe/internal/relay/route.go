package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hythe-go/hythe/spool"
)

// A Match says which messages a route takes. All that is set must hold.
type Match struct {
	Inputs []string          // names of inputs; none: all
	Prefix []byte            // of the body
	Header map[string]string // of the request that brought it
}

// takesFrom reports whether messages of an input can match at all.
func (m *Match) takesFrom(input string) bool {
	return len(m.Inputs) == 0 || slices.Contains(m.Inputs, input)
}

// simple reports whether the input is all that counts.
func (m *Match) simple() bool { return len(m.Prefix) == 0 && len(m.Header) == 0 }

// matches reports whether a message of the right input does.
func (m *Match) matches(msg *Message, header func(string) string) bool {
	if !bytes.HasPrefix(msg.Body, m.Prefix) {
		return false
	}
	for name, want := range m.Header {
		if header == nil || header(name) != want {
			return false
		}
	}
	return true
}

// RouteOptions are the settings of a Route.
type RouteOptions struct {
	Dir     string // of the spool
	DeadDir string // above the dead-letter spools
	Match   Match
	Discard bool // there is no spool: what is taken is gone
	Spool   spool.Options
	Dead    spool.Options
	Logger  *slog.Logger
}

// A Route keeps messages in a spool until all of its deliveries have settled them.
type Route struct {
	Name    string
	match   atomic.Pointer[Match]
	discard bool
	spool   *spool.Spool // nil if discard
	dir     string
	deadDir string
	dead    spool.Options
	options spool.Options
	logger  *slog.Logger
	first   uint64 // id of the first record since the start

	mu         sync.Mutex
	deliveries map[string]*Delivery // guarded by mu
	discarded  uint64               // guarded by mu
}

// OpenRoute opens the route's spool.
func OpenRoute(name string, o RouteOptions) (*Route, error) {
	r := &Route{
		Name: name, discard: o.Discard, dir: o.Dir, deadDir: o.DeadDir, dead: o.Dead, options: o.Spool,
		logger: o.Logger, deliveries: make(map[string]*Delivery),
	}
	r.match.Store(&o.Match)
	if r.logger == nil {
		r.logger = slog.New(slog.DiscardHandler)
	}
	if r.discard {
		return r, nil
	}
	s, err := spool.Open(o.Dir, o.Spool)
	if err != nil {
		return nil, fmt.Errorf("route %s: %w", name, err)
	}
	r.spool, r.first = s, s.Stats().Next
	return r, nil
}

// SetMatch changes which messages the route takes. Intakes must be told of it with
// SetRoutes.
func (r *Route) SetMatch(m Match) { r.match.Store(&m) }

// Deliver begins to deliver to the output of that name, over so many lanes, for
// each of which open makes an Output.
func (r *Route) Deliver(name string, lanes int, open func(lane int) (Output, error)) error {
	outputs := make([]Output, max(1, lanes))
	for i := range outputs {
		var err error
		if outputs[i], err = open(i); err != nil {
			return err
		}
	}
	d, err := newDelivery(r, name, lanes)
	if err != nil {
		return fmt.Errorf("route %s: output %s: %w", r.Name, name, err)
	}
	d.run(outputs)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deliveries[name] = d
	return nil
}

// Stop ends the delivery to an output. Its cursor stays, and keeps what was not
// delivered.
func (r *Route) Stop(name string) error {
	r.mu.Lock()
	d := r.deliveries[name]
	delete(r.deliveries, name)
	r.mu.Unlock()
	if d == nil {
		return nil
	}
	return d.end()
}

// all returns the deliveries in the order of their names.
func (r *Route) all() []*Delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]*Delivery, 0, len(r.deliveries))
	for _, d := range r.deliveries {
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b *Delivery) int { return strings.Compare(a.name, b.name) })
	return list
}

// ErrNoDelivery means that a route has no such output.
var ErrNoDelivery = errors.New("relay: no such output")

// Requeue takes the dead letters of an output up again, for that output alone, and
// returns how many there were.
func (r *Route) Requeue(ctx context.Context, output string) (int, error) {
	r.mu.Lock()
	d := r.deliveries[output]
	r.mu.Unlock()
	if d == nil {
		return 0, fmt.Errorf("%w: %s", ErrNoDelivery, output)
	}
	return d.requeue(ctx)
}

// Drained reports whether everything was delivered, and whether an output that
// is behind has a connection, so that it is worth waiting for.
func (r *Route) Drained() (empty, moving bool) {
	empty = true
	for _, d := range r.all() {
		if d.backlog() == 0 {
			continue
		}
		empty = false
		moving = moving || d.moving()
	}
	return empty, moving
}

// Close ends all deliveries and closes the spool. The route can still say what it
// has done.
func (r *Route) Close() error {
	var errs []error
	var work sync.WaitGroup
	var mu sync.Mutex
	for _, d := range r.all() {
		work.Go(func() {
			if err := d.end(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	work.Wait()
	if r.spool != nil {
		errs = append(errs, r.spool.Close())
	}
	return errors.Join(errs...)
}

// append makes envelopes durable, and waits for it.
func (r *Route) append(envelopes [][]byte) error {
	if r.discard {
		r.discardThem(len(envelopes))
		return nil
	}
	_, err := r.spool.Append(envelopes...)
	return err
}

// submit is append that does not wait.
func (r *Route) submit(envelopes [][]byte, done func(error)) error {
	if r.discard {
		r.discardThem(len(envelopes))
		done(nil)
		return nil
	}
	return r.spool.Submit(envelopes, func(_ uint64, err error) { done(err) })
}

func (r *Route) discardThem(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.discarded += uint64(n)
}
