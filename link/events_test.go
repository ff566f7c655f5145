package link

import (
	"context"
	"testing"
	"time"
)

// A reader of events that lags behind is told how many it has missed.
func TestEvents_SlowReader(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		l.Throttle.Attempts = -1
		l.Backoff = Backoff{First: time.Second, Fixed: true}
		p.set("*", errDown)
		var seq, missed uint64
		for ev := range l.Events(t.Context()) {
			if ev.Seq != seq+ev.Missed+1 && ev.Seq != 0 {
				t.Errorf("event %d follows %d, and %d were missed", ev.Seq, seq, ev.Missed)
			}
			seq = ev.Seq
			missed += ev.Missed
			switch {
			case seq < 3: // the first is the snapshot
			case missed == 0:
				time.Sleep(time.Minute) // and so 120 transitions
			case seq > 300:
				return
			}
		}
		if missed == 0 {
			t.Error("nothing was missed")
		}
	})
}

// Who starts a link by reading its events sees it from its first.
func TestEvents_OfALinkThatTheyStartBeginWithIdle(t *testing.T) {
	for range 2000 {
		p := newPeer()
		l := &Link[*fake]{Dial: p.dial}
		next := uint64(0)
		for ev := range l.Events(within(t)) {
			if ev.Seq != next || next == 0 && ev.Phase != Idle {
				t.Fatalf("event %d is the %dth, %v", ev.Seq, next, ev.Phase)
			}
			if next++; ev.Phase == Up {
				break
			}
		}
		l.Close()
		<-l.Done()
	}
}

func TestEvents_EndWithTheirContext(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var phases []Phase
		for ev := range l.Events(ctx) {
			phases = append(phases, ev.Phase)
		}
		if len(phases) == 0 || phases[len(phases)-1] != Up {
			t.Errorf("the phases were %v", phases)
		}
		if l.history.last != nil || l.history.readers != 0 {
			t.Error("the history is kept though nobody reads it")
		}
	})
}
