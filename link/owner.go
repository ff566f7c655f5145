package link

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// The owner is the goroutine that makes a link's transitions. What it does is
// written down in the order in which it happens:
//
//	connect   Connecting, once for each endpoint, until one works
//	hold      Up, until the connection is lost; again if failback has made another
//	pause     Waiting or Failed
//
// It never calls the user's code itself, the Observer aside, and each of its
// waits ends with Drain or Close.
type owner[C any] struct {
	*Link[C]
	random    func(n int64) int64
	endpoints endpoints
	throttle  throttle

	steps    int // pauses since the link was last well
	attempts int // attempts since then
	failures uint64
	cause    error // of the present trouble
	at       string
	hopeless bool          // all of this round's attempts failed with Permanent
	asked    time.Duration // the longest RetryAfter of this round; 0: none
	held     *up[C]        // while Up
}

func newOwner[C any](l *Link[C]) *owner[C] {
	o := &owner[C]{
		Link:      l,
		random:    l.random,
		endpoints: newEndpoints(l.Endpoints),
		throttle:  throttle{Throttle: l.Throttle},
	}
	if o.random == nil {
		o.random = rand.Int64N
	}
	return o
}

func (o *owner[C]) run() {
	for !o.over() {
		u := o.connect()
		for u != nil {
			u = o.hold(u)
		}
		if !o.over() {
			o.pause()
		}
	}
	o.finish()
}

// over reports whether Drain or Close has been called.
func (o *owner[C]) over() bool { return isClosed(o.ending) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// enter makes a transition, filling in what the owner knows, and has the
// subscribers told.
func (o *owner[C]) enter(p Phase, until time.Time) {
	o.Link.enter(State{
		Phase: p, Until: until, Attempt: o.attempts, Cause: o.cause, Endpoint: o.at, failures: o.failures,
	})
	o.subscribersSee(o.held)
}

// connect makes a round of attempts. It returns nil when none worked.
func (o *owner[C]) connect() *up[C] {
	o.hopeless, o.asked = true, 0
	o.forgetTryNow()
	for _, e := range o.endpoints.round(o.Order, o.failback(), o.random) {
		if !o.paced() {
			return nil
		}
		o.attempts++
		o.at = e.name
		o.enter(Connecting, time.Time{})
		t := o.begin(e, time.Now())
		var err error
		select {
		case err = <-t.done:
		case <-o.ending:
			t.abandon()
			return nil
		}
		if err = t.over(err); err == nil {
			return t.up
		}
		o.cause = err
		o.failed(e)
		o.hopeless = o.hopeless && isPermanent(err)
		o.asked = max(o.asked, askedFor(err))
	}
	return nil
}

func (o *owner[C]) forgetTryNow() {
	select {
	case <-o.now:
	default:
	}
}

// failed counts a failed attempt.
func (o *owner[C]) failed(e *endpoint) {
	e.failed()
	o.failures++
	o.mu.Lock()
	o.stats.Failures = o.failures
	o.mu.Unlock()
}

// paced waits until the throttle and the group allow an attempt. It reports
// whether one is to be made.
func (o *owner[C]) paced() bool {
	if !o.sleep(o.throttle.next(time.Now())) {
		return false
	}
	return o.sleep(o.Group.reserve(time.Now()))
}

// sleep waits, and reports whether the link goes on.
func (o *owner[C]) sleep(until time.Time) bool {
	pause := time.Until(until)
	if pause <= 0 {
		return !o.over()
	}
	o.enter(Waiting, until)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-o.ending:
		return false
	}
}

// pause waits for the next round.
func (o *owner[C]) pause() {
	phase, pause := Waiting, o.Backoff.pause(o.steps, o.random)
	o.steps++
	switch {
	case o.hopeless:
		phase = Failed
		if pause = clock(o.Probe, 5*time.Minute); pause < forever {
			pause = pause*9/10 + time.Duration(o.random(int64(pause/5)+1))
		}
	case o.asked > 0:
		pause = o.asked + time.Duration(o.random(int64(o.asked/10)+1))
	}
	var due <-chan time.Time
	var until time.Time
	if pause < forever {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		due, until = timer.C, time.Now().Add(pause)
	}
	o.enter(phase, until)
	select {
	case <-due:
	case <-o.now:
	case <-o.ending:
	}
}

// hold has the link up with u until u is lost. It returns the connection that
// takes u's place, if there is one already.
func (o *owner[C]) hold(u *up[C]) (next *up[C]) {
	o.held, o.at = u, u.target.name
	o.cur.Store(u)
	if isClosed(u.broken) {
		o.cur.CompareAndSwap(u, nil) // reported a moment ago
	}
	o.enter(Up, time.Time{})

	since := time.Now()
	ctx, cancel := context.WithCancelCause(context.Background())
	if o.Watch != nil {
		o.work.Go(func() { call(func() error { return o.Watch(ctx, u.conn) }, u.report) })
	}
	next = o.tend(ctx, u)
	cancel(u.cause)
	o.held, o.cause = nil, u.cause
	if o.Stable < 0 || time.Since(since) >= clock(o.Stable, 10*time.Second) {
		o.steps, o.attempts, u.target.fails = 0, 0, 0
	}
	switch {
	case next != nil:
		o.attempts = 1
		o.retire(u)
		return next
	case o.over():
		o.goodbye(u)
	default:
		u.target.failed()
		o.asked = askedFor(u.cause)
		o.hopeless = isPermanent(u.cause) && len(o.Endpoints) <= 1 // another one may be better
	}
	o.discard(u.conn)
	o.forgetTryNow()
	return nil
}

// tend does what there is to do while u is up. It returns when u has been
// reported: by somebody, because the link ends, or because next takes its place.
func (o *owner[C]) tend(ctx context.Context, u *up[C]) (next *up[C]) {
	check := newTimer(o.checkEvery())
	defer check.Stop()
	var checked chan struct{} // closed when a check is over

	back := newTimer(o.untilFailback(u))
	defer back.Stop()
	var t *try[C] // to the preferred endpoint
	var tried <-chan error

	for {
		select {
		case <-u.broken:
			if t != nil {
				t.abandon()
			}
			return nil
		case <-o.ending:
			if isClosed(o.closing) {
				u.report(ErrClosed)
			} else {
				u.report(ErrDraining)
			}
		case <-check.C:
			checked = make(chan struct{})
			o.check(ctx, u, checked)
		case <-checked:
			checked = nil
			check.Reset(o.checkEvery())
		case now := <-back.C:
			e := o.endpoints.better(u.target, o.failback())
			if e == nil || o.throttle.next(now).After(now) {
				back.Reset(o.untilFailback(u))
				break
			}
			t = o.begin(e, o.Group.reserve(now))
			tried = t.done
		case err := <-tried:
			if err = t.over(err); err == nil {
				u.report(ErrFailback)
				return t.up
			}
			o.failed(t.up.target)
			t, tried = nil, nil
			back.Reset(o.untilFailback(u))
		}
	}
}

func (o *owner[C]) timeout() time.Duration { return clock(o.Timeout, 30*time.Second) }

func (o *owner[C]) checkEvery() time.Duration {
	if o.Check == nil {
		return forever
	}
	return clock(o.CheckEvery, 30*time.Second)
}

// failback is how long an endpoint counts as bad after its first failure.
func (o *owner[C]) failback() time.Duration {
	if o.Failback < 0 {
		return time.Minute
	}
	return clock(o.Failback, time.Minute)
}

// untilFailback returns how long to stay with u before going back is considered.
func (o *owner[C]) untilFailback(u *up[C]) time.Duration {
	if u.target.rank == 0 || o.Order != InOrder || o.Failback < 0 {
		return forever
	}
	return o.failback() + time.Duration(o.random(int64(o.failback()/4)+1))
}

// check has Check look at u, and closes done.
func (o *owner[C]) check(ctx context.Context, u *up[C], done chan struct{}) {
	limit := min(o.checkEvery(), o.timeout())
	late := func() { u.report(fmt.Errorf("check: %w after %v", ErrTimeout, limit)) }
	timer := time.AfterFunc(limit, late)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, ErrTimeout)
	o.work.Go(func() {
		defer close(done)
		defer cancel()
		call(func() error { return o.Check(ctx, u.conn) }, func(err error) {
			timer.Stop()
			if ctx.Err() == context.DeadlineExceeded {
				late() // whatever it says
			} else if err != nil {
				u.report(fmt.Errorf("check: %w", err))
			}
		})
	})
}

// retire lets those finish who have a lease of u, for as long as an attempt may
// take, and discards it. A new connection is up.
func (o *owner[C]) retire(u *up[C]) {
	o.work.Go(func() {
		timer := newTimer(o.timeout())
		defer timer.Stop()
		select {
		case <-u.retire():
		case <-timer.C:
		case <-o.closing:
		}
		o.discard(u.conn)
	})
}

// goodbye lets those finish who use the link's last connection, if there is
// time.
func (o *owner[C]) goodbye(u *up[C]) {
	if u.cause != ErrDraining {
		return
	}
	o.enter(Draining, time.Time{})
	select {
	case <-u.retire():
	case <-o.closing:
		return
	}
	if c, ok := any(u.conn).(finisher); ok {
		ended := make(chan struct{})
		c.OnClose(func(error) { close(ended) })
		c.Shutdown()
		select {
		case <-ended:
		case <-o.closing:
		}
	}
}

// A finisher is a connection that can flush what was sent before it closes. A
// *hythe.Conn is one.
type finisher interface {
	Shutdown()
	OnClose(func(reason error)) (remove func() bool)
}

// finish is the link's end. It waits for everything that the link has started.
func (o *owner[C]) finish() {
	if o.cause != ErrDraining {
		o.cause = ErrClosed
	}
	o.enter(Closed, time.Time{})
	o.mu.Lock()
	o.ended = true
	o.subs = nil
	o.mu.Unlock()
	o.own.close()
	o.own.wait()
	o.work.Wait()
	o.Group.leave(o.Link)
	close(o.done)
}
