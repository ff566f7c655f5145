package spool

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"time"
)

// appending is the part of a Spool that writes. Its fields are guarded by
// Spool.mu, but for those of the batch that is being committed and those marked
// "commit only".
type appending struct {
	pending    *batch        // gathers; nil: empty
	spares     [][]byte      // buffers of batches, for the next ones: two at most
	committing bool          // a batch is being committed
	flight     int64         // its bytes
	room       chan struct{} // closed when pending has been taken; nil: nobody waits
	trouble    error         // why the last batch failed; nil: it did not
	retryAt    time.Time     // nothing is tried before

	active    *segment // the segment that is written to; nil: a new one is needed. Commit only
	file      File     // the active segment. Commit only
	allocated int64    // of it. Commit only
}

// A batch is what is written and synced at once.
type batch struct {
	buf   []byte // the records, whose headers are not complete yet
	count int
	began time.Time
	calls []call
	full  chan struct{} // closed when it need not wait any longer
	done  chan struct{} // closed when it has been committed

	// set before done is closed
	first uint64
	err   error
}

// A call is a Submit that wants to be told.
type call struct {
	index int
	done  func(first uint64, err error)
}

const (
	batchHead = headerSize + batchSize // a batch's first record

	// retryAfter is the pause after a failure, in which everything is refused.
	retryAfter = 100 * time.Millisecond

	// allocateBytes is how far ahead of what is written room is reserved.
	allocateBytes = 4 << 20

	spareBytes = 4 << 20 // larger buffers are not kept
)

// Append adds the payloads, in order and behind each other, and returns the id
// of the first. They are durable when it returns. It waits while too much waits
// for the disk. The payloads are not used after that, and may be empty.
//
// It fails with ErrFull, ErrTooLarge or ErrClosed when it has not tried, and
// otherwise with what the system says, wrapped. After an error of the system's
// some of the records may still turn up after a restart. For a tenth of a second
// after it every call fails with the same error, without trying. Without payloads
// Append does nothing and returns 0.
func (s *Spool) Append(payloads ...[]byte) (first uint64, err error) {
	for {
		b, index, err := s.add(payloads, nil)
		switch {
		case err == ErrBusy:
			s.mu.Lock()
			room := s.awaitRoom()
			s.unlock()
			<-room
			continue
		case err != nil:
			return 0, err
		case b == nil: // no payload
			return 0, nil
		}
		<-b.done
		return b.first + uint64(index), b.err
	}
}

// Submit is Append that does not wait: done is called when the payloads are
// durable, or could not be made so. The calls are made one after the other, in
// the order of submission, and hold up the next batch, so done must not block.
// When Submit returns an error done is not called. ErrBusy means that too much
// waits for the disk. The payloads are not used after Submit has returned.
func (s *Spool) Submit(payloads [][]byte, done func(first uint64, err error)) error {
	_, _, err := s.add(payloads, done)
	return err
}

// add adds payloads to the batch that gathers, and sees to it that it is
// committed. If the caller is the one to do that and wants to wait anyway, it
// has been done when add returns.
func (s *Spool) add(payloads [][]byte, done func(uint64, error)) (*batch, int, error) {
	if len(payloads) == 0 {
		if done != nil {
			return nil, 0, errors.New("spool: Submit without a payload")
		}
		return nil, 0, nil
	}
	size := 0
	for _, p := range payloads {
		if len(p) > s.o.MaxRecord {
			return nil, 0, ErrTooLarge
		}
		size += headerSize + len(p)
	}
	s.mu.Lock()
	if err := s.admit(size); err != nil {
		s.unlock()
		return nil, 0, err
	}
	b := s.pending
	if b == nil {
		b = &batch{began: time.Now(), full: make(chan struct{}), done: make(chan struct{})}
		if n := len(s.spares); n > 0 {
			b.buf, s.spares = s.spares[n-1], s.spares[:n-1]
		}
		b.buf = append(b.buf[:0], make([]byte, batchHead)...)
		s.pending = b
	}
	index := b.count
	for _, p := range payloads {
		b.add(p)
	}
	if done != nil {
		b.calls = append(b.calls, call{index, done})
	}
	if len(b.buf) >= s.o.CommitBytes {
		b.fill()
	}
	lead := !s.committing
	s.committing = true
	if lead {
		s.work.Add(1)
	}
	s.unlock()
	switch {
	case lead && done == nil:
		s.commitOnce()
	case lead:
		go s.commitAll()
	}
	return b, index, nil
}

// admit says whether there is room for a call of so many bytes. s.mu is held.
func (s *Spool) admit(size int) error {
	if s.closed {
		return ErrClosed
	}
	if s.trouble != nil && time.Now().Before(s.retryAt) {
		return s.trouble
	}
	waiting := 0
	if s.pending != nil {
		waiting = len(s.pending.buf)
		if waiting+size > 2*s.o.CommitBytes {
			return ErrBusy
		}
	}
	s.expire()
	size += waiting + batchHead + headerSize + segmentInfoSize
	if s.o.MaxBytes < 0 || s.makeRoom(int64(size)+s.flight) {
		return nil
	}
	s.refused++
	return ErrFull
}

// makeRoom says whether there is room for so many bytes, and makes some if it
// may. s.mu is held.
func (s *Spool) makeRoom(size int64) bool {
	if size > s.o.MaxBytes {
		return false // nor will there ever be
	}
	for s.bytes+size > s.o.MaxBytes {
		switch {
		case len(s.segs) == 1 && (s.o.Overflow == DropOldest || s.drained()):
			return true // it goes when there is one behind it, which there will be
		case s.o.Overflow != DropOldest:
			return false
		}
		s.dropOldest(Dropped)
	}
	return true
}

// drained reports whether everything is acknowledged. s.mu is held.
func (s *Spool) drained() bool {
	for _, c := range s.cursors {
		if c.low.Load() < s.next {
			return false
		}
	}
	return len(s.cursors) > 0
}

// awaitRoom returns a channel that is closed when add may be tried again. s.mu
// is held.
func (s *Spool) awaitRoom() <-chan struct{} {
	if s.pending == nil {
		now := make(chan struct{})
		close(now)
		return now
	}
	if s.room == nil {
		s.room = make(chan struct{})
	}
	return s.room
}

// awaken ends the waits of awaitRoom. s.mu is held.
func (s *Spool) awaken() {
	if s.room != nil {
		close(s.room)
		s.room = nil
	}
	if s.pending != nil && s.closed {
		s.pending.fill()
	}
}

// add puts a payload behind what there is, with what is known of its header.
func (b *batch) add(p []byte) {
	var h [headerSize]byte
	h[2] = byte(kindMessage)
	binary.LittleEndian.PutUint32(h[4:], uint32(len(p)))
	binary.LittleEndian.PutUint32(h[16:], checksum(p))
	b.buf = append(append(b.buf, h[:]...), p...)
	b.count++
}

// fill notes that the batch need not wait any longer.
func (b *batch) fill() {
	select {
	case <-b.full:
	default:
		close(b.full)
	}
}

// seal completes the headers, for the place at which the batch is written.
func (b *batch) seal(salt uint64, off int64, first uint64, now time.Time) {
	putBatch(b.buf[headerSize:], now.UnixNano(), b.count)
	putHeader(b.buf, header{kindBatch, batchSize, first, checksum(b.buf[headerSize:batchHead])}, salt, off)
	for at, id := batchHead, first; at < len(b.buf); id++ {
		h := header{
			kind:   kindMessage,
			length: int(binary.LittleEndian.Uint32(b.buf[at+4:])),
			id:     id,
			sum:    binary.LittleEndian.Uint32(b.buf[at+16:]),
		}
		putHeader(b.buf[at:], h, salt, off+int64(at))
		at += headerSize + h.length
	}
}

// commitOnce commits the batch that gathers, and leaves the rest to a goroutine.
func (s *Spool) commitOnce() {
	if s.commitNext() {
		go s.commitAll()
		return
	}
	s.work.Done()
}

// commitAll commits batches until there are none.
func (s *Spool) commitAll() {
	defer s.work.Done()
	for s.commitNext() {
	}
}

// commitNext commits the batch that gathers. It reports whether there is
// another; if not, nobody commits any more.
func (s *Spool) commitNext() (more bool) {
	s.gather()
	s.mu.Lock()
	b := s.pending
	s.pending = nil
	s.flight = int64(len(b.buf))
	s.awaken()
	first := s.next
	s.unlock()

	fresh, err := s.commit(b, first)

	s.mu.Lock()
	b.first, b.err = first, err
	s.flight = 0
	if err == nil {
		s.committed(b, fresh)
	} else {
		s.failed(err)
	}
	if cap(b.buf) <= spareBytes && len(s.spares) < 2 {
		s.spares = append(s.spares, b.buf)
	}
	b.buf = nil
	more = s.pending != nil
	if !more && len(b.calls) == 0 {
		s.committing = false
	}
	s.unlock()
	if fresh != nil {
		s.acknowledged(0) // the one before it may not be needed any more
	}
	close(b.done)
	if len(b.calls) == 0 {
		return more
	}
	for _, c := range b.calls {
		if err != nil {
			c.done(0, err)
		} else {
			c.done(first+uint64(c.index), nil)
		}
	}
	s.mu.Lock()
	defer s.unlock()
	more = s.pending != nil
	s.committing = more
	return more
}

// gather lets others join the batch.
func (s *Spool) gather() {
	if s.o.CommitDelay <= 0 {
		return
	}
	s.mu.Lock()
	b := s.pending
	s.unlock()
	timer := time.NewTimer(s.o.CommitDelay - time.Since(b.began))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-b.full:
	}
}

// commit makes the batch durable, in a new segment if it has to. It returns the
// segment if it is a new one.
func (s *Spool) commit(b *batch, first uint64) (fresh *segment, err error) {
	for range 2 {
		fresh, err = s.segmentFor(len(b.buf), first)
		if err != nil {
			return nil, err // nothing was written
		}
		end := s.active.end.Load()
		b.seal(s.active.salt, end, first, time.Now())
		if _, err = s.file.WriteAt(b.buf, end); err == nil {
			if err = s.file.Sync(); err == nil {
				return fresh, nil
			}
		}
		s.abandon(fresh != nil)
	}
	return nil, noRoom(err)
}

// committed makes a batch known that is durable. s.mu is held.
func (s *Spool) committed(b *batch, fresh *segment) {
	g := s.active
	if fresh != nil {
		s.segs = append(s.segs, fresh)
		s.bytes += fresh.end.Load()
		s.doubt = 0
	}
	g.end.Add(int64(len(b.buf)))
	s.bytes += int64(len(b.buf))
	s.next += uint64(b.count)
	s.commits++
	for s.o.Overflow == DropOldest && s.o.MaxBytes > 0 && s.bytes > s.o.MaxBytes && len(s.segs) > 1 {
		s.dropOldest(Dropped)
	}
	if s.trouble != nil {
		s.trouble = nil
		s.say(slog.LevelInfo, "spool: writing again")
	}
	s.wake()
}

// failed notes that a batch could not be made durable. s.mu is held.
func (s *Spool) failed(err error) {
	if s.trouble == nil {
		s.say(slog.LevelError, "spool: cannot write", "err", err)
	}
	s.trouble, s.retryAt = err, time.Now().Add(retryAfter)
	s.failures++
}
