package link

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
)

// A Link keeps one outbound connection alive. Dial must be set; every other
// field has a default. Fields must not be changed once the link has started,
// and a Link must not be copied.
//
// A link starts with the first call of Start, Get, Try, Wait, Acquire, Subscribe
// or TryNow, or when the first Events are read. Starting never fails because
// nobody is there yet.
//
// In fields that are durations zero means the default, and a negative one that
// there is no such clock.
type Link[C any] struct {
	// Name is what errors, events and log lines call the link. The default is
	// the first endpoint.
	Name string

	// Dial makes a connection. It runs on a goroutine of its own; ctx ends with
	// the attempt: when the time is up or the link is closed, and when the
	// attempt is over. A Dial that ignores ctx is left behind, what it returns
	// in the end is discarded, and at most four of them are.
	//
	// An error may be marked with Permanent or RetryAfter. A nil pointer or
	// interface without an error is a failure too, and so is a panic, which the
	// cause then holds as a *hythe.PanicError.
	Dial func(ctx context.Context, a Attempt) (C, error)

	// OnUp, if set, is called with each new connection before anybody else has
	// it: to log in, to subscribe again, to look whether this is the server
	// that may be written to. It is part of the attempt: it has the rest of its
	// time, and if it fails, the attempt has failed.
	OnUp func(ctx context.Context, c C) error

	// Check, if set, looks every CheckEvery (30 s) whether the connection is
	// still of use, in its role as well as in its health. It has that long, at
	// most Timeout; an error means that the connection is broken.
	Check      func(ctx context.Context, c C) error
	CheckEvery time.Duration

	// Watch, if set, is called with each connection and returns when it has
	// died, saying why, or when ctx ends. Attempt.Report does the same for a
	// library that rather calls back.
	Watch func(ctx context.Context, c C) error

	// Discard closes a connection. The default calls its Close method, if it
	// has one. It is called once for every connection that Dial returned
	// without an error.
	Discard func(c C)

	// Endpoints are what Dial finds in Attempt.Endpoint. A round of attempts
	// goes through all of them, one after the other, until one works: in their
	// Order, but those that have failed lately come last. Without any,
	// Attempt.Endpoint is empty.
	Endpoints []string
	Order     Order

	// Failback is how long a link that is not up at its preferred endpoint
	// waits before it tries to get back: 1 min, and up to a quarter more. It
	// tries on the side, and changes over when the new connection is up. Each
	// failure in a row doubles the time, up to 32 times. With RandomOrder none
	// is preferred.
	Failback time.Duration

	// Timeout bounds an attempt, from the look-up of names to the end of OnUp:
	// 30 s.
	Timeout time.Duration

	// Backoff is the pause between two rounds of attempts.
	Backoff Backoff

	// Stable is how long a connection must have been up to count as well: 10 s.
	// After one that dies earlier the backoff goes on from where it was.
	Stable time.Duration

	// Throttle bounds attempts whatever the reason for them.
	Throttle Throttle

	// Probe is the pause of a link that has Failed: 5 min, give or take a
	// tenth. Negative: it waits for TryNow.
	Probe time.Duration

	// Group, if set, is the group that the link belongs to while it runs.
	Group *Group

	// Observer, if set, is told every transition, in order, by the goroutine
	// that makes them, and of panics, by the goroutine that panicked. It must
	// not block. No lock is held.
	Observer func(Event)

	// Logger, if set, gets a line for every transition: Warn when there is no
	// connection, Error when the link has failed or a callback panicked, Info
	// for Up, Draining and Closed, Debug for the rest.
	Logger *slog.Logger

	random func(n int64) int64 // for tests; nil: math/rand/v2

	cur      atomic.Pointer[up[C]] // what Conn returns
	stuck    atomic.Int32          // calls of Dial that were left behind
	initOnce sync.Once
	ending   chan struct{} // closed by Drain and Close, under mu
	closing  chan struct{} // closed by Close, under mu
	done     chan struct{} // closed when nothing runs any more
	now      chan struct{} // TryNow's, with room for one
	work     sync.WaitGroup

	// What follows is guarded by mu.
	mu      sync.Mutex
	started bool
	invalid error // what is wrong with the fields
	ended   bool  // nothing is started any more
	state   State
	changed chan struct{} // closed at the next transition; nil: nobody waits for it
	history history
	stats   Stats
	subs    map[any]*subscription[C]
	target  *up[C]                    // what subscribers are to know
	flush   func(ctx context.Context) // a Client's: what comes first in Drain
	own     host                      // used without a Group
}

func (l *Link[C]) init() {
	l.initOnce.Do(func() {
		l.ending, l.closing, l.done = make(chan struct{}), make(chan struct{}), make(chan struct{})
		l.now = make(chan struct{}, 1)
	})
}

// Start starts the link, if that has not happened yet. It does not wait for a
// connection. The error says that the link cannot work as it was set up, names
// every field that is wrong, and leaves the link Closed.
func (l *Link[C]) Start() error {
	l.init()
	l.mu.Lock()
	first := !l.started
	if first {
		l.started = true
		l.invalid = l.validate()
	}
	err := l.invalid
	l.mu.Unlock()
	switch {
	case !first:
	case err != nil:
		l.neverRun(err)
	case !l.Group.join(l):
		l.neverRun(ErrClosed)
	default:
		go newOwner(l).run() // closes done
	}
	return err
}

// neverRun ends a link that has no owner.
func (l *Link[C]) neverRun(cause error) {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.enter(State{Phase: Closed, Cause: cause})
	close(l.done)
}

func (l *Link[C]) validate() error {
	var errs []error
	if l.Dial == nil {
		errs = append(errs, errors.New("link: Link.Dial is nil"))
	}
	if f := l.Backoff.Factor; f != 0 && !(f >= 1) {
		errs = append(errs, errors.New("link: Link.Backoff.Factor is below 1"))
	}
	if l.Order > RandomOrder {
		errs = append(errs, errors.New("link: Link.Order is unknown"))
	}
	return errors.Join(errs...)
}

// Conn returns the connection if the link is up. It never waits, takes no lock
// and does not start the link.
func (l *Link[C]) Conn() (c C, ok bool) {
	if u := l.cur.Load(); u != nil {
		return u.conn, true
	}
	return c, false
}

// Get returns the connection, waiting until the link is up. Its error is a
// *DownError, which says what the link was waiting for: when ctx is done, when
// the link is closed or drains, and at once while the link has Failed.
func (l *Link[C]) Get(ctx context.Context) (C, error) {
	if u := l.cur.Load(); u != nil {
		return u.conn, nil
	}
	return l.connOf(l.await(ctx, patience{}))
}

func (l *Link[C]) connOf(u *up[C], err error) (c C, _ error) {
	if err != nil {
		return c, err
	}
	return u.conn, nil
}

// Try is Get for who does not want to wait through more than so many failed
// attempts, counted from the call.
func (l *Link[C]) Try(ctx context.Context, failures int) (C, error) {
	return l.connOf(l.await(ctx, patience{failures: max(failures, 1)}))
}

// Wait is Get for who only wants to know.
func (l *Link[C]) Wait(ctx context.Context) error {
	_, err := l.Get(ctx)
	return err
}

// patience says what a wait puts up with.
type patience struct {
	failures int  // failed attempts; 0: any number
	failed   bool // the state Failed
}

// await waits until the link is up.
func (l *Link[C]) await(ctx context.Context, p patience) (*up[C], error) {
	from := l.State().failures
	if err := l.Start(); err != nil {
		return nil, l.down(l.State(), err)
	}
	for {
		l.mu.Lock()
		st, changed := l.state, l.changes()
		l.mu.Unlock()
		if u := l.cur.Load(); u != nil { // after changes, which tells of a later one
			return u, nil
		}
		switch {
		case st.Phase == Closed:
			return nil, l.down(st, ErrClosed)
		case st.Phase == Draining:
			return nil, l.down(st, ErrDraining)
		case st.Phase == Failed && !p.failed:
			return nil, l.down(st, nil)
		case p.failures > 0 && st.failures-from >= uint64(p.failures):
			return nil, l.down(st, nil)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, l.down(l.State(), context.Cause(ctx))
		}
	}
}

// changes returns a channel that is closed at the next transition. l.mu is held.
func (l *Link[C]) changes() <-chan struct{} {
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return l.changed
}

// Report says that c, which came from this link, is broken: the link drops it
// and makes another. It returns false, and nothing happens, when c is not the
// connection that the link has now, so that calling it twice, or late, does no
// harm. A C that cannot be compared is never recognised; use a Lease for that,
// or Attempt.Report.
func (l *Link[C]) Report(c C, cause error) bool {
	u := l.cur.Load()
	if u == nil || !same(u.conn, c) {
		return false
	}
	u.report(cause)
	return true
}

func same[C any](a, b C) bool {
	v, w := reflect.ValueOf(&a).Elem(), reflect.ValueOf(&b).Elem()
	return v.Comparable() && w.Comparable() && any(a) == any(b)
}

// TryNow ends the pause that the link is in, whatever its length. Only the
// throttle and the group's pace still hold it up. It has no effect on a link
// that is up; during an attempt it shortens the pause that follows if it fails.
func (l *Link[C]) TryNow() {
	l.Start()
	select {
	case l.now <- struct{}{}:
	default:
	}
}

// Close ends the link now: attempts are abandoned, the connection is discarded,
// and everybody hears of it. It does not wait, so it can be called from
// anywhere; Done tells when nothing runs any more. It returns nil.
func (l *Link[C]) Close() error {
	l.end(true)
	return nil
}

// Drain ends the link in peace: the connection is not handed out any more, and
// is discarded when every Lease of it has been released. A connection that can
// finish what was sent, as a hythe.Conn can, is given the time for it. Drain
// returns nil when nothing runs any more, subscribers included, and closes the
// link when ctx is done before that. A callback that calls it without such a ctx
// waits for itself; Close is for callbacks.
func (l *Link[C]) Drain(ctx context.Context) error {
	l.init()
	l.mu.Lock()
	flush := l.flush
	l.mu.Unlock()
	if flush != nil {
		flush(ctx)
	}
	l.end(false)
	select {
	case <-l.done:
		return nil
	case <-ctx.Done():
		l.Close()
		return l.down(l.State(), context.Cause(ctx))
	}
}

// Done returns a channel that is closed when the link has ended and nothing
// that it started runs any more.
func (l *Link[C]) Done() <-chan struct{} {
	l.init()
	return l.done
}

func (l *Link[C]) end(now bool) {
	l.init()
	l.mu.Lock()
	if !isClosed(l.ending) {
		close(l.ending)
	}
	if now && !isClosed(l.closing) {
		close(l.closing)
	}
	idle := !l.started
	l.started = true
	l.mu.Unlock()
	cause := ErrDraining
	if now {
		cause = ErrClosed
	}
	if u := l.cur.Load(); u != nil {
		u.report(cause) // Conn has nothing any more when Close returns
	}
	if idle {
		l.neverRun(ErrClosed)
	}
}

// spawn runs f on a goroutine that the link's end waits for. It returns false
// when the link has ended.
func (l *Link[C]) spawn(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	l.work.Go(f)
	return true
}

func (l *Link[C]) name() string {
	switch {
	case l.Name != "":
		return l.Name
	case len(l.Endpoints) > 0:
		return l.Endpoints[0]
	}
	return "unnamed"
}
