package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"
	"time"
)

// An entry is a record that was delivered, and where it is.
type entry struct {
	id    uint64
	seg   *segment
	off   int64
	nanos int64
	state entryState
}

type entryState uint8

const (
	delivered entryState = iota
	again                // to be delivered again
	done                 // acknowledged, behind one that is not
)

// A window holds what a reader was given, from the oldest record on that is not
// acknowledged, by id.
type window struct {
	all  []entry
	head int // of what is in use
}

func (w *window) len() int { return len(w.all) - w.head }

// push adds entries, whose ids are higher than those that there are.
func (w *window) push(e []entry) {
	if w.head > len(w.all)/2 && len(w.all)+len(e) > cap(w.all) { // else it grows, so as not to move all for a few
		w.all = slices.Delete(w.all, 0, w.head)
		w.head = 0
	}
	w.all = append(w.all, e...)
}

// find returns the entry of an id, nil if there is none.
func (w *window) find(id uint64) *entry {
	in := w.all[w.head:]
	if len(in) == 0 || id < in[0].id {
		return nil
	}
	i := id - in[0].id // unless ids are missing
	if i >= uint64(len(in)) || in[i].id != id {
		i = uint64(sort.Search(len(in), func(i int) bool { return in[i].id >= id }))
		if i == uint64(len(in)) || in[i].id != id {
			return nil
		}
	}
	return &in[i]
}

// low returns the oldest id that is not acknowledged, or next if all are.
func (w *window) low(next uint64) uint64 {
	for w.head < len(w.all) && w.all[w.head].state == done {
		w.head++
	}
	if w.head < len(w.all) {
		return w.all[w.head].id
	}
	w.all, w.head = w.all[:0], 0
	return next
}

// drop acknowledges everything up to the id.
func (w *window) drop(id uint64) {
	for w.head < len(w.all) && w.all[w.head].id <= id {
		w.head++
	}
}

// rewind marks everything that is not acknowledged, and appends its ids to ids.
func (w *window) rewind(ids []uint64) []uint64 {
	for i := w.head; i < len(w.all); i++ {
		if w.all[i].state != done {
			w.all[i].state = again
			ids = append(ids, w.all[i].id)
		}
	}
	return ids
}

// dueAgain takes up to n records that are to be delivered again. r.mu is held.
func (r *Reader) dueAgain(n int) (due []entry) {
	for len(r.requeue) > 0 && len(due) < n {
		if e := r.window.find(r.requeue[0]); e != nil && e.state == again {
			e.state = delivered
			due = append(due, *e)
		}
		r.requeue = r.requeue[1:]
	}
	return due
}

// oldRecords reads records whose place is known.
type oldRecords struct {
	seg      *segment
	file     File
	sc       scanner
	payloads []byte
}

func (o *oldRecords) shut() {
	if o.file != nil {
		o.file.Close()
		o.seg, o.file = nil, nil
	}
}

// readAgain reads what is due again. What does not fit, or cannot be read now,
// stays due.
func (r *Reader) readAgain(to []Record, due []entry) (n int, err error) {
	o := &r.old
	o.payloads = o.payloads[:0]
	var ends []int
	for _, e := range due {
		var b []byte
		if b, err = o.read(r.s, e); err != nil {
			break
		}
		o.payloads = append(o.payloads, b...)
		ends = append(ends, len(o.payloads))
		to[n] = Record{ID: e.id, Time: time.Unix(0, e.nanos), Again: true}
		if n++; len(o.payloads) >= chunkBytes {
			break
		}
	}
	begin := 0
	for i, end := range ends {
		to[i].Payload = o.payloads[begin:end:end]
		begin = end
	}
	rest := due[n:]
	if len(rest) == 0 {
		return n, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == errGone && n == 0 {
		lost := rest[0].id
		rest = rest[1:]
		if e := r.window.find(lost); e != nil {
			e.state = done
		}
		r.settle()
		err = r.lost(lost, lost)
	}
	var ids []uint64
	for _, e := range rest {
		if e := r.window.find(e.id); e != nil && e.state == delivered {
			e.state = again
			ids = append(ids, e.id)
		}
	}
	r.requeue = append(ids, r.requeue...)
	if n > 0 {
		err = nil
	}
	return n, err
}

// errGone says that a record was there and cannot be read any more.
var errGone = errors.New("spool: record is gone")

func (o *oldRecords) read(s *Spool, e entry) ([]byte, error) {
	if o.seg != e.seg {
		o.shut()
		f, err := s.fs.OpenFile(s.path(e.seg.name), os.O_RDONLY, 0)
		if errors.Is(err, os.ErrNotExist) {
			return nil, errGone
		}
		if err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
		buf := o.sc.buf[:0]
		o.seg, o.file, o.sc = e.seg, f, e.seg.scan(f)
		o.sc.buf = buf
	}
	o.sc.off, o.sc.end = e.off, e.seg.end.Load()
	h, b, err := o.sc.next()
	o.sc.damages = o.sc.damages[:0]
	switch {
	case err == io.EOF, err == nil && (h.kind != kindMessage || h.id != e.id):
		return nil, errGone
	case err != nil:
		return nil, fmt.Errorf("spool: %w", err)
	}
	return b, nil
}
