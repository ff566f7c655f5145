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

// stallClock ends the connection if its peer has taken nothing for as long as
// Timeouts.WriteStall, and otherwise has that looked at again when it is time. A
// turn may be running, and be waiting for output to leave.
//
// The kernel says that it has room only once there is much of it, a third of a
// buffer that may have megabytes, and a slow reader may need longer for that. So
// the peer is asked about too: when half of the time is over, and at its end.
func (s *Stream) stallClock(now int64) {
	d := s.srv.settings().WriteStall
	if s.stalled.Load() == 0 || d >= never {
		return
	}
	r := s.needRare()
	s.mu.Lock()
	defer s.mu.Unlock()
	stalled := s.stalled.Load()
	if stalled == 0 || s.out.buried {
		return
	}
	half, end := stalled+int64(d/2), stalled+int64(d)
	if now < half {
		s.d.arm(half)
		return
	}
	took, known := s.d.peerTook()
	switch {
	case known && r.stalled != stalled: // the first look
		r.stalled, r.took = stalled, took
		s.d.arm(max(end, now+int64(d/4))) // who looks late gives the peer time
	case now < end:
		s.d.arm(end)
	case known && took > r.took:
		r.stalled, r.took = now-int64(d/2), took
		s.stalled.CompareAndSwap(stalled, r.stalled)
		s.active.Store(now)
		s.d.arm(now + int64(d/2))
	default:
		s.cutLocked(WriteStalled, nil)
	}
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
	s.stallClock(now)
	if next != math.MaxInt64 {
		s.d.arm(next)
	}
}
