package spool_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/hythe-go/hythe/spool"
	"github.com/hythe-go/hythe/spool/crashfs"
)

func TestWindow_HoldsNextBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk crashfs.FS
		s := open(t, "q", spool.Options{FS: &disk})
		add(t, s, texts(1, 10)...)
		r, err := s.Reader("r", spool.ReaderOptions{Window: 3})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := r.Read(t.Context(), make([]spool.Record, 10)); n != 3 || err != nil {
			t.Errorf("Read = %d, %v, want the window of 3", n, err)
		}
		wantNone(t, r)
		// The window begins at the oldest record that is not acknowledged.
		r.Ack(2)
		r.Ack(3)
		wantNone(t, r)
		var wait sync.WaitGroup
		wait.Go(func() { want(t, r, 4, texts(4, 6)...) })
		synctest.Wait()
		r.Ack(1)
		wait.Wait()
		wantNone(t, r)
		r.AckThrough(6)
		want(t, r, 7, texts(7, 9)...)
	})
}

func TestAck_InAnyOrder(t *testing.T) {
	var disk crashfs.FS
	o := spool.Options{FS: &disk}
	s := open(t, "q", o)
	r := reader(t, s, "r")
	add(t, s, texts(1, 6)...)
	if err := r.Ack(1); err != spool.ErrNotPending {
		t.Errorf("Ack of what was not delivered = %v", err)
	}
	if err := r.AckThrough(1); err != spool.ErrNotPending {
		t.Errorf("AckThrough of what was not delivered = %v", err)
	}
	want(t, r, 1, texts(1, 5)...)
	if err := r.AckThrough(6); err != spool.ErrNotPending {
		t.Errorf("AckThrough past what was delivered = %v", err)
	}
	for _, id := range []uint64{5, 3, 1} {
		if err := r.Ack(id); err != nil {
			t.Error(err)
		}
		for range 2 {
			if err := r.Ack(id); err != spool.ErrNotPending {
				t.Errorf("Ack of %d once more = %v", id, err)
			}
			if err := r.Requeue(id); err != spool.ErrNotPending {
				t.Errorf("Requeue of %d, which is acknowledged = %v", id, err)
			}
		}
	}
	if st := s.Stats(); st.Readers[0].Low != 2 || st.Readers[0].Backlog != 5 {
		t.Errorf("%+v", st.Readers)
	}
	// Acknowledgements behind one that is missing are not durable.
	s.Close()
	s = open(t, "q", o)
	want(t, reader(t, s, "r"), 2, texts(2, 6)...)
}

func TestRequeue_ComesBeforeWhatIsNew(t *testing.T) {
	var disk crashfs.FS
	s := open(t, "q", spool.Options{FS: &disk, SegmentBytes: 100})
	r := reader(t, s, "r")
	for _, text := range texts(1, 6) {
		add(t, s, text)
	}
	want(t, r, 1, texts(1, 4)...)
	if err := r.Requeue(5); err != spool.ErrNotPending {
		t.Errorf("Requeue of what was not delivered = %v", err)
	}
	for _, id := range []uint64{4, 2} {
		if err := r.Requeue(id); err != nil {
			t.Error(err)
		}
		if err := r.Requeue(id); err != spool.ErrNotPending {
			t.Errorf("Requeue twice = %v", err)
		}
	}
	for _, id := range []uint64{4, 2, 5} {
		rec, err := r.Next(context.Background())
		if err != nil || rec.ID != id || string(rec.Payload) != texts(int(id), int(id))[0] || rec.Again != (id < 5) {
			t.Errorf("Next = %+v %q, %v, want %d", rec, rec.Payload, err, id)
		}
	}
	// One that waits to be delivered again may still be acknowledged.
	r.Requeue(3)
	if err := r.Ack(3); err != nil {
		t.Error(err)
	}
	want(t, r, 6, "message 6")
	wantNone(t, r)
}

func TestRewind_DeliversAllThatIsPending(t *testing.T) {
	var disk crashfs.FS
	s := open(t, "q", spool.Options{FS: &disk, SegmentBytes: 100})
	r := reader(t, s, "r")
	for _, text := range texts(1, 6) {
		add(t, s, text)
	}
	want(t, r, 1, texts(1, 5)...)
	r.Ack(1)
	r.Ack(3)
	r.Requeue(4)
	for range 3 {
		if err := r.Rewind(); err != nil {
			t.Error(err)
		}
	}
	want(t, r, 2, "message 2")
	want(t, r, 4, texts(4, 6)...)
	wantNone(t, r)
	r.AckThrough(6)
	r.Rewind()
	wantNone(t, r)
}

// What cannot be read again at the moment keeps its place.
func TestRequeue_KeepsItsOrderWhenTheDiskFails(t *testing.T) {
	var disk crashfs.FS
	s := open(t, "q", spool.Options{FS: &disk, SegmentBytes: 1})
	r := reader(t, s, "r")
	for _, text := range texts(1, 5) {
		add(t, s, text)
	}
	want(t, r, 1, texts(1, 5)...)
	r.Rewind()
	for _, op := range []crashfs.Op{crashfs.Open, crashfs.Read} {
		disk.SetHook(crashfs.Fail(op, "*.seg", 0, 100, errIO))
		if _, err := r.Read(t.Context(), make([]spool.Record, 2)); !errors.Is(err, errIO) {
			t.Errorf("Read = %v when %v fails", err, op)
		}
	}
	disk.SetHook(nil)
	want(t, r, 1, texts(1, 5)...)
}

// Payloads that are read again together are all good, however many segments they
// are from.
func TestRead_Again(t *testing.T) {
	var disk crashfs.FS
	s := open(t, "q", spool.Options{FS: &disk, SegmentBytes: 200})
	r := reader(t, s, "r")
	all := texts(1, 30)
	for _, text := range all {
		add(t, s, text)
	}
	want(t, r, 1, all...)
	r.Rewind()
	var got []string
	to := make([]spool.Record, 7)
	for len(got) < 30 {
		n, err := r.Read(t.Context(), to)
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range to[:n] {
			if got = append(got, string(rec.Payload)); rec.ID != uint64(len(got)) || !rec.Again {
				t.Errorf("got %+v", rec)
			}
		}
	}
	if !slices.Equal(got, all) {
		t.Errorf("got %q", got)
	}
}

// Whatever is done, the cursor is at the oldest record that is not acknowledged,
// and every record comes until it is.
func TestWindow_AgainstAModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var disk crashfs.FS
		s := open(t, "q", spool.Options{FS: &disk, SegmentBytes: 500})
		size := 1 + rng.IntN(20)
		r, err := s.Reader("r", spool.ReaderOptions{Window: size})
		if err != nil {
			t.Fatal(err)
		}
		const n = 100
		add(t, s, texts(1, n)...)
		const out, requeued, acked = 1, 2, 3
		state := map[uint64]int{}
		low, next := uint64(1), uint64(1)
		for low <= n {
			id := low + rng.Uint64N(uint64(size)+1)
			switch rng.IntN(6) {
			case 0, 1:
				if ok := r.Ack(id) == nil; ok != (state[id] == out || state[id] == requeued) {
					t.Fatalf("Ack of %d in state %d: %v", id, state[id], ok)
				} else if ok {
					state[id] = acked
				}
			case 2:
				if ok := r.Requeue(id) == nil; ok != (state[id] == out) {
					t.Fatalf("Requeue of %d in state %d: %v", id, state[id], ok)
				} else if ok {
					state[id] = requeued
				}
			case 3:
				if rng.IntN(10) == 0 {
					r.Rewind()
					for id := low; id < next; id++ {
						if state[id] == out {
							state[id] = requeued
						}
					}
				}
			default:
				rec, err := glance(r)
				waiting := slices.ContainsFunc(ids(low, next), func(id uint64) bool { return state[id] == requeued })
				switch {
				case err == errNothing:
					if waiting || next <= n && next < low+uint64(size) {
						t.Fatalf("nothing comes, low %d, next %d, window %d", low, next, size)
					}
				case err != nil:
					t.Fatal(err)
				case rec.Again && state[rec.ID] == requeued:
				case !rec.Again && !waiting && rec.ID == next && next < low+uint64(size):
					next++
				default:
					t.Fatalf("%d came in state %d, again %v, low %d, next %d", rec.ID, state[rec.ID], rec.Again, low, next)
				}
				if err == nil {
					state[rec.ID] = out
				}
			}
			for state[low] == acked {
				low++
			}
			if st := s.Stats().Readers[0]; st.Low != low {
				t.Fatalf("the cursor is at %d, want %d", st.Low, low)
			}
		}
		s.Close()
	}
}

func ids(from, to uint64) (all []uint64) {
	for id := from; id < to; id++ {
		all = append(all, id)
	}
	return all
}
