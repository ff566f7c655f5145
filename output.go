package hythe

import (
	"sync"

	"github.com/hythe-go/hythe/internal/loop"
	"github.com/hythe-go/hythe/internal/outq"
)

// sendMode says what happens when the queue is full.
type sendMode uint8

const (
	sendWait   sendMode = iota // wait for room
	sendTry                    // ErrFull
	sendAnyway                 // there was room a moment ago
)

// send copies b to the output queue.
func (s *Stream) send(b []byte, mode sendMode) error {
	s.mu.Lock()
	err := s.admitOutput(mode)
	if err == nil {
		s.out.q.Append(b)
		s.sent(mode)
	}
	s.mu.Unlock()
	return err
}

// sendMessage puts b, which was appended to m.Room, on the output queue.
func (s *Stream) sendMessage(m outq.Message, b []byte, mode sendMode) error {
	s.mu.Lock()
	err := s.admitOutput(mode)
	if err == nil {
		s.out.q.Add(m, b)
		s.sent(mode)
	}
	s.mu.Unlock()
	if err != nil {
		m.Drop()
	}
	return err
}

// awaitOutput is admitOutput for who does not hold s.mu.
func (s *Stream) awaitOutput(mode sendMode) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.admitOutput(mode)
}

// admitOutput waits until something may be added to the output queue. s.mu is
// held.
func (s *Stream) admitOutput(mode sendMode) error {
	o := &s.out
	for o.closed || mode != sendAnyway && s.congested() {
		if err := o.closedErr(s); err != nil {
			return err
		}
		s.push(nil)
		if o.closed || !s.congested() {
			continue
		}
		if mode == sendTry {
			return ErrFull
		}
		s.gate.Or(gateHeld)
		s.waitOutput()
	}
	return nil
}

// sent does what follows an addition to the queue. s.mu is held.
func (s *Stream) sent(mode sendMode) {
	o := &s.out
	if !o.full && o.q.Len() >= s.srv.settings().HighWater {
		s.filled()
	}
	if o.full && mode != sendTry {
		s.gate.Or(gateHeld) // the sender's input waits for its output
	}
	if !s.leaveToTurn(evFlush) {
		s.push(nil)
	}
}

// filled notes that the queue has reached its high mark. s.mu is held.
func (s *Stream) filled() {
	s.out.full = true
	if s.minds(hasHighWater | hasLowWater) {
		s.out.untold |= crossed
		s.signal(evMarks)
	}
}

// congested reports whether Send has to wait: between the marks, or because the
// budget is used up and this connection has its share. s.mu is held.
func (s *Stream) congested() bool {
	o := &s.out
	return o.full || o.q.Len() >= 4<<10 && s.srv.budget.Exhausted()
}

// waitOutput waits for a change of the output side. s.mu is held.
func (s *Stream) waitOutput() {
	if s.out.wait == nil {
		s.out.wait = sync.NewCond(&s.mu)
	}
	s.out.wait.Wait()
}

// push gives the kernel what it will take without blocking. w is the worker of
// the turn that it is called from, nil outside. s.mu is held.
func (s *Stream) push(w *loop.Worker) {
	o := &s.out
	if o.blocked || o.writing || o.dead || o.q.Len() == 0 || o.bounded && o.upTo == 0 {
		return
	}
	s.d.push(w)
}

// first returns the first bytes that may leave, nil when there are none. s.mu
// is held.
func (o *output) first() []byte {
	b := o.q.First()
	if o.bounded {
		b = b[:min(len(b), int(o.upTo))]
	}
	return b
}

// took records that the kernel took n bytes of the queue. s.mu is held.
func (s *Stream) took(n int, now int64) {
	o := &s.out
	o.q.Advance(n)
	o.upTo -= int32(n)
	if s.active.Load() != now {
		s.active.Store(now)
	}
	s.bytesOut.Add(uint64(n))
	if s.stalled.Load() != 0 {
		s.stalled.Store(now)
	}
	var ev uint32
	if o.q.Len() == 0 {
		s.stalled.Store(0)
		if s.minds(hasFlushed) {
			o.untold |= ranEmpty
			ev |= evFlushed
		}
	}
	if o.full && o.q.Len() <= s.srv.settings().LowWater {
		o.full = false
		if s.minds(hasHighWater | hasLowWater) {
			o.untold |= crossed
			ev |= evMarks
		}
	}
	if s.gate.Load()&gateHeld != 0 && !s.congested() {
		s.gate.And(^uint32(gateHeld))
		ev |= evResume
	}
	if len(o.first()) == 0 && (o.half == halfClosing || o.bounded || s.end != nil) {
		ev |= evFlush // the next step waits for this
	}
	if ev != 0 {
		s.signal(ev)
	}
	if o.wait != nil {
		o.wait.Broadcast()
	}
}

// stall starts the write stall clock. s.mu is held.
func (s *Stream) stall() {
	s.out.q.Charge()
	if s.stalled.Load() == 0 {
		now := s.srv.now()
		s.stalled.Store(now)
		if d := s.srv.settings().WriteStall; d < never {
			s.d.arm(now + int64(d/2)) // see stallClock
		}
	}
}

// writeFailed records that the connection can no longer be written to. s.mu is
// held.
func (s *Stream) writeFailed(err error) {
	if !s.out.dead {
		s.cutLocked(PeerReset, err)
	}
}

// Write queues b, in order with everything else that is sent, waiting for room
// as Send does. It makes a Stream, and so a Conn, an io.Writer: io.Copy to it
// goes at the peer's pace. It returns a *CloseError once nothing can be sent.
// b is copied.
func (s *Stream) Write(b []byte) (n int, err error) {
	const piece = 32 << 10
	for {
		k := min(len(b)-n, piece)
		if err := s.send(b[n:n+k], sendWait); err != nil {
			return n, err
		}
		if n += k; n == len(b) {
			return n, nil
		}
	}
}

// TryWrite queues b whole or not at all: it returns ErrFull between the marks.
// It never blocks. b is copied.
func (s *Stream) TryWrite(b []byte) error { return s.send(b, sendTry) }

// Flush waits until the kernel has taken everything that was sent so far. It
// gives up when the connection ends, with a *CloseError, which it also returns
// once output was lost; the write stall clock sees to it that one or the other
// happens. Output is flushed at the end of
// each turn, or a millisecond into a long one, so few programs need it.
func (s *Stream) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for target := s.bytesOut.Load() + uint64(s.out.q.Len()); ; s.waitOutput() {
		s.push(nil)
		switch {
		case s.out.lost:
			return s.end
		case s.bytesOut.Load() >= target:
			return nil
		case s.out.dead:
			return s.end
		}
	}
}

// errAgain is a driver's answer when there is nothing to read, or no room.
var errAgain = loop.ErrAgain
