package hythe

import (
	"errors"
	"io"
	"runtime/debug"
	"slices"

	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/internal/loop"
)

// A connection's turns. Stream.state says whether one is running and what has
// happened that the next round of it, or the next turn, must look at:
//
//	state            an event comes               the turn looks again
//	0                events|running; the caller   -
//	                 runs the turn, or has the
//	                 driver run it
//	running          running|events               0; the turn is over
//	running|events   running|more events          running; one more round
//	running|late     as running; but what is      0, or one more round that
//	                 sent goes out at once        stays late
//	gone             nothing                      -
//
// Whoever makes state running owns everything marked "turn only".
const (
	evOpen     uint32 = 1 << iota // the connection is ready: call Open
	evReadable                    // reading may give something
	evPeerDone                    // the peer has finished sending
	evWritable                    // the kernel has room again
	evClock                       // a clock may have run out
	evPosted                      // events wait
	evDrain                       // the server drains
	evFlush                       // there is output to give to the kernel
	evFlushed                     // the output queue ran empty
	evMarks                       // ... crossed one of its marks
	evResume                      // input may go on
	evEnd                         // the connection is to end
	evBusy                        // a turn was running when the drain began
	running
	late // the turn has been running for long
	gone // the connection has ended
)

// The gate's bits: why no input is delivered.
const (
	gatePaused uint32 = 1 << iota // PauseInput
	gateHeld                      // Send filled the output queue
	gateEnding                    // Shutdown, Close, an error
	gateMoving                    // StartTLS, Detach, Take, Moor
	gateTaken                     // somebody has the connection as a net.Conn
	gateAside                     // what Aside was given comes first
)

const (
	maxReads  = 16 // in one round, before other connections get theirs
	maxRounds = 16 // in one turn
)

// signal records events and sees to it that a turn looks at them.
func (s *Stream) signal(ev uint32) {
	for {
		old := s.state.Load()
		if old&gone != 0 {
			return
		}
		if s.state.CompareAndSwap(old, old|ev|running) {
			if old&running == 0 {
				s.d.schedule()
			}
			return
		}
	}
}

// signalDrain is signal for evDrain: it also records whether the connection was
// busy.
func (s *Stream) signalDrain() {
	if !s.leaveToTurn(evDrain | evBusy) {
		if s.state.Load()&running != 0 { // a late one
			s.signal(evDrain | evBusy)
		} else {
			s.signal(evDrain)
		}
	}
}

// acquire records events. It reports whether the caller now owns the turn, and
// must run it.
func (s *Stream) acquire(ev uint32) bool {
	for {
		old := s.state.Load()
		if old&gone != 0 {
			return false
		}
		if s.state.CompareAndSwap(old, old|ev|running) {
			return old&running == 0
		}
	}
}

// leaveToTurn records events if a turn is running that will soon look at them.
// While a turn is late nothing is left to it.
func (s *Stream) leaveToTurn(ev uint32) bool {
	for {
		old := s.state.Load()
		if old&(running|late) != running {
			return false
		}
		if old&ev == ev || s.state.CompareAndSwap(old, old|ev) {
			return true
		}
	}
}

// turns runs a turn: round after round, until nothing has happened meanwhile.
// The caller owns the turn.
func (s *Stream) turns(w *loop.Worker) { s.turnsWith(w, s.state.Swap(running)) }

// turnsWith is turns for events that have been taken out of state already.
func (s *Stream) turnsWith(w *loop.Worker, ev uint32) {
	base := running
	for i := range maxRounds {
		if i > 0 {
			ev = s.state.Swap(base)
		}
		if ev&late != 0 { // the next round is as late, and nobody would notice again
			base |= late
			s.state.Or(late)
		}
		if i > 0 && base&late != 0 && ev&evClock != 0 {
			s.wasBusy(w)
		}
		if s.round(w, ev&^(running|late)) {
			return
		}
		for {
			now := s.state.Load()
			if now&^late != running {
				break
			}
			if (now|base)&late != 0 {
				s.wasBusy(w)
			}
			if s.state.CompareAndSwap(now, 0) {
				return
			}
		}
	}
	s.d.schedule()
}

// wasBusy notes that a hook has been running for long, in which time the
// connection was not idle.
func (s *Stream) wasBusy(w *loop.Worker) {
	if now := s.srv.now(); now-w.Now > int64(loop.LateAfter) {
		s.active.Store(now)
	}
}

// lateNow is called when a turn has been running for long: what it has sent so
// far must not wait for its end.
func (s *Stream) lateNow() {
	for {
		old := s.state.Load()
		if old&running == 0 {
			return
		}
		if s.state.CompareAndSwap(old, old|late) {
			break
		}
	}
	if s.leaveAside() {
		return
	}
	s.mu.Lock()
	s.push(nil)
	s.mu.Unlock()
	s.srv.observe(Event{Kind: TurnLate, Conn: s})
}

// round does once whatever ev says has to be done. It reports whether the
// connection has ended, or its turns go on without the caller.
func (s *Stream) round(w *loop.Worker, ev uint32) (over bool) {
	done := false
	defer func() {
		if !done && s.state.Load()&gone == 0 {
			s.broken(recover())
		}
	}()
	if ev&evOpen != 0 {
		s.open()
	}
	if ev&evReadable != 0 {
		s.status |= sReadable
	}
	if ev&evPeerDone != 0 {
		s.status |= sFin
	}
	if ev&evResume != 0 {
		s.status |= sFresh
	}
	if ev&(evWritable|evFlush) != 0 {
		s.flush(w, ev)
	}
	if ev&(evPosted|evDrain|evMarks|evFlushed|evClock) != 0 {
		s.tell(ev)
	}
	if s.gate.Load()&^gateHeld == 0 {
		s.input(w)
	}
	for s.gate.Load()&gateAside != 0 {
		if s.runAside(&done) {
			return true
		}
		s.input(w)
	}
	if s.state.Load()&evFlush != 0 { // what the hooks sent
		s.state.And(^evFlush)
		s.flush(w, 0)
	}
	over = s.after(w)
	done = true
	return over
}

// flush gives the kernel what waits, and half-closes if that was promised.
func (s *Stream) flush(w *loop.Worker, ev uint32) {
	s.mu.Lock()
	o := &s.out
	if ev&evWritable != 0 {
		o.blocked = false
	}
	s.addCounts()
	s.push(w)
	if o.half == halfClosing && o.q.Len() == 0 && !o.dead {
		o.half = halfClosed
		s.d.closeWrite()
	}
	s.mu.Unlock()
}

// broken ends the connection of a hook that panicked with v, or, if v is nil,
// that ended its goroutine, which then cannot go on with the turn.
func (s *Stream) broken(v any) {
	s.finish(Panicked, &PanicError{Value: v, Stack: debug.Stack()})
	if v == nil {
		s.d.schedule()
	}
}

// open runs the connection's first hook.
func (s *Stream) open() {
	svc := s.srv.Service
	if r := s.rare.Load(); r != nil && r.service != nil {
		svc = r.service
	}
	p, err := svc.Open(s)
	if err == nil && p == nil {
		err = errors.New("hythe: Service.Open returned neither a Protocol nor an error")
	}
	if err != nil {
		s.finish(Failed, err)
		return
	}
	s.proto = p
	s.status |= sConnected
	s.hooks.Or(uint32(hooksOf(p) | hasOpened))
	s.rearm(s.srv.now())
}

// tell calls the hooks that ev asks for.
func (s *Stream) tell(ev uint32) {
	live := s.proto != nil && s.gate.Load()&gateEnding == 0
	if ev&evMarks != 0 && live {
		s.tellMarks()
	}
	// When LowWater is still to be told, so is Flushed: they are signalled together.
	if ev&evFlushed != 0 && live && s.has(hasFlushed) && s.status&sHighTold == 0 && s.ranEmpty() {
		s.proto.(flushedHook).Flushed()
	}
	if ev&evPosted != 0 && live {
		s.deliverEvents()
	}
	if ev&evDrain != 0 && s.status&sDraining == 0 {
		s.status |= sDraining
		if ev&evBusy == 0 && s.quiet() {
			s.status |= sIdleAtDrain
		}
		s.status |= sReadable // what has come before the drain is still served
		if live && s.has(hasDraining) {
			s.proto.(drainingHook).Draining()
		}
	}
	if ev&evClock != 0 {
		s.rearm(s.srv.now())
	}
}

// ranEmpty reports whether the output queue has run empty since it was last
// asked, and is empty still.
func (s *Stream) ranEmpty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := &s.out
	if o.untold&ranEmpty == 0 || o.q.Len() > 0 {
		return false
	}
	o.untold &^= ranEmpty
	return true
}

// tellMarks calls HighWater and LowWater. They alternate, and the last one is
// true, though the queue may have crossed its marks several times meanwhile.
func (s *Stream) tellMarks() {
	told := s.status&sHighTold != 0
	s.mu.Lock()
	full, news := s.out.full, s.out.untold&crossed != 0
	s.out.untold &^= crossed
	s.mu.Unlock()
	if full == told && !news {
		return // told already, when the signal had not come yet
	}
	if !told {
		s.status |= sHighTold
		if s.has(hasHighWater) {
			s.proto.(highHook).HighWater()
		}
	}
	if told || !full {
		s.status &^= sHighTold
		if s.has(hasLowWater) {
			s.proto.(lowHook).LowWater()
		}
		if full {
			s.tellMarks()
		}
	}
}

// deliverEvents calls Posted for the events that wait. Those posted meanwhile
// come in the next round, so that input gets its turn.
func (s *Stream) deliverEvents() {
	r := s.needRare()
	r.mu.Lock()
	events := r.events
	r.events = nil
	r.mu.Unlock()
	if !s.has(hasPosted) {
		return
	}
	hook := s.proto.(postedHook)
	for _, e := range events {
		if s.gate.Load()&gateEnding != 0 {
			return
		}
		if err := hook.Posted(e); err != nil {
			s.finish(Failed, err)
		}
	}
}

// input reads and delivers, until there is nothing to read or the gate closes.
func (s *Stream) input(w *loop.Worker) {
	for range maxReads {
		if s.proto == nil || s.gate.Load() != 0 || s.status&sEOFTold != 0 {
			return
		}
		switch {
		case s.status&sFresh != 0 && len(s.in) > 0, s.status&sEOF != 0:
			s.feed(s.in)
		case s.status&sReadable == 0 || !s.read(w):
			return
		}
		if s.gate.Load()&gateHeld != 0 {
			s.mu.Lock()
			s.push(w)
			s.mu.Unlock()
		}
	}
	s.signal(evResume) // let the others have a round
}

// read reads once and delivers what came. It reports whether it could.
func (s *Stream) read(w *loop.Worker) bool {
	kept := len(s.in)
	src := w.Buf
	if kept > len(src)/2 {
		had := cap(s.in)
		s.in = slices.Grow(s.in, max(kept, len(src)))
		s.srv.budget.Charge(cap(s.in) - had)
		src = s.in[:cap(s.in)]
	} else {
		copy(src, s.in)
	}
	n, err := s.d.read(src[kept:])
	switch {
	case err == nil:
		s.bytesIn.Add(uint64(n))
		s.outAtIn = s.bytesOut.Load()
		s.active.Store(w.Now)
		if n < len(src)-kept && s.status&sFin == 0 {
			s.status &^= sReadable // a short read: there is no more
		}
	case err == io.EOF:
		s.status |= sEOF
	case err == errAgain:
		s.status &^= sReadable
		return false
	default:
		s.cut(PeerReset, err)
		return false
	}
	s.feed(src[:kept+n])
	return true
}

// feed offers src to the protocol and keeps what it leaves.
func (s *Stream) feed(src []byte) {
	if s.status&sFresh != 0 && s.inSince != 0 { // it was this side that took so long
		s.inSince = s.srv.now()
		s.armAfter(s.inSince, s.srv.settings().Frame)
	}
	s.status &^= sFresh
	eof := s.status&sEOF != 0
	n, err := s.proto.Input(src, eof)
	if n < 0 || n > len(src) {
		n, err = 0, errors.New("hythe: Input used more bytes than it was given")
	}
	if n > 0 {
		s.status |= sFramed
	}
	if err != nil {
		s.keep(nil)
		s.finish(reasonOf(err), err)
		return
	}
	if n > 0 {
		s.inSince = 0 // what is left is the beginning of another frame
	}
	s.keep(src[n:])
	switch {
	case s.gate.Load() != 0 || s.state.Load()&evResume != 0:
		s.status |= sFresh // offered again when the gate opens
	case eof:
		s.status |= sEOFTold
	case len(s.in) > s.srv.settings().FrameBytes:
		s.finish(FrameTooLarge, nil)
	}
}

// keep makes rest the unfinished input. rest may be a part of s.in.
func (s *Stream) keep(rest []byte) {
	had := cap(s.in)
	switch {
	case len(rest) == 0:
		if s.in == nil {
			return
		}
		s.in = nil
		s.inSince = 0
	case len(s.in) > 0 && &rest[0] == &s.in[:1][0]:
		s.in = s.in[:len(rest)]
	default:
		s.in = append(s.in[:0], rest...)
	}
	if len(s.in) > 0 && s.inSince == 0 {
		now := s.srv.now()
		s.inSince = now
		s.armAfter(now, s.srv.settings().Frame)
	}
	if n := cap(s.in) - had; n != 0 {
		s.srv.budget.Charge(n)
		if n > 4<<10 && s.srv.budget.Exhausted() {
			s.finish(Overload, nil)
		}
	}
}

// reasonOf finds the reason behind an error of Input.
func reasonOf(err error) Reason {
	var bad badInput
	var syntax *codec.DecodeError
	switch {
	case errors.As(err, new(*codec.EncodeError)):
		return Failed // what was sent was
	case errors.Is(err, codec.ErrFrameTooLarge):
		return FrameTooLarge
	case errors.Is(err, io.ErrUnexpectedEOF):
		return Truncated
	case errors.As(err, &bad), errors.As(err, &syntax):
		return BadFrame
	}
	return Failed
}
