package output

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFullDiskIsWaitedForVisibly(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("a small tmpfs is needed, and cannot be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, bytes.Repeat([]byte{0}, 128<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "name.log")
	c := settings("file://" + path)
	c.BatchMessages = 50 // a batch is written whole or not at all
	f, out := deliver(t, c, Options{})
	want := make([]string, 300)
	for i := range want {
		want[i] = sequence(i, i+1)[0] + strings.Repeat("x", 1000)
	}
	for i := range want {
		f.Put(want[i]) // and wait, so that some of them fit
		if i < 50 {
			settled(t, f)
		}
	}
	eventually(t, "an alarm", func() bool {
		s, _ := out.Link()
		return errors.Is(s.Cause, syscall.ENOSPC)
	})
	if n := f.Delivered(); n < 50 || n == len(want) {
		t.Errorf("%d delivered", n)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	// 300 kB do not fit even now: half of it is taken away.
	eventually(t, "some more", func() bool { return f.Delivered() >= 150 })
	old, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a new file", func() bool { _, err := os.Stat(path); return err == nil })
	first, err := io.ReadAll(old) // nothing more is written to it
	if err != nil {
		t.Fatal(err)
	}
	old.Close() // and its room is free
	settled(t, f)
	expectAll(t, append(strings.Split(strings.TrimSuffix(string(first), "\n"), "\n"), linesOf(t, path)...), want)
}
