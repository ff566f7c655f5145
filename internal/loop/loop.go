// Package loop runs the turns of many connections on a few goroutines. It is
// the only place that knows epoll and raw reads.
//
// A [Set] has one loop for each processor. A loop is an epoll set and whoever
// leads it: a goroutine that waits for events and runs the tasks' turns itself,
// so that a turn costs no switch of goroutines. A turn may block all the same.
// A watchdog sees that a leader has been inside one turn for about a
// millisecond, takes the loop from it and starts another leader; the old one
// finishes its turn and ends.
//
// # Who owns what
//
//	Loop.evs, next, count, run    the leader. They pass from one leader to the
//	                              next through the compare-and-swap on
//	                              Loop.state that the old one loses
//	Loop.wake, wheel              their mutexes
//	Node                          the package; the task only embeds it
//	Worker                        the goroutine that runs the turn
//
// Events are edges: one is delivered once, to whichever task has the
// descriptor at that moment, and is only a hint. A task must read or write
// until the kernel says that it would block before it may wait for the next.
package loop

import (
	"errors"
	"time"
)

// Events says what may have become possible with a descriptor.
type Events uint32

const (
	Readable Events = 1 << iota // there may be something to read
	Writable                    // there may be room to write
	PeerDone                    // the peer has finished sending; what it sent may still wait
	Hangup                      // the connection is over in both directions
	Expired                     // the time given to Arm has passed
)

// A Task is what a loop runs: one connection.
type Task interface {
	// Ready tells of events. It is called by a loop's leader, or by a
	// goroutine of its own, and may be called while another turn of the same
	// task is running: the task must see to it that its turns do not overlap.
	Ready(w *Worker, ev Events)

	// Run runs a turn that Node.Schedule asked for.
	Run(w *Worker)

	// Late says, once for each turn, that the turn has been running for so
	// long that the loop goes on without it. Called on another goroutine.
	Late()
}

// A Worker is what a goroutine that runs turns brings along.
type Worker struct {
	// Buf is room to read into. What is in it is the turn's until it ends.
	Buf []byte

	// Now is the set's clock a short while ago.
	Now int64

	// Inline says that the caller will write, blocking, what the turn leaves
	// in Owes. Neither is the loops' concern.
	Inline, Owes bool

	state uint64 // the loop's state while the worker leads it inside a turn
}

const (
	leaderBuf = 64 << 10
	lentBuf   = 8 << 10
)

// LateAfter is how long a turn may take before the loop goes on without it: up
// to twice as long where loops are busy, and five times where they are not.
const LateAfter = time.Millisecond

// Errors of the calls on a descriptor.
var (
	// ErrAgain means that the call would block; an event will follow.
	ErrAgain = errors.New("would block")

	// ErrUnsupported means that this system has no loops.
	ErrUnsupported = errors.New("loop: not on this system")
)
