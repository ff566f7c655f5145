package link

import (
	"context"
	"sync/atomic"
)

// A Lease is a connection in use. Drain waits until it is released, and a link
// that goes back to its preferred endpoint leaves the old connection open until
// then, or for Link.Timeout. A connection that breaks is discarded all the same.
type Lease[C any] struct {
	Conn C

	up       *up[C]
	released atomic.Bool
}

// Acquire is Get for who wants to finish what it begins. The lease must be
// released.
func (l *Link[C]) Acquire(ctx context.Context) (*Lease[C], error) {
	for {
		u, err := l.await(ctx, patience{})
		if err != nil {
			return nil, err
		}
		if u.lease() {
			return &Lease[C]{Conn: u.conn, up: u}, nil
		}
	}
}

// Report says that the leased connection is broken, whatever the link has by
// now: calling it twice, or late, does no harm. It does not release the lease.
func (le *Lease[C]) Report(cause error) { le.up.report(cause) }

// Release ends the use of the connection. Calls after the first do nothing.
func (le *Lease[C]) Release() {
	if !le.released.Swap(true) {
		le.up.release()
	}
}
