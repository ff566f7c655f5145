package crashfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"testing"

	"github.com/hythe-go/hythe/spool"
	"github.com/hythe-go/hythe/spool/crashfs"
)

// open opens or creates a file, or ends the test.
func open(t testing.TB, disk *crashfs.FS, name string) spool.File {
	t.Helper()
	f, err := disk.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// put writes s, or ends the test.
func put(t testing.TB, f spool.File, s string, off int64) {
	t.Helper()
	if n, err := f.WriteAt([]byte(s), off); n != len(s) || err != nil {
		t.Fatalf("WriteAt of %d bytes = %d, %v", len(s), n, err)
	}
}

// content returns a file's bytes; false if there is no such file.
func content(t testing.TB, disk *crashfs.FS, name string) ([]byte, bool) {
	t.Helper()
	f, err := disk.OpenFile(name, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false
	}
	must(t, err)
	defer f.Close()
	size, err := f.Size()
	must(t, err)
	b := make([]byte, size)
	if n, err := f.ReadAt(b, 0); int64(n) != size || err != nil && err != io.EOF {
		t.Fatalf("ReadAt of %s = %d, %v, want %d bytes", name, n, err, size)
	}
	return b, true
}

// left returns how often each content of a file was left by many outcomes of a
// crash; "-" stands for no file.
func left(t testing.TB, disk *crashfs.FS, at int, name string) map[string]int {
	t.Helper()
	seen := make(map[string]int)
	for o := range crashfs.Outcome(300) {
		b, found := content(t, disk.Crash(at, o), name)
		if !found {
			b = []byte("-")
		}
		seen[string(b)]++
	}
	return seen
}

func TestFilesBehaveAsFiles(t *testing.T) {
	var disk crashfs.FS
	must(t, disk.MkdirAll("a/b", 0o700))
	f := open(t, &disk, "a/b/x")
	put(t, f, "hello", 0)
	put(t, f, "!", 5000)
	if b, _ := content(t, &disk, "/a/b/x"); len(b) != 5001 || string(b[:5]) != "hello" || b[4999] != 0 || b[5000] != '!' {
		t.Errorf("content is %d bytes, %q...", len(b), b[:5])
	}
	must(t, f.Truncate(3))
	must(t, f.Truncate(5))
	if b, _ := content(t, &disk, "a/b/x"); string(b) != "hel\x00\x00" {
		t.Errorf("after truncating to 3 and 5: %q", b)
	}
	if n, err := f.ReadAt(make([]byte, 4), 3); n != 2 || err != io.EOF {
		t.Errorf("ReadAt over the end = %d, %v, want 2, EOF", n, err)
	}
	if n, err := f.ReadAt(make([]byte, 4), 9); n != 0 || err != io.EOF {
		t.Errorf("ReadAt behind the end = %d, %v, want 0, EOF", n, err)
	}
	must(t, disk.Rename("a/b/x", "a/b/y"))
	put(t, f, "HE", 0)
	if b, _ := content(t, &disk, "a/b/y"); string(b[:3]) != "HEl" {
		t.Errorf("after renaming: %q", b)
	}
	entries, err := disk.ReadDir("a/b")
	must(t, err)
	if len(entries) != 1 || entries[0].Name() != "y" || entries[0].IsDir() {
		t.Errorf("ReadDir = %v", entries)
	}
	if i, err := entries[0].Info(); err != nil || i.Size() != 5 {
		t.Errorf("Info = %v, %v, want 5 bytes", i, err)
	}
	must(t, disk.Remove("a/b/y"))
	put(t, f, "still open", 0)
	must(t, f.Close())

	for _, c := range []struct {
		what string
		err  error
		want error
	}{
		{"a read after Close", third(f.ReadAt(nil, 0)), os.ErrClosed},
		{"a second Close", f.Close(), os.ErrClosed},
		{"opening what was removed", openErr(&disk, "a/b/y", os.O_RDWR), fs.ErrNotExist},
		{"creating below no directory", openErr(&disk, "c/y", os.O_RDWR|os.O_CREATE), fs.ErrNotExist},
		{"opening a directory", openErr(&disk, "a/b", os.O_RDWR), syscall.EISDIR},
		{"removing a full directory", disk.Remove("a"), syscall.ENOTEMPTY},
		{"removing nothing", disk.Remove("a/z"), fs.ErrNotExist},
		{"renaming nothing", disk.Rename("a/z", "a/y"), fs.ErrNotExist},
		{"renaming into another directory", disk.Rename("a/b", "b"), syscall.EXDEV},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: error %v, want %v", c.what, c.err, c.want)
		}
	}
	open(t, &disk, "a/x")
	if err := openErr(&disk, "a/x", os.O_RDWR|os.O_CREATE|os.O_EXCL); !errors.Is(err, fs.ErrExist) {
		t.Errorf("creating what exists: %v", err)
	}
	r, err := disk.OpenFile("a/x", os.O_RDONLY, 0)
	must(t, err)
	if _, err := r.WriteAt([]byte("x"), 0); !errors.Is(err, syscall.EBADF) {
		t.Errorf("writing what is open for reading: %v", err)
	}
}

func openErr(disk *crashfs.FS, name string, flag int) error {
	_, err := disk.OpenFile(name, flag, 0o600)
	return err
}

func third[T any](_ T, err error) error { return err }

func TestLocksExcludeEachOther(t *testing.T) {
	var disk crashfs.FS
	l, err := disk.Lock("d/lock")
	must(t, err)
	if _, err := disk.Lock("d/lock"); !errors.Is(err, spool.ErrLocked) {
		t.Errorf("a second Lock: %v, want ErrLocked", err)
	}
	if _, err := disk.Crash(disk.Len(), crashfs.Kept).Lock("d/lock"); err != nil {
		t.Errorf("Lock after a crash: %v", err)
	}
	must(t, l.Close())
	if _, err = disk.Lock("d/lock"); err != nil {
		t.Errorf("Lock after Close: %v", err)
	}
}

// What is read is what was written, crashes keep what is durable, and a crash
// that keeps everything changes nothing, also when the disk is a crashed one.
func TestRandomOperationsAgainstAModel(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		disk := &crashfs.FS{Journaled: seed%2 == 1, Stale: seed%3 == 1}
		model := make(map[string][]byte)
		durable := make(map[string][]byte) // what must be found after any crash, and not have been harmed
		for range 300 {
			name := fmt.Sprint("f", rng.IntN(3))
			switch rng.IntN(12) {
			case 0, 1, 2, 3, 4, 5:
				off, p := rng.IntN(10000), bytes.Repeat([]byte{byte(1 + rng.IntN(255))}, 1+rng.IntN(9000))
				b := model[name]
				if len(b) < off+len(p) {
					b = append(b, make([]byte, off+len(p)-len(b))...)
				}
				copy(b[off:], p)
				model[name] = b
				delete(durable, name)
				f := open(t, disk, name)
				put(t, f, string(p), int64(off))
				f.Close()
			case 6:
				size := rng.IntN(12000)
				b := append(model[name], make([]byte, max(size-len(model[name]), 0))...)[:size]
				model[name] = slices.Clone(b)
				delete(durable, name)
				f := open(t, disk, name)
				must(t, f.Truncate(int64(size)))
				f.Close()
			case 7, 8:
				if b, found := model[name]; found {
					f := open(t, disk, name)
					must(t, f.Sync())
					must(t, disk.SyncDir("."))
					durable[name] = slices.Clone(b)
					f.Close()
				}
			case 9:
				if _, found := model[name]; found {
					must(t, disk.Remove(name))
					delete(model, name)
					clear(durable) // a name may be gone, or another file may have it
				}
			case 10:
				if b, found := model[name]; found {
					must(t, disk.Rename(name, "f0"))
					delete(model, name)
					model["f0"] = b
					clear(durable)
				}
			case 11:
				o := crashfs.Outcome(rng.IntN(10))
				after := disk.Crash(disk.Len(), o)
				for name, want := range durable {
					if got, _ := content(t, after, name); !bytes.Equal(got, want) {
						t.Fatalf("seed %d: outcome %d harmed %s, which was durable: %d bytes, want %d", seed, o, name, len(got), len(want))
					}
				}
				disk = disk.Crash(disk.Len(), crashfs.Kept) // as after a reboot in peace
				for name := range model {
					durable[name] = slices.Clone(model[name])
				}
			}
			names, err := disk.ReadDir("")
			must(t, err)
			if len(names) != len(model) {
				t.Fatalf("seed %d: files %v, want %v", seed, names, slices.Sorted(maps.Keys(model)))
			}
			for name, want := range model {
				if got, _ := content(t, disk, name); !bytes.Equal(got, want) {
					t.Fatalf("seed %d: %s differs from what was written: %d bytes, want %d", seed, name, len(got), len(want))
				}
			}
		}
	}
}

func TestCapacity(t *testing.T) {
	var disk crashfs.FS
	disk.SetCapacity(5 * 4096)
	f := open(t, &disk, "f")
	must(t, f.Allocate(2*4096))
	if got := disk.Used(); got != 2*4096 {
		t.Errorf("Used = %d after reserving 2 blocks", got)
	}
	g := open(t, &disk, "g")
	if err := g.Allocate(4 * 4096); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("reserving more than there is: %v", err)
	}
	n, err := g.WriteAt(make([]byte, 4*4096), 100)
	if n != 3*4096-100 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("writing more than there is = %d, %v, want %d and ENOSPC", n, err, 3*4096-100)
	}
	if size, _ := g.Size(); size != 3*4096 {
		t.Errorf("size %d after the short write, want %d", size, 3*4096)
	}
	put(t, f, string(make([]byte, 2*4096)), 0) // has been reserved
	if n, err := f.WriteAt([]byte("x"), 2*4096); n != 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("writing to a full disk = %d, %v", n, err)
	}
	must(t, disk.Remove("g"))
	if got := disk.Used(); got != 5*4096 {
		t.Errorf("Used = %d, want all while the removed file is open", got)
	}
	must(t, g.Close())
	if got := disk.Used(); got != 2*4096 {
		t.Errorf("Used = %d after the removed file was closed", got)
	}
	put(t, f, "x", 2*4096)
	must(t, f.Truncate(1))
	if got := disk.Used(); got != 4096 {
		t.Errorf("Used = %d after truncating", got)
	}
	if got := disk.Crash(disk.Len(), crashfs.Kept).Used(); got != 4096 {
		t.Errorf("Used = %d after a crash", got)
	}
	disk.SetCapacity(0)
	put(t, f, string(make([]byte, 1<<20)), 0)
}
