package spool_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/hythe-go/hythe/spool"
	"github.com/hythe-go/hythe/spool/crashfs"
)

// makePayload returns the payload with that serial number. No two are the same.
func makePayload(serial uint64, size int) []byte {
	b := binary.BigEndian.AppendUint64(nil, serial)
	rng := rand.New(rand.NewPCG(serial, 7))
	for len(b) < size {
		b = binary.LittleEndian.AppendUint64(b, rng.Uint64())
	}
	return b[:max(size, 8)]
}

// An appendCall is one call of Append, and when it was made: at is the length
// of the disk's log before and after.
type appendCall struct {
	began, ended int
	first        uint64
	payloads     [][]byte
	err          error
}

// An ackCall is one acknowledgement.
type ackCall struct {
	began   int
	reader  string
	id      uint64
	through bool
}

// A promise is what a reader's cursor must remember after a crash: id and all
// before it was acknowledged, and the reader or the spool was closed since.
type promise struct {
	ended  int
	reader string
	id     uint64
}

// A sight is a record that was delivered.
type sight struct {
	ended   int
	id      uint64
	payload []byte
	reader  string
}

// A history is all that was done with a spool, with the positions in the disk's
// log at which it was.
type history struct {
	appends  []appendCall
	acks     []ackCall
	promises []promise
	sights   []sight
	readers  map[string]int // name: when Reader had returned
	serial   uint64
}

// An era is what holds for a crash at one position.
type era struct {
	at      int
	must    map[uint64][]byte          // acknowledged or delivered records
	may     map[uint64][]byte          // every payload that may be there, by serial number
	acked   map[string]map[uint64]bool // per reader: what was acknowledged on its own
	upto    map[string]uint64          // per reader: what was acknowledged with all before it
	through map[string]uint64          // per reader: what its cursor must have passed
	names   []string                   // readers that must exist
	last    uint64                     // the highest id in must

	turnedUp map[uint64][]string // of must, what was only found after a crash, and who found it
}

func (h *history) era(at int) *era {
	e := &era{
		at: at, must: make(map[uint64][]byte), may: map[uint64][]byte{serialOf(probe): probe},
		acked: make(map[string]map[uint64]bool), upto: make(map[string]uint64), through: make(map[string]uint64),
	}
	for _, c := range h.appends {
		if c.began >= at {
			continue
		}
		for i, p := range c.payloads {
			e.may[serialOf(p)] = p
			if c.err == nil && c.ended <= at {
				e.must[c.first+uint64(i)] = p
			}
		}
	}
	for _, s := range h.sights {
		if s.ended <= at {
			e.must[s.id] = s.payload
		}
	}
	for id := range e.must {
		e.last = max(e.last, id)
	}
	for name, ended := range h.readers {
		if ended <= at {
			e.names = append(e.names, name)
		}
		e.acked[name] = make(map[uint64]bool)
	}
	slices.Sort(e.names)
	for _, a := range h.acks {
		if a.began >= at {
			continue
		}
		if a.through {
			e.upto[a.reader] = max(e.upto[a.reader], a.id)
		}
		e.acked[a.reader][a.id] = true
	}
	for _, p := range h.promises {
		if p.ended <= at {
			e.through[p.reader] = max(e.through[p.reader], p.id)
		}
	}
	return e
}

// passed says whether a reader's cursor may have passed a record: it was
// acknowledged, or it only turned up after a crash, for others.
func (e *era) passed(name string, id uint64) bool {
	if saw, turnedUp := e.turnedUp[id]; turnedUp && !slices.Contains(saw, name) {
		return true
	}
	return id <= e.upto[name] || e.acked[name][id]
}

// A world is a spool on a disk that will crash, and its history.
type world struct {
	t    testing.TB
	disk *crashfs.FS
	opts spool.Options
	rng  *rand.Rand
	s    *spool.Spool
	h    history
	open map[string]*worldReader
	firm map[string]uint64 // of closed readers: all up to it was acknowledged

	failing bool // the disk is: Close may fail
}

// A worldReader is an open reader and what it was given.
type worldReader struct {
	r       *spool.Reader
	pending []uint64        // delivered, not acknowledged, in order
	acked   map[uint64]bool // acknowledged on its own since it was opened
	through uint64          // all up to it are acknowledged
}

const (
	crashDir = "queue"
	maxBatch = 4 * 5000 // bytes that step appends at a time
)

// A probe is appended after every crash.
var probe = makePayload(1<<40, 50)

// newWorld makes a world whose spool is open.
func newWorld(t testing.TB, seed uint64, disk *crashfs.FS, o spool.Options) *world {
	w := &world{t: t, disk: disk, opts: o, rng: rand.New(rand.NewPCG(seed, 3)), open: make(map[string]*worldReader), firm: make(map[string]uint64)}
	w.opts.FS = disk
	w.h.readers = make(map[string]int)
	w.openSpool()
	return w
}

func (w *world) openSpool() {
	s, err := spool.Open(crashDir, w.opts)
	if err != nil {
		w.t.Fatalf("Open: %v", err)
	}
	w.s = s
}

func (w *world) closeSpool() {
	for _, name := range slices.Sorted(maps.Keys(w.open)) {
		w.closeReader(name)
	}
	err := w.s.Close()
	if err != nil && !w.failing {
		w.t.Fatalf("Close: %v", err)
	}
	if err != nil { // the cursors may be where they were
		clear(w.firm)
		for _, p := range w.h.promises {
			w.firm[p.reader] = p.id
		}
	}
}

// append appends so many payloads, of sizes that now and then fill blocks.
func (w *world) append(n, size int) error {
	c := appendCall{began: w.disk.Len()}
	for range n {
		w.h.serial++
		c.payloads = append(c.payloads, makePayload(w.h.serial, size))
	}
	c.first, c.err = w.s.Append(c.payloads...)
	c.ended = w.disk.Len()
	w.h.appends = append(w.h.appends, c)
	return c.err
}

func (w *world) openReader(name string, window int) *worldReader {
	wr := w.open[name]
	if wr != nil {
		return wr
	}
	r, err := w.s.Reader(name, spool.ReaderOptions{Window: window})
	if err != nil {
		w.t.Fatalf("Reader %s: %v", name, err)
	}
	wr = &worldReader{r: r, acked: make(map[uint64]bool), through: w.firm[name]}
	w.open[name] = wr
	if _, known := w.h.readers[name]; !known {
		w.h.readers[name] = w.disk.Len()
	}
	return wr
}

func (w *world) closeReader(name string) {
	wr := w.open[name]
	delete(w.open, name)
	err := wr.r.Close()
	if err != nil && !w.failing {
		w.t.Fatalf("closing reader %s: %v", name, err)
	}
	w.firm[name] = wr.firm()
	if through := w.firm[name]; through > 0 && err == nil {
		w.h.promises = append(w.h.promises, promise{w.disk.Len(), name, through})
	}
}

// firm returns the id up to which everything is acknowledged.
func (wr *worldReader) firm() uint64 {
	id := wr.through
	for wr.acked[id+1] {
		id++
	}
	return id
}

// read takes up to n records, of those that are there.
func (w *world) read(name string, n int) {
	wr := w.open[name]
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	records, err := readSome(ctx, wr.r, n)
	if err != nil {
		if _, gap := errors.AsType[*spool.GapError](err); !gap && !errors.Is(err, context.DeadlineExceeded) {
			w.t.Fatalf("Read of %s: %v", name, err)
		}
		return
	}
	for _, rec := range records {
		p := bytes.Clone(rec.Payload)
		w.h.sights = append(w.h.sights, sight{w.disk.Len(), rec.ID, p, name})
		wr.pending = append(wr.pending, rec.ID)
	}
}

func (w *world) ack(name string, id uint64, through bool) {
	wr := w.open[name]
	w.h.acks = append(w.h.acks, ackCall{w.disk.Len(), name, id, through})
	var err error
	if through {
		wr.pending = slices.DeleteFunc(wr.pending, func(p uint64) bool { return p <= id })
		wr.through = max(wr.through, id)
		err = wr.r.AckThrough(id)
	} else {
		wr.pending = slices.DeleteFunc(wr.pending, func(p uint64) bool { return p == id })
		wr.acked[id] = true
		err = wr.r.Ack(id)
	}
	if err != nil {
		w.t.Fatalf("acknowledging %d for %s: %v", id, name, err)
	}
}

// step does something at random.
func (w *world) step() {
	names := slices.Sorted(maps.Keys(w.open))
	switch k := w.rng.IntN(100); {
	case k < 45 || len(names) == 0:
		size := [...]int{8, 20, 60, 100, 300, 1000, 5000}[min(w.rng.IntN(8), 6)]
		if err := w.append(1+w.rng.IntN(4)*w.rng.IntN(2), size); err != nil && !errors.Is(err, spool.ErrFull) && !w.failing {
			w.t.Fatalf("Append: %v", err)
		}
	case k < 65:
		w.read(names[w.rng.IntN(len(names))], 1+w.rng.IntN(8))
	case k < 88:
		name := names[w.rng.IntN(len(names))]
		if p := w.open[name].pending; len(p) > 0 {
			w.ack(name, p[w.rng.IntN(len(p))], w.rng.IntN(3) > 0)
		}
	case k < 91:
		name := names[w.rng.IntN(len(names))]
		if p := w.open[name].pending; len(p) > 0 {
			id := p[w.rng.IntN(len(p))]
			if err := w.open[name].r.Requeue(id); err != nil {
				w.t.Fatalf("Requeue: %v", err)
			}
			w.open[name].pending = slices.DeleteFunc(p, func(p uint64) bool { return p == id })
		}
	case k < 95:
		name := names[w.rng.IntN(len(names))]
		w.closeReader(name)
		w.openReader(name, 16)
	case k < 97:
		w.closeSpool()
		w.openSpool()
		for _, name := range names {
			w.openReader(name, 16)
		}
	}
}

// recovered checks what a crash left, by opening it. It returns the records
// that it was given meanwhile, and the one that it appended.
func (e *era) recovered(disk *crashfs.FS, o spool.Options) ([]sight, error) {
	o.FS = disk
	s, err := spool.Open(crashDir, o)
	if err != nil {
		return nil, fmt.Errorf("Open: %w", err)
	}
	seen, err := e.check(s, disk, o)
	return seen, errors.Join(err, s.Close())
}

func (e *era) check(s *spool.Spool, disk *crashfs.FS, o spool.Options) ([]sight, error) {
	var seen []sight
	for i, name := range append([]string{"audit"}, e.names...) {
		if i > 0 && (i+e.at)%2 == 0 {
			continue // every other time
		}
		got, err := drain(s, name, func(gap *spool.GapError) bool { return gap.Reason != spool.Damaged })
		if err != nil {
			return nil, fmt.Errorf("reader %s: %w", name, err)
		}
		if err := e.compare(name, got, o); err != nil {
			return nil, fmt.Errorf("reader %s: %w", name, err)
		}
		for _, rec := range got {
			seen = append(seen, sight{disk.Len(), rec.ID, rec.Payload, name})
		}
	}
	id, err := s.Append(probe)
	if err != nil && !(errors.Is(err, spool.ErrFull) && o.MaxBytes > 0) {
		return nil, fmt.Errorf("appending after the crash: %w", err)
	}
	if err == nil {
		if id <= e.last {
			return nil, fmt.Errorf("id %d is given again: %d was there before", id, e.last)
		}
		seen = append(seen, sight{disk.Len(), id, probe, ""})
	}
	return seen, nil
}

// after returns what holds for a crash at a position of the disk on which e has
// recovered.
func (e *era) after(seen []sight, at int) *era {
	next := *e
	next.must, next.turnedUp = maps.Clone(e.must), make(map[uint64][]string)
	for _, s := range seen {
		if s.ended <= at {
			if e.must[s.id] == nil {
				next.turnedUp[s.id] = append(next.turnedUp[s.id], s.reader)
			}
			next.must[s.id] = s.payload
			next.last = max(next.last, s.id)
		}
	}
	return &next
}

// compare checks what a reader got after the crash.
func (e *era) compare(name string, got []spool.Record, o spool.Options) error {
	found := make(map[uint64]bool)
	for i, rec := range got {
		if i > 0 && rec.ID <= got[i-1].ID {
			return fmt.Errorf("record %d after %d", rec.ID, got[i-1].ID)
		}
		if want, known := e.must[rec.ID]; known && !bytes.Equal(rec.Payload, want) {
			return fmt.Errorf("record %d has %d bytes that it was not appended with (%d)", rec.ID, len(rec.Payload), len(want))
		}
		if !bytes.Equal(rec.Payload, e.may[serialOf(rec.Payload)]) {
			return fmt.Errorf("record %d was never appended: %d bytes", rec.ID, len(rec.Payload))
		}
		if rec.ID <= e.through[name] {
			return fmt.Errorf("record %d again: the cursor was durable at %d", rec.ID, e.through[name])
		}
		found[rec.ID] = true
	}
	var dropped uint64 // with DropOldest the first records may be gone
	if o.Overflow == spool.DropOldest {
		dropped = e.last
		for room := o.MaxBytes - 2*o.SegmentBytes - 3*maxBatch; dropped > 0 && room > 0; dropped-- {
			room -= int64(len(e.must[dropped])) + 64
		}
	}
	for id := range e.must {
		if found[id] || id <= dropped {
			continue
		}
		if name != "audit" && !e.passed(name, id) {
			return fmt.Errorf("record %d is lost; last acknowledged %d", id, e.last)
		}
		if name == "audit" && (len(e.names) == 0 || slices.ContainsFunc(e.names, func(n string) bool { return !e.passed(n, id) })) {
			return fmt.Errorf("record %d is lost, which not every reader had acknowledged", id)
		}
	}
	return nil
}

// drain reads all that there is for a reader. It passes over gaps that gapFine
// allows. It runs in a synctest bubble.
func drain(s *spool.Spool, name string, gapFine func(*spool.GapError) bool) (got []spool.Record, err error) {
	r, err := s.Reader(name, spool.ReaderOptions{Window: 1 << 16})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		records, err := readSome(ctx, r, 256)
		cancel()
		switch {
		case errors.Is(err, context.DeadlineExceeded): // the end; the clock is synctest's
			return got, nil
		case err != nil:
			if gap, ok := errors.AsType[*spool.GapError](err); ok && gapFine(gap) {
				continue
			}
			return got, err
		}
		for _, rec := range records {
			rec.Payload = bytes.Clone(rec.Payload)
			got = append(got, rec)
		}
	}
}

// serialOf returns the serial number of a payload.
func serialOf(payload []byte) uint64 {
	if len(payload) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(payload)
}

// readSome is Read with room for n records.
func readSome(ctx context.Context, r *spool.Reader, n int) ([]spool.Record, error) {
	to := make([]spool.Record, n)
	n, err := r.Read(ctx, to)
	return to[:n], err
}
