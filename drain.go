package hythe

import (
	"context"
	"fmt"
	"net"
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

func (r *Report) String() string {
	return fmt.Sprintf("drained in %v: %d idle, %d finished, %d cut", r.Elapsed.Round(time.Millisecond), len(r.Idle), len(r.Finished), len(r.Cut))
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

// cutGrace is how long the hooks of connections that were cut get to notice.
const cutGrace = 50 * time.Millisecond

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
	return *s.report, s.stopErr
}

// stop makes the first step towards the end: nothing more is accepted. s.mu is
// held.
func (s *Server) stop(state serverState) {
	s.state = state
	s.report = &Report{}
	for _, l := range s.listeners {
		l.Close()
	}
	close(s.quit)
}

func (s *Server) drain(ctx context.Context) {
	began := time.Now()
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
		s.stopErr = &DrainError{Report: *s.report, Err: context.Cause(ctx)}
	}
	s.mu.Unlock()
	s.release()
	close(s.stopped)
}

// Close ends every connection now. It does not wait; Serve returns when all is
// done.
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

// release ends the goroutines that connections needed, once there are none.
func (s *Server) release() {
	end := func() {
		if s.loops != nil {
			s.loops.Close()
		}
		s.work.Wait()
	}
	select {
	case <-s.empty:
		end()
	default:
		go func() { // owned by the hook that does not return
			<-s.empty
			end()
		}()
	}
}
