package spool_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/hythe-go/hythe/spool"
	"github.com/hythe-go/hythe/spool/crashfs"
)

// worked returns a disk with records 1 to 30 in several segments, of which the
// reader has acknowledged 4 and the other none.
func worked(t testing.TB) *crashfs.FS {
	t.Helper()
	disk := new(crashfs.FS)
	s := open(t, "q", spool.Options{FS: disk, SegmentBytes: 500})
	r := reader(t, s, "r")
	reader(t, s, "other")
	for i := 1; i <= 30; i += 3 {
		add(t, s, texts(i, i+2)...)
	}
	want(t, r, 1, texts(1, 10)...)
	r.AckThrough(4)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return disk
}

func TestVerify_OfNothing(t *testing.T) {
	var disk crashfs.FS
	o := spool.Options{FS: &disk}
	if _, err := spool.Verify("q", o); !errors.Is(err, errNotExist) {
		t.Errorf("Verify = %v where nothing is", err)
	}
	s := open(t, "q", o)
	for range 2 {
		reader(t, s, "r")
		rep, err := spool.Verify("q", o)
		if err != nil || !rep.Whole() || len(rep.Gaps) > 0 || rep.Next != 1 || rep.Records != 0 || len(rep.Cursors) != 1 {
			t.Errorf("Verify of an empty spool = %+v, %v", rep, err)
		}
		s.Close()
		s = open(t, "q", o)
	}
}

func TestVerify_SaysWhatThereIs(t *testing.T) {
	disk := worked(t)
	o := spool.Options{FS: disk}
	before := disk.Len()
	rep, err := spool.Verify("q", o)
	if err != nil {
		t.Fatal(err)
	}
	if disk.Len() != before {
		t.Error("Verify has changed something")
	}
	bytes := 0
	for _, text := range texts(1, 30) {
		bytes += len(text)
	}
	if !rep.Whole() || rep.Records != 30 || rep.Bytes != int64(bytes) || rep.First != 1 || rep.Next != 31 || len(rep.Segments) < 2 {
		t.Errorf("%+v", rep)
	}
	if want := []spool.CursorReport{{Name: "other", Low: 1}, {Name: "r", Low: 5}}; !slices.Equal(rep.Cursors, want) {
		t.Errorf("the cursors are %+v, want %+v", rep.Cursors, want)
	}
	list, err := spool.List("q", o)
	if err != nil || len(list.Segments) != len(rep.Segments) || list.Records != 0 || list.Next > rep.Next || !slices.Equal(list.Cursors, rep.Cursors) {
		t.Errorf("List = %+v, %v", list, err)
	}
	for i, g := range list.Segments {
		if r := rep.Segments[i]; g.Name != r.Name || g.First != r.First || g.Bytes != r.Bytes || g.Records != 0 || r.Records == 0 {
			t.Errorf("List says %+v, Verify %+v", g, r)
		}
	}
}

// Verify and every reader agree about what is missing.
func TestVerify_SaysWhatIsMissing(t *testing.T) {
	whole := worked(t)
	for name, c := range map[string]struct {
		hurt func(disk *crashfs.FS, segs []string)
		gaps []spool.GapError
	}{
		"first segment": {func(d *crashfs.FS, segs []string) { d.Remove(segs[0]) }, []spool.GapError{{First: 1, Last: 9, Reason: spool.Damaged}}},
		"a segment":     {func(d *crashfs.FS, segs []string) { d.Remove(segs[1]) }, []spool.GapError{{First: 10, Last: 18, Reason: spool.Damaged}}},
		"last segment": {func(d *crashfs.FS, segs []string) { d.Remove(segs[len(segs)-1]) },
			[]spool.GapError{{First: 28, Last: 30, Reason: spool.Damaged}}},
		"all segments": {func(d *crashfs.FS, segs []string) {
			for _, name := range segs {
				d.Remove(name)
			}
		}, []spool.GapError{{First: 1, Last: 30, Reason: spool.Damaged}}},
		"a payload": {func(d *crashfs.FS, segs []string) { flip(t, d, segs[0], payloadAt(2, 9)) },
			[]spool.GapError{{First: 2, Last: 2, Reason: spool.Damaged}}},
		"a header": {func(d *crashfs.FS, segs []string) { flip(t, d, segs[0], payloadAt(3, 9)-10) },
			[]spool.GapError{{First: 3, Last: 3, Reason: spool.Damaged}}},
	} {
		t.Run(name, func(t *testing.T) {
			disk := whole.Crash(whole.Len(), crashfs.Kept)
			c.hurt(disk, segments(t, disk, "q"))
			o := spool.Options{FS: disk}
			rep, err := spool.Verify("q", o)
			if err != nil || !slices.Equal(rep.Gaps, c.gaps) || rep.Whole() || rep.Next != 31 {
				t.Errorf("Verify = %+v, %v, want %v", rep, err, c.gaps)
			}
			s := open(t, "q", o)
			r := reader(t, s, "other")
			var gaps []spool.GapError
			got := uint64(0)
			for {
				_, err := glance(r)
				if err == errNothing {
					break
				}
				if gap, ok := errors.AsType[*spool.GapError](err); ok {
					gaps = append(gaps, *gap)
				} else if err != nil {
					t.Fatal(err)
				} else {
					got++
				}
			}
			if !slices.Equal(gaps, c.gaps) || got != rep.Records {
				t.Errorf("a reader has seen %d records and %v, Verify %d and %v", got, gaps, rep.Records, c.gaps)
			}
			if id := add(t, s, "later"); id != 31 {
				t.Errorf("the next id is %d, want 31", id)
			}
		})
	}
}

// What is deleted under DropOldest is not damage.
func TestVerify_Dropped(t *testing.T) {
	var disk crashfs.FS
	o := spool.Options{FS: &disk, MaxBytes: 1000, SegmentBytes: 100, Overflow: spool.DropOldest}
	s := open(t, "q", o)
	reader(t, s, "r")
	for _, text := range texts(1, 30) {
		add(t, s, text)
	}
	first := s.Stats().First
	rep, err := spool.Verify("q", o)
	if want := []spool.GapError{{First: 1, Last: first - 1, Reason: spool.Dropped}}; err != nil || !slices.Equal(rep.Gaps, want) {
		t.Errorf("Verify = %v, %v, want %v", rep.Gaps, err, want)
	}
}

func TestExport_ReturnsARange(t *testing.T) {
	disk := worked(t)
	flip(t, disk, segments(t, disk, "q")[0], payloadAt(2, 9))
	o := spool.Options{FS: disk}
	for _, c := range []struct{ from, to, first, last uint64 }{{0, 0, 1, 30}, {3, 5, 3, 5}, {30, 0, 30, 30}, {9, 10, 9, 10}, {25, 99, 25, 30}, {31, 0, 31, 30}, {0, 1, 1, 1}} {
		next := c.first
		for rec, err := range spool.Export("q", o, c.from, c.to) {
			if gap, ok := errors.AsType[*spool.GapError](err); ok {
				if *gap != (spool.GapError{First: 2, Last: 2, Reason: spool.Damaged}) || next != 2 {
					t.Errorf("%+v: %v at %d", c, gap, next)
				}
				next++
				continue
			}
			if err != nil || rec.ID != next || string(rec.Payload) != fmt.Sprint("message ", next) {
				t.Fatalf("%+v: got %d %q, %v, want %d", c, rec.ID, rec.Payload, err, next)
			}
			next++
		}
		if next != c.last+1 {
			t.Errorf("%+v: the last one was %d", c, next-1)
		}
	}
	for range spool.Export("q", o, 0, 0) {
		break // leaves nothing open; and does not panic
	}
	for _, err := range spool.Export("nowhere", o, 0, 0) {
		if !errors.Is(err, errNotExist) {
			t.Errorf("Export of nothing = %v", err)
		}
	}
}

// Whenever something is appended, acknowledged and deleted while Verify works, it
// does not take that for damage.
func TestVerify_WhileSomethingHappens(t *testing.T) {
	for at := 1; ; at++ {
		disk := worked(t)
		s := open(t, "q", spool.Options{FS: disk, SegmentBytes: 500})
		r, other := reader(t, s, "r"), reader(t, s, "other")
		want(t, r, 5, texts(5, 30)...)
		want(t, other, 1, texts(1, 30)...)
		calls := 0
		disk.SetHook(func(crashfs.Call) error {
			if calls++; calls == at {
				disk.SetHook(nil)
				add(t, s, texts(31, 40)...)
				want(t, r, 31, texts(31, 40)...)
				want(t, other, 31, texts(31, 40)...)
				if err := errors.Join(r.AckThrough(40), other.AckThrough(25), s.Sync()); err != nil {
					t.Error(err)
				}
			}
			return nil
		})
		rep, err := spool.Verify("q", spool.Options{FS: disk})
		disk.SetHook(nil)
		if err != nil || !rep.Whole() {
			t.Errorf("at call %d: %v, %v", at, rep.Gaps, err)
		}
		s.Close()
		if calls < at {
			break // Verify does not do that much
		}
	}
}

// All three work beside somebody who appends, acknowledges and so deletes, and
// never take what goes on for damage.
func TestVerify_OfASpoolInUse(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, spool.Options{SegmentBytes: 2000, CursorAcks: 10})
	r := reader(t, s, "r")
	var work sync.WaitGroup
	stop := make(chan struct{})
	work.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := s.Append(make([]byte, 100), make([]byte, 200)); err != nil {
				t.Error(err)
				return
			}
			for range 2 {
				rec, err := r.Next(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if rec.ID > 100 {
					r.AckThrough(rec.ID - 100)
				}
			}
		}
	})
	defer work.Wait()
	defer close(stop)
	for range 100 {
		rep, err := spool.Verify(dir, spool.Options{})
		if err != nil || !rep.Whole() {
			t.Fatalf("Verify = %v, %v", rep.Gaps, err)
		}
		if _, err := spool.List(dir, spool.Options{}); err != nil {
			t.Fatal(err)
		}
		last := uint64(0)
		for rec, err := range spool.Export(dir, spool.Options{}, 0, 0) {
			if gap, ok := errors.AsType[*spool.GapError](err); ok && gap.Reason == spool.Unfinished {
				continue
			}
			if err != nil || rec.ID <= last { // what was deleted meanwhile is not there
				t.Fatalf("Export: %d after %d, %v", rec.ID, last, err)
			}
			last = rec.ID
		}
	}
}
