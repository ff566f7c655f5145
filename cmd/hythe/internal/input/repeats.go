package input

import (
	"context"
	"sync"
)

// repeats remembers what was answered to requests with an Idempotency-Key, the
// oldest of which it forgets.
type repeats struct {
	mu    sync.Mutex
	most  int
	known map[string]*request // guarded by mu
	order []*request          // a ring of those that are known. Guarded by mu
	next  int                 // guarded by mu
}

// A request is one with an Idempotency-Key.
type request struct {
	key      string
	messages int
	done     chan struct{} // closed when it has been answered
	answer   []byte        // what was answered; nil: it was not taken. Read after done
}

func newRepeats(most int) *repeats {
	return &repeats{most: most, known: make(map[string]*request)}
}

// begin returns the request that had the key before, once that is answered, or
// a new one, which must be ended. The error is what ended ctx.
func (p *repeats) begin(ctx context.Context, key string) (r *request, again bool, err error) {
	for {
		p.mu.Lock()
		r, again = p.known[key]
		if !again {
			r = &request{key: key, done: make(chan struct{})}
			p.add(r)
		}
		p.mu.Unlock()
		if !again {
			return r, false, nil
		}
		select {
		case <-r.done:
		case <-ctx.Done():
			return nil, false, context.Cause(ctx)
		}
		if r.answer != nil {
			return r, true, nil
		}
	}
}

// add makes a request known. p.mu is held.
func (p *repeats) add(r *request) {
	p.known[r.key] = r
	if len(p.order) < p.most {
		p.order = append(p.order, r)
		return
	}
	if old := p.order[p.next]; p.known[old.key] == old {
		delete(p.known, old.key)
	}
	p.order[p.next] = r
	p.next = (p.next + 1) % p.most
}

// end says how a new request was answered; one that was not taken is forgotten.
func (p *repeats) end(r *request, messages int, answer []byte) {
	p.mu.Lock()
	if r.messages, r.answer = messages, answer; answer == nil && p.known[r.key] == r {
		delete(p.known, r.key)
	}
	p.mu.Unlock()
	close(r.done)
}
