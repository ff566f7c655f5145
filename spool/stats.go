package spool

import (
	"slices"
	"strings"
	"time"
)

// counters are the numbers that Stats returns, guarded by Spool.mu.
type counters struct {
	commits, failures, refused uint64
}

// Stats are a spool's state and counters, which count from Open.
type Stats struct {
	Next     uint64        // the next record's id
	First    uint64        // the oldest record's id that may be read; Next if there is none
	Age      time.Duration // of the oldest segment
	Segments int
	Bytes    int64 // of all segments

	Commits  uint64 // syncs that made records durable
	Failures uint64 // batches that could not be made durable
	Refused  uint64 // calls refused because the spool had reached MaxBytes

	// Trouble is why the last batch could not be written, nil if it could. It
	// matches ErrFull when the disk is full.
	Trouble error

	Readers []ReaderStats // by name
}

// ReaderStats are the state and the counters of one reader.
type ReaderStats struct {
	Name    string
	Open    bool
	Low     uint64 // the oldest record's id that is not acknowledged
	Backlog uint64 // records that are not acknowledged, missing ones included

	// Lost counts the records that the reader was told are missing, by Reason.
	Lost map[Reason]uint64
}

// Stats returns the counters.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.unlock()
	st := Stats{
		Next: s.next, First: s.next, Segments: len(s.segs), Bytes: s.bytes,
		Commits: s.commits, Failures: s.failures, Refused: s.refused, Trouble: s.trouble,
	}
	if len(s.segs) > 0 {
		st.First = s.segs[0].first
		st.Age = time.Since(s.segs[0].created)
	}
	for _, c := range s.cursors {
		low := max(c.low.Load(), 1)
		rs := ReaderStats{Name: c.name, Open: c.reader != nil, Low: low, Backlog: s.next - low}
		for i := range c.lost {
			if n := c.lost[i].Load(); n > 0 {
				if rs.Lost == nil {
					rs.Lost = make(map[Reason]uint64)
				}
				rs.Lost[Reason(i)] = n
			}
		}
		st.Readers = append(st.Readers, rs)
	}
	slices.SortFunc(st.Readers, func(a, b ReaderStats) int { return strings.Compare(a.Name, b.Name) })
	return st
}
