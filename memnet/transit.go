package memnet

import "time"

// A transit is what is under way in one direction of a connection, when the
// connection delays. Places in the stream are counted from its first byte; the
// end of the stream takes a place of its own after the last byte, as a FIN does
// in TCP. The zero value is a stream without delay. The lock of the half it
// belongs to guards it.
type transit struct {
	arrived int64    // places below this one have arrived
	flights []flight // the rest, the next to arrive first
	timer   *time.Timer
	wake    func() // called without the lock when places arrive; must call land and arm
}

// A flight is a run of places that arrive together.
type flight struct {
	end int64 // one past its last place
	at  time.Time
}

// send puts all places below end under way, to arrive after delay and not
// before what was sent earlier.
func (t *transit) send(end int64, delay time.Duration) {
	if delay <= 0 && len(t.flights) == 0 {
		t.arrived = end
		return
	}
	at := time.Now().Add(max(delay, 0))
	if n := len(t.flights); n > 0 {
		if last := &t.flights[n-1]; !last.at.Before(at) {
			last.end = end
			return
		}
	}
	t.flights = append(t.flights, flight{end, at})
	if len(t.flights) == 1 {
		t.arm()
	}
}

// land accounts for all flights that are due by now. It asks the clock, not the
// timer, for the reason given at deadline.passed.
func (t *transit) land() {
	if len(t.flights) == 0 {
		return
	}
	now := time.Now()
	n := 0
	for n < len(t.flights) && !now.Before(t.flights[n].at) {
		t.arrived = t.flights[n].end
		n++
	}
	if t.flights = t.flights[n:]; len(t.flights) == 0 {
		t.flights = nil
	}
}

// arm sets the timer for the next flight, if there is one.
func (t *transit) arm() {
	switch {
	case len(t.flights) == 0:
	case t.timer == nil:
		t.timer = time.AfterFunc(time.Until(t.flights[0].at), t.wake)
	default:
		t.timer.Reset(time.Until(t.flights[0].at))
	}
}

// stop forgets what is under way.
func (t *transit) stop() {
	t.flights = nil
	if t.timer != nil {
		t.timer.Stop()
	}
}
