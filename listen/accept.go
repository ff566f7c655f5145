package listen

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// What an Accept does about an error:
//
//	class          then
//	ClassRetry     accept again at once; after maxRetries in a row as ClassShortage
//	ClassShortage  accept again after 5 ms, 10 ms … 80 ms
//	ClassClosed    return the error
//	ClassFatal     bind again, or return the error if that is not possible
//
// Whatever happens, Close ends it, and Pause holds it until Resume.
const (
	minShortageWait = 5 * time.Millisecond
	maxShortageWait = 80 * time.Millisecond // relief is noticed within 100 ms
	maxRetries      = 1000

	// A shortage is over when accepting has not failed for so long. While the
	// table is full, every connection that ends makes room for one Accept that
	// succeeds; that alone is no end.
	shortageCalm = time.Second
)

// An EventKind says what an AcceptEvent is about.
type EventKind uint8

// The kinds of events. Every ShortageBegan is followed by one ShortageEnded, at
// the latest when the listener is closed.
const (
	ShortageBegan EventKind = iota + 1 // accepting fails for lack of descriptors or memory
	ShortageEnded                      // it has not failed for a second, or the listener was closed
	Died                               // the socket is unusable and will be bound again
	Rebound                            // it was
	GaveUp                             // all tries failed; Accept returns the error
)

// String returns the kind in words.
func (k EventKind) String() string {
	switch k {
	case ShortageBegan:
		return "shortage began"
	case ShortageEnded:
		return "shortage ended"
	case Died:
		return "listener died"
	case Rebound:
		return "listener bound again"
	case GaveUp:
		return "listener given up"
	}
	return fmt.Sprintf("EventKind(%d)", uint8(k))
}

// An AcceptEvent tells of trouble with accepting.
type AcceptEvent struct {
	Kind     EventKind
	Endpoint Endpoint
	Addr     net.Addr
	Err      error         // ShortageBegan, Died, GaveUp: why
	Failures int           // ShortageEnded: failed accepts; Rebound, GaveUp: tries
	Duration time.Duration // ShortageEnded: from first to last failure; Rebound, GaveUp: since it died
}

func (l *Listener) emit(ev AcceptEvent) {
	ev.Endpoint, ev.Addr = l.endpoint, l.addr
	if l.cfg.OnAcceptEvent != nil {
		l.cfg.OnAcceptEvent(ev)
	}
	if l.cfg.Logger == nil {
		return
	}
	level := slog.LevelInfo
	attrs := []slog.Attr{slog.String("endpoint", ev.Endpoint.String()), slog.Any("addr", ev.Addr)}
	if ev.Err != nil {
		level = slog.LevelError
		attrs = append(attrs, slog.Any("err", ev.Err))
	}
	if ev.Failures > 0 {
		attrs = append(attrs, slog.Int("failures", ev.Failures), slog.Duration("duration", ev.Duration))
	}
	l.cfg.Logger.LogAttrs(context.Background(), level, "listen: "+ev.Kind.String(), attrs...)
}

// Accept waits for a connection and returns it. It returns an error only when
// the listener is closed (matching net.ErrClosed) or has died and could not be
// bound again (all that was tried, joined; so does every later Accept). That a
// Unix socket was shut down by a process sharing it is noticed by AcceptFD only:
// Linux does not tell accept(2).
func (l *Listener) Accept() (net.Conn, error) {
	var p patience
	for {
		if l.lastCall.Load() {
			return l.acceptLast()
		}
		t, err := l.ready()
		if err != nil {
			return nil, err
		}
		c, err := t.ln.Accept()
		if err == nil {
			if err := l.holdWhilePaused(); err != nil {
				c.Close()
				return nil, err
			}
			l.accepted.Add(1)
			return c, nil
		}
		if err := l.survive(&p, t, err); err != nil {
			return nil, err
		}
	}
}

// acceptLast is Accept after CloseWhenEmpty.
func (l *Listener) acceptLast() (net.Conn, error) {
	fd, _, err := l.AcceptFD(nil, nil)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "")
	defer f.Close()
	return net.FileConn(f)
}

// A turn is one try to accept: from what, and after how many pauses.
type turn struct {
	ln     net.Listener
	raw    *rawListener // AcceptFD only
	pauses uint64
}

// patience is what one call of Accept remembers of its failed tries.
type patience struct {
	wait    time.Duration
	retries int
}

// ready waits until accepting is allowed.
func (l *Listener) ready() (turn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.readyLocked()
}

// readyLocked is ready for a caller that holds mu. Waiting, it lets go of it.
func (l *Listener) readyLocked() (turn, error) {
	for (l.paused || l.reviving) && !l.closed {
		l.awaitChange()
	}
	switch {
	case l.closed:
		return turn{}, l.errClosed("accept")
	case l.dead != nil:
		return turn{}, l.dead
	}
	return turn{ln: l.sock.ln, pauses: l.pauses}, nil
}

func (l *Listener) awaitChange() {
	changed := l.changed
	l.mu.Unlock()
	<-changed
	l.mu.Lock()
}

// holdWhilePaused keeps back a connection that an Accept of package net took
// while Pause was called.
func (l *Listener) holdWhilePaused() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.paused {
		return nil
	}
	for l.paused && !l.closed {
		l.awaitChange()
	}
	if l.closed {
		return l.errClosed("accept")
	}
	return nil
}

// survive does what the class of err demands, and returns nil if accepting is to
// be tried again.
func (l *Listener) survive(p *patience, t turn, err error) error {
	l.mu.Lock()
	closed, paused := l.closed, l.pauses != t.pauses
	replaced := l.reviving || l.dead != nil || l.sock.ln != t.ln
	l.mu.Unlock()
	switch {
	case closed:
		return l.errClosed("accept")
	case replaced, paused && errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	}
	switch Classify(err) {
	case ClassRetry:
		l.retried.Add(1)
		if p.retries++; p.retries <= maxRetries {
			return nil
		}
		p.retries = 0
		fallthrough
	case ClassShortage:
		l.starved.Add(1)
		l.noteShortage(err)
		p.wait = min(max(2*p.wait, minShortageWait), maxShortageWait)
		l.waitShortage(p.wait)
		return nil
	case ClassFatal:
		return l.revive(t, err)
	}
	return err
}

// waitShortage waits for d, or until Close, Pause or the like.
func (l *Listener) waitShortage(d time.Duration) {
	l.mu.Lock()
	changed, now := l.changed, l.closed || l.paused
	l.mu.Unlock()
	if now {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-changed:
	}
}

// revive binds again what died of cause; nil means it did, or somebody else does.
func (l *Listener) revive(t turn, cause error) error {
	if l.rebind == nil {
		return cause
	}
	died := time.Now()
	l.mu.Lock()
	if l.closed || l.reviving || l.sock.ln != t.ln {
		l.mu.Unlock()
		return nil // ready knows what to do
	}
	if died.Sub(l.born) >= l.cfg.rebindHealthy() {
		l.tries = 0
	}
	l.reviving = true
	tries, raw := l.tries, l.raw
	l.raw = nil
	l.mu.Unlock()

	l.emit(AcceptEvent{Kind: Died, Err: cause})
	raw.close()
	t.ln.Close() // it holds the address
	s, tries, err := l.bindAgain(tries, cause)

	l.mu.Lock()
	l.reviving = false
	l.tries = tries
	closed, unlink := l.closed, l.unlinkOnClose
	switch {
	case closed:
	case err != nil:
		l.dead = err
	default:
		l.sock, l.born = s, time.Now()
	}
	l.notify()
	l.mu.Unlock()

	switch {
	case closed && err == nil:
		if s.unlink != nil && unlink {
			s.unlink()
		}
		s.ln.Close()
	case closed:
	case err != nil:
		l.emit(AcceptEvent{Kind: GaveUp, Err: err, Failures: tries, Duration: time.Since(died)})
	default:
		l.rebinds.Add(1)
		l.emit(AcceptEvent{Kind: Rebound, Failures: tries, Duration: time.Since(died)})
	}
	return nil // and ready returns what became of it
}

// bindAgain tries until it works, the tries are used up or Close is called.
func (l *Listener) bindAgain(tries int, cause error) (socket, int, error) {
	errs := []error{cause}
	wait := l.cfg.rebindBackoff()
	for range tries - 1 {
		wait = min(2*wait, maxRebindBackoff)
	}
	for tries < l.cfg.rebindTries() {
		if tries > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-l.life.Done():
				timer.Stop()
				return socket{}, tries, l.life.Err()
			}
			wait = min(2*wait, maxRebindBackoff)
		}
		tries++
		s, err := l.rebind(l.life)
		if err == nil {
			return s, tries, nil
		}
		errs = append(errs, err)
	}
	return socket{}, tries, fmt.Errorf("hythe: accept: %w", errors.Join(errs...))
}

// A shortage is an episode in which accepting failed for lack of descriptors or
// memory.
type shortage struct {
	mu       sync.Mutex
	began    time.Time
	last     time.Time
	failures int // zero when there is no shortage
	episodes uint64
	timer    *time.Timer // runs during an episode; its goroutine ends with the episode
	over     bool        // the listener is closed
}

func (s *shortage) stats() (episodes uint64, now bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.episodes, s.failures > 0
}

// noteShortage begins an episode, or adds to the one there is.
func (l *Listener) noteShortage(err error) {
	s := &l.shortage
	now := time.Now()
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		return
	}
	s.last = now
	s.failures++
	begins := s.failures == 1
	if begins {
		s.began = now
		s.episodes++
		s.timer = time.AfterFunc(shortageCalm, func() { l.endShortage(false) })
	}
	s.mu.Unlock()
	if begins {
		l.emit(AcceptEvent{Kind: ShortageBegan, Err: err})
	}
}

// endShortage ends the episode if there is one and it has been calm for long
// enough, or if the listener is closed.
func (l *Listener) endShortage(closed bool) {
	s := &l.shortage
	s.mu.Lock()
	s.over = s.over || closed
	if s.failures == 0 {
		s.mu.Unlock()
		return
	}
	if rest := shortageCalm - time.Since(s.last); rest > 0 && !closed {
		s.timer.Reset(rest)
		s.mu.Unlock()
		return
	}
	s.timer.Stop()
	ev := AcceptEvent{Kind: ShortageEnded, Failures: s.failures, Duration: s.last.Sub(s.began)}
	s.failures = 0
	s.mu.Unlock()
	l.emit(ev)
}
