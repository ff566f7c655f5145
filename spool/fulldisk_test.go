package spool_test

import (
	"bytes"
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/hythe-go/hythe/spool"
	"github.com/hythe-go/hythe/spool/crashfs"
)

func TestFullDiskOfAnyFilesystem(t *testing.T) {
	for _, size := range []int64{1 << 20, 3<<20 + 12345} {
		var disk crashfs.FS
		disk.SetCapacity(size)
		fillAndDrain(t, "queue", &disk, func() int64 { return size - disk.Used() })
	}
}

// fillAndDrain fills a disk through a spool, drains and fills it again, without
// reopening, and checks that the spool never lies. The disk is the real one
// unless disk is given.
func fillAndDrain(t *testing.T, dir string, disk *crashfs.FS, free func() int64) {
	o := spool.Options{SegmentBytes: 256 << 10, MaxBytes: -1, CursorDelay: 10 * time.Millisecond}
	if disk != nil {
		o.FS = disk
	}
	s, err := spool.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if s != nil {
			s.Close()
		}
	}()
	r, err := s.Reader("r", spool.ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	acked := make(map[uint64][]byte)
	tried := make(map[string]bool)
	var serial, seen uint64
	fill := func(limit int) (n int) {
		for range limit {
			serial++
			p := makePayload(serial, 3000)
			tried[string(p)] = true
			id, err := s.Append(p)
			if err != nil {
				if !errors.Is(err, spool.ErrFull) {
					t.Fatalf("Append on a full disk: %v, want ErrFull", err)
				}
				if !errors.Is(err, syscall.ENOSPC) {
					t.Fatalf("Append on a full disk: %v, want the system's reason too", err)
				}
				return n
			}
			acked[id] = p
			n++
		}
		return n
	}
	take := func(n int) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for n > 0 {
			records, err := readSome(ctx, r, min(n, 100))
			if err != nil {
				t.Fatalf("reading on a full disk: %v", err)
			}
			for _, rec := range records {
				want, known := acked[rec.ID]
				if !known && !tried[string(rec.Payload)] || known && !bytes.Equal(rec.Payload, want) {
					t.Fatalf("record %d is not what was appended", rec.ID)
				}
				if rec.ID <= seen {
					t.Fatalf("record %d after %d", rec.ID, seen)
				}
				for id := seen + 1; id < rec.ID; id++ {
					if _, known := acked[id]; known {
						t.Fatalf("record %d was passed over", id)
					}
				}
				seen = rec.ID
				if known {
					n--
				}
			}
			if err := r.AckThrough(seen); err != nil {
				t.Fatalf("acknowledging on a full disk: %v", err)
			}
		}
	}

	total := 0
	for round := range 6 {
		n := fill(1 << 20)
		total += n
		t.Logf("round %d: %d records of 3000 bytes before the disk was full, %d bytes free", round, n, free())
		if n < 50 {
			t.Fatalf("round %d: only %d records until the disk was full", round, n)
		}
		if st := s.Stats(); !errors.Is(st.Trouble, spool.ErrFull) {
			t.Errorf("the disk is full and Stats says all is well: %+v", st)
		}
		for range 20 { // refusing must not use up what draining needs
			if extra := fill(1); extra == 0 {
				continue
			} else {
				total += extra
			}
		}
		if round == 3 { // the cursor is durable on a full disk, and the spool opens there
			take(10)
			if err := s.Close(); err != nil {
				t.Fatalf("Close on a full disk: %v", err)
			}
			if s, err = spool.Open(dir, o); err != nil {
				t.Fatalf("Open on a full disk: %v", err)
			}
			if r, err = s.Reader("r", spool.ReaderOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		take(len(acked) - len(drained(acked, seen)) - 20)
		// Space returns with the cursor, which is written soon.
		for end := time.Now().Add(5 * time.Second); fill(1) == 0; {
			if time.Now().After(end) {
				t.Fatalf("round %d: the disk has %d bytes free and Append still fails", round, free())
			}
			time.Sleep(5 * time.Millisecond)
		}
		total++
	}
	take(len(acked) - len(drained(acked, seen)))
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = nil
}

// drained returns the ids up to seen.
func drained(acked map[uint64][]byte, seen uint64) []uint64 {
	var ids []uint64
	for id := range acked {
		if id <= seen {
			ids = append(ids, id)
		}
	}
	return ids
}

// A disk that one segment has filled alone: once all of it is acknowledged it
// makes room for the next, and the ids go on.
func TestFullDiskInOneSegment(t *testing.T) {
	var disk crashfs.FS
	disk.SetCapacity(1 << 20)
	o := spool.Options{FS: &disk, CursorDelay: 10 * time.Millisecond}
	s, err := spool.Open("queue", o)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Reader("r", spool.ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	last := uint64(0)
	for round := range 3 {
		for {
			id, err := s.Append(makePayload(last+1, 3000))
			if errors.Is(err, spool.ErrFull) {
				break
			}
			if err != nil || id <= last {
				t.Fatalf("record %d after %d: %v", id, last, err)
			}
			last = id
		}
		if _, err := s.Append(makePayload(last+1, 3000)); !errors.Is(err, spool.ErrFull) {
			t.Fatalf("nothing is acknowledged, and Append: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for seen := uint64(0); seen < last; {
			rec, err := r.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if seen = rec.ID; !bytes.Equal(rec.Payload, makePayload(seen, 3000)) {
				t.Fatalf("record %d is not what was appended", seen)
			}
		}
		if err := r.AckThrough(last); err != nil {
			t.Fatal(err)
		}
		for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
			id, err := s.Append(makePayload(last+1, 3000))
			if err == nil {
				if id != last+1 {
					t.Fatalf("record %d after %d", id, last)
				}
				last = id
				break
			}
			if time.Since(began) > 5*time.Second {
				t.Fatalf("round %d: there is no room: %v", round, err)
			}
		}
		if round == 1 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s, err = spool.Open("queue", o); err != nil {
				t.Fatal(err)
			}
			if r, err = s.Reader("r", spool.ReaderOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
