package hythe

import (
	"errors"
	"fmt"
	"net"
)

// A Reason says why a connection ended. Each connection ends once, for one
// reason, which its log line, its context's cause, its Disconnected hook, its
// OnClose functions, the server's statistics and the drain report all show.
//
// A Reason is an error, so that errors.Is(context.Cause(ctx), hythe.Idle) tells
// whether the idle clock ended a connection.
type Reason uint8

// The reasons. The zero Reason belongs to a connection that has not ended.
const (
	_ Reason = iota

	// The peer, or both sides in peace.

	PeerDone  // the peer finished sending and everything owed to it was delivered
	PeerReset // the peer broke the connection, or the network did
	Finished  // the session or the conversation ended it: Shutdown, or a return
	Closed    // Close was called
	Detached  // the connection was handed to other code, and lives on

	// The connection's own fault.

	BadFrame      // the input could not be decoded
	FrameTooLarge // a frame was larger than the limit
	Truncated     // the input ended inside a frame
	Failed        // a hook or the conversation returned an error
	Panicked      // a hook or the conversation panicked

	// The clocks.

	HandshakeTimeout // PreConnect or the TLS handshake took too long
	InputTimeout     // no first frame in time, or a frame was not completed in time
	Idle             // nothing was received and nothing sent for too long
	WriteStalled     // the peer took no byte for too long
	Expired          // the connection reached its greatest age

	// Admission.

	Refused         // there was no room for it
	Denied          // PreConnect said no
	HandshakeFailed // the TLS handshake failed
	Shed            // it was ended to make room for another
	Slow            // it could not keep up with its group
	Overload        // the byte budget was used up

	// The server's end.

	Drained      // the server drained; nothing was lost
	DrainTimeout // the server drained, and the connection did not finish in time
	ServerClosed // the server was closed

	numReasons = iota
)

var reasonNames = [numReasons]string{
	0:                "live",
	PeerDone:         "peer done",
	PeerReset:        "peer reset",
	Finished:         "finished",
	Closed:           "closed",
	Detached:         "detached",
	BadFrame:         "bad frame",
	FrameTooLarge:    "frame too large",
	Truncated:        "truncated",
	Failed:           "failed",
	Panicked:         "panicked",
	HandshakeTimeout: "handshake timeout",
	InputTimeout:     "input timeout",
	Idle:             "idle",
	WriteStalled:     "write stalled",
	Expired:          "expired",
	Refused:          "refused",
	Denied:           "denied",
	HandshakeFailed:  "handshake failed",
	Shed:             "shed",
	Slow:             "slow",
	Overload:         "overload",
	Drained:          "drained",
	DrainTimeout:     "drain timeout",
	ServerClosed:     "server closed",
}

// String returns the reason in words, as in "write stalled". They are stable
// and fit for a metric's label.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// Error is String.
func (r Reason) Error() string { return "hythe: " + r.String() }

// Reasons returns all reasons, in order.
func Reasons() []Reason {
	all := make([]Reason, 0, numReasons-1)
	for r := Reason(1); r < numReasons; r++ {
		all = append(all, r)
	}
	return all
}

// A CloseError says how a connection ended. It matches its Reason, whatever Err
// matches, and net.ErrClosed.
type CloseError struct {
	Reason Reason
	Err    error // what lies behind the reason; nil when that says it all
}

func (e *CloseError) Error() string {
	if e.Err == nil {
		return e.Reason.Error()
	}
	return e.Reason.Error() + ": " + e.Err.Error()
}

// Is reports whether target is e's Reason or net.ErrClosed.
func (e *CloseError) Is(target error) bool { return target == e.Reason || target == net.ErrClosed }

// Unwrap returns Err.
func (e *CloseError) Unwrap() error { return e.Err }

// A PanicError is the Err of a connection that ended because its code panicked.
type PanicError struct {
	Value any    // what was passed to panic; nil after runtime.Goexit
	Stack []byte // the goroutine's stack at that point
}

func (e *PanicError) Error() string {
	if e.Value == nil {
		return "runtime.Goexit in a hook"
	}
	return fmt.Sprintf("panic: %v", e.Value)
}

// Unwrap returns the value of the panic if it was an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Errors of a Conn's and a Stream's methods.
var (
	// ErrFull means that a bounded queue had no room: TrySend above the high
	// water mark, Post with its queue full.
	ErrFull = errors.New("hythe: queue full")

	// ErrDraining ends a conversation's input while the server drains.
	ErrDraining = errors.New("hythe: draining")

	// ErrNotHere means that the call does not belong to this form of session:
	// Receive outside a conversation, Post to a session without Posted.
	ErrNotHere = errors.New("hythe: not available in this form of session")
)

// Errors of a Server.
var (
	// ErrServerClosed is returned by Serve after Close, and by a Serve or an
	// Attach that comes when a drain or Close has begun.
	ErrServerClosed = errors.New("hythe: server closed")

	// ErrServing is returned by Serve while the server serves already, be it
	// only what was given to Attach.
	ErrServing = errors.New("hythe: server has been started before")
)

// badInput marks an error as the peer's fault.
type badInput struct{ err error }

func (e badInput) Error() string { return e.err.Error() }
func (e badInput) Unwrap() error { return e.err }

// BadInput marks an error that a Protocol's Input returns as the peer's: what
// it sent could not be understood. Without it an error counts as the protocol's
// own failure.
func BadInput(err error) error { return badInput{err} }
