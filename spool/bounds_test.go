package spool_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe/spool"
	"github.com/hythe-go/hythe/spool/crashfs"
)

// fill appends texts of 100 bytes until that fails, and returns how many there
// were.
func fill(t testing.TB, s *spool.Spool, want error) (n int) {
	t.Helper()
	for {
		_, err := s.Append([]byte(strings.Repeat("x", 100)))
		if errors.Is(err, want) && err != nil {
			return n
		}
		if err != nil || n > 10_000 {
			t.Fatalf("Append = %v after %d", err, n)
		}
		n++
	}
}

func TestMaxBytes_RefusesUntilThereIsRoom(t *testing.T) {
	var disk crashfs.FS
	s := open(t, "q", spool.Options{FS: &disk, MaxBytes: 10_000})
	r := reader(t, s, "r")
	n := fill(t, s, spool.ErrFull)
	if n < 40 {
		t.Errorf("it was full after %d records of 100 bytes", n)
	}
	if err := s.Submit([][]byte{make([]byte, 100)}, nil); err != spool.ErrFull {
		t.Errorf("Submit = %v", err)
	}
	st := s.Stats()
	if st.Refused != 2 || st.Bytes > 10_000 || st.Trouble != nil {
		t.Errorf("%+v", st)
	}
	for id := range uint64(n) {
		if rec, err := glance(r); err != nil || rec.ID != id+1 {
			t.Fatalf("Next = %v, %v", rec.ID, err)
		}
	}
	if err := errors.Join(r.AckThrough(uint64(n/2)), s.Sync()); err != nil {
		t.Fatal(err)
	}
	if again := fill(t, s, spool.ErrFull); again < n/4 || again > n/2 {
		t.Errorf("%d fitted into what %d left", again, n/2)
	}
}

// Whatever was appended, a spool that has been read to the end takes what a new
// one would take.
func TestMaxBytes_IsFreeWhenDrained(t *testing.T) {
	for _, size := range []int{1, 1000, 5000, 9000, 9800} {
		var disk crashfs.FS
		s := open(t, "q", spool.Options{FS: &disk, MaxBytes: 10_000})
		r := reader(t, s, "r")
		for range 5 {
			for _, size := range []int{size, 100, 9800} {
				if _, err := s.Append(make([]byte, size)); err != nil {
					t.Fatalf("Append of %d bytes to %+v: %v", size, s.Stats(), err)
				}
				rec, err := glance(r)
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(r.Ack(rec.ID), s.Sync()); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// The last segment goes when there is another behind it, although nothing more is
// acknowledged.
func TestSegment_GoesWhenItIsNotTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk crashfs.FS
		o := spool.Options{FS: &disk}
		s := open(t, "q", o)
		r := reader(t, s, "r")
		add(t, s, "a")
		want(t, r, 1, "a")
		r.Ack(1)
		s.Close()
		s = open(t, "q", o)
		if st := s.Stats(); st.Segments != 1 {
			t.Errorf("%+v", st)
		}
		add(t, s, "b") // in a new one
		time.Sleep(time.Second)
		if st := s.Stats(); st.Segments != 1 || st.First != 2 {
			t.Errorf("%+v", st)
		}
	})
}

// What is on its way to the disk counts.
func TestMaxBytes_CountsWhatIsBeingWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk crashfs.FS
		s := open(t, "q", spool.Options{FS: &disk, MaxBytes: 10_000})
		release := stall(&disk)
		var errs []error
		for range 4 {
			errs = append(errs, s.Submit([][]byte{make([]byte, 3000)}, func(_ uint64, err error) {
				if err != nil {
					t.Error(err)
				}
			}))
			synctest.Wait()
		}
		release()
		if err := errors.Join(errs[:3]...); err != nil || errs[3] != spool.ErrFull {
			t.Errorf("Submit = %v", errs)
		}
		synctest.Wait()
		if st := s.Stats(); st.Bytes > 10_000 {
			t.Errorf("%+v", st)
		}
	})
}

// With nobody to read there is nothing that may be deleted.
func TestMaxBytes_WithoutReader(t *testing.T) {
	var disk crashfs.FS
	o := spool.Options{FS: &disk, MaxBytes: 10_000}
	s := open(t, "q", o)
	n := fill(t, s, spool.ErrFull)
	s.Sync()
	if fill(t, s, spool.ErrFull) != 0 {
		t.Error("something was deleted")
	}
	s.Close()
	s = open(t, "q", o)
	if fill(t, s, spool.ErrFull) != 0 {
		t.Error("opening made room")
	}
	r := reader(t, s, "r")
	for id := range uint64(n) {
		if rec, err := glance(r); err != nil || rec.ID != id+1 {
			t.Fatalf("Next = %d, %v, want %d", rec.ID, err, id+1)
		}
	}
	wantNone(t, r)
}

func TestDropOldest_TellsEveryReaderWhatItHasLost(t *testing.T) {
	var disk crashfs.FS
	o := spool.Options{FS: &disk, MaxBytes: 1000, SegmentBytes: 100, Overflow: spool.DropOldest}
	s := open(t, "q", o)
	quick, slow := reader(t, s, "quick"), reader(t, s, "slow")
	for i, text := range texts(1, 100) {
		add(t, s, text)
		want(t, quick, uint64(i)+1, text)
		if i < 90 {
			quick.Ack(uint64(i) + 1)
		}
	}
	st := s.Stats()
	if st.Bytes > 1000 || st.First < 80 || st.First > 98 || st.Refused != 0 {
		t.Errorf("%+v", st)
	}
	wantGap(t, slow, 1, st.First-1, spool.Dropped)
	want(t, slow, st.First, texts(int(st.First), 100)...)
	// One that has them in its window learns it when it wants them again.
	quick.Rewind()
	for id := uint64(91); id < st.First; id++ {
		wantGap(t, quick, id, id, spool.Dropped)
	}
	want(t, quick, st.First, texts(int(st.First), 100)...)
	if rs := s.Stats().Readers; rs[0].Lost[spool.Dropped] != st.First-91 || rs[1].Lost[spool.Dropped] != st.First-1 || len(rs[0].Lost) != 1 {
		t.Errorf("%+v, first %d", rs, st.First)
	}
	// It is told as dropped after a restart, too.
	reader(t, s, "old").Close()
	for _, text := range texts(101, 200) {
		add(t, s, text)
	}
	s.Close()
	s = open(t, "q", o)
	wantGap(t, reader(t, s, "old"), st.First, s.Stats().First-1, spool.Dropped)
}

// A reader that is made while records are dropped has not lost them.
func TestDropOldest_WhileAReaderIsMade(t *testing.T) {
	var disk crashfs.FS
	s := open(t, "q", spool.Options{FS: &disk, MaxBytes: 1000, SegmentBytes: 100, Overflow: spool.DropOldest})
	add(t, s, texts(1, 1)...)
	disk.SetHook(func(c crashfs.Call) error {
		if c.Op == crashfs.Rename {
			disk.SetHook(nil)
			for _, text := range texts(2, 30) {
				add(t, s, text)
			}
		}
		return nil
	})
	r := reader(t, s, "r")
	first := int(s.Stats().First)
	if first < 20 {
		t.Fatalf("the first is %d", first)
	}
	want(t, r, uint64(first), texts(first, 30)...)
}

// What can never fit does not push out anything.
func TestDropOldest_KeepsAllForWhatNeverFits(t *testing.T) {
	var disk crashfs.FS
	s := open(t, "q", spool.Options{FS: &disk, MaxBytes: 1000, SegmentBytes: 100, Overflow: spool.DropOldest})
	for _, text := range texts(1, 5) {
		add(t, s, text)
	}
	if _, err := s.Append(make([]byte, 1000)); !errors.Is(err, spool.ErrFull) {
		t.Errorf("Append = %v, want ErrFull", err)
	}
	want(t, reader(t, s, "r"), 1, texts(1, 5)...)
	// What does fit, just so, is taken.
	if _, err := s.Append(make([]byte, 850)); err != nil {
		t.Errorf("Append = %v", err)
	}
	if st := s.Stats(); st.First != 6 || st.Bytes > 1000 {
		t.Errorf("%+v", st)
	}
}

func TestMaxAge_DeletesWholeSegments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk crashfs.FS
		s := open(t, "q", spool.Options{FS: &disk, MaxAge: time.Hour})
		r := reader(t, s, "r")
		for _, text := range texts(1, 200) {
			add(t, s, text)
			time.Sleep(time.Minute)
		}
		st := s.Stats()
		// The last hour is there, and at most a quarter of an hour more, and what
		// is deleted with the next Append.
		if st.First > 141 || st.First < 120 || st.Age > 80*time.Minute {
			t.Errorf("after 200 minutes the first is %d, the age %v", st.First, st.Age)
		}
		wantGap(t, r, 1, st.First-1, spool.Expired)
		want(t, r, st.First, texts(int(st.First), 200)...)
	})
}

// A reader does not get what is too old, also when nothing is appended any more.
func TestMaxAge_WhenNothingIsAppended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk crashfs.FS
		s := open(t, "q", spool.Options{FS: &disk, MaxAge: time.Hour, SegmentBytes: 1})
		r := reader(t, s, "r")
		for _, text := range texts(1, 4) {
			add(t, s, text)
			time.Sleep(time.Minute)
		}
		want(t, r, 1, "message 1")
		time.Sleep(2 * time.Hour)
		wantGap(t, r, 2, 3, spool.Expired)
		want(t, r, 4, "message 4") // a segment is as young as its youngest record may be
	})
}

// A segment from the future, by a wall clock that was wrong then or is now, is
// taken for a new one, and expires when it would have if it had been.
func TestMaxAge_OfASegmentFromTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk crashfs.FS
		const salt = 0x0123456789abcdef
		now := time.Now()
		b := record(salt, 0, 1, 1, segmentInfo(1, 0, now.Add(1000*time.Hour)))
		b = append(b, record(salt, len(b), 2, 1, batchInfo(now.Add(1000*time.Hour), 1))...)
		b = append(b, record(salt, len(b), 3, 1, []byte("message 1"))...)
		place(t, &disk, "q/0000000001-00000000000000000001-0123456789abcdef.seg", b)
		s := open(t, "q", spool.Options{FS: &disk, MaxAge: time.Hour})
		if age := s.Stats().Age; age != 0 {
			t.Errorf("it is %v old", age)
		}
		r := reader(t, s, "r")
		add(t, s, "message 2")
		time.Sleep(59 * time.Minute)
		want(t, r, 1, "message 1")
		r.Rewind()
		time.Sleep(2 * time.Minute)
		wantGap(t, r, 1, 1, spool.Expired)
		want(t, r, 2, "message 2")
	})
}

// While the spool is open the wall clock does not matter; how old a segment was
// before is known by it, and it is never older than that.
func TestMaxAge_AcrossRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk crashfs.FS
		o := spool.Options{FS: &disk, MaxAge: time.Hour, SegmentBytes: 1}
		for _, text := range texts(1, 3) {
			s := open(t, "q", o)
			add(t, s, text)
			s.Close()
			time.Sleep(30 * time.Minute)
		}
		s := open(t, "q", o)
		add(t, s, "message 4") // 1 is 90, 2 is 60 and 3 is 30 minutes old
		time.Sleep(time.Minute)
		add(t, s, "message 5") // the segment behind 1 is more than an hour old now
		want(t, reader(t, s, "r"), 2, texts(2, 5)...)
	})
}
