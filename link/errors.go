package link

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Causes and errors.
var (
	// ErrClosed means that the link has been closed.
	ErrClosed = errors.New("link: closed")

	// ErrDraining means that the link drains, and gives nothing out.
	ErrDraining = errors.New("link: draining")

	// ErrTimeout is the cause when an attempt took longer than Link.Timeout, or
	// a check its time.
	ErrTimeout = errors.New("link: timed out")

	// ErrLost is the cause when a connection was reported without one.
	ErrLost = errors.New("link: connection lost")

	// ErrNoConn is the cause when Dial returned neither a connection nor an
	// error.
	ErrNoConn = errors.New("link: Dial returned nil")

	// ErrStuck is the cause when Dial was not even called, because four calls
	// of it ignore that their time is up.
	ErrStuck = errors.New("link: earlier calls of Dial have not returned")

	// ErrFailback is the cause when a connection made room for one to the
	// preferred endpoint.
	ErrFailback = errors.New("link: back to the preferred endpoint")
)

// A DownError says why there is no connection. It matches Err and the State's
// Cause.
type DownError struct {
	Name  string // the link's
	State State  // when the wait was over: with the cause, the attempts and the next one
	Err   error  // why the wait was over: the context's cause, ErrClosed or ErrDraining; nil: the state says it all
}

func (l *Link[C]) down(st State, err error) *DownError { return &DownError{l.name(), st, err} }

func (e *DownError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "link %s: %v", e.Name, e.State)
	if e.Err != nil && !errors.Is(e.State.Cause, e.Err) {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return b.String()
}

// Unwrap returns Err and the cause.
func (e *DownError) Unwrap() []error {
	var errs []error
	for _, err := range []error{e.Err, e.State.Cause} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// Permanent marks an error of Dial or OnUp, a wrong password say, as one that
// trying again will not cure. A link whose endpoints all fail like that goes to
// the state Failed, and so does one with a single endpoint when that is why
// a connection is reported broken. It matches what err matches; Permanent(nil) is
// nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanent{err}
}

type permanent struct{ err error }

func isPermanent(err error) bool {
	_, ok := errors.AsType[*permanent](err)
	return ok
}

func (e *permanent) Error() string { return e.err.Error() }
func (e *permanent) Unwrap() error { return e.err }

// RetryAfter marks an error of Dial or OnUp, or why a connection is reported
// broken, with the time that the other side has asked for: the pause after it is d, and up to a tenth more, whatever the
// backoff says. It matches what err matches; RetryAfter(nil, d) is nil.
func RetryAfter(err error, d time.Duration) error {
	if err == nil {
		return nil
	}
	return &retryAfter{err, d}
}

// askedFor returns the time that the other side has asked for, or 0.
func askedFor(err error) time.Duration {
	if r, ok := errors.AsType[*retryAfter](err); ok {
		return r.d
	}
	return 0
}

type retryAfter struct {
	err error
	d   time.Duration
}

func (e *retryAfter) Error() string { return e.err.Error() }
func (e *retryAfter) Unwrap() error { return e.err }
