package link

import (
	"cmp"
	"runtime/debug"
	"time"

	"github.com/hythe-go/hythe"
)

// call calls f and then done, with f's error or with what stands for its panic.
// That f ends its goroutine counts as one.
func call(f func() error, done func(error)) {
	var err error = &hythe.PanicError{} // unless f returns
	defer func() {
		if v := recover(); v != nil {
			err = &hythe.PanicError{Value: v, Stack: debug.Stack()}
		}
		done(err)
	}()
	err = f()
}

// forever stands for a clock that is off.
const forever = time.Duration(1 << 62)

// newTimer is time.NewTimer that knows forever.
func newTimer(d time.Duration) *time.Timer {
	t := time.NewTimer(d)
	if d == forever {
		t.Stop()
	}
	return t
}

// clock returns d, with its default, or forever if it is off.
func clock(d, def time.Duration) time.Duration {
	if d < 0 {
		return forever
	}
	return cmp.Or(d, def)
}
