package httpd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/hythe-go/hythe"
)

// slotKey is the key of a detachSlot in the context of a request of HTTP/2.
type slotKey struct{}

// A detachSlot is where Detach leaves word that the handler's return is not the
// answer's end.
type detachSlot struct {
	mu     sync.Mutex
	stream *stream2 // guarded by mu
}

// stream2 is what an Out writes to over HTTP/2: a queue, from which the
// handler's goroutine writes.
type stream2 struct {
	out *Out
	w   http.ResponseWriter
	rc  *http.ResponseController
	ctx context.Context

	mu     sync.Mutex
	queue  []byte
	taken  int  // bytes that pump is writing
	asked  bool // OnFlushed was called
	closed bool
	err    error         // with which it was closed
	look   chan struct{} // something has changed; one place
	room   chan struct{} // closed when queue was taken; nil: nobody waits
}

// maxQueue is how much waits in a stream2 before Write does.
const maxQueue = 64 << 10

func (s *detachSlot) detach(o *Out, w http.ResponseWriter, r *http.Request) error {
	for { // what middleware has put around it ends with the handler
		outer, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = outer.Unwrap()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w2, ok := w.(*writer2)
	if !ok || w2.begun {
		return ErrDetached
	}
	w.Header().Del("Content-Length")
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	if err := rc.Flush(); err != nil {
		return fmt.Errorf("%w: %w", ErrDetached, err)
	}
	s.stream = &stream2{out: o, w: w, rc: rc, ctx: r.Context(), look: make(chan struct{}, 1)}
	o.stream = s.stream
	return nil
}

// detached returns the answer that was detached, nil if none was.
func (s *detachSlot) detached() *Out {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stream == nil {
		return nil
	}
	return s.stream.out
}

// await keeps the handler's goroutine until its answer has ended.
func (s *detachSlot) await() {
	if s == nil {
		return
	}
	s.mu.Lock()
	st := s.stream
	s.mu.Unlock()
	if st != nil {
		st.pump()
	}
}

// pump writes what is queued until the answer ends.
func (s *stream2) pump() {
	draining := s.out.c.whenDraining()
	left, slow := false, error(nil) // something has, and nobody was told; the client was too slow
	for {
		s.mu.Lock()
		b, closed, err := s.queue, s.closed, s.err
		left = left || s.asked
		s.queue, s.taken, s.asked = nil, len(s.queue), false
		if s.room != nil {
			close(s.room)
			s.room = nil
		}
		s.mu.Unlock()
		if len(b) > 0 {
			_, err := s.w.Write(b)
			if err == nil {
				err = s.rc.Flush()
			}
			if errors.Is(err, ErrSlow) {
				slow = err
			}
			left = true
			continue
		}
		switch {
		case s.ctx.Err() != nil:
			s.out.over(cmp.Or(slow, context.Cause(s.ctx)))
			return
		case closed && err != nil:
			s.out.over(err)
			panic(http.ErrAbortHandler)
		case closed:
			s.out.over(&hythe.CloseError{Reason: hythe.Finished})
			return
		}
		if left {
			left = false
			s.out.flushed()
		}
		s.mu.Lock()
		more := len(s.queue) > 0 || s.closed
		s.mu.Unlock()
		if more {
			continue
		}
		select {
		case <-s.look:
		case <-s.ctx.Done():
		case <-draining:
			draining = nil
			if s.out.c.isDraining() { // and the connection has not ended
				s.out.Close(nil)
			}
		}
	}
}

// write queues b, whole or not at all.
func (s *stream2) write(b []byte, wait bool) error {
	for {
		s.mu.Lock()
		if waiting := len(s.queue) + s.taken; waiting == 0 || waiting+len(b) <= maxQueue {
			s.queue = append(s.queue, b...)
			s.mu.Unlock()
			s.poke()
			return nil
		}
		if !wait {
			s.mu.Unlock()
			return hythe.ErrFull
		}
		if s.room == nil {
			s.room = make(chan struct{})
		}
		room := s.room
		s.mu.Unlock()
		select {
		case <-room:
		case <-s.out.done:
			return s.out.err
		}
	}
}

// askFlushed has pump call flushed, though nothing may have left.
func (s *stream2) askFlushed() {
	s.mu.Lock()
	s.asked = true
	s.mu.Unlock()
	s.poke()
}

func (s *stream2) close(err error) {
	s.mu.Lock()
	s.closed, s.err = true, err
	s.mu.Unlock()
	s.poke()
}

// poke has pump look again.
func (s *stream2) poke() {
	select {
	case s.look <- struct{}{}:
	default:
	}
}

func (s *stream2) pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue) + s.taken
}
