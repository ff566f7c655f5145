package spool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Options are the settings of a Spool. The zero value is usable: in each field
// zero means the default. Negative numbers are refused, but for MaxBytes.
type Options struct {
	// SegmentBytes is the size of a segment: 64 MiB, and at most a quarter of
	// MaxBytes. It is what space is given back in, and what Open may read.
	SegmentBytes int64

	// MaxBytes bounds the size of all segments: 1 GiB. Negative: no bound but
	// the disk's. See Overflow for what happens then.
	MaxBytes int64

	// Overflow says what is done with a record for which there is no room.
	Overflow Overflow

	// MaxAge, if set, is how old records may become. Those that are older are
	// deleted, read or not, a segment at a time, when something is appended or
	// read. The wall clock counts only across restarts.
	MaxAge time.Duration

	// MaxRecord bounds a payload: 16 MiB. There is no going beyond 1 GiB.
	MaxRecord int

	// CommitDelay is how long a batch waits for others to join it. The default
	// is not at all: batches gather while the sync before them is under way.
	CommitDelay time.Duration

	// CommitBytes is when a batch waits no longer, and how much may wait for
	// the disk beside it: 1 MiB. A single larger call passes.
	CommitBytes int

	// CursorDelay and CursorAcks say how soon acknowledgements become durable:
	// within 100 ms, or when there are 1,000 of them. What a crash takes of
	// them is delivered again.
	CursorDelay time.Duration
	CursorAcks  int

	// Logger, if set, gets a line when something is wrong: damage, a failed
	// write, a full disk and its end.
	Logger *slog.Logger

	// FS is where the directory is: the operating system's filesystem.
	FS FS
}

// Overflow says what is done with a record for which there is no room.
type Overflow uint8

const (
	// Refuse has Append fail with ErrFull.
	Refuse Overflow = iota

	// DropOldest deletes the oldest segment, whether it was read or not. Every
	// reader is told which records it has lost. It does not help when the disk
	// itself is full.
	DropOldest
)

func (o Options) withDefaults() Options {
	or(&o.SegmentBytes, 64<<20)
	or(&o.MaxBytes, 1<<30)
	if o.MaxBytes > 0 {
		o.SegmentBytes = max(1, min(o.SegmentBytes, o.MaxBytes/4))
	}
	or(&o.MaxRecord, 16<<20)
	o.MaxRecord = min(o.MaxRecord, 1<<30)
	or(&o.CommitBytes, 1<<20)
	or(&o.CursorDelay, 100*time.Millisecond)
	or(&o.CursorAcks, 1000)
	if o.FS == nil {
		o.FS = osFS{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func or[N int | int64 | time.Duration](v *N, byDefault N) {
	if *v == 0 {
		*v = byDefault
	}
}

func (o Options) validate() error {
	var errs []error
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"SegmentBytes", o.SegmentBytes}, {"MaxAge", int64(o.MaxAge)}, {"MaxRecord", int64(o.MaxRecord)}, {"CommitDelay", int64(o.CommitDelay)},
		{"CommitBytes", int64(o.CommitBytes)}, {"CursorDelay", int64(o.CursorDelay)}, {"CursorAcks", int64(o.CursorAcks)},
	} {
		if f.value < 0 {
			errs = append(errs, fmt.Errorf("spool: Options.%s is negative", f.name))
		}
	}
	if o.Overflow > DropOldest {
		errs = append(errs, errors.New("spool: Options.Overflow is unknown"))
	}
	return errors.Join(errs...)
}

// A Spool is an open directory. See the package's documentation.
type Spool struct {
	dir  string
	o    Options
	fs   FS
	lock io.Closer
	work sync.WaitGroup // commits and saves under way

	mu      sync.Mutex
	segs    []*segment // oldest first
	next    uint64     // the next id; those below are durable
	bytes   int64      // of all segments
	lastSeq uint64     // of all segments ever
	doubt   uint64     // where the last batch before Open began, if it may not be whole
	floor   []span     // what was deleted unread, in order
	cursors map[string]*cursor
	closed  bool
	said    []func()      // for the Logger, which is never called under mu
	grown   chan struct{} // closed when there is more to read, or nothing any more; nil: nobody waits
	appending
	saving
	counters
}

// A span is a range of ids and what became of them.
type span struct {
	last   uint64
	reason Reason
}

// Open opens the spool in the directory, which it makes if there is none. It
// fails with ErrLocked while it is open already, with ErrVersion if a newer
// version has written to it, and if o cannot be used, but not because of damage.
func Open(dir string, o Options) (*Spool, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	s := &Spool{dir: dir, o: o, fs: o.FS, next: 1, cursors: make(map[string]*cursor)}
	if err := s.fs.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	lock, err := s.fs.Lock(s.path("lock"))
	if err != nil {
		return nil, fmt.Errorf("spool: %s: %w", dir, err)
	}
	if err := s.recover(); err != nil {
		s.closeCursors()
		lock.Close()
		return nil, fmt.Errorf("spool: open %s: %w", dir, err)
	}
	s.lock = lock
	return s, nil
}

func (s *Spool) path(name string) string { return filepath.Join(s.dir, name) }

// recover finds out what there is.
func (s *Spool) recover() error {
	segs, overruled, err := findSegments(s.fs, s.dir)
	if err != nil {
		return err
	}
	now := time.Now()
	for _, g := range segs {
		if err := g.load(s.fs, s.dir, now); err != nil {
			return err
		}
		s.bytes += g.end.Load()
		s.lastSeq = max(s.lastSeq, g.seq)
	}
	s.segs = segs
	for _, name := range overruled {
		if seq, _, _, ok := parseSegmentName(name); ok {
			s.lastSeq = max(s.lastSeq, seq)
		}
		s.fs.Remove(s.path(name)) // nothing in it was ever durable
	}
	if err := s.loadCursors(); err != nil {
		return err
	}
	// What was acknowledged, and the end as it was when the spool was closed, was
	// there once, whether it still is or not.
	var known uint64
	for _, c := range s.cursors {
		known = max(known, c.low.Load())
	}
	clean := uint64(0)
	if c := s.cursors[endMark]; c != nil {
		clean = c.low.Load()
		delete(s.cursors, endMark)
		c.close()
	}
	if err := s.recoverEnd(clean); err != nil {
		return err
	}
	s.next = max(s.next, known)
	if len(segs) > 0 && segs[0].first > 1 {
		if why := s.o.deletes(); why != 0 {
			s.floor = []span{{segs[0].first - 1, why}}
		}
	}
	// A name, and a cursor's place, may have been read from memory only.
	for _, c := range s.cursors {
		if err := s.saveCursor(c); err != nil {
			return err
		}
	}
	s.collect() // what had been deleted may be there again
	if err := s.fs.SyncDir(s.dir); err != nil {
		return err
	}
	return s.fs.SyncDir(filepath.Dir(s.dir))
}

// deletes says why records may be deleted unread, 0 if they are not.
func (o Options) deletes() Reason {
	switch {
	case o.Overflow == DropOldest:
		return Dropped
	case o.MaxAge > 0:
		return Expired
	}
	return 0
}

// recoverEnd finds the end of the records, and makes sure of it unless the spool
// was closed there.
func (s *Spool) recoverEnd(clean uint64) error {
	for len(s.segs) > 0 {
		g := s.segs[len(s.segs)-1]
		f, err := s.fs.OpenFile(s.path(g.name), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		t, err := g.tail(f)
		if err != nil {
			return err
		}
		s.next = max(s.next, t.next)
		if g.blank && t.end == 0 && len(s.segs) > 1 {
			// Only its name has survived, and would overrule what the one before
			// it ends with.
			if err := s.fs.Remove(s.path(g.name)); err != nil {
				return err
			}
			s.segs = s.segs[:len(s.segs)-1]
			s.bytes -= g.end.Load()
			continue
		}
		if clean >= s.next {
			return nil
		}
		s.doubt = t.batch
		return g.fasten(f, t)
	}
	return nil
}

// limit returns the segment behind g, the id with which g's own end, which is
// its successor's first or the next one of all, and how much of g may be read,
// all of one moment. g may have been deleted.
func (s *Spool) limit(g *segment) (succ *segment, limit uint64, end int64) {
	s.mu.Lock()
	defer s.unlock()
	if i := s.behind(g); i < len(s.segs) {
		return s.segs[i], s.segs[i].first, g.end.Load()
	}
	return nil, s.next, g.end.Load()
}

// behind returns the index of the segment behind g, len(s.segs) if there is none.
// g may have been deleted. s.mu is held.
func (s *Spool) behind(g *segment) int {
	i, _ := slices.BinarySearchFunc(s.segs, g.seq+1, func(x *segment, seq uint64) int { return cmp.Compare(x.seq, seq) })
	return i
}

// segmentOf returns the segment that should have the record, or what follows it.
// If there is none, it returns the next id of all.
func (s *Spool) segmentOf(id uint64) (g *segment, next uint64) {
	s.mu.Lock()
	defer s.unlock()
	if len(s.segs) == 0 {
		return nil, s.next
	}
	i, _ := slices.BinarySearchFunc(s.segs, id+1, func(g *segment, id uint64) int { return cmp.Compare(g.first, id) })
	return s.segs[max(i-1, 0)], s.next
}

// reasonFor says why records are missing, whose place is in the segment g or in
// front of it, the first of which has the id.
func (s *Spool) reasonFor(first uint64, g *segment) Reason {
	s.mu.Lock()
	defer s.unlock()
	for _, f := range s.floor {
		if first <= f.last {
			return f.reason
		}
	}
	doubt := s.doubt
	if g != nil {
		if i := s.behind(g); i < len(s.segs) {
			doubt = s.segs[i].doubt
		}
	}
	if doubt > 0 && first >= doubt {
		return Unfinished
	}
	return Damaged
}

func (s *Spool) isClosed() bool {
	s.mu.Lock()
	defer s.unlock()
	return s.closed
}

// readable says whether there may be something to read, and deletes what is too
// old for that.
func (s *Spool) readable() bool {
	s.mu.Lock()
	defer s.unlock()
	s.expire()
	return !s.closed
}

// rouse has all readers that wait look again.
func (s *Spool) rouse() {
	s.mu.Lock()
	defer s.unlock()
	s.wake()
}

// watch returns a channel that is closed when readers are to look again.
func (s *Spool) watch() <-chan struct{} {
	s.mu.Lock()
	defer s.unlock()
	return s.changes()
}

// say has the Logger told when s.mu is released. s.mu is held.
func (s *Spool) say(level slog.Level, text string, args ...any) {
	s.said = append(s.said, func() {
		s.o.Logger.Log(context.Background(), level, text, append([]any{"dir", s.dir}, args...)...)
	})
}

// unlock releases s.mu and tells the Logger what there is to tell.
func (s *Spool) unlock() {
	said := s.said
	s.said = nil
	s.mu.Unlock()
	for _, tell := range said {
		tell()
	}
}

// wake wakes readers. s.mu is held.
func (s *Spool) wake() {
	if s.grown != nil {
		close(s.grown)
		s.grown = nil
	}
}

// changes returns a channel that is closed by wake. s.mu is held.
func (s *Spool) changes() <-chan struct{} {
	if s.grown == nil {
		s.grown = make(chan struct{})
	}
	return s.grown
}

// dropOldest deletes the oldest segment although it may not have been read.
// s.mu is held.
func (s *Spool) dropOldest(why Reason) {
	g := s.segs[0]
	last := s.segs[1].first - 1
	s.remove(g)
	s.fs.SyncDir(s.dir) // so that older ones are gone for good before newer ones
	lost := false
	for _, c := range s.cursors {
		lost = lost || c.low.Load() <= last
	}
	if !lost {
		return
	}
	if n := len(s.floor); n > 0 && s.floor[n-1].reason == why {
		s.floor[n-1].last = last
	} else {
		s.floor = append(s.floor, span{last, why})
	}
	s.say(slog.LevelWarn, "spool: deleted records that were not read", "segment", g.name, "reason", why)
}

// expire deletes what is too old. s.mu is held.
func (s *Spool) expire() {
	// The records of a segment are older than the segment behind it.
	for s.o.MaxAge > 0 && len(s.segs) > 1 && time.Since(s.segs[1].created) > s.o.MaxAge {
		s.dropOldest(Expired)
	}
}

// remove deletes the oldest segment, g. A file that cannot be removed is tried
// again at the next Open. s.mu is held.
func (s *Spool) remove(g *segment) {
	s.segs = s.segs[1:]
	s.bytes -= g.end.Load()
	if err := s.fs.Remove(s.path(g.name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.say(slog.LevelWarn, "spool: a segment cannot be removed", "segment", g.name, "err", err)
	}
}

// Close makes everything durable that was appended or acknowledged, ends all
// calls that wait, and closes the spool with its readers. Calls after the first
// return ErrClosed.
func (s *Spool) Close() error {
	s.mu.Lock()
	if s.closed {
		s.unlock()
		return ErrClosed
	}
	s.closed = true
	s.wake()
	s.awaken()
	s.stopSaving()
	var readers []*Reader
	for _, c := range s.cursors {
		if c.reader != nil {
			readers = append(readers, c.reader)
			c.reader = nil
		}
	}
	s.unlock()
	s.work.Wait() // what was submitted is committed
	for _, r := range readers {
		r.end() // nothing is acknowledged any more
	}
	err := errors.Join(s.save(), s.endSegment())
	s.markEnd()
	s.closeCursors()
	return errors.Join(err, s.lock.Close())
}

// Sync makes durable what was acknowledged so far.
func (s *Spool) Sync() error {
	s.mu.Lock()
	closed := s.closed
	s.unlock()
	if closed {
		return ErrClosed
	}
	return s.save()
}
