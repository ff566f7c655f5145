package hythe

import "fmt"

// DebugState describes a connection's inner state, for a test that waits in
// vain.
func DebugState(s *Stream) string {
	queued := s.Stats().Queued
	s.mu.Lock()
	defer s.mu.Unlock()
	o := &s.out
	return fmt.Sprintf("conn %d: state %b gate %b holds %d queued %d full %t blocked %t writing %t closed %t dead %t stalled %d end %v",
		s.id, s.state.Load(), s.gate.Load(), s.holds.Load(), queued, o.full, o.blocked, o.writing, o.closed, o.dead, s.stalled.Load(), s.end)
}
