package hythe

import (
	"math"
	"time"
)

// armAfter has the clocks looked at d after now.
func (s *Stream) armAfter(now int64, d time.Duration) {
	if d < never {
		s.d.arm(now + int64(d))
	}
}

// stallClock is what of rearm concerns a connection whose turn is running, and
// may be waiting for output to leave.
func (s *Stream) stallClock() {
	s.mu.Lock()
	defer s.mu.Unlock()
	stalled, d := s.stalled.Load(), s.srv.settings().WriteStall
	if stalled == 0 || d >= never || s.out.buried {
		return
	}
	if s.srv.now() >= stalled+int64(d) {
		s.cutLocked(WriteStalled, nil)
		return
	}
	s.d.arm(stalled + int64(d))
}

// rearm ends the connection if one of its clocks has run out, and otherwise has
// them looked at when the next one will. Turn only.
func (s *Stream) rearm(now int64) {
	set := s.srv.settings()
	next := int64(math.MaxInt64)
	out := func(since int64, d time.Duration) bool {
		if d >= never {
			return false
		}
		at := since + int64(d)
		next = min(next, at)
		return now >= at
	}
	if s.gate.Load()&gateEnding != 0 {
		if s.lingerTo != 0 {
			next = s.lingerTo
		}
	} else {
		switch in := s.inSince; {
		case s.proto == nil || s.gate.Load()&gatePaused != 0:
		case s.status&sFramed == 0 && s.holds.Load() == 0 && out(s.opened, set.FirstInput):
			s.cut(InputTimeout, nil)
			return
		case in != 0 && s.gate.Load() == 0 && s.status&sFresh == 0 && out(in, set.Frame):
			s.cut(InputTimeout, nil)
			return
		}
		if s.holds.Load() == 0 && out(s.active.Load(), set.Idle) {
			s.cut(Idle, nil)
			return
		}
		if out(s.opened, set.Lifetime) {
			s.finish(Expired, nil)
		}
	}
	if stalled := s.stalled.Load(); stalled != 0 && out(stalled, set.WriteStall) {
		s.cut(WriteStalled, nil)
		return
	}
	if next != math.MaxInt64 {
		s.d.arm(next)
	}
}
