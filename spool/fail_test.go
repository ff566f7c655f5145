package spool_test

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe/spool"
	"github.com/hythe-go/hythe/spool/crashfs"
)

var (
	errIO       = error(syscall.EIO)
	errNotExist = fs.ErrNotExist
)

// One write or sync that fails is made up for in a new segment, and nobody hears
// of it.
func TestAppend_TriesOnceMoreElsewhere(t *testing.T) {
	for _, op := range []crashfs.Op{crashfs.Write, crashfs.Sync} {
		for _, err := range []error{errIO, &crashfs.Short{N: 30, Err: errIO}} {
			if _, short := err.(*crashfs.Short); short && op == crashfs.Sync {
				continue
			}
			var disk crashfs.FS
			o := spool.Options{FS: &disk}
			s := open(t, "q", o)
			r := reader(t, s, "r")
			add(t, s, "a")
			disk.SetHook(crashfs.Fail(op, "*.seg", 0, 1, err))
			add(t, s, "b", "c")
			add(t, s, "d")
			want(t, r, 1, "a", "b", "c", "d")
			if all := segments(t, &disk, "q"); len(all) != 2 {
				t.Errorf("after a %v failed the segments are %q", op, all)
			}
			if st := s.Stats(); st.Failures != 0 || st.Trouble != nil {
				t.Errorf("%+v", st)
			}
			// It is durable in the new segment, whatever became of the old one.
			for outcome := range crashfs.Outcome(10) {
				o.FS = disk.Crash(disk.Len(), outcome)
				s := open(t, "q", o)
				want(t, reader(t, s, "r"), 1, "a", "b", "c", "d")
				if rep, err := spool.Verify("q", o); err != nil || len(rep.Gaps) > 0 {
					t.Errorf("%+v, %v", rep, err)
				}
			}
		}
	}
}

// A segment that was written to without success is never written to again.
func TestAppend_NeverWritesBehindAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk crashfs.FS
		s := open(t, "q", spool.Options{FS: &disk})
		add(t, s, "a")
		failed := map[string]bool{}
		n := 0
		disk.SetHook(func(c crashfs.Call) error {
			if !strings.HasSuffix(c.Name, ".seg") {
				return nil
			}
			if (c.Op == crashfs.Write || c.Op == crashfs.Sync) && failed[c.Name] {
				t.Errorf("%v of %s, which has failed before", c.Op, c.Name)
			}
			if n++; c.Op == crashfs.Sync && n%3 == 0 {
				failed[c.Name] = true
				return errIO
			}
			return nil
		})
		told := 0
		for range 100 {
			if _, err := s.Append([]byte("x")); err == nil {
				told++
			}
			time.Sleep(time.Second)
		}
		if len(failed) == 0 || told == 0 {
			t.Errorf("%d failed, %d went well", len(failed), told)
		}
		if st := s.Stats(); st.Next != uint64(told+2) {
			t.Errorf("%d went well, the next id is %d", told, st.Next)
		}
	})
}

// While the disk fails everything is refused and says why; it heals by itself,
// and readers never see what nobody was told to be durable.
func TestTrouble_IsSeenAndHeals(t *testing.T) {
	for name, c := range map[string]struct {
		op           crashfs.Op
		segmentBytes int64
	}{
		"write, in a segment": {crashfs.Write, 1000}, "write, in a new segment": {crashfs.Write, 1},
		"sync, in a segment": {crashfs.Sync, 1000}, "sync, in a new segment": {crashfs.Sync, 1},
		"syncdir": {crashfs.SyncDir, 1}, "allocate": {crashfs.Allocate, 1}, "open": {crashfs.Open, 1},
	} {
		op := c.op
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var disk crashfs.FS
				s := open(t, "q", spool.Options{FS: &disk, SegmentBytes: c.segmentBytes})
				r := reader(t, s, "r")
				reader(t, s, "other")
				add(t, s, "a")
				bad := true
				disk.SetHook(func(c crashfs.Call) error {
					if bad && c.Op == op && (op == crashfs.SyncDir || strings.HasSuffix(c.Name, ".seg")) {
						return errIO
					}
					return nil
				})
				told := make(chan error, 1)
				if err := s.Submit([][]byte{[]byte("lost")}, func(_ uint64, err error) { told <- err }); err != nil {
					t.Fatal(err)
				}
				if err := <-told; !errors.Is(err, errIO) {
					t.Errorf("Submit was told %v", err)
				}
				for range 5 {
					if _, err := s.Append([]byte("lost")); !errors.Is(err, errIO) || errors.Is(err, spool.ErrFull) {
						t.Errorf("Append = %v, want EIO", err)
					}
					if st := s.Stats(); !errors.Is(st.Trouble, errIO) || st.Failures == 0 || st.Next != 2 {
						t.Errorf("%+v", st)
					}
					time.Sleep(time.Second)
				}
				bad = false
				if id := add(t, s, "b"); id != 2 {
					t.Errorf("the next id is %d", id)
				}
				if st := s.Stats(); st.Trouble != nil {
					t.Errorf("the trouble stays: %v", st.Trouble)
				}
				want(t, r, 1, "a", "b")
				wantNone(t, r)
				r.AckThrough(2)
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				s = open(t, "q", spool.Options{FS: &disk})
				wantNone(t, reader(t, s, "r"))
				want(t, reader(t, s, "other"), 1, "a", "b")
				if s.Stats().Next != 3 {
					t.Errorf("%+v", s.Stats())
				}
			})
		})
	}
}

// What failed and was never made up for may turn up after a restart, and nothing
// that was durable is lost.
func TestTrouble_UntilTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk crashfs.FS
		s := open(t, "q", spool.Options{FS: &disk})
		add(t, s, "a")
		disk.SetHook(crashfs.Fail(crashfs.Sync, "*.seg", 0, 1000, errIO))
		for range 3 {
			if _, err := s.Append([]byte("b")); !errors.Is(err, errIO) {
				t.Errorf("Append = %v", err)
			}
			time.Sleep(time.Second)
		}
		s.Close()
		for outcome := range crashfs.Outcome(20) {
			o := spool.Options{FS: disk.Crash(disk.Len(), outcome)}
			s := open(t, "q", o)
			r := reader(t, s, "r")
			want(t, r, 1, "a")
			id := add(t, s, "c")
			for at := uint64(2); at < id; at++ {
				rec, err := r.Next(t.Context())
				if gap, ok := errors.AsType[*spool.GapError](err); ok {
					if gap.Reason != spool.Unfinished {
						t.Errorf("crash %d: %v", outcome, err)
					}
					at = gap.Last
				} else if err != nil || string(rec.Payload) != "b" {
					t.Errorf("crash %d: Next = %+v, %v", outcome, rec, err)
				}
			}
			want(t, r, id, "c")
		}
	})
}

// A new segment that failed and cannot even be removed is overruled by the next.
func TestTrouble_LeavesSegmentsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk crashfs.FS
		o := spool.Options{FS: &disk, SegmentBytes: 1}
		s := open(t, "q", o)
		add(t, s, "a")
		disk.SetHook(func(c crashfs.Call) error {
			if (c.Op == crashfs.Sync || c.Op == crashfs.Remove) && strings.HasSuffix(c.Name, ".seg") {
				return errIO
			}
			return nil
		})
		if _, err := s.Append([]byte("lost"), []byte("too")); !errors.Is(err, errIO) {
			t.Errorf("Append = %v", err)
		}
		disk.SetHook(nil)
		time.Sleep(time.Second)
		add(t, s, "b")
		add(t, s, "c")
		if n := len(segments(t, &disk, "q")); n != 5 {
			t.Errorf("%d segments are there, want 3 and 2 that failed", n)
		}
		want(t, reader(t, s, "r"), 1, "a", "b", "c")
		s.Close()
		if rep, err := spool.Verify("q", o); err != nil || rep.Records != 3 || len(rep.Gaps) > 0 {
			t.Errorf("Verify = %+v, %v", rep, err)
		}
		s = open(t, "q", o)
		want(t, reader(t, s, "other"), 1, "a", "b", "c")
		if n := len(segments(t, &disk, "q")); n != 3 {
			t.Errorf("%d segments are there, want 3", n)
		}
	})
}

func TestFullDisk_IsErrFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk crashfs.FS
		s := open(t, "q", spool.Options{FS: &disk, SegmentBytes: 10_000})
		r := reader(t, s, "r")
		add(t, s, "a")
		disk.SetHook(crashfs.Fail(crashfs.Allocate, "*.seg", 0, 1000, syscall.ENOSPC))
		if _, err := s.Append(make([]byte, 10_000)); !errors.Is(err, spool.ErrFull) || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("Append = %v, want ErrFull and ENOSPC", err)
		}
		want(t, r, 1, "a")
		if err := errors.Join(r.Ack(1), s.Sync()); err != nil {
			t.Errorf("acknowledging on a full disk: %v", err)
		}
		disk.SetHook(nil)
		time.Sleep(time.Second)
		add(t, s, "b")
		want(t, r, 2, "b")
	})
}
