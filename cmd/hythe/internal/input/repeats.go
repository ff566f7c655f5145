package input

import (
	"bytes"
	"container/list"
	"context"
	"net/http"
	"strings"
	"sync"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
)

// Repeats remembers what was answered to requests with an Idempotency-Key. Of
// those that were taken it keeps the ones that were sent or repeated last. An input
// has one, whatever becomes of its handlers. The zero value remembers nothing yet.
// It is safe for concurrent use.
type Repeats struct {
	mu    sync.Mutex
	most  int
	known map[string]*request // guarded by mu
	taken list.List           // those that are answered, the last one first. Guarded by mu
}

// Handler is NewHandler for a handler that shares its memory with those that were
// made before.
func (p *Repeats) Handler(c *config.Input, in *relay.Intake) (http.Handler, error) {
	h := &handler{c: c, in: in, repeats: p}
	if c.TokenFile != "" {
		var err error
		if h.token, err = token(c.TokenFile); err != nil {
			return nil, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.most = max(1, c.Repeats)
	p.forget()
	return h, nil
}

// A request is one with an Idempotency-Key.
type request struct {
	key      string
	messages int
	done     chan struct{} // closed when it has been answered. Guarded by Repeats.mu
	answer   []byte        // what was answered; nil: it was not taken. Read after done
	place    *list.Element // in Repeats.taken. Guarded by Repeats.mu
}

// begin returns the request that had the key before, once that is answered, or
// a new one, which must be ended. The error is what ended ctx.
func (p *Repeats) begin(ctx context.Context, key string) (req *request, again bool, err error) {
	for {
		r, again, done := p.look(key)
		if done == nil {
			return r, again, nil
		}
		select {
		case <-done:
		case <-ctx.Done():
			return nil, false, context.Cause(ctx)
		}
		if r.answer != nil {
			return r, true, nil
		}
	}
}

// look returns the request that had the key before, or a new one. If done is not
// nil the request is under way.
func (p *Repeats) look(key string) (r *request, again bool, done <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r, again = p.known[key]
	if again && r.place != nil {
		p.taken.MoveToFront(r.place)
		return r, true, nil
	}
	if again {
		return r, true, r.done
	}
	if p.known == nil {
		p.known = make(map[string]*request)
	}
	key = strings.Clone(key) // which may be a part of the whole header
	r = &request{key: key, done: make(chan struct{})}
	p.known[key] = r
	return r, false, nil
}

// end says how a new request was answered; one that was not taken is forgotten.
func (p *Repeats) end(r *request, messages int, answer []byte) {
	p.mu.Lock()
	done := r.done
	r.messages, r.answer, r.done = messages, bytes.Clone(answer), nil // which are kept: no more than they need
	if answer == nil {
		delete(p.known, r.key)
	} else {
		r.place = p.taken.PushFront(r)
		p.forget()
	}
	p.mu.Unlock()
	close(done)
}

// forget forgets the oldest beyond what is to be remembered. p.mu is held.
func (p *Repeats) forget() {
	for p.taken.Len() > p.most {
		old := p.taken.Remove(p.taken.Back()).(*request)
		delete(p.known, old.key)
	}
}
