package spool_test

import (
	"io/fs"
	"os"
	"sync/atomic"
	"testing"

	"github.com/hythe-go/hythe/spool"
)

// countingFS counts what is read.
type countingFS struct {
	spool.FS
	read atomic.Int64
}

func (c *countingFS) OpenFile(name string, flag int, perm fs.FileMode) (spool.File, error) {
	f, err := c.FS.OpenFile(name, flag, perm)
	return &countedFile{f, c}, err
}

type countedFile struct {
	spool.File
	by *countingFS
}

func (f *countedFile) ReadAt(b []byte, at int64) (int, error) {
	n, err := f.File.ReadAt(b, at)
	f.by.read.Add(int64(n))
	return n, err
}

// However much waits, Open reads no more than the two segments at the end:
// after Close, and after a death.
func TestOpen_ReadsNoBacklog(t *testing.T) {
	const segment, batches, each = 1 << 20, 1024, 64 << 10 // 64 MiB wait
	o := spool.Options{SegmentBytes: segment}
	dir, died := t.TempDir(), t.TempDir()
	s := open(t, dir, o)
	reader(t, s, "r")
	batch := make([][]byte, 64)
	for i := range batch {
		batch[i] = makePayload(uint64(i), each/len(batch))
	}
	for range batches {
		if _, err := s.Append(batch...); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(died, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"closed": dir, "died": died} {
		disk := &countingFS{FS: spool.OS()}
		again := open(t, dir, spool.Options{SegmentBytes: segment, FS: disk})
		t.Logf("%s: %d bytes were read", name, disk.read.Load())
		if n := disk.read.Load(); n == 0 || n > 2*segment {
			t.Errorf("%s: Open read %d bytes of %d, want at most two segments", name, n, batches*each)
		}
		if next := again.Stats().Next; next != batches*uint64(len(batch))+1 {
			t.Errorf("%s: the next id is %d", name, next)
		}
	}
}
