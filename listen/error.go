package listen

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// ErrNotAdmitted is returned by [Listener.AcceptFD] when a connection waits but
// admit refused it. The connection stays in the backlog.
var ErrNotAdmitted = errors.New("hythe: accept: not admitted")

// An Error is one failed step on the way to a listening socket or to a new one
// in its place. Several come joined, so use errors.As and errors.Is:
//
//	errors.Is(err, syscall.EADDRINUSE)
//	var e *listen.Error; errors.As(err, &e) // the first attempt
type Error struct {
	// Op is the step: "resolve", "inherit" or "mem"; before a Unix path is
	// bound "flock", "probe" and "unlink"; and "socket", "setsockopt", "bind",
	// "chown", "chmod" and "listen", as the system calls.
	Op       string
	Endpoint Endpoint
	Addr     net.Addr // nil before an address is known
	Err      error    // *os.SyscallError for a system call, *net.DNSError for a name
}

func (e *Error) Error() string {
	where := e.Endpoint.String()
	if e.Addr != nil && e.Endpoint.Scheme != SchemeUnix {
		where += " at " + e.Addr.String()
	}
	if _, named := e.Err.(*os.SyscallError); named {
		return fmt.Sprintf("%s: %v", where, e.Err)
	}
	return fmt.Sprintf("%s: %s: %v", where, e.Op, e.Err)
}

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }

// A DescriptorError says why an inherited descriptor cannot be listened on.
type DescriptorError struct {
	FD      int
	Problem string
	Err     error // the system call that told, if one failed
}

func (e *DescriptorError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("descriptor %d %s: %v", e.FD, e.Problem, e.Err)
	}
	return fmt.Sprintf("descriptor %d %s", e.FD, e.Problem)
}

// Unwrap returns e.Err.
func (e *DescriptorError) Unwrap() error { return e.Err }
