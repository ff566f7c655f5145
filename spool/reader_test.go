package spool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe/spool"
	"github.com/hythe-go/hythe/spool/crashfs"
)

func TestNext_Waits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk crashfs.FS
		s := open(t, "q", spool.Options{FS: &disk})
		r := reader(t, s, "r")
		wantNone(t, r)
		for i := range 3 {
			var wait sync.WaitGroup
			wait.Go(func() { want(t, r, uint64(i)+1, fmt.Sprint(i)) })
			synctest.Wait()
			add(t, s, fmt.Sprint(i))
			wait.Wait()
		}
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(context.Background())
		time.AfterFunc(time.Minute, func() { cancel(cause) })
		if _, err := r.Next(ctx); err != cause {
			t.Errorf("Next = %v, want what ended its context", err)
		}
		add(t, s, "3")
		if _, err := r.Next(ctx); err != cause {
			t.Errorf("Next = %v after its context has ended", err)
		}
		want(t, r, 4, "3")
	})
}

func TestRecord_HasTheTimeOfItsBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk crashfs.FS
		s := open(t, "q", spool.Options{FS: &disk})
		r := reader(t, s, "r")
		start := time.Now()
		add(t, s, "a", "b")
		time.Sleep(time.Minute)
		add(t, s, "c")
		check := func() {
			t.Helper()
			for _, after := range []time.Duration{0, 0, time.Minute} {
				if rec, err := r.Next(t.Context()); err != nil || !rec.Time.Equal(start.Add(after)) {
					t.Errorf("record %d has the time %v, %v, want %v after the start", rec.ID, rec.Time, err, after)
				}
			}
		}
		check()
		r.Rewind()
		check()
	})
}

func TestRead_TakesWhatThereIs(t *testing.T) {
	var disk crashfs.FS
	s := open(t, "q", spool.Options{FS: &disk})
	r := reader(t, s, "r")
	add(t, s, texts(1, 7)...)
	to := make([]spool.Record, 5)
	if n, err := r.Read(context.Background(), nil); n != 0 || err != nil {
		t.Errorf("Read into nothing = %d, %v", n, err)
	}
	id := uint64(1)
	for _, most := range []int{5, 2} {
		n, err := r.Read(context.Background(), to)
		if n != most || err != nil {
			t.Fatalf("Read = %d, %v, want %d", n, err, most)
		}
		for _, rec := range to[:n] {
			if rec.ID != id || string(rec.Payload) != fmt.Sprint("message ", id) {
				t.Errorf("got %d %q", rec.ID, rec.Payload)
			}
			id++
		}
	}
}

// All payloads of one Read are good until the next, also where what is behind
// them is damaged and has to be read to find the next good record.
func TestRead_KeepsPayloadsBesideDamage(t *testing.T) {
	var disk crashfs.FS
	s := open(t, "q", spool.Options{FS: &disk})
	const size = 10_000
	payload := func(id uint64) []byte { return bytes.Repeat([]byte{byte(id)}, size) }
	var all [][]byte
	for id := range uint64(100) {
		all = append(all, payload(id+1))
	}
	if _, err := s.Append(all...); err != nil {
		t.Fatal(err)
	}
	damaged := map[uint64]bool{}
	for id := uint64(20); id <= 100; id += 3 {
		damaged[id] = true
		flip(t, &disk, segments(t, &disk, "q")[0], payloadAt(id, size))
	}
	r := reader(t, s, "r")
	to := make([]spool.Record, 100)
	for next := uint64(1); next <= 100; {
		n, err := r.Read(context.Background(), to)
		if gap, ok := errors.AsType[*spool.GapError](err); ok {
			if gap.First != next || gap.Last != next || !damaged[next] {
				t.Fatalf("at %d: %v", next, err)
			}
			next++
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range to[:n] {
			if rec.ID != next || !bytes.Equal(rec.Payload, payload(rec.ID)) {
				t.Fatalf("record %d at %d begins with % x", rec.ID, next, rec.Payload[:4])
			}
			next++
		}
	}
}

// payloadAt is where the payload of a record is whose predecessors have the same
// size, and are of one batch.
func payloadAt(id uint64, size int) int64 {
	const segmentHead, batchHead, head = 24 + 20, 24 + 12, 24
	return segmentHead + batchHead + int64(id-1)*int64(head+size) + head
}

// segments returns the paths of the segments in a directory, in order.
func segments(t testing.TB, disk *crashfs.FS, dir string) (all []string) {
	t.Helper()
	entries, err := disk.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".seg" {
			all = append(all, filepath.Join(dir, e.Name()))
		}
	}
	return all
}

// flip turns the bits of one byte of a file around.
func flip(t testing.TB, disk *crashfs.FS, name string, off int64) {
	t.Helper()
	f, err := disk.OpenFile(name, 2, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], off); err != nil {
		t.Fatal(err)
	}
	b[0] = ^b[0]
	if _, err := f.WriteAt(b[:], off); err != nil {
		t.Fatal(err)
	}
}

func TestReaders_AreIndependent(t *testing.T) {
	var disk crashfs.FS
	s := open(t, "q", spool.Options{FS: &disk, SegmentBytes: 300})
	slow, fast := reader(t, s, "slow"), reader(t, s, "fast")
	all := texts(1, 50)
	for _, text := range all {
		add(t, s, text)
	}
	want(t, fast, 1, all...)
	if err := fast.AckThrough(50); err != nil {
		t.Fatal(err)
	}
	s.Sync()
	want(t, slow, 1, all...)
	slow.AckThrough(25)
	s.Sync()
	st := s.Stats()
	if st.First > 26 || st.First < 15 || st.Readers[0].Backlog != 0 || st.Readers[1].Backlog != 25 {
		t.Errorf("%+v", st)
	}
	// One that is not open holds back too, until it is forgotten.
	if err := s.Forget("slow"); err != spool.ErrReaderOpen {
		t.Errorf("Forget of an open reader = %v", err)
	}
	slow.Close()
	s.Sync()
	if again := s.Stats(); again.Segments != st.Segments {
		t.Errorf("%d segments were deleted that a reader needs", st.Segments-again.Segments)
	}
	if err := s.Forget("slow"); err != nil {
		t.Error(err)
	}
	if st := s.Stats(); st.Segments != 1 || len(st.Readers) != 1 {
		t.Errorf("after Forget: %+v", st)
	}
	if err := s.Forget("slow"); !errors.Is(err, errNotExist) {
		t.Errorf("Forget of nobody = %v", err)
	}
}

func TestReader_OneAtATime(t *testing.T) {
	var disk crashfs.FS
	s := open(t, "q", spool.Options{FS: &disk})
	r := reader(t, s, "r")
	if _, err := s.Reader("r", spool.ReaderOptions{}); err != spool.ErrReaderOpen {
		t.Errorf("second Reader = %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"Next": second(glance(r)), "Ack": r.Ack(1), "AckThrough": r.AckThrough(1), "Requeue": r.Requeue(1), "Rewind": r.Rewind(), "Close": r.Close(),
	} {
		if err != spool.ErrClosed {
			t.Errorf("%s of a closed reader = %v", name, err)
		}
	}
	reader(t, s, "r")
}

func TestReader_Names(t *testing.T) {
	var disk crashfs.FS
	s := open(t, "q", spool.Options{FS: &disk})
	for _, name := range []string{"", ".", "..", ".a", "a/b", "a b", "@end", "ä", string(make([]byte, 101))} {
		if _, err := s.Reader(name, spool.ReaderOptions{}); err == nil {
			t.Errorf("a reader may have the name %q", name)
		}
	}
	if _, err := s.Reader("r", spool.ReaderOptions{Window: -1}); err == nil {
		t.Error("a window may be negative")
	}
	reader(t, s, "A-z_0.9")
}

func TestReader_FromEnd(t *testing.T) {
	var disk crashfs.FS
	s := open(t, "q", spool.Options{FS: &disk})
	add(t, s, "before")
	late := func() *spool.Reader {
		r, err := s.Reader("late", spool.ReaderOptions{FromEnd: true})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := late()
	wantNone(t, r)
	add(t, s, "after", "that")
	want(t, r, 2, "after")
	r.Ack(2)
	r.Close()
	want(t, late(), 3, "that") // it is not new any more
}

// Segments that a power failure has brought back, because their removal was not
// durable, are removed again, and are no reason to miss those between.
func TestOpen_RemovesWhatCameBack(t *testing.T) {
	var disk crashfs.FS
	o := spool.Options{FS: &disk, SegmentBytes: 1}
	s := open(t, "q", o)
	r := reader(t, s, "r")
	for _, text := range texts(1, 5) {
		add(t, s, text)
	}
	name := segments(t, &disk, "q")[1]
	came := files(t, &disk)[filepath.Base(name)]
	want(t, r, 1, texts(1, 5)...)
	r.AckThrough(4)
	s.Close()
	place(t, &disk, name, came)
	if rep, err := spool.Verify("q", o); err != nil || !rep.Whole() {
		t.Errorf("Verify = %+v, %v", rep, err)
	}
	s = open(t, "q", o)
	if st := s.Stats(); st.First != 5 || st.Segments != 1 || len(segments(t, &disk, "q")) != 1 {
		t.Errorf("%+v", st)
	}
	want(t, reader(t, s, "new"), 5, "message 5")
}

// A segment of which only the name has survived does not take away from the one
// before it what was delivered after a restart, at the next restart.
func TestOpen_WithOnlyANameAtTheEnd(t *testing.T) {
	var disk crashfs.FS
	o := spool.Options{FS: &disk}
	s := open(t, "q", o)
	add(t, s, texts(1, 3)...)
	add(t, s, texts(4, 5)...)
	left := disk.Crash(disk.Len(), crashfs.Kept)
	place(t, left, "q/0000000002-00000000000000000004-0123456789abcdef.seg", nil)
	o.FS = left
	for i := range 3 {
		if rep, err := spool.Verify("q", o); err != nil || rep.Records != uint64(5+i) || len(rep.Gaps) > 0 {
			t.Errorf("%d: Verify = %+v, %v", i, rep, err)
		}
		s := open(t, "q", o)
		want(t, reader(t, s, fmt.Sprint("r", i)), 1, texts(1, 5+i)...)
		add(t, s, texts(6+i, 6+i)...)
		s.Close()
	}
}

// A page that the disk cannot read any more costs the records in it, also when it
// is in the batch that Open writes once more, or the last one.
func TestOpen_WithAPageThatCannotBeRead(t *testing.T) {
	var disk crashfs.FS
	s := open(t, "q", spool.Options{FS: &disk})
	add(t, s, texts(1, 3)...)
	var all [][]byte
	for range 10 {
		all = append(all, bytes.Repeat([]byte("x"), 2000))
	}
	if _, err := s.Append(all...); err != nil {
		t.Fatal(err)
	}
	// Records 4 to 13 lie at 215 + 2024 x (id - 4).
	for page, lost := range map[int64][2]uint64{1: {5, 7}, 2: {7, 9}, 4: {11, 13}} {
		left := disk.Crash(disk.Len(), crashfs.Kept)
		left.SetHook(func(c crashfs.Call) error {
			if c.Op == crashfs.Read && c.Size > 0 && c.Offset < (page+1)<<12 && c.Offset+c.Size > page<<12 {
				return errIO
			}
			return nil
		})
		s, err := spool.Open("q", spool.Options{FS: left})
		if err != nil {
			t.Fatalf("page %d: %v", page, err)
		}
		r := reader(t, s, "r")
		want(t, r, 1, texts(1, 3)...)
		for id := uint64(4); id <= 13; id++ {
			if id == lost[0] {
				wantGap(t, r, lost[0], lost[1], spool.Unfinished) // nobody has noted that they were durable
				id = lost[1]
				continue
			}
			if rec, err := glance(r); err != nil || rec.ID != id || len(rec.Payload) != 2000 {
				t.Fatalf("page %d: Next = %d, %v, want %d", page, rec.ID, err, id)
			}
		}
		wantNone(t, r)
		s.Close()
	}
}

// A reader that waits is closed by somebody else.
func TestReader_CloseEndsNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk crashfs.FS
		s := open(t, "q", spool.Options{FS: &disk})
		r := reader(t, s, "r")
		ended := make(chan error)
		go func() { ended <- second(r.Next(context.Background())) }()
		synctest.Wait()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != spool.ErrClosed {
			t.Errorf("Next = %v", err)
		}
	})
}

// What was deleted by hand is a gap, whatever it was.
func TestReader_SegmentIsGone(t *testing.T) {
	var disk crashfs.FS
	o := spool.Options{FS: &disk, SegmentBytes: 1}
	s := open(t, "q", o)
	r := reader(t, s, "r")
	for _, text := range texts(1, 4) {
		add(t, s, text)
	}
	want(t, r, 1, "message 1")
	r.Rewind()
	for _, i := range []int{0, 2} {
		if err := disk.Remove(segments(t, &disk, "q")[i]); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			wantGap(t, r, 1, 1, spool.Damaged)
			want(t, r, 2, "message 2")
		}
	}
	want(t, r, 3, "message 3")
	wantGap(t, r, 4, 4, spool.Damaged)
	wantNone(t, r)
	add(t, s, "message 5")
	want(t, r, 5, "message 5")
	r.AckThrough(5)
	if st := s.Stats(); st.Readers[0].Lost[spool.Damaged] != 2 || st.Readers[0].Backlog != 0 {
		t.Errorf("%+v", st)
	}
}

// A disk that cannot be read for a while loses nothing.
func TestReader_ReadErrorPasses(t *testing.T) {
	var disk crashfs.FS
	s := open(t, "q", spool.Options{FS: &disk})
	r := reader(t, s, "r")
	add(t, s, "a", "b")
	for _, op := range []crashfs.Op{crashfs.Open, crashfs.Read} {
		disk.SetHook(func(c crashfs.Call) error {
			if c.Op == op {
				return errIO
			}
			return nil
		})
		if _, err := glance(r); !errors.Is(err, errIO) {
			t.Errorf("Next = %v when %v fails", err, op)
		}
	}
	disk.SetHook(nil)
	want(t, r, 1, "a", "b")
}
