package listen

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// A Class says what to do about an error of accept.
type Class uint8

// The classes of accept errors.
const (
	// ClassFatal: the listener is of no use any more (EBADF, EINVAL, ENOTSOCK,
	// and every error not known).
	ClassFatal Class = iota

	// ClassRetry: nothing is wrong with the listener, accept again: the call was
	// interrupted, the connection went away while it waited, or, on Linux, its
	// pending network error is reported by accept(2).
	ClassRetry

	// ClassShortage: no descriptors or memory, or a firewall forbids it: accept
	// again after a while.
	ClassShortage

	// ClassClosed: the listener was closed on our side.
	ClassClosed
)

// String returns the class in one word.
func (c Class) String() string {
	switch c {
	case ClassFatal:
		return "fatal"
	case ClassRetry:
		return "retry"
	case ClassShortage:
		return "shortage"
	case ClassClosed:
		return "closed"
	}
	return fmt.Sprintf("Class(%d)", uint8(c))
}

// Classify returns the class of an error of accept, by the system call error it
// holds. Of errors that hold none, those of listeners made elsewhere,
// net.ErrClosed is ClassClosed, and those with a method Temporary that says true
// are ClassShortage. A nil error is ClassRetry.
func Classify(err error) Class {
	if err == nil {
		return ClassRetry
	}
	if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed) {
		return ClassClosed
	}
	if class, known := classifyErrno(err); known {
		return class
	}
	var t interface{ Temporary() bool }
	if errors.As(err, &t) && t.Temporary() && !errors.Is(err, os.ErrDeadlineExceeded) {
		return ClassShortage
	}
	return ClassFatal
}
