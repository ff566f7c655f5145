package hythe

import (
	"runtime/debug"
	"sync/atomic"
)

// aside is the function that a turn runs after its hooks, and that it leaves
// behind if it takes long.
type aside struct {
	f func() // asked for, and not yet begun. Turn only

	// run is odd while the turn is inside f. Who makes it even owns the turn:
	// the goroutine that ran f, or the one that noticed that f is late.
	run atomic.Uint64

	left atomic.Int32 // functions that run beside the turns
}

// Aside has f run when the hook that is running has returned: in the same turn
// if it is short, so that it needs no goroutine and what it sends leaves with
// the turn's output. If it takes longer than a millisecond or two the turn goes
// on without it, and f runs beside this connection's turns. While such a
// function runs, and when Aside is called twice in a hook, f has a goroutine of
// its own from the beginning.
//
// No input is delivered between the call and the beginning of f, and Yield says
// so. f always runs, even if the connection ends meanwhile. It does not keep the
// connection open, which is what Hold is for. A panic in f ends the connection.
// To be called in a hook.
func (s *Stream) Aside(f func()) {
	a := &s.needRare().aside
	if a.f != nil || a.left.Load() > 0 {
		s.runBeside(f)
		return
	}
	a.f = f
	s.gate.Or(gateAside)
}

// runBeside runs f on a goroutine of its own.
func (s *Stream) runBeside(f func()) {
	a := &s.rare.Load().aside
	a.left.Add(1)
	s.srv.beside.Add(1)
	s.srv.work.Go(func() {
		returned := false
		defer func() {
			if !returned {
				s.finish(Panicked, &PanicError{Value: recover(), Stack: debug.Stack()})
			}
			s.asideLeft(a)
		}()
		f()
		returned = true
	})
}

func (s *Stream) asideLeft(a *aside) {
	a.left.Add(-1)
	s.srv.beside.Add(-1)
}

// runAside runs what Aside was given. It reports whether the turn has gone on
// without the caller, which then does not own it any more. *done is set as soon
// as that is so.
func (s *Stream) runAside(done *bool) (lost bool) {
	a := &s.rare.Load().aside
	f := a.f
	a.f = nil
	run := a.run.Add(1)
	if s.state.Load()&late != 0 && a.run.CompareAndSwap(run, run+1) {
		// Nobody would notice that f is late as well.
		s.runBeside(f)
		s.gate.And(^uint32(gateAside))
		return false
	}
	returned := false
	defer func() {
		if a.run.CompareAndSwap(run, run+1) {
			s.gate.And(^uint32(gateAside))
			return
		}
		lost, *done = true, true
		if !returned {
			s.finish(Panicked, &PanicError{Value: recover(), Stack: debug.Stack()})
		}
		s.asideLeft(a)
	}()
	f()
	returned = true
	return false
}

// leaveAside takes the turn from the function that it is inside, if there is
// one, and has it go on elsewhere.
func (s *Stream) leaveAside() bool {
	r := s.rare.Load()
	if r == nil {
		return false
	}
	a := &r.aside
	run := a.run.Load()
	if run&1 == 0 {
		return false
	}
	a.left.Add(1)
	s.srv.beside.Add(1)
	if !a.run.CompareAndSwap(run, run+1) {
		s.asideLeft(a)
		return false
	}
	s.gate.And(^uint32(gateAside))
	s.state.And(^late) // the next one is not
	s.state.Or(evResume | evFlush)
	s.d.schedule()
	return true
}
