package output

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hythe-go/hythe/link"
)

// verdicts carry what an answer said of its endpoint to the next attempt there. A
// link listens to link.Permanent and link.RetryAfter when an attempt fails. That
// nothing can be delivered shows only later, when it is up: then the connection is
// reported as broken, and the attempt that follows fails with the verdict. The one
// after that is made in earnest.
type verdicts struct {
	mu sync.Mutex
	at map[string]verdict // by endpoint. Guarded by mu
}

type verdict struct {
	err   error
	until time.Time // when the endpoint wants to be asked again; zero: it has to be mended first
}

// pass returns what the last answer makes of an attempt; nil: it may be made.
func (v *verdicts) pass(endpoint string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	last, ok := v.at[endpoint]
	delete(v.at, endpoint)
	switch {
	case !ok:
		return nil
	case last.until.IsZero():
		return link.Permanent(last.err)
	case time.Until(last.until) <= 0:
		return nil
	}
	return link.RetryAfter(last.err, time.Until(last.until))
}

// of returns what a delivery has failed with, and keeps the verdict if it is one.
func (v *verdicts) of(endpoint string, err error) error {
	var last verdict
	switch e := err.(type) {
	case *hopelessError:
		last.err = e
	case *laterError:
		last = verdict{e, time.Now().Add(e.pause)}
	default:
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.at == nil {
		v.at = make(map[string]verdict)
	}
	v.at[endpoint] = last
	return err
}

// A hopelessError is one that somebody has to do something about. Nothing is
// dropped for it.
type hopelessError struct{ err error }

func (e *hopelessError) Error() string { return e.err.Error() }
func (e *hopelessError) Unwrap() error { return e.err }

func hopeless(format string, args ...any) error {
	return &hopelessError{fmt.Errorf(format, args...)}
}

// A laterError is an answer that says when to come back.
type laterError struct {
	text  string
	pause time.Duration
}

func (e *laterError) Error() string { return e.text }

// An unwantedError says that the other side will never take what it was sent.
type unwantedError struct{ text string }

func (e *unwantedError) Error() string { return e.text }

// whichever returns a context that ends with either.
func whichever(ctx, other context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(other, func() { cancel(context.Cause(other)) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}
