package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// A Record is one that was appended.
type Record struct {
	ID      uint64
	Time    time.Time // when its batch was written, by the wall clock
	Payload []byte

	// Again says that the record was delivered before, since the reader was
	// opened: it was requeued. What was delivered before that and not
	// acknowledged comes once more as if it were new.
	Again bool
}

// ReaderOptions are the settings of a Reader.
type ReaderOptions struct {
	// Window is how many records may be delivered from the oldest one on that is
	// not acknowledged: 4,096. Past it Next waits.
	Window int

	// FromEnd has a reader whose name is new begin behind the last record.
	// Otherwise it begins with the oldest that there is.
	FromEnd bool
}

// A Reader is a place in the spool, which is durable and has a name. Records are
// delivered in order; they are acknowledged in any.
type Reader struct {
	s    *Spool
	c    *cursor
	most int // entries in window

	reading sync.Mutex // held by Read; it guards what follows
	seg     *segment   // nil: none is open
	file    File
	sc      scanner
	seeking bool    // the segment's records up to the next id are passed over
	nanos   int64   // time of the batch at hand
	found   []entry // what readOn returns
	old     oldRecords
	one     [1]Record

	mu      sync.Mutex
	next    uint64   // the next id to read. Guarded by mu
	window  window   // Guarded by mu
	requeue []uint64 // ids to deliver again, if they are still to be. Guarded by mu
	full    bool     // Read waits for the window. Guarded by mu
	closed  bool     // Guarded by mu
}

// Reader opens the reader of that name, which is made if it is new. Names are
// parts of file names: where those fold case, so do they. There can be
// one at a time: otherwise the error is ErrReaderOpen. It begins with the oldest
// record that it has not acknowledged.
func (s *Spool) Reader(name string, o ReaderOptions) (*Reader, error) {
	if err := validName(name); err != nil {
		return nil, err
	}
	if o.Window < 0 {
		return nil, errors.New("spool: ReaderOptions.Window is negative")
	}
	or(&o.Window, 4096)
	s.saveMu.Lock() // nothing is collected meanwhile
	defer s.saveMu.Unlock()
	s.mu.Lock()
	c, closed := s.cursors[name], s.closed
	low, fresh := s.next, false
	if !o.FromEnd && len(s.segs) > 0 {
		low = s.segs[0].first
	}
	s.unlock()
	switch {
	case closed:
		return nil, ErrClosed
	case c == nil:
		fresh = true
		var err error
		if c, err = s.makeCursor(name, low); err != nil {
			return nil, fmt.Errorf("spool: reader %q: %w", name, err)
		}
	}
	s.mu.Lock()
	defer s.unlock()
	switch {
	case s.closed:
		return nil, ErrClosed
	case c.reader != nil:
		return nil, ErrReaderOpen
	}
	if fresh && len(s.segs) > 0 { // the oldest may have been dropped meanwhile
		c.low.Store(max(low, s.segs[0].first))
	}
	s.cursors[name] = c
	c.reader = &Reader{s: s, c: c, most: o.Window, next: max(c.low.Load(), 1)}
	return c.reader, nil
}

// Next returns the next record, waiting for one. Its payload is good until the
// next call. The error is a *GapError where records are missing, after which
// Next goes on behind them; ErrClosed; what ended ctx; or the system's when the
// disk cannot be read, which may be tried again.
func (r *Reader) Next(ctx context.Context) (Record, error) {
	if _, err := r.Read(ctx, r.one[:]); err != nil {
		return Record{}, err
	}
	return r.one[0], nil
}

// Read is Next for up to len(to) records: those that can be had without waiting,
// but at least one. All payloads are good until the next call.
func (r *Reader) Read(ctx context.Context, to []Record) (n int, err error) {
	if len(to) == 0 {
		return 0, nil
	}
	r.reading.Lock()
	defer r.reading.Unlock()
	var changed <-chan struct{}
	for {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		n, err := r.tryRead(to)
		if gap, ok := err.(*GapError); ok {
			r.s.o.Logger.Warn("spool: records are missing", "dir", r.s.dir, "reader", r.c.name, "first", gap.First, "last", gap.Last, "reason", gap.Reason)
		}
		switch {
		case n > 0 || err != nil:
			return n, err
		case changed == nil:
			changed = r.s.watch() // and look again, so that nothing is missed
		default:
			select {
			case <-changed:
				changed = nil
			case <-ctx.Done():
			}
		}
	}
}

// tryRead is Read that does not wait.
func (r *Reader) tryRead(to []Record) (n int, err error) {
	r.mu.Lock()
	next := r.next
	again := r.dueAgain(len(to))
	room := r.most - r.window.len()
	r.full = room <= 0
	closed := r.closed
	r.mu.Unlock()
	switch {
	case closed || !r.s.readable():
		return 0, ErrClosed
	case len(again) > 0:
		return r.readAgain(to, again)
	case room <= 0:
		return 0, nil
	}
	n, gap, err := r.readOn(to[:min(len(to), room)], next)
	if n == 0 && gap == 0 {
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.window.push(r.found[:n])
	if n > 0 {
		r.next = next + uint64(n)
		return n, nil
	}
	r.next = gap
	r.settle()
	return 0, r.lost(next, gap-1)
}

// readOn reads records from the id next on. Where some are missing, and none is
// in front of them, it returns the id of the next one that is not.
func (r *Reader) readOn(to []Record, next uint64) (n int, gap uint64, err error) {
	r.found = r.found[:0]
	for {
		if r.seg == nil {
			g, end := r.s.segmentOf(next)
			switch {
			case g == nil && end > next:
				return 0, end, nil
			case g == nil:
				return 0, 0, nil
			}
			if gap, err = r.open(g, next); r.seg == nil {
				return 0, gap, err
			}
		}
		succ, limit, end := r.s.limit(r.seg)
		r.sc.end = end
		for n < len(to) {
			h, payload, err := r.record(next, n > 0)
			if err == io.EOF {
				break
			}
			if err != nil {
				return 0, 0, fmt.Errorf("spool: %w", err)
			}
			switch {
			case h.kind == kindBatch:
				if nanos, _, ok := parseBatch(payload); ok {
					r.nanos = nanos
				}
				continue
			case h.kind != kindMessage || h.id < next+uint64(n):
				continue
			}
			r.seeking = false
			if h.id >= limit { // never durable
				r.sc.off = end
				break
			}
			off := r.sc.off - int64(headerSize+h.length)
			if h.id > next+uint64(n) {
				r.sc.off = off
				if n == 0 {
					gap = h.id
				}
				return n, gap, nil
			}
			to[n] = Record{ID: h.id, Time: time.Unix(0, r.nanos), Payload: payload}
			r.found = append(r.found, entry{id: h.id, seg: r.seg, off: off, nanos: r.nanos})
			n++
		}
		switch {
		case n > 0:
			return n, 0, nil
		case limit > next: // nothing of it is left here
			return 0, limit, nil
		case succ == nil:
			return 0, 0, nil // the end
		}
		r.shut()
		if gap, err = r.open(succ, next); r.seg == nil {
			return 0, gap, err
		}
	}
}

// record returns the next record, of whatever kind, without a look at messages
// that are not wanted any more. If others are to stay good it is io.EOF unless
// the record was read ahead and is whole.
func (r *Reader) record(next uint64, others bool) (h header, payload []byte, err error) {
	if !r.seeking {
		if h, payload, ok := r.sc.ahead(); ok {
			return h, payload, nil
		}
	}
	switch {
	case others:
		return h, nil, io.EOF
	case r.seeking:
		h, payload, err = r.sc.skip(func(h header) bool { return h.kind != kindMessage || h.id >= next })
	default:
		h, payload, err = r.sc.next()
	}
	r.tellDamage()
	return h, payload, err
}

// open begins to read a segment. If its file has gone, it returns the id behind
// what was in it, 0 if nothing is missed.
func (r *Reader) open(g *segment, next uint64) (gap uint64, err error) {
	f, err := r.s.fs.OpenFile(r.s.path(g.name), os.O_RDONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		if _, limit, _ := r.s.limit(g); limit > next {
			return limit, nil
		}
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("spool: %w", err)
	}
	buf := r.sc.buf[:0]
	r.seg, r.file, r.sc = g, f, g.scan(f)
	r.sc.buf = buf
	r.seeking = next > g.first
	r.nanos = g.created.UnixNano()
	return 0, nil
}

func (r *Reader) shut() {
	if r.file != nil {
		r.file.Close()
		r.seg, r.file = nil, nil
	}
}

// tellDamage passes on what the scanner has come across.
func (r *Reader) tellDamage() {
	for _, d := range r.sc.damages {
		r.s.o.Logger.Warn("spool: damage", "dir", r.s.dir, "segment", r.seg.name, "offset", d.Offset, "bytes", d.Bytes)
	}
	r.sc.damages = r.sc.damages[:0]
}

// lost counts missing records and makes the error that tells of them.
func (r *Reader) lost(first, last uint64) error {
	why := r.s.reasonFor(first, r.seg)
	r.c.lost[why].Add(last - first + 1)
	return &GapError{First: first, Last: last, Reason: why}
}

// settle moves the cursor to the oldest record that is not acknowledged. r.mu is
// held.
func (r *Reader) settle() {
	low := r.window.low(r.next)
	if moved := low - r.c.low.Load(); moved > 0 {
		r.c.low.Store(low)
		r.s.acknowledged(int(min(moved, 1<<30)))
	}
	if r.full && r.window.len() < r.most {
		r.full = false
		r.s.rouse()
	}
}

// Ack acknowledges one record: it is not delivered again. ErrNotPending means
// that it was not delivered, or acknowledged before.
func (r *Reader) Ack(id uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	e := r.window.find(id)
	if e == nil || e.state == done {
		return ErrNotPending
	}
	e.state = done
	r.settle()
	return nil
}

// AckThrough acknowledges all records up to and including one that has been
// delivered.
func (r *Reader) AckThrough(id uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return ErrClosed
	case id >= r.next:
		return ErrNotPending
	}
	r.window.drop(id)
	r.settle()
	return nil
}

// Requeue has a record delivered again, before those that are new.
func (r *Reader) Requeue(id uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	e := r.window.find(id)
	if e == nil || e.state != delivered {
		return ErrNotPending
	}
	e.state = again
	r.requeue = append(r.requeue, id)
	r.s.rouse()
	return nil
}

// Rewind has everything delivered again that is not acknowledged, in order.
func (r *Reader) Rewind() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	r.requeue = r.window.rewind(r.requeue[:0])
	r.s.rouse()
	return nil
}

// Close makes the reader's acknowledgements durable and closes it. A call of
// Next that waits returns ErrClosed.
func (r *Reader) Close() error {
	if !r.end() {
		return ErrClosed
	}
	err := r.s.save()
	if r.s.isClosed() {
		err = nil // and it has saved, or said that it could not
	}
	r.s.mu.Lock()
	r.c.reader = nil
	r.s.unlock()
	return err
}

// end ends the use of the reader, and reports whether it was in use.
func (r *Reader) end() bool {
	r.mu.Lock()
	closed := r.closed
	r.closed = true
	r.mu.Unlock()
	if closed {
		return false
	}
	r.s.rouse()
	r.reading.Lock()
	defer r.reading.Unlock()
	r.shut()
	r.old.shut()
	return true
}
