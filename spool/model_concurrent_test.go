package spool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hythe-go/hythe/spool"
)

// Appenders and readers at once, on real files: each reader gets every record
// once, those of one appender in order, none before it is durable.
func TestConcurrentAppendersAndReaders(t *testing.T) {
	const appenders, each, readers = 8, 1500, 3
	s, err := spool.Open(t.TempDir(), spool.Options{SegmentBytes: 256 << 10, CursorAcks: 100})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	ids := make(map[uint64]uint64) // id: serial; guarded by mu
	for a := range uint64(appenders) {
		wg.Go(func() {
			for n := uint64(0); n < each; {
				var batch [][]byte
				for range min(1+n%5, each-n) {
					batch = append(batch, makePayload(a<<32|n, int(50+n%400)))
					n++
				}
				first, err := s.Append(batch...)
				if err != nil {
					t.Errorf("Append: %v", err)
					return
				}
				mu.Lock()
				for i, p := range batch {
					if old, known := ids[first+uint64(i)]; known {
						t.Errorf("id %d was given to %x and %x", first+uint64(i), old, serialOf(p))
					}
					ids[first+uint64(i)] = serialOf(p)
				}
				mu.Unlock()
			}
		})
	}
	for i := range readers {
		r, err := s.Reader(fmt.Sprint("r", i), spool.ReaderOptions{Window: 100 * (i + 1)})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			var next [appenders]uint64
			for got, last := 0, uint64(0); got < appenders*each; {
				records, err := readSome(ctx, r, 70)
				if err != nil {
					t.Errorf("reader %d after %d records: %v", i, got, err)
					return
				}
				for _, rec := range records {
					serial := serialOf(rec.Payload)
					a, n := serial>>32, serial&(1<<32-1)
					if a >= appenders || n != next[a] || rec.ID <= last || !bytes.Equal(rec.Payload, makePayload(serial, len(rec.Payload))) {
						t.Errorf("reader %d got record %d, %x, after %d; want number %d of its appender", i, rec.ID, serial, last, next[min(a, appenders-1)])
						return
					}
					next[a], last = n+1, rec.ID
					got++
					if i == 1 { // one by one
						if err := r.Ack(rec.ID); err != nil {
							t.Errorf("Ack: %v", err)
						}
					}
				}
				if i != 1 {
					if err := r.AckThrough(last); err != nil {
						t.Errorf("AckThrough: %v", err)
					}
				}
			}
			if err := r.Close(); err != nil {
				t.Errorf("closing reader %d: %v", i, err)
			}
		})
	}
	done := make(chan struct{})
	var looking sync.WaitGroup
	looking.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				_ = s.Stats()
				time.Sleep(time.Millisecond)
			}
		}
	})
	wg.Wait()
	close(done)
	looking.Wait()
	if st := s.Stats(); st.Next != appenders*each+1 && len(ids) == appenders*each {
		t.Errorf("NextID is %d after %d records", st.Next, len(ids))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append([]byte("late")); !errors.Is(err, spool.ErrClosed) {
		t.Errorf("Append after Close: %v", err)
	}
}

// Close while others append and read: every call returns, and what was
// acknowledged is there.
func TestCloseWhileBusy(t *testing.T) {
	for range 10 {
		dir := t.TempDir()
		s, err := spool.Open(dir, spool.Options{SegmentBytes: 64 << 10})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		acked := make(map[uint64]uint64) // guarded by mu
		for a := range uint64(4) {
			wg.Go(func() {
				for n := uint64(0); ; n++ {
					id, err := s.Append(makePayload(a<<32|n, 200))
					if err != nil {
						if !errors.Is(err, spool.ErrClosed) {
							t.Errorf("Append: %v", err)
						}
						return
					}
					mu.Lock()
					acked[id] = a<<32 | n
					mu.Unlock()
				}
			})
		}
		r, err := s.Reader("r", spool.ReaderOptions{})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for {
				rec, err := r.Next(context.Background())
				if err != nil {
					if !errors.Is(err, spool.ErrClosed) {
						t.Errorf("Next: %v", err)
					}
					return
				}
				_ = r.Requeue(rec.ID)
				rec, err = r.Next(context.Background())
				_, _ = rec, err
			}
		})
		time.Sleep(20 * time.Millisecond)
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		wg.Wait()
		found := make(map[uint64]uint64)
		for rec, err := range spool.Export(dir, spool.Options{}, 0, 0) {
			if err != nil {
				t.Fatalf("Export: %v", err)
			}
			found[rec.ID] = serialOf(rec.Payload)
		}
		for id, serial := range acked {
			if found[id] != serial {
				t.Fatalf("record %d is %x after Close, want %x", id, found[id], serial)
			}
		}
	}
}
