package spool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe/spool"
	"github.com/hythe-go/hythe/spool/crashfs"
)

func TestAppend_IsReadInOrder(t *testing.T) {
	s := open(t, t.TempDir(), spool.Options{})
	r := reader(t, s, "r")
	if id := add(t, s, "a", "", "c"); id != 1 {
		t.Errorf("first id = %d", id)
	}
	add(t, s, "d")
	want(t, r, 1, "a", "", "c", "d")
	for id := range uint64(4) {
		if err := r.Ack(id + 1); err != nil {
			t.Error(err)
		}
	}
	if err := r.Ack(1); err != spool.ErrNotPending {
		t.Errorf("second Ack = %v", err)
	}
}

func TestAppend_OfNothing(t *testing.T) {
	var disk crashfs.FS
	s := open(t, "q", spool.Options{FS: &disk})
	if id, err := s.Append(); id != 0 || err != nil {
		t.Errorf("Append of nothing = %d, %v", id, err)
	}
	if err := s.Submit(nil, func(uint64, error) { t.Error("done was called") }); err == nil {
		t.Error("Submit of nothing went well")
	}
	if id := add(t, s, "a"); id != 1 {
		t.Errorf("then the first id is %d", id)
	}
}

func TestAppend_KeepsNoPayload(t *testing.T) {
	var disk crashfs.FS
	s := open(t, "q", spool.Options{FS: &disk})
	b := []byte("before")
	release := stall(&disk)
	told := make(chan error)
	if err := s.Submit([][]byte{b}, func(_ uint64, err error) { told <- err }); err != nil {
		t.Fatal(err)
	}
	copy(b, "after!")
	release()
	if err := <-told; err != nil {
		t.Fatal(err)
	}
	want(t, reader(t, s, "r"), 1, "before")
}

func TestAppend_LargestPayload(t *testing.T) {
	var disk crashfs.FS
	s := open(t, "q", spool.Options{FS: &disk, MaxRecord: 1000})
	if _, err := s.Append(nil, make([]byte, 1001)); err != spool.ErrTooLarge {
		t.Errorf("Append = %v, want ErrTooLarge", err)
	}
	if err := s.Submit([][]byte{make([]byte, 1001)}, nil); err != spool.ErrTooLarge {
		t.Errorf("Submit = %v, want ErrTooLarge", err)
	}
	if id := add(t, s, strings.Repeat("x", 1000)); id != 1 {
		t.Errorf("the first id is %d: what was refused was counted", id)
	}
}

// A record is larger than a segment, than a batch and than what is read ahead.
func TestAppend_LargerThanEverything(t *testing.T) {
	var disk crashfs.FS
	s := open(t, "q", spool.Options{FS: &disk, SegmentBytes: 100, CommitBytes: 100})
	big := strings.Repeat("0123456789", 100_000)
	add(t, s, "a", big, "b")
	add(t, s, big)
	r := reader(t, s, "r")
	want(t, r, 1, "a", big, "b", big)
	r.Rewind()
	want(t, r, 1, "a", big, "b", big)
}

// Those who come while a sync is under way share the next one.
func TestAppend_SharesSyncs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk crashfs.FS
		s := open(t, "q", spool.Options{FS: &disk})
		release := stall(&disk)
		var callers sync.WaitGroup
		ids := make(chan uint64, 101)
		appendOne := func() {
			id, err := s.Append(nil)
			if err != nil {
				t.Error(err)
			}
			ids <- id
		}
		callers.Go(appendOne)
		synctest.Wait()
		for range 100 {
			callers.Go(appendOne)
		}
		synctest.Wait()
		if len(ids) > 0 {
			t.Error("Append has returned before the sync")
		}
		release()
		callers.Wait()
		close(ids)
		if st := s.Stats(); st.Commits != 2 || st.Next != 102 {
			t.Errorf("%d syncs for %d records, want 2 for 101", st.Commits, st.Next-1)
		}
		syncs := 0
		for _, line := range disk.Log(disk.Len()) {
			if strings.HasPrefix(line, "sync ") && strings.Contains(line, ".seg") {
				syncs++
			}
		}
		if syncs != 2 {
			t.Errorf("%d syncs of segments, want 2:\n%s", syncs, strings.Join(disk.Log(disk.Len()), "\n"))
		}
		var all []uint64
		for id := range ids {
			all = append(all, id)
		}
		slices.Sort(all)
		for i, id := range all {
			if id != uint64(i)+1 {
				t.Fatalf("the ids are %d", all)
			}
		}
	})
}

func TestCommitDelay_Gathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk crashfs.FS
		s := open(t, "q", spool.Options{FS: &disk, CommitDelay: 10 * time.Millisecond})
		start := time.Now()
		var callers sync.WaitGroup
		for i := range 10 {
			callers.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				if _, err := s.Append([]byte{byte(i)}); err != nil {
					t.Error(err)
				}
				if took := time.Since(start); took != 10*time.Millisecond {
					t.Errorf("caller %d waited until %v, want 10ms", i, took)
				}
			})
		}
		callers.Wait()
		if st := s.Stats(); st.Commits != 1 {
			t.Errorf("%d commits, want 1", st.Commits)
		}
	})
}

func TestCommitBytes_EndTheDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk crashfs.FS
		s := open(t, "q", spool.Options{FS: &disk, CommitDelay: time.Hour, CommitBytes: 1000})
		start := time.Now()
		var callers sync.WaitGroup
		for range 2 {
			callers.Go(func() { s.Append(make([]byte, 500)) })
		}
		callers.Wait()
		if took := time.Since(start); took != 0 || s.Stats().Commits != 1 {
			t.Errorf("a full batch waited %v, and there were %d commits", took, s.Stats().Commits)
		}
		// Close does not wait for others either.
		callers.Go(func() { s.Append(nil) })
		synctest.Wait()
		s.Close()
		callers.Wait()
		if took := time.Since(start); took != 0 || s.Stats().Next != 4 {
			t.Errorf("Close waited %v, and there are %d records", took, s.Stats().Next-1)
		}
	})
}

func TestSubmit_TellsInOrder(t *testing.T) {
	var disk crashfs.FS
	s := open(t, "q", spool.Options{FS: &disk})
	var mu sync.Mutex
	var told []uint64
	var wait sync.WaitGroup
	for i := range 1000 {
		wait.Add(1)
		err := s.Submit([][]byte{{1}, {2}}, func(first uint64, err error) {
			defer wait.Done()
			mu.Lock()
			defer mu.Unlock()
			if err != nil || first != uint64(2*i+1) {
				t.Errorf("call %d was told %d, %v", i, first, err)
			}
			told = append(told, first)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	wait.Wait()
	if len(told) != 1000 || !slices.IsSorted(told) {
		t.Errorf("%d calls were told, in the order %d", len(told), told)
	}
}

// done may call the spool again, as long as it does not wait.
func TestSubmit_FromDone(t *testing.T) {
	var disk crashfs.FS
	s := open(t, "q", spool.Options{FS: &disk})
	told := make(chan uint64)
	var again func(uint64, error)
	again = func(first uint64, err error) {
		if err == nil && first < 100 {
			err = s.Submit([][]byte{nil}, again)
		} else {
			told <- first
		}
		if err != nil {
			t.Error(err)
		}
	}
	if err := s.Submit([][]byte{nil}, again); err != nil {
		t.Fatal(err)
	}
	if last := <-told; last != 100 {
		t.Errorf("the last call was told %d", last)
	}
}

func TestSubmit_IsRefusedWhenTooMuchWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk crashfs.FS
		s := open(t, "q", spool.Options{FS: &disk, CommitBytes: 1000})
		release := stall(&disk)
		submitted := 0
		told := 0
		for ; ; submitted++ {
			err := s.Submit([][]byte{make([]byte, 76)}, func(_ uint64, err error) {
				if err != nil {
					t.Error(err)
				}
				told++
			})
			if err == spool.ErrBusy {
				break
			}
			if err != nil || submitted > 1000 {
				t.Fatalf("%d are waiting, %v", submitted, err)
			}
			synctest.Wait()
		}
		if submitted < 20 || submitted > 21 { // one is written, 2 x 1000 bytes wait
			t.Errorf("%d calls of 100 bytes were taken", submitted)
		}
		var waiter sync.WaitGroup
		waiter.Go(func() { add(t, s, "waited") })
		synctest.Wait()
		if told != 0 {
			t.Errorf("%d were told before the sync", told)
		}
		release()
		waiter.Wait()
		synctest.Wait()
		if told != submitted || s.Stats().Next != uint64(submitted+2) {
			t.Errorf("%d of %d were told; the next id is %d", told, submitted, s.Stats().Next)
		}
	})
}

// Many append and read at the same time; nothing is lost or comes twice, and
// what one has appended comes in its order.
func TestAppend_FromMany(t *testing.T) {
	var disk crashfs.FS
	s := open(t, "q", spool.Options{FS: &disk, SegmentBytes: 5000})
	const callers, each = 8, 200
	var work sync.WaitGroup
	for c := range callers {
		work.Go(func() {
			for i := range each {
				first, err := s.Append(fmt.Appendf(nil, "%d %d", c, 2*i), fmt.Appendf(nil, "%d %d", c, 2*i+1))
				if err != nil || first == 0 {
					t.Errorf("Append = %d, %v", first, err)
				}
			}
		})
	}
	for n := range 2 {
		r := reader(t, s, fmt.Sprint("reader-", n))
		work.Go(func() {
			var came [callers]int
			to := make([]spool.Record, 10)
			for total := 0; total < callers*each*2; {
				k, err := r.Read(context.Background(), to)
				if err != nil {
					t.Error(err)
					return
				}
				for _, rec := range to[:k] {
					total++
					var c, i int
					if _, err := fmt.Fscan(bytes.NewReader(rec.Payload), &c, &i); err != nil || rec.ID != uint64(total) || came[c] != i {
						t.Errorf("got %d %q, want id %d and %d %d: %v", rec.ID, rec.Payload, total, c, came[c], err)
						return
					}
					came[c]++
				}
				if err := errors.Join(r.Ack(to[0].ID), r.AckThrough(to[k-1].ID)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
	s.Sync()
	if st := s.Stats(); st.Segments != 1 {
		t.Errorf("%d segments are left", st.Segments)
	}
}
