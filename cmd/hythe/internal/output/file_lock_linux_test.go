package output

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestFileThatAnotherProcessHasLockedIsWaitedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "name.log")
	other, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := unix.Flock(int(other.Fd()), unix.LOCK_EX); err != nil {
		t.Skipf("no locks here: %v", err)
	}
	f, _ := deliver(t, settings("file://"+path), Options{})
	f.Put("hello")
	time.Sleep(50 * time.Millisecond)
	if b, _ := os.ReadFile(path); len(b) > 0 || f.Delivered() > 0 {
		t.Errorf("%q was written to a locked file", b)
	}
	if err := unix.Flock(int(other.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	settled(t, f)
	expectAll(t, linesOf(t, path), []string{"hello"})
}
