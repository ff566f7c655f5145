package link

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"
)

// A Phase is the part of a State that a metric's label would have.
type Phase uint8

const (
	Idle       Phase = iota // not started
	Connecting              // an attempt is being made
	Up                      // there is a connection
	Waiting                 // the next attempt is made at State.Until
	Failed                  // the same, but the cause is permanent and the pause is long
	Draining                // nothing is handed out; who has a Lease may finish
	Closed                  // the end
	numPhases  = iota
)

// String returns the phase in words, which are stable.
func (p Phase) String() string {
	if p < numPhases {
		return [...]string{"idle", "connecting", "up", "waiting", "failed", "draining", "closed"}[p]
	}
	return fmt.Sprintf("Phase(%d)", uint8(p))
}

// A State is what a link does at some time.
type State struct {
	Phase    Phase
	Seq      uint64    // number of the transition that led here; a state without a transition has 0
	Since    time.Time // when that was
	Until    time.Time // Waiting, Failed: when the next attempt is due; zero: not until TryNow
	Attempt  int       // attempts since the link was last well, this one included
	Cause    error     // why there is no connection, or why the last one or attempt failed; nil at first
	Endpoint string    // dialled, connected to, or last dialled

	failures uint64 // attempts that had failed by then
}

// String describes the state for people.
func (s State) String() string {
	text := s.Phase.String()
	switch {
	case s.Phase == Connecting || s.Phase == Up:
		text += fmt.Sprintf(" (attempt %d, endpoint %q)", s.Attempt, s.Endpoint)
	case s.Phase == Waiting || s.Phase == Failed:
		next := "not until TryNow"
		if !s.Until.IsZero() {
			next = "in " + max(time.Until(s.Until), 0).Round(time.Millisecond).String()
		}
		text += fmt.Sprintf(" (after %d attempts, next %s)", s.Attempt, next)
	}
	if s.Cause != nil && s.Phase != Up {
		text += ": " + s.Cause.Error()
	}
	return text
}

// State returns the state. It has no side effects.
func (l *Link[C]) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// Stats are a link's counters. Attempts = Failures + those that worked, are
// being made, or were abandoned at the end; Ups − Downs is 1 when it is up.
type Stats struct {
	Attempts uint64 // calls of Dial, and those that were not made for ErrStuck
	Failures uint64 // attempts that failed
	Ups      uint64 // connections that were handed out
	Downs    uint64 // of which were lost, or given up

	spent [numPhases]time.Duration
}

// In returns how long the link has been in a phase.
func (s *Stats) In(p Phase) time.Duration {
	if p < numPhases {
		return s.spent[p]
	}
	return 0
}

// Stats returns the counters.
func (l *Link[C]) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	if l.state.Phase != Idle {
		s.spent[l.state.Phase] += time.Since(l.state.Since)
	}
	return s
}

// enter makes a transition.
func (l *Link[C]) enter(s State) {
	l.mu.Lock()
	s = l.enterLocked(s)
	l.mu.Unlock()
	l.tell(Event{Name: l.name(), State: s})
}

func (l *Link[C]) enterLocked(s State) State {
	s.Since = time.Now()
	if l.state.Phase != Idle {
		l.stats.spent[l.state.Phase] += s.Since.Sub(l.state.Since)
	}
	if l.state.Phase == Up {
		l.stats.Downs++
	}
	if s.Phase == Up {
		l.stats.Ups++
	}
	s.Seq = l.state.Seq + 1
	l.state = s
	l.history.add(s)
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
	return s
}

// An Event is a transition, with the state that it led to.
type Event struct {
	Name string // the link's
	State

	// Missed is how many transitions before this one Events has dropped because
	// its reader was too slow.
	Missed uint64

	// Panic is a *hythe.PanicError when no transition is told, but that a
	// callback panicked whose error nobody would hear of: a subscriber, Discard
	// or Settled.
	Panic error
}

// String describes the event for people.
func (e Event) String() string { return e.Name + ": " + e.State.String() }

// historySize is how many transitions a reader of Events may lag behind.
const historySize = 64

// history has the latest transitions, while somebody reads them.
type history struct {
	readers int
	last    []State // oldest first
}

func (h *history) add(s State) {
	if h.readers == 0 {
		return
	}
	if len(h.last) == historySize {
		copy(h.last, h.last[1:])
		h.last = h.last[:historySize-1]
	}
	h.last = append(h.last, s)
}

// Events starts the link and returns its transitions, as they happen: first the
// state as it is, or was before the start, then everything that follows, each
// numbered one more than the one before. A reader that lags more than 64
// transitions behind loses the oldest of them, and is told how many. It ends
// after Closed, and when ctx is done.
func (l *Link[C]) Events(ctx context.Context) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		l.mu.Lock()
		l.history.readers++
		s := l.state
		l.mu.Unlock()
		l.Start()
		defer func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.history.readers--; l.history.readers == 0 {
				l.history.last = nil
			}
		}()
		for missed := uint64(0); ; {
			if !yield(Event{Name: l.name(), State: s, Missed: missed}) || s.Phase == Closed {
				return
			}
			var ok bool
			if s, missed, ok = l.after(ctx, s.Seq); !ok {
				return
			}
		}
	}
}

// after waits for the first transition behind number seq that is still known.
func (l *Link[C]) after(ctx context.Context, seq uint64) (s State, missed uint64, ok bool) {
	for {
		l.mu.Lock()
		if lag := l.state.Seq - seq; lag > 0 {
			known := l.history.last[max(0, len(l.history.last)-int(min(lag, historySize))):]
			s = known[0]
			l.mu.Unlock()
			return s, s.Seq - seq - 1, true
		}
		changed := l.changes()
		l.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return s, 0, false
		}
	}
}

// panicked tells of a panic that nobody would hear of otherwise. It does nothing
// with nil.
func (l *Link[C]) panicked(err error) {
	if err != nil {
		l.tell(Event{Name: l.name(), State: l.State(), Panic: err})
	}
}

// tell tells the Observer and the Logger.
func (l *Link[C]) tell(ev Event) {
	if l.Observer != nil {
		call(func() error { l.Observer(ev); return nil }, func(err error) {
			if err != nil && ev.Panic == nil {
				ev.Panic = err // for the Logger
			}
		})
	}
	if l.Logger == nil {
		return
	}
	level, text := slog.LevelDebug, ev.Phase.String()
	attrs := []slog.Attr{slog.String("link", ev.Name)}
	switch {
	case ev.Panic != nil:
		level, text = slog.LevelError, "callback panicked"
		attrs = append(attrs, slog.Any("err", ev.Panic))
	case ev.Phase == Failed:
		level = slog.LevelError
	case ev.Phase == Waiting && ev.Cause != nil:
		level = slog.LevelWarn
	case ev.Phase >= Draining || ev.Phase == Up:
		level = slog.LevelInfo
	}
	if !l.Logger.Enabled(context.Background(), level) {
		return
	}
	if ev.Endpoint != "" {
		attrs = append(attrs, slog.String("endpoint", ev.Endpoint))
	}
	if ev.Attempt > 0 {
		attrs = append(attrs, slog.Int("attempt", ev.Attempt))
	}
	if !ev.Until.IsZero() {
		attrs = append(attrs, slog.Duration("next", ev.Until.Sub(ev.Since)))
	}
	if ev.Cause != nil && ev.Phase != Up && !(ev.Phase == Closed && errors.Is(ev.Cause, ErrClosed)) {
		attrs = append(attrs, slog.Any("cause", ev.Cause))
	}
	l.Logger.LogAttrs(context.Background(), level, text, attrs...)
}
