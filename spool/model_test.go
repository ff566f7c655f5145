package spool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe/spool"
	"github.com/hythe-go/hythe/spool/crashfs"
)

// A model is what a spool is: a list of records, and for each reader what it
// was given and what it acknowledged.
type model struct {
	t    *testing.T
	rng  *rand.Rand
	disk *crashfs.FS
	opts spool.Options
	s    *spool.Spool

	records map[uint64][]byte // acknowledged
	failed  map[string]bool   // payloads whose Append failed: they may turn up or not
	last    uint64            // the highest id seen
	serial  uint64
	unsaved bool // acknowledgements could not be saved when the spool was closed
	sizes   []int
	cursors map[string]*modelCursor

	appends, fulls, failures, deliveries int
}

// A modelCursor is a reader's part of the model.
type modelCursor struct {
	r       *spool.Reader
	window  int
	next    uint64          // everything before was delivered
	waiting map[uint64]bool // delivered, neither acknowledged nor requeued
	again   map[uint64]bool // requeued: to come before what is new
	acked   map[uint64]bool
	unsaved map[uint64]bool // of acked, what may come again since saving it failed
}

// oldest returns the id before which everything is acknowledged.
func (c *modelCursor) oldest() uint64 {
	oldest := c.next
	for id := range c.waiting {
		oldest = min(oldest, id)
	}
	for id := range c.again {
		oldest = min(oldest, id)
	}
	return oldest
}

// span returns how many records there are from the oldest one on that is not
// acknowledged, of those that were delivered.
func (m *model) span(c *modelCursor) (n int) {
	for id := c.oldest(); id < c.next; id++ {
		if _, known := m.records[id]; known {
			n++
		}
	}
	return n
}

func (m *model) must(what string, err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatalf("%s: %v", what, err)
	}
}

func (m *model) open() {
	var err error
	m.s, err = spool.Open(crashDir, m.opts)
	for range 10 { // a failing disk may fail it too
		if !errors.Is(err, syscall.EIO) {
			break
		}
		m.s, err = spool.Open(crashDir, m.opts)
	}
	m.must("Open", err)
	for name, c := range m.cursors {
		m.openReader(name, c)
	}
}

func (m *model) openReader(name string, c *modelCursor) {
	r, err := m.s.Reader(name, spool.ReaderOptions{Window: c.window})
	for range 10 {
		if !errors.Is(err, syscall.EIO) {
			break
		}
		r, err = m.s.Reader(name, spool.ReaderOptions{Window: c.window})
	}
	m.must("Reader", err)
	c.r = r
	// All that is not acknowledged comes again. What was acknowledged out of order
	// may too.
	c.next = c.oldest()
	clear(c.waiting)
	clear(c.again)
	if m.unsaved {
		c.unsaved = maps.Clone(c.acked)
	}
}

func (m *model) append(n int) {
	var payloads [][]byte
	for range n {
		m.serial++
		payloads = append(payloads, makePayload(m.serial, m.sizes[m.rng.IntN(len(m.sizes))]))
	}
	first, err := m.s.Append(payloads...)
	switch {
	case errors.Is(err, spool.ErrFull):
		m.fulls++
		if errors.Is(err, syscall.EIO) {
			m.t.Fatalf("a failing disk is said to be full: %v", err)
		}
		for _, p := range payloads { // part of them may have been written
			m.failed[string(p)] = true
		}
	case err != nil:
		m.failures++
		if !errors.Is(err, syscall.EIO) {
			m.t.Fatalf("Append: %v", err)
		}
		for _, p := range payloads {
			m.failed[string(p)] = true
		}
	default:
		m.appends++
		if first <= m.last {
			m.t.Fatalf("Append gave id %d after %d", first, m.last)
		}
		for i, p := range payloads {
			m.last = first + uint64(i)
			m.records[m.last] = p
		}
	}
}

func (m *model) read(name string, n int) {
	c := m.cursors[name]
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Second)
	defer cancel()
	records, err := readSome(ctx, c.r, n)
	if errors.Is(err, context.DeadlineExceeded) {
		if m.span(c) >= c.window {
			return
		}
		for id := range m.records {
			if id >= c.next && !c.acked[id] || c.again[id] {
				m.t.Fatalf("reader %s waits although record %d is there", name, id)
			}
		}
		return
	}
	if gap, ok := errors.AsType[*spool.GapError](err); ok && gap.Reason == spool.Unfinished && m.failures+m.fulls > 0 {
		for id := gap.First; id <= gap.Last; id++ {
			if _, known := m.records[id]; known {
				m.t.Fatalf("reader %s: %v, and record %d was acknowledged", name, err, id)
			}
		}
		c.next = gap.Last + 1
		return
	}
	m.must("Read", err)
	if len(records) == 0 || len(records) > n {
		m.t.Fatalf("Read of at most %d returned %d records", n, len(records))
	}
	for _, rec := range records {
		m.deliveries++
		want, known := m.records[rec.ID]
		if !known {
			if !m.failed[string(rec.Payload)] {
				m.t.Fatalf("reader %s got record %d, which was never appended", name, rec.ID)
			}
			want = bytes.Clone(rec.Payload)
			m.records[rec.ID] = want // it turned up: it must stay
			m.last = max(m.last, rec.ID)
		}
		if !bytes.Equal(rec.Payload, want) {
			m.t.Fatalf("reader %s got record %d with %d wrong bytes, want %d", name, rec.ID, len(rec.Payload), len(want))
		}
		switch {
		case c.again[rec.ID]:
			delete(c.again, rec.ID)
		case len(c.again) > 0:
			m.t.Fatalf("reader %s got the new record %d before the requeued %v", name, rec.ID, slices.Sorted(maps.Keys(c.again)))
		case rec.ID < c.next && c.unsaved[rec.ID]:
		case rec.ID < c.next:
			m.t.Fatalf("reader %s got record %d again", name, rec.ID)
		default:
			for id := c.next; id < rec.ID; id++ {
				if _, known := m.records[id]; known && !c.acked[id] {
					m.t.Fatalf("reader %s got record %d before %d", name, rec.ID, id)
				}
			}
			c.next = rec.ID + 1
		}
		c.waiting[rec.ID] = true
		if m.span(c) > c.window {
			m.t.Fatalf("reader %s was given record %d and %d is not acknowledged; its window is %d", name, c.next-1, c.oldest(), c.window)
		}
	}
}

func (m *model) step() {
	names := slices.Sorted(maps.Keys(m.cursors))
	name := names[m.rng.IntN(len(names))]
	c := m.cursors[name]
	waiting := slices.Sorted(maps.Keys(c.waiting))
	switch k := m.rng.IntN(100); {
	case k < 40:
		m.append(1 + m.rng.IntN(5)*m.rng.IntN(2))
	case k < 65:
		m.read(name, 1+m.rng.IntN(10))
	case k < 75 && len(waiting) > 0:
		id := waiting[m.rng.IntN(len(waiting))]
		m.must("Ack", c.r.Ack(id))
		delete(c.waiting, id)
		c.acked[id] = true
	case k < 88 && len(waiting) > 0:
		id := waiting[m.rng.IntN(len(waiting))]
		m.must("AckThrough", c.r.AckThrough(id))
		for _, set := range []map[uint64]bool{c.waiting, c.again} {
			for old := range set {
				if old <= id {
					delete(set, old)
					c.acked[old] = true
				}
			}
		}
	case k < 92 && len(waiting) > 0:
		id := waiting[m.rng.IntN(len(waiting))]
		m.must("Requeue", c.r.Requeue(id))
		delete(c.waiting, id)
		c.again[id] = true
	case k < 93:
		m.must("Rewind", c.r.Rewind())
		for id := range c.waiting {
			c.again[id] = true
		}
		clear(c.waiting)
	case k < 95:
		if err := c.r.Close(); !errors.Is(err, syscall.EIO) {
			m.must("closing a reader", err)
		}
		m.openReader(name, c)
	case k < 96:
		m.close()
		m.open()
	case k < 98:
		time.Sleep(time.Duration(m.rng.IntN(300)) * time.Millisecond)
	}
	if st := m.s.Stats(); st.Next <= m.last {
		m.t.Fatalf("Stats says the next id is %d, %d is in use", st.Next, m.last)
	}
}

func (m *model) close() {
	for _, c := range m.cursors {
		if err := c.r.Close(); !errors.Is(err, syscall.EIO) {
			m.must("closing a reader", err)
		}
	}
	err := m.s.Close()
	if m.unsaved = errors.Is(err, syscall.EIO); !m.unsaved {
		m.must("Close", err)
	}
}

// finish reads all, and compares it with the model.
func (m *model) finish() {
	for name, c := range m.cursors {
		for {
			before := c.next
			m.read(name, 1000)
			if c.next == before && len(c.waiting) == 0 {
				break
			}
			m.must("AckThrough", c.r.AckThrough(c.next-1))
			clear(c.waiting)
			clear(c.again)
			for id := range m.records {
				if id < c.next {
					c.acked[id] = true
				}
			}
		}
		for id := range m.records {
			if !c.acked[id] {
				m.t.Fatalf("reader %s was never given record %d", name, id)
			}
		}
	}
	m.close()
}

func TestRandomOperationsAgainstAModel(t *testing.T) {
	small := []int{8, 30, 100, 700, 4096, 5000}
	for _, c := range []struct {
		name  string
		opts  spool.Options
		sizes []int
		seeds uint64
		steps int
		hook  func(crashfs.Call) error
		full  int64
	}{
		{name: "small", opts: spool.Options{SegmentBytes: 8 << 10, MaxBytes: 64 << 10}, sizes: small, seeds: 16, steps: 400},
		{name: "unbounded", opts: spool.Options{SegmentBytes: 16 << 10, MaxBytes: -1, CursorAcks: 1}, sizes: small, seeds: 10, steps: 400},
		{
			name: "failing", opts: spool.Options{SegmentBytes: 16 << 10, MaxBytes: -1}, sizes: small, seeds: 16, steps: 300,
			hook: func(c crashfs.Call) error {
				switch {
				case c.Op == crashfs.Sync && c.N%13 == 5, c.Op == crashfs.Write && c.N%41 == 40:
					return syscall.EIO
				case c.Op == crashfs.Write && c.N%29 == 20:
					return &crashfs.Short{N: int(c.Size) * 2 / 3, Err: syscall.EIO}
				}
				return nil
			},
		},
		{name: "full disk", opts: spool.Options{SegmentBytes: 16 << 10, MaxBytes: -1}, sizes: small, seeds: 10, steps: 600, full: 200 << 10},
		{name: "real limits", sizes: []int{100, 3 << 20, 15 << 20}, seeds: 1, steps: 40},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var appends, fulls, failures, deliveries int
			for seed := range c.seeds {
				synctest.Test(t, func(t *testing.T) {
					m := &model{
						t: t, rng: rand.New(rand.NewPCG(seed, 11)), disk: &crashfs.FS{Evict: seed%2 == 1}, opts: c.opts, sizes: c.sizes,
						records: make(map[uint64][]byte), failed: make(map[string]bool), cursors: make(map[string]*modelCursor),
					}
					m.opts.FS = m.disk
					m.disk.SetCapacity(c.full)
					for i := range 1 + m.rng.IntN(3) {
						m.cursors[fmt.Sprint("r", i)] = &modelCursor{
							window: 1 + m.rng.IntN(40), next: 1, waiting: make(map[uint64]bool), again: make(map[uint64]bool), acked: make(map[uint64]bool),
						}
					}
					m.open()
					m.disk.SetHook(c.hook)
					for i := range c.steps {
						if i == c.steps-20 {
							m.disk.SetHook(nil)
						}
						m.step()
					}
					m.finish()
					appends, fulls, failures, deliveries = appends+m.appends, fulls+m.fulls, failures+m.failures, deliveries+m.deliveries
				})
			}
			t.Logf("%d appends, %d refused, %d failed, %d deliveries", appends, fulls, failures, deliveries)
			if c.hook != nil && failures == 0 {
				t.Error("nothing failed")
			}
			if (c.full > 0 || c.opts.MaxBytes > 0) && fulls == 0 {
				t.Error("it was never full")
			}
		})
	}
}
