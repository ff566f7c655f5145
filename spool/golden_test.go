package spool_test

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hythe-go/hythe/spool"
	"github.com/hythe-go/hythe/spool/crashfs"
)

var update = flag.Bool("update", false, "write testdata/golden/v1 anew; only while version 1 has not been released")

const goldenDir = "testdata/golden/v1"

// goldens are the directories of testdata/golden/v1, what made them, and what
// must come out of them for as long as version 1 is read.
var goldens = []struct {
	name    string
	make    func(t *testing.T) *crashfs.FS
	low     uint64 // the reader's place
	records []uint64
	gaps    []spool.GapError
	next    uint64
}{
	{
		name:    "clean",
		make:    goldenClean,
		low:     5,
		records: ids(5, 31),
		next:    31,
	}, {
		// A process died while it wrote 31 to 33; 31 has arrived.
		name: "crashed",
		make: func(t *testing.T) *crashfs.FS {
			disk := goldenClean(t)
			s := open(t, "q", spool.Options{FS: disk, SegmentBytes: 400})
			add(t, s, texts(31, 33)...)
			left := disk.Crash(disk.Len(), crashfs.Kept)
			segs := segments(t, left, "q")
			cut(t, left, segs[len(segs)-1], 34+4)
			return left
		},
		low:     5,
		records: ids(5, 32),
		gaps:    []spool.GapError{{First: 32, Last: 33, Reason: spool.Unfinished}},
		next:    34,
	}, {
		// A payload, a header, a batch's record, a segment's record, a page, the
		// end and a whole segment.
		name: "damaged",
		make: func(t *testing.T) *crashfs.FS {
			disk := goldenClean(t)
			segs := segments(t, disk, "q")
			const head, batch, message = 44, 36, 24 + 9
			flip(t, disk, segs[0], head+batch+message+30)          // 2's payload
			flip(t, disk, segs[0], head+batch+2*message+8)         // 3's header
			flip(t, disk, segs[0], head+batch+3*message+5)         // the second batch's record
			flip(t, disk, segs[1], 30)                             // a segment's first record
			flip(t, disk, segs[1], head+batch+3*(message+1)+36+50) // 11's payload
			cut(t, disk, segs[len(segs)-1], 20)                    // the end
			if err := disk.Remove(segs[2]); err != nil {
				t.Fatal(err)
			}
			flip(t, disk, "q/r.cursor", 4096+20) // the older slot
			return disk
		},
		low:     5,
		records: slices.Concat(ids(5, 11), ids(12, 13), ids(19, 30)),
		gaps: []spool.GapError{
			{First: 2, Last: 3, Reason: spool.Damaged},
			{First: 11, Last: 11, Reason: spool.Damaged},
			{First: 13, Last: 18, Reason: spool.Damaged},
			{First: 30, Last: 30, Reason: spool.Damaged},
		},
		next: 31,
	},
}

// goldenClean is a spool that was closed, with records 1 to 30 in batches of
// three, and a reader who has acknowledged 4 of them.
func goldenClean(t *testing.T) *crashfs.FS {
	disk := new(crashfs.FS)
	s := open(t, "q", spool.Options{FS: disk, SegmentBytes: 400})
	for i := 1; i <= 30; i += 3 {
		add(t, s, texts(i, i+2)...)
	}
	r := reader(t, s, "r")
	want(t, r, 1, texts(1, 4)...)
	if err := errors.Join(r.AckThrough(4), s.Close()); err != nil {
		t.Fatal(err)
	}
	return disk
}

// cut takes n bytes off a file's end.
func cut(t testing.TB, disk *crashfs.FS, name string, n int64) {
	t.Helper()
	f, err := disk.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Size()
	if err == nil {
		err = f.Truncate(size - n)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// What older versions have written is read for ever: every record of it, and
// what is missing.
func TestGolden_IsReadExactly(t *testing.T) {
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			from := filepath.Join(goldenDir, g.name)
			if *update {
				writeOut(t, g.make(t), from)
			}
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
				t.Fatal(err)
			}
			rep, err := spool.Verify(dir, spool.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if rep.Next != g.next || rep.Cursors[0] != (spool.CursorReport{Name: "r", Low: g.low}) || !slices.Equal(rep.Gaps, g.gaps) {
				t.Errorf("Verify = next %d, %+v, gaps %v; want %d, %d, %v", rep.Next, rep.Cursors, rep.Gaps, g.next, g.low, g.gaps)
			}
			var gaps []spool.GapError
			for _, gap := range g.gaps { // those that the reader has not passed
				if gap.First = max(gap.First, g.low); gap.First <= gap.Last {
					gaps = append(gaps, gap)
				}
			}
			s := open(t, dir, spool.Options{})
			r := reader(t, s, "r")
			var records []uint64
			for {
				rec, err := glance(r)
				if err == errNothing {
					break
				}
				if gap, ok := errors.AsType[*spool.GapError](err); ok {
					if len(gaps) == 0 || *gap != gaps[0] {
						t.Fatalf("%v, want %v", gap, gaps)
					}
					gaps = gaps[1:]
					continue
				}
				if err != nil || string(rec.Payload) != fmt.Sprint("message ", rec.ID) {
					t.Fatalf("got %d %q, %v", rec.ID, rec.Payload, err)
				}
				records = append(records, rec.ID)
			}
			if !slices.Equal(records, g.records) || len(gaps) > 0 {
				t.Errorf("the reader got %d, want %d; it was not told of %v", records, g.records, gaps)
			}
			// And one goes on with it.
			if id := add(t, s, "more"); id != g.next {
				t.Errorf("the next id is %d, want %d", id, g.next)
			}
			want(t, r, g.next, "more")
		})
	}
}

// writeOut writes what is on the disk to a directory.
func writeOut(t *testing.T, disk *crashfs.FS, dir string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	for name, b := range files(t, disk) {
		if name == "lock" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// files returns what is in the directory of the tests, by name.
func files(t testing.TB, disk *crashfs.FS) map[string][]byte {
	t.Helper()
	entries, err := disk.ReadDir("q")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]byte)
	for _, e := range entries {
		f, err := disk.OpenFile(filepath.Join("q", e.Name()), os.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		size, err := f.Size()
		if err != nil {
			t.Fatal(err)
		}
		if all[e.Name()], err = io.ReadAll(io.NewSectionReader(f, 0, size)); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return all
}

// A newer version's spool is refused, and stays as it is.
func TestGolden_NewerVersion(t *testing.T) {
	dir := t.TempDir()
	const name = "0000000001-00000000000000000001-0123456789abcdef.seg"
	newer := segmentOfVersion(0x0123456789abcdef, 2)
	if err := os.WriteFile(filepath.Join(dir, name), newer, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := spool.Open(dir, spool.Options{}); !errors.Is(err, spool.ErrVersion) {
		t.Errorf("Open = %v, want ErrVersion", err)
	}
	if _, err := spool.Verify(dir, spool.Options{}); !errors.Is(err, spool.ErrVersion) {
		t.Errorf("Verify = %v, want ErrVersion", err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != string(newer) {
		t.Errorf("the file has changed, %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 2 { // it, and the lock
		t.Errorf("the directory has %v, %v", entries, err)
	}
	// Version 1 is read, so the test knows how to make one.
	if err := os.WriteFile(filepath.Join(dir, name), segmentOfVersion(0x0123456789abcdef, 1), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := spool.Open(dir, spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}
