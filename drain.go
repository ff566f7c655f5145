package hythe

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"
)

// A Report says what became of the connections that a drain found.
type Report struct {
	Idle     []ConnInfo    // nothing was owed to them: closed at once
	Finished []ConnInfo    // they were busy, and finished
	Cut      []ConnInfo    // they did not finish in time
	Elapsed  time.Duration // from the call to the end
}

// A ConnInfo tells which connection and how it ended.
type ConnInfo struct {
	ID     uint64
	Remote net.Addr
	Reason Reason
	Age    time.Duration
}

func (r Report) String() string {
	return fmt.Sprintf("drained in %v: %d idle, %d finished, %d cut", r.Elapsed.Round(time.Millisecond), len(r.Idle), len(r.Finished), len(r.Cut))
}

// Report returns what the drain has come to: the zero Report before one, a
// growing one while it lasts.
func (s *Server) Report() Report {
	s.init()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.report == nil {
		return Report{}
	}
	return s.report.clone()
}

func (r *Report) clone() Report {
	c := *r
	c.Idle, c.Finished, c.Cut = slices.Clone(r.Idle), slices.Clone(r.Finished), slices.Clone(r.Cut)
	return c
}

func infoOf(c *Stream, why Reason, now int64) ConnInfo {
	return ConnInfo{ID: c.id, Remote: c.RemoteAddr(), Reason: why, Age: time.Duration(now - c.opened)}
}

func (r *Report) add(c *Stream, end *CloseError, now int64) {
	info := infoOf(c, end.Reason, now)
	switch {
	case end.Reason == DrainTimeout:
		r.Cut = append(r.Cut, info)
	case c.status&sIdleAtDrain != 0:
		r.Idle = append(r.Idle, info)
	default:
		r.Finished = append(r.Finished, info)
	}
}

// A DrainError is returned when a drain had to cut connections.
type DrainError struct {
	Report Report
	Err    error // the context's
}

func (e *DrainError) Error() string { return "hythe: " + e.Report.String() + ": " + e.Err.Error() }
func (e *DrainError) Unwrap() error { return e.Err }

// lastCall is how long listeners may go on accepting what waits in their
// backlogs when a drain begins: a client that has connected and sent may well
// have gone, and must not lose what it sent.
const lastCall = 50 * time.Millisecond

// cutGrace is how long the hooks of connections that were cut get to notice. Those
// that do not block need no time but their processor's.
const cutGrace = 100 * time.Millisecond

// Drain stops accepting, on all listeners first; has every session's Draining
// called; closes the connections to which nothing is owed; and waits for the
// others to finish what they have begun. When ctx ends those that remain are
// cut, and a *DrainError is returned soon after, even if a hook ignores that
// its connection was cut. Drain, Serve and Close may be called together; the
// report is the same for all.
func (s *Server) Drain(ctx context.Context) (Report, error) {
	s.init()
	s.mu.Lock()
	first := s.report == nil
	if first {
		s.stop(stateDraining)
	}
	s.mu.Unlock()
	if first {
		s.drain(ctx)
	} else {
		select {
		case <-s.stopped:
		case <-ctx.Done():
			s.cutAll(DrainTimeout)
			<-s.stopped
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.report.clone(), s.stopErr
}

// stop makes the first step towards the end: nothing more is accepted. s.mu is
// held.
func (s *Server) stop(state serverState) {
	s.state = state
	s.report = &Report{}
	for _, l := range s.listeners {
		if state == stateClosed {
			l.Close()
		} else {
			l.CloseWhenEmpty()
		}
	}
	s.sealed = state == stateClosed
	close(s.quit)
}

// seal ends the last call.
func (s *Server) seal() {
	s.mu.Lock()
	ls := s.listeners
	s.mu.Unlock()
	if len(ls) > 0 {
		patience := time.NewTimer(lastCall)
		select {
		case <-s.accepted:
		case <-patience.C:
			for _, l := range ls {
				l.Close()
			}
		}
		patience.Stop()
	}
	s.mu.Lock()
	s.sealed = true
	s.mu.Unlock()
}

func (s *Server) drain(ctx context.Context) {
	began := time.Now()
	s.seal()
	s.mu.Lock()
	shaking := append([]*Stream(nil), s.shaking...)
	none := s.live == 0
	s.mu.Unlock()
	if none {
		s.noneLeft()
	}
	for _, c := range shaking {
		c.cut(Drained, nil)
	}
	for _, c := range s.snapshot() {
		c.signalDrain()
	}
	select {
	case <-s.empty:
	case <-ctx.Done():
		s.cutAll(DrainTimeout)
		s.awaitCut()
	}
	s.mu.Lock()
	now := s.now()
	for c := s.head.next; c != &s.head; c = c.next {
		s.report.Cut = append(s.report.Cut, infoOf(c, DrainTimeout, now)) // its hook still runs
	}
	s.reported = true
	s.report.Elapsed = time.Since(began)
	if len(s.report.Cut) > 0 {
		s.stopErr = &DrainError{Report: s.report.clone(), Err: context.Cause(ctx)}
	}
	s.mu.Unlock()
	s.release()
	close(s.stopped)
}

// Close ends every connection now. It does not wait; Serve returns when all is
// done. It returns nil, and calls after the first do nothing.
func (s *Server) Close() error {
	s.init()
	s.mu.Lock()
	first := s.report == nil
	if first {
		s.stop(stateClosed)
		s.stopErr = ErrServerClosed
	}
	none := s.live == 0
	s.mu.Unlock()
	if first && none {
		s.noneLeft()
	}
	s.cutAll(ServerClosed)
	if first {
		go func() { // Serve waits for it
			s.awaitCut()
			s.release()
			close(s.stopped)
		}()
	}
	return nil
}

func (s *Server) cutAll(why Reason) {
	for _, c := range s.snapshot() {
		c.cut(why, nil)
	}
}

// awaitCut waits until all connections have ended, but not for long.
func (s *Server) awaitCut() {
	grace := time.NewTimer(cutGrace)
	defer grace.Stop()
	select {
	case <-s.empty:
	case <-grace.C:
	}
}

// noneLeft notes that the last connection has ended.
func (s *Server) noneLeft() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.empty:
	default:
		close(s.empty)
	}
}

// release ends the goroutines that connections needed, once there are none. It
// waits for that, unless code of the program's does not return.
func (s *Server) release() {
	done := make(chan struct{})
	go func() { // owned by release, or by the code that does not return
		<-s.empty
		if loops := s.loops.Load(); loops != nil {
			loops.Close()
		}
		s.work.Wait()
		close(done)
	}()
	select {
	case <-s.empty:
	default:
		return
	}
	look := time.NewTicker(cutGrace / 2)
	defer look.Stop()
	for {
		select {
		case <-done:
			return
		case <-look.C:
			if s.beside.Load() > 0 {
				return
			}
		}
	}
}
