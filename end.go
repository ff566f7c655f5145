package hythe

import (
	"io"
	"runtime/debug"
	"time"

	"github.com/hythe-go/hythe/internal/loop"
)

// How a connection ends.
//
//	finish (in peace)      what was sent is flushed, then the connection is
//	                       half-closed; when the peer has finished too, or the
//	                       linger clock has run out, it is closed
//	cut (now)              it is closed by the turn that is running, or by the
//	                       next one
//
// The first reason counts, unless output is lost after it: a connection that
// was to finish and is cut before everything has left ends for the reason that
// cut it.

// finish begins the connection's end in peace.
func (s *Stream) finish(why Reason, err error) {
	s.mu.Lock()
	if s.end != nil {
		s.mu.Unlock()
		return
	}
	s.end = &CloseError{Reason: why, Err: err}
	s.out.closed = true
	s.gate.Or(gateEnding)
	if s.out.wait != nil {
		s.out.wait.Broadcast()
	}
	s.mu.Unlock()
	s.signal(evEnd)
}

// cut ends the connection now.
func (s *Stream) cut(why Reason, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cutLocked(why, err)
}

func (s *Stream) cutLocked(why Reason, err error) {
	if s.out.dead {
		return
	}
	if s.end == nil || s.out.q.Len() > 0 {
		s.end = &CloseError{Reason: why, Err: err}
		s.out.lost = s.out.q.Len() > 0
	}
	s.out.dead, s.out.closed = true, true
	s.gate.Or(gateEnding)
	if s.out.wait != nil {
		s.out.wait.Broadcast()
	}
	s.settle()
	s.d.abort()
	s.signal(evEnd)
}

// settle makes the reason final and cancels the context. s.mu is held.
func (s *Stream) settle() {
	s.out.settled = true
	if r := s.rare.Load(); r != nil {
		s.end = r.cancelled(s.end) // an earlier cause has been seen already
	}
}

// vanished cancels the context of a connection whose peer left while a hook is
// running or it is held. The input that came before is still delivered.
// s.mu is held.
func (s *Stream) vanished(why Reason) {
	if s.out.dead || s.out.settled {
		return
	}
	if r := s.rare.Load(); r != nil && r.watched() {
		r.cancelled(&CloseError{Reason: why})
	}
}

// after is the last step of a round: it moves the connection elsewhere, ends
// it, or ends a drained one. It reports whether the connection has ended.
func (s *Stream) after(w *loop.Worker) (ended bool) {
	gate := s.gate.Load()
	if gate&gateEnding == 0 {
		if gate&gateMoving != 0 {
			return s.move(w)
		}
		if s.newFrames != 0 {
			s.mu.Lock()
			s.addCounts()
			s.mu.Unlock()
		}
		s.retire()
		if s.gate.Load()&gateEnding == 0 {
			return false
		}
	}
	s.mu.Lock()
	s.push(w)
	if !s.out.dead {
		if len(s.out.first()) > 0 {
			s.mu.Unlock()
			return false
		}
		s.finished()
	}
	dead := s.out.dead
	s.mu.Unlock()
	if dead || s.lingered(w) {
		s.bury()
		return true
	}
	return false
}

// retire ends a connection that has nothing more to do.
func (s *Stream) retire() {
	if s.holds.Load() > 0 {
		if s.status&(sFin|sEOFTold) != 0 {
			s.d.watchPeer()
		}
		return
	}
	if s.gate.Load() != 0 {
		return
	}
	switch {
	case s.status&sEOFTold != 0:
		s.finish(PeerDone, nil)
	case s.status&sDraining != 0 && len(s.in) == 0 && s.status&sReadable == 0 && !s.midStream():
		if p, ok := s.proto.(lastCaller); ok {
			p.lastCall()
			return
		}
		s.finish(Drained, nil)
	}
}

// drainQuiet is how long a peer that only sends must have been silent before a
// drain takes it to be between two frames.
const drainQuiet = 50 * time.Millisecond

// midStream reports whether the peer is likely to be sending at this moment:
// bytes came a short while ago, and nothing was answered since. A peer that was
// answered waits, or sends something new.
func (s *Stream) midStream() bool {
	answered := s.bytesOut.Load() > s.outAtIn
	quiet := s.active.Load() + int64(drainQuiet)
	if answered || s.srv.now() >= quiet {
		return false
	}
	s.d.arm(quiet)
	return true
}

// lastCaller is a Protocol that ends the connection itself when it is drained.
type lastCaller interface{ lastCall() }

// quiet reports whether nothing is owed to the peer and nothing is under way.
func (s *Stream) quiet() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.in) == 0 && s.out.q.Len() == 0 && s.holds.Load() == 0 && s.status&sReadable == 0
}

// finished half-closes a connection all of whose output has left. s.mu is held.
func (s *Stream) finished() {
	if s.lingerTo != 0 {
		return
	}
	s.settle()
	now := s.srv.now()
	s.lingerTo = 1 // long ago
	if s.status&(sEOF|sIdleAtDrain) != 0 || s.end.Reason == Drained && s.bytesOut.Load() == 0 {
		return // there is no one, or nothing, to linger for
	}
	if s.out.half != halfClosed {
		s.out.half = halfClosed
		s.d.closeWrite()
	}
	if linger := s.srv.settings().Linger; linger < never {
		s.lingerTo = now + int64(linger)
	}
	s.d.arm(s.lingerTo)
	s.status |= sReadable
}

// lingerByte is by how many nanoseconds a byte that is discarded shortens the
// lingering: who goes on sending at full speed has 64 MiB of it at most.
const lingerByte = 32

// lingered reads and discards what still comes. It reports whether the
// connection can be closed without harm to what was sent, or must be.
func (s *Stream) lingered(w *loop.Worker) bool {
	if s.status&(sEOF|sIdleAtDrain) != 0 || s.srv.now() >= s.lingerTo {
		return true
	}
	for range maxReads {
		switch n, err := s.d.read(w.Buf); err {
		case nil:
			s.lingerTo = max(1, s.lingerTo-lingerByte*int64(n))
		case errAgain:
			s.d.arm(s.lingerTo)
			return false
		case io.EOF:
			s.status |= sEOF
			return true
		default:
			return true
		}
	}
	s.signal(evResume)
	return false
}

// bury closes the connection and tells everybody. It is the last thing that is
// done for it, by the owner of its last turn.
func (s *Stream) bury() {
	s.keep(nil)
	s.mu.Lock()
	s.addCounts()
	s.out.dead, s.out.buried = true, true
	s.settle()
	end := s.end
	s.d.close()
	if !s.out.writing { // else the writer does it
		s.out.q.Release()
	}
	r := s.rare.Load()
	s.mu.Unlock()

	// Deferred, so that all of it happens even if a hook ends its goroutine.
	defer func() {
		s.state.Store(gone)
		s.srv.ended(s, end)
	}()
	if r != nil {
		for _, f := range r.closed(end) {
			defer s.guarded(func() { f(end) })
		}
	}
	if s.status&sConnected != 0 && s.has(hasClosed) {
		s.guarded(func() { s.proto.(closedHook).Closed(end) })
	}
}

// guarded calls f and survives its panic; the connection has ended for another
// reason already.
func (s *Stream) guarded(f func()) {
	defer func() {
		if v := recover(); v != nil {
			s.srv.observe(Event{Kind: HookPanicked, Conn: s, Err: &PanicError{Value: v, Stack: debug.Stack()}})
		}
	}()
	f()
}
