package memnet

import "time"

// A deadline is the time after which the calls of one direction fail. The zero
// value never passes. The lock of the half it belongs to guards it.
type deadline struct {
	at    time.Time // zero: none; always on the monotonic clock, whatever the caller gave
	timer *time.Timer
	wake  func() // lets the waiters look again; called without the lock
}

// passed reports whether the deadline has been reached. It asks the clock, not
// the timer, so that two things due at the same instant cannot disagree.
func (d *deadline) passed() bool {
	return !d.at.IsZero() && !time.Now().Before(d.at)
}

// set moves the deadline. When it passes, wake is called, and at times also
// when it has not. If it has passed already, waking is up to the caller.
func (d *deadline) set(t time.Time) {
	d.stop()
	if t.IsZero() {
		return
	}
	wait := time.Until(t)
	d.at = time.Now().Add(wait)
	switch {
	case wait <= 0:
	case d.timer == nil:
		d.timer = time.AfterFunc(wait, d.wake)
	default:
		d.timer.Reset(wait)
	}
}

// stop removes the deadline.
func (d *deadline) stop() {
	d.at = time.Time{}
	if d.timer != nil {
		d.timer.Stop()
	}
}
