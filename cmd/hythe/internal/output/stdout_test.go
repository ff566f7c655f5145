package output

import (
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/relay/relaytest"
	"github.com/hythe-go/hythe/link"
)

// A flawed writer does what it is told.
type flawed struct {
	mu   sync.Mutex
	got  strings.Builder // guarded by mu
	next func(b []byte) (int, error)
}

func (w *flawed) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := len(b), error(nil)
	if w.next != nil {
		n, err = w.next(b)
	}
	w.got.Write(b[:n])
	return n, err
}

func (w *flawed) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.got.String()
}

func TestStdoutHasWhatIsConfirmed(t *testing.T) {
	w := new(flawed)
	f, _ := deliver(t, settings("stdout:"), Options{Stdout: w})
	want := sequence(0, 5000)
	f.Put(want...)
	settled(t, f)
	if got := w.String(); got != strings.Join(want, "\n")+"\n" {
		t.Errorf("%d bytes", len(got))
	}
}

func TestClosedStdoutHasFailedForGood(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r.Close()
	f, out := deliver(t, settings("stdout:"), Options{Stdout: w})
	f.Put("nobody")
	eventually(t, "the failure", func() bool { return phase(out) == link.Failed })
	if s, _ := out.Link(); !errors.Is(s.Cause, syscall.EPIPE) || !strings.Contains(s.Cause.Error(), "nobody reads standard output") {
		t.Errorf("cause: %v", s.Cause)
	}
	if f.Delivered() != 0 || f.Backlog() != 1 {
		t.Errorf("%d delivered, %d left", f.Delivered(), f.Backlog())
	}
}

func TestStdoutThatFailsOnceIsTriedAgain(t *testing.T) {
	w := new(flawed)
	failed := false
	w.next = func(b []byte) (int, error) {
		if failed {
			return len(b), nil
		}
		failed = true
		return 3, syscall.ENOSPC
	}
	f, _ := deliver(t, settings("stdout:"), Options{Stdout: w})
	f.Put("hello")
	settled(t, f)
	if got := w.String(); got != "hel\nhello\n" {
		t.Errorf("%q", got)
	}
}

func TestTheEndDoesNotWaitForWhoReadsStdout(t *testing.T) {
	r, w := io.Pipe()
	f, _ := deliver(t, settings("stdout:"), Options{Stdout: w})
	f.Put("hello")
	io.ReadFull(r, make([]byte, 2)) // it writes
	start := time.Now()
	if err := f.Route.Stop(relaytest.Output); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("the end took %v", took)
	}
	r.Close()
}
