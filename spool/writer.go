package spool

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// segmentFor sees to it that the active segment has room. It returns it if it is
// a new one, which nobody else knows of yet.
func (s *Spool) segmentFor(size int, first uint64) (fresh *segment, err error) {
	if g := s.active; g != nil {
		full := g.end.Load()+int64(size) > s.o.SegmentBytes
		old := s.o.MaxAge > 0 && time.Since(g.created) > s.o.MaxAge/4
		if full || old {
			s.endSegment() // everything in it is durable
		}
	}
	if s.active == nil {
		if err := s.newSegment(first); err != nil {
			return nil, noRoom(err)
		}
		fresh = s.active
	}
	err = s.allocate(s.active.end.Load() + int64(size))
	switch {
	case err == nil:
		return fresh, nil
	case fresh != nil:
		s.abandon(true)
	case errors.Is(noRoom(err), ErrFull) && s.sacrifice():
		return s.segmentFor(size, first)
	}
	return nil, noRoom(err)
}

// sacrifice ends the active segment and deletes it, if every reader has passed all
// that is in it: on a full disk there may be no room for one behind it. What the
// next id is can be told from the cursors then.
func (s *Spool) sacrifice() bool {
	if !s.passed() {
		return false
	}
	if err := s.save(); err != nil {
		return false
	}
	s.saveMu.Lock()
	defer s.saveMu.Unlock()
	s.mu.Lock()
	defer s.unlock()
	for _, c := range s.cursors {
		if c.saved < s.next {
			return false
		}
	}
	if len(s.segs) != 1 || s.segs[0] != s.active {
		return false
	}
	s.file.Truncate(0) // a reader may have it open
	s.file.Close()
	s.remove(s.active)
	s.active, s.file = nil, nil
	return true
}

// passed reports whether every reader has acknowledged everything.
func (s *Spool) passed() bool {
	s.mu.Lock()
	defer s.unlock()
	return s.drained()
}

// noRoom has a full disk match ErrFull.
func noRoom(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return fmt.Errorf("spool: %w", err)
}

// allocate reserves room for the active segment to grow to the size.
func (s *Spool) allocate(size int64) error {
	if size <= s.allocated {
		return nil
	}
	ahead := max(size, min(s.allocated+allocateBytes, s.o.SegmentBytes))
	err := s.file.Allocate(ahead)
	if err != nil && ahead > size {
		ahead = size
		err = s.file.Allocate(ahead)
	}
	if err == nil {
		s.allocated = ahead
	}
	return err
}

// newSegment begins a segment, whose name is durable then.
func (s *Spool) newSegment(first uint64) (err error) {
	s.mu.Lock()
	s.lastSeq++
	g := &segment{seq: s.lastSeq, first: first, created: time.Now(), doubt: s.doubt}
	s.unlock()
	var salt [8]byte
	rand.Read(salt[:])
	g.salt = binary.LittleEndian.Uint64(salt[:])
	g.name = segmentName(g.seq, g.first, g.salt)

	s.active, s.allocated = g, 0
	s.file, err = s.fs.OpenFile(s.path(g.name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		s.active = nil
		return err
	}
	info := segmentInfo{version, g.doubt, g.created.UnixNano()}.append(make([]byte, headerSize))
	putHeader(info, header{kindSegment, segmentInfoSize, first, checksum(info[headerSize:])}, g.salt, 0)
	err = s.allocate(int64(len(info)))
	if err == nil {
		_, err = s.file.WriteAt(info, 0)
	}
	if err == nil {
		err = s.fs.SyncDir(s.dir)
	}
	if err != nil {
		s.abandon(true)
		return err
	}
	g.end.Store(int64(len(info)))
	return nil
}

// abandon closes the active segment after an error, never to be written to
// again. Nothing that follows its end was made known.
func (s *Spool) abandon(fresh bool) {
	s.file.Close()
	if fresh {
		s.fs.Remove(s.path(s.active.name)) // if it stays, the next one overrules it
	}
	s.active, s.file = nil, nil
}

// endSegment closes the active segment, all of which is durable.
func (s *Spool) endSegment() error {
	if s.active == nil {
		return nil
	}
	s.file.Truncate(s.active.end.Load()) // gives back what was reserved
	err := s.file.Close()
	s.active, s.file = nil, nil
	return err
}
