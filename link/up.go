package link

import (
	"cmp"
	"sync"
)

// An up is a connection, from before it is dialled until after it is lost.
type up[C any] struct {
	link   *Link[C]
	conn   C // set before anybody else has the up
	target *endpoint

	once   sync.Once
	broken chan struct{} // closed by the first report
	cause  error         // set before broken is closed

	mu      sync.Mutex
	leases  int           // guarded by mu
	retired chan struct{} // guarded by mu; nil until no lease is given any more, then closed with the last
}

// report ends the generation. The connection is not handed out any more when it
// returns; the owner does the rest.
func (u *up[C]) report(cause error) {
	u.once.Do(func() {
		u.cause = cmp.Or(cause, ErrLost)
		u.link.cur.CompareAndSwap(u, nil)
		close(u.broken)
	})
}

// lease reports whether a lease of u was given.
func (u *up[C]) lease() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.retired != nil {
		return false
	}
	u.leases++
	return true
}

func (u *up[C]) release() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.leases--; u.leases == 0 && u.retired != nil {
		close(u.retired)
	}
}

// retire gives no more leases of u. The channel is closed when none is left.
func (u *up[C]) retire() <-chan struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.retired == nil {
		u.retired = make(chan struct{})
		if u.leases == 0 {
			close(u.retired)
		}
	}
	return u.retired
}
