package spool_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe/spool"
	"github.com/hythe-go/hythe/spool/crashfs"
)

// durable opens what a power failure now would leave, and returns the reader's
// place.
func durable(t testing.TB, disk *crashfs.FS, name string) uint64 {
	t.Helper()
	s := open(t, "q", spool.Options{FS: disk.Crash(disk.Len(), crashfs.Lost)})
	defer s.Close()
	return lowOf(s, name)
}

// lowOf returns a reader's place, 0 if there is no such reader.
func lowOf(s *spool.Spool, name string) uint64 {
	for _, r := range s.Stats().Readers {
		if r.Name == name {
			return r.Low
		}
	}
	return 0
}

func TestCursor_IsDurableAfterTheDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk crashfs.FS
		s := open(t, "q", spool.Options{FS: &disk})
		r := reader(t, s, "r")
		add(t, s, texts(1, 5)...)
		want(t, r, 1, texts(1, 5)...)
		r.Ack(1)
		time.Sleep(99 * time.Millisecond)
		r.Ack(2)
		if low := durable(t, &disk, "r"); low != 1 {
			t.Errorf("%d is durable before 100 ms", low)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if low := durable(t, &disk, "r"); low != 3 {
			t.Errorf("%d is durable after 100 ms, want 3", low)
		}
		// Without acknowledgements nothing is written.
		before := disk.Len()
		time.Sleep(time.Hour)
		if n := disk.Len() - before; n != 0 {
			t.Errorf("%d operations without a reason", n)
		}
		r.Ack(3)
		if err := s.Sync(); err != nil || durable(t, &disk, "r") != 4 {
			t.Errorf("Sync = %v, %d is durable, want 4", err, durable(t, &disk, "r"))
		}
		r.Ack(4)
		if err := r.Close(); err != nil || durable(t, &disk, "r") != 5 {
			t.Errorf("Close = %v, %d is durable, want 5", err, durable(t, &disk, "r"))
		}
		r = reader(t, s, "r")
		want(t, r, 5, "message 5")
		r.Ack(5)
		if err := s.Close(); err != nil || durable(t, &disk, "r") != 6 {
			t.Errorf("Close = %v, %d is durable, want 6", err, durable(t, &disk, "r"))
		}
	})
}

func TestCursorAcks_AreNotLeftToTheDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk crashfs.FS
		s := open(t, "q", spool.Options{FS: &disk, CursorDelay: time.Hour, CursorAcks: 10})
		r := reader(t, s, "r")
		add(t, s, texts(1, 100)...)
		want(t, r, 1, texts(1, 100)...)
		start := time.Now()
		for id := uint64(1); id <= 95; id++ {
			r.Ack(id)
			synctest.Wait()
			if low := durable(t, &disk, "r"); low+10 <= id {
				t.Fatalf("%d is durable after %d was acknowledged", low, id)
			}
		}
		r.AckThrough(100)
		synctest.Wait()
		if took := time.Since(start); took != 0 {
			t.Errorf("it took %v", took)
		}
	})
}

// No segment is deleted that a cursor on the disk still needs, whenever the
// power fails; and those that nobody needs go.
func TestCursor_IsDurableBeforeItsSegmentsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk crashfs.FS
		s := open(t, "q", spool.Options{FS: &disk, SegmentBytes: 1})
		r := reader(t, s, "r")
		for _, text := range texts(1, 10) {
			add(t, s, text)
		}
		start := disk.Len()
		want(t, r, 1, texts(1, 10)...)
		for id := uint64(1); id <= 10; id += 3 {
			r.AckThrough(id)
			s.Sync()
		}
		if all := segments(t, &disk, "q"); len(all) != 1 {
			t.Errorf("left are %q", all)
		}
		for at := start; at <= disk.Len(); at++ {
			for outcome := range crashfs.Outcome(6) {
				s := open(t, "q", spool.Options{FS: disk.Crash(at, outcome)})
				low := s.Stats().Readers[0].Low
				want(t, reader(t, s, "r"), low, texts(int(low), 10)...)
				s.Close()
			}
		}
	})
}

// While a cursor cannot be saved its segments stay, and it is tried again.
func TestCursor_ThatCannotBeSaved(t *testing.T) {
	for _, op := range []crashfs.Op{crashfs.Write, crashfs.Sync} {
		synctest.Test(t, func(t *testing.T) {
			var disk crashfs.FS
			var log strings.Builder
			s := open(t, "q", spool.Options{FS: &disk, SegmentBytes: 1, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			r := reader(t, s, "r")
			for _, text := range texts(1, 5) {
				add(t, s, text)
			}
			want(t, r, 1, texts(1, 5)...)
			var bad atomic.Bool
			bad.Store(true)
			disk.SetHook(func(c crashfs.Call) error {
				if bad.Load() && c.Op == op && strings.Contains(filepath.Base(c.Name), ".cursor") {
					return errIO
				}
				return nil
			})
			r.AckThrough(4)
			if err := s.Sync(); !errors.Is(err, errIO) {
				t.Errorf("Sync = %v when a cursor's %v fails", err, op)
			}
			time.Sleep(time.Second)
			if st := s.Stats(); st.Segments != 5 {
				t.Errorf("%d segments are left, want 5", st.Segments)
			}
			bad.Store(false)
			time.Sleep(time.Second)
			if st := s.Stats(); st.Segments != 1 {
				t.Errorf("%d segments are left, want 1", st.Segments)
			}
			if low := durable(t, &disk, "r"); low != 5 {
				t.Errorf("%d is durable, want 5", low)
			}
			s.Close()
			if lines := strings.Split(log.String(), "\n"); len(lines) != 3 || !strings.Contains(lines[0], "cannot be saved") || !strings.Contains(lines[1], "saved again") {
				t.Errorf("the log is\n%s", &log)
			}
		})
	}
}

// When acknowledgements cannot be saved at the end Close says so, and a reader
// that is being closed meanwhile does no harm.
func TestClose_SaysThatACursorCannotBeSaved(t *testing.T) {
	var disk crashfs.FS
	s := open(t, "q", spool.Options{FS: &disk})
	r, slow := reader(t, s, "r"), reader(t, s, "slow")
	add(t, s, "a")
	want(t, r, 1, "a")
	r.Ack(1)
	reads, held := make(chan struct{}), make(chan struct{})
	disk.SetHook(func(c crashfs.Call) error {
		switch {
		case c.Op == crashfs.Read:
			close(reads)
			<-held
		case c.Op == crashfs.Sync && strings.Contains(c.Name, "r.cursor"):
			return errIO
		}
		return nil
	})
	var late sync.WaitGroup
	late.Go(func() { slow.Next(t.Context()) })
	<-reads
	late.Go(func() { slow.Close() }) // waits for that
	for slow.Rewind() != spool.ErrClosed {
		runtime.Gosched()
	}
	if err := s.Close(); !errors.Is(err, errIO) {
		t.Errorf("Close = %v", err)
	}
	close(held)
	late.Wait()
}

// One sync that fails once is made up for in a new file.
func TestCursor_TriesOnceMoreElsewhere(t *testing.T) {
	var disk crashfs.FS
	s := open(t, "q", spool.Options{FS: &disk})
	r := reader(t, s, "r")
	add(t, s, "a", "b")
	want(t, r, 1, "a", "b")
	for id := uint64(1); id <= 2; id++ {
		disk.SetHook(crashfs.Fail(crashfs.Sync, "r.cursor*", 0, 1, errIO))
		r.Ack(id)
		if err := s.Sync(); err != nil {
			t.Errorf("Sync = %v", err)
		}
		if low := durable(t, &disk, "r"); low != id+1 {
			t.Errorf("%d is durable, want %d", low, id+1)
		}
	}
}

// A reader that cannot be made is not there.
func TestReader_ThatCannotBeMade(t *testing.T) {
	var disk crashfs.FS
	s := open(t, "q", spool.Options{FS: &disk})
	add(t, s, "a")
	for _, op := range []crashfs.Op{crashfs.Open, crashfs.Write, crashfs.Sync, crashfs.Rename} {
		disk.SetHook(crashfs.Fail(op, "r.cursor*", 0, 1, errIO))
		if _, err := s.Reader("r", spool.ReaderOptions{}); !errors.Is(err, errIO) {
			t.Errorf("Reader = %v when %v fails", err, op)
		}
		if st := s.Stats(); len(st.Readers) != 0 {
			t.Errorf("%+v", st.Readers)
		}
	}
	want(t, reader(t, s, "r"), 1, "a")
}

// One damaged slot costs a few acknowledgements, two have the reader begin with
// the oldest record; neither invents a gap.
func TestCursor_Damaged(t *testing.T) {
	var disk crashfs.FS
	o := spool.Options{FS: &disk, SegmentBytes: 1}
	s := open(t, "q", o)
	r := reader(t, s, "r")
	for _, text := range texts(1, 9) {
		add(t, s, text)
	}
	want(t, r, 1, texts(1, 9)...)
	for _, id := range []uint64{3, 5} {
		r.AckThrough(id)
		s.Sync()
	}
	s.Close()
	first := s.Stats().First
	for _, slots := range [][]int64{{0}, {4096}, {0, 4096}} {
		d := disk.Crash(disk.Len(), crashfs.Kept)
		for _, off := range slots {
			flip(t, d, filepath.Join("q", "r.cursor"), off+20)
		}
		o.FS = d
		if rep, err := spool.Verify("q", o); err != nil || !rep.Whole() || rep.Cursors[0].Damaged != (len(slots) == 2) {
			t.Errorf("slots %d: Verify = %+v, %v", slots, rep, err)
		}
		s := open(t, "q", o)
		low := s.Stats().Readers[0].Low
		if low > 6 || low < 4 {
			t.Errorf("slots %d damaged: the reader is at %d, the first record is %d", slots, low, first)
		}
		want(t, reader(t, s, "r"), low, texts(int(low), 9)...)
		s.Close()
	}
}

// Forgotten is forgotten, and a file that was left by a crash does no harm.
func TestForget_IsDurable(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, spool.Options{})
	reader(t, s, "r").Close()
	reader(t, s, "other").Close()
	if err := s.Forget("r"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := os.WriteFile(filepath.Join(dir, "other.cursor.tmp"), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, spool.Options{})
	if st := s.Stats(); len(st.Readers) != 1 || st.Readers[0].Name != "other" {
		t.Errorf("%+v", st.Readers)
	}
}
