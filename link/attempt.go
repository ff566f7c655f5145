package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/hythe-go/hythe"
)

// An Attempt is what Dial is told.
type Attempt struct {
	Endpoint string // one of Link.Endpoints
	Number   int    // 1 for the first since the link was last well
	Last     error  // why the attempt, or the connection, before this one failed; nil at first

	// Report says that the connection which this attempt makes is broken. It
	// may be called at any time, from anywhere and more than once: once the
	// connection is no longer the link's it does nothing. It is made to be
	// handed to a library's callback.
	Report func(cause error)

	host func() (*hythe.Server, error)
}

// A try is an attempt that is being made.
type try[C any] struct {
	up      *up[C]
	link    *Link[C]
	ctx     context.Context
	cancel  context.CancelFunc
	done    chan error  // has room for the result, which comes unless the try is abandoned
	settled atomic.Bool // the result is in done, or the try is abandoned
}

// maxStuck is how many calls of Dial may run that have been left behind.
const maxStuck = 4

// grace is how long a Dial has to return when its time is up. Its error then
// says more than that.
const grace = 100 * time.Millisecond

// begin begins an attempt at e, which is made at the given time.
func (o *owner[C]) begin(e *endpoint, at time.Time) *try[C] {
	o.throttle.note(time.Now())
	o.mu.Lock()
	o.stats.Attempts++
	o.mu.Unlock()
	t := &try[C]{
		up:   &up[C]{link: o.Link, target: e, broken: make(chan struct{})},
		link: o.Link,
		done: make(chan error, 1),
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	if o.stuck.Load() >= maxStuck {
		t.settled.Store(true)
		t.done <- ErrStuck
		return t
	}
	delay := max(time.Until(at), 0)
	late := func() bool { return true }
	if limit := o.timeout(); limit < forever {
		t.ctx, t.cancel = context.WithTimeoutCause(t.ctx, delay+limit, ErrTimeout)
		late = time.AfterFunc(delay+limit+grace, t.leave).Stop
	}
	a := Attempt{Endpoint: e.name, Number: o.attempts, Last: o.cause, Report: t.up.report, host: o.host}
	o.work.Go(func() {
		call(func() error { return t.run(a, delay) }, func(err error) {
			late()
			if t.settled.CompareAndSwap(false, true) {
				t.done <- err
				return
			}
			t.link.stuck.Add(-1)
			if err == nil {
				t.link.discard(t.up.conn)
			}
		})
	})
	return t
}

// leave gives up waiting for a Dial that does not return.
func (t *try[C]) leave() {
	if t.settled.CompareAndSwap(false, true) {
		t.link.stuck.Add(1)
		t.done <- ErrTimeout
	}
}

// abandon leaves the attempt to itself. Its connection, if it makes one after
// all, is discarded.
func (t *try[C]) abandon() {
	t.cancel()
	if t.settled.CompareAndSwap(false, true) {
		t.link.stuck.Add(1)
	} else if <-t.done == nil {
		t.link.discard(t.up.conn)
	}
}

// run makes the attempt.
func (t *try[C]) run(a Attempt, delay time.Duration) error {
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-t.ctx.Done():
			return context.Cause(t.ctx)
		}
	}
	l := t.link
	c, err := l.Dial(t.ctx, a)
	if err != nil {
		return err
	}
	if isNil(c) {
		return ErrNoConn
	}
	fine := false
	defer func() { // OnUp may panic
		if !fine {
			l.discard(c)
		}
	}()
	if l.OnUp != nil {
		if err := l.OnUp(t.ctx, c); err != nil {
			return err
		}
	}
	t.up.conn = c
	fine = true
	return nil
}

// over ends the try with its result, which it completes.
func (t *try[C]) over(err error) error {
	timeout := t.ctx.Err() != nil
	t.cancel()
	if err == nil && isClosed(t.up.broken) {
		t.link.discard(t.up.conn)
		return t.up.cause
	}
	if err != nil && timeout && !errors.Is(err, ErrTimeout) {
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	return err
}

// discard closes c on a goroutine of its own. It is called by the owner, and by
// goroutines that the owner waits for.
func (l *Link[C]) discard(c C) {
	l.work.Go(func() {
		call(func() error {
			if l.Discard != nil {
				l.Discard(c)
			} else if c, ok := any(c).(io.Closer); ok {
				c.Close()
			}
			return nil
		}, l.panicked)
	})
}

// isNil reports whether c is nothing at all.
func isNil(c any) bool {
	v := reflect.ValueOf(c)
	switch v.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Pointer, reflect.Map, reflect.Chan, reflect.Func:
		return v.IsNil()
	}
	return false
}
