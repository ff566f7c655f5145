package link

import (
	"cmp"
	"math"
	"time"
)

// A Backoff is the pause between two rounds of attempts. The n-th pause in a row
// is drawn evenly from the span between a tenth of First and First · Factorⁿ⁻¹,
// at most Max. Clients that lost one server at the same moment thus come back
// spread over the whole span, which a fixed pause with a little noise does not
// achieve. It begins anew when a connection has been up for Link.Stable.
type Backoff struct {
	First  time.Duration // 2 s; negative: none
	Factor float64       // 2
	Max    time.Duration // 60 s, or First if that is more; negative: no limit
	Fixed  bool          // the pause is always First, to the nanosecond
}

// pause returns the pause number step, from 0. random is rand.Int64N.
func (b Backoff) pause(step int, random func(n int64) int64) time.Duration {
	first := max(cmp.Or(b.First, 2*time.Second), 0)
	if b.Fixed || first == 0 {
		return first
	}
	most := max(first, clock(b.Max, time.Minute))
	top := most
	if t := float64(first) * math.Pow(cmp.Or(b.Factor, 2), float64(step)); t < float64(most) {
		top = time.Duration(t)
	}
	floor := first / 10
	return floor + time.Duration(random(int64(top-floor)+1))
}

// A Throttle bounds attempts in a rolling window, whatever the reason for them:
// when connections die as soon as they are made, or TryNow is called in a loop.
type Throttle struct {
	Attempts int           // at most so many: 60; negative: no limit
	Window   time.Duration // in this time: 1 min
}

// throttle is a Throttle in use.
type throttle struct {
	Throttle
	began []time.Time // the attempts in the window, oldest first
}

// next returns when the next attempt may begin: not after now if it may at once.
func (t *throttle) next(now time.Time) time.Time {
	window := max(cmp.Or(t.Window, time.Minute), 0)
	for len(t.began) > 0 && now.Sub(t.began[0]) >= window {
		t.began = t.began[1:]
	}
	if limit := cmp.Or(t.Attempts, 60); limit < 0 || len(t.began) < limit {
		return now
	}
	return t.began[0].Add(window)
}

// note records that an attempt begins.
func (t *throttle) note(now time.Time) {
	if t.Attempts >= 0 {
		t.began = append(t.began, now)
	}
}
