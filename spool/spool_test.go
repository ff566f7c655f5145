package spool_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/hythe-go/hythe/internal/leaktest"
	"github.com/hythe-go/hythe/spool"
	"github.com/hythe-go/hythe/spool/crashfs"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Main(m)) }

// open opens a spool and closes it after the test.
func open(t testing.TB, dir string, o spool.Options) *spool.Spool {
	t.Helper()
	s, err := spool.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func reader(t testing.TB, s *spool.Spool, name string) *spool.Reader {
	t.Helper()
	r, err := s.Reader(name, spool.ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func add(t testing.TB, s *spool.Spool, texts ...string) uint64 {
	t.Helper()
	var payloads [][]byte
	for _, text := range texts {
		payloads = append(payloads, []byte(text))
	}
	first, err := s.Append(payloads...)
	if err != nil {
		t.Fatal(err)
	}
	return first
}

// want reads records, which must have these ids and payloads.
func want(t testing.TB, r *spool.Reader, first uint64, texts ...string) {
	t.Helper()
	for i, text := range texts {
		rec, err := r.Next(context.Background())
		if err != nil {
			t.Fatalf("Next = %v, want %q", err, text)
		}
		if rec.ID != first+uint64(i) || string(rec.Payload) != text {
			t.Fatalf("Next = %d %q, want %d %q", rec.ID, rec.Payload, first+uint64(i), text)
		}
	}
}

// wantNone checks that there is nothing to read.
func wantNone(t testing.TB, r *spool.Reader) {
	t.Helper()
	if rec, err := glance(r); err != errNothing {
		t.Fatalf("Next = %d %.40q, %v, want nothing", rec.ID, rec.Payload, err)
	}
}

// wantGap reads a gap, which must be this one.
func wantGap(t testing.TB, r *spool.Reader, first, last uint64, why spool.Reason) {
	t.Helper()
	rec, err := glance(r)
	gap, ok := errors.AsType[*spool.GapError](err)
	if !ok || *gap != (spool.GapError{First: first, Last: last, Reason: why}) {
		t.Fatalf("Next = %d %.40q, %v, want that %d to %d are %v", rec.ID, rec.Payload, err, first, last, why)
	}
}

// glance is Next that does not wait.
func glance(r *spool.Reader) (spool.Record, error) {
	return r.Next(&glimpse{Context: context.Background()})
}

var errNothing = errors.New("there is nothing")

// A glimpse is a context that ends when somebody waits for it.
type glimpse struct {
	context.Context
	asked bool
}

func (g *glimpse) Done() <-chan struct{} {
	done := make(chan struct{})
	close(done)
	return done
}

func (g *glimpse) Err() error {
	if !g.asked {
		g.asked = true
		return nil
	}
	return errNothing
}

// texts returns numbered texts, those of the ids from first to last.
func texts(first, last int) (all []string) {
	for i := first; i <= last; i++ {
		all = append(all, fmt.Sprint("message ", i))
	}
	return all
}

func TestReopen_GoesOnWhereItWas(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, spool.Options{SegmentBytes: 200})
	r := reader(t, s, "r")
	for _, text := range texts(1, 20) {
		add(t, s, text)
	}
	want(t, r, 1, "message 1", "message 2", "message 3")
	r.AckThrough(2)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, spool.Options{SegmentBytes: 200})
	add(t, s, "message 21")
	r = reader(t, s, "r")
	want(t, r, 3, texts(3, 21)...)
	r.AckThrough(21)
	s.Sync()
	if st := s.Stats(); st.Segments != 1 || st.Readers[0].Backlog != 0 {
		t.Errorf("%+v", st)
	}
}

func TestOptions_AreChecked(t *testing.T) {
	for _, o := range []spool.Options{
		{SegmentBytes: -1}, {MaxAge: -1}, {MaxRecord: -1}, {CommitDelay: -1}, {CommitBytes: -1}, {CursorDelay: -1}, {CursorAcks: -1}, {Overflow: 9},
	} {
		dir := filepath.Join(t.TempDir(), "spool")
		if s, err := spool.Open(dir, o); err == nil {
			s.Close()
			t.Errorf("Open took %+v", o)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("Open made a directory before it looked at %+v", o)
		}
	}
}

// lockEnv has the test program open the spool of that name, say so, and stay.
const lockEnv = "SPOOL_TEST_HOLD"

func TestOpen_NamesTheProcessThatHasTheDirectory(t *testing.T) {
	if dir := os.Getenv(lockEnv); dir != "" {
		s := open(t, dir, spool.Options{})
		add(t, s, "of the child")
		fmt.Println("open")
		io.Copy(io.Discard, os.Stdin) // until the parent has looked
		return
	}
	dir := t.TempDir()
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), lockEnv+"="+dir)
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "open\n" {
		t.Fatalf("the child said %q, %v", line, err)
	}
	s, err := spool.Open(dir, spool.Options{})
	if err == nil {
		s.Close()
	}
	if pid := fmt.Sprint("process ", child.Process.Pid); !errors.Is(err, spool.ErrLocked) || !strings.Contains(err.Error(), pid) {
		t.Errorf("Open beside another process = %v, want ErrLocked naming %s", err, pid)
	}
	if rep, err := spool.Verify(dir, spool.Options{}); err != nil || rep.Records != 1 {
		t.Errorf("Verify beside another process: %+v, %v", rep, err)
	}
	in.Close()
	if err := child.Wait(); err != nil {
		t.Error(err)
	}
	want(t, reader(t, open(t, dir, spool.Options{}), "r"), 1, "of the child")
}

func TestOpen_IsLockedWithinAProcessToo(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, spool.Options{})
	if _, err := spool.Open(dir, spool.Options{}); !errors.Is(err, spool.ErrLocked) {
		t.Errorf("second Open = %v, want ErrLocked", err)
	}
	s.Close()
	open(t, dir, spool.Options{})
}

func TestOpen_FailsWhereThereIsNoDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := spool.Open(file, spool.Options{}); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("Open of a file = %v, want ENOTDIR", err)
	}
}

func TestClose_EndsEverything(t *testing.T) {
	var disk crashfs.FS
	s := open(t, "q", spool.Options{FS: &disk})
	add(t, s, "a")
	r := reader(t, s, "r")
	want(t, r, 1, "a")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"Append":  second(s.Append([]byte("b"))),
		"Submit":  s.Submit([][]byte{nil}, func(uint64, error) { t.Error("done was called") }),
		"Reader":  second(s.Reader("other", spool.ReaderOptions{})),
		"Forget":  s.Forget("r"),
		"Sync":    s.Sync(),
		"Close":   s.Close(),
		"Next":    second(r.Next(context.Background())),
		"Ack":     r.Ack(1),
		"a close": r.Close(),
		"a later": second(s.Reader("r", spool.ReaderOptions{})),
	} {
		if !errors.Is(err, spool.ErrClosed) {
			t.Errorf("%s after Close = %v, want ErrClosed", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// What the callers of Append and Next wait for ends with Close, and what was
// submitted before is made durable.
func TestClose_WhileOthersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk crashfs.FS
		s := open(t, "q", spool.Options{FS: &disk, CommitBytes: 100})
		r := reader(t, s, "r")
		next := make(chan error, 1)
		go func() { next <- second(r.Next(context.Background())) }()
		synctest.Wait()

		release := stall(&disk)
		told := make(chan error, 2)
		for range 2 {
			if err := s.Submit([][]byte{make([]byte, 100)}, func(_ uint64, err error) { told <- err }); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		appended := make(chan error, 1)
		go func() { appended <- second(s.Append(make([]byte, 100))) }()
		synctest.Wait() // it waits for room
		closed := make(chan error, 1)
		go func() { closed <- s.Close() }()
		synctest.Wait()
		if err := <-next; err != spool.ErrClosed {
			t.Errorf("Next = %v", err)
		}
		select {
		case err := <-closed:
			t.Errorf("Close = %v while a batch is written", err)
		default:
		}
		release()
		if err := <-appended; err != spool.ErrClosed {
			t.Errorf("Append that waited for room = %v", err)
		}
		if err := errors.Join(<-told, <-told, <-closed); err != nil {
			t.Error(err)
		}
		s = open(t, "q", spool.Options{FS: disk.Crash(disk.Len(), crashfs.Lost)})
		if st := s.Stats(); st.Next != 3 {
			t.Errorf("%d records are durable, want 2", st.Next-1)
		}
	})
}

// stall has syncs of segments wait until the function that it returns is called.
func stall(disk *crashfs.FS) (release func()) {
	held := make(chan struct{})
	disk.SetHook(func(c crashfs.Call) error {
		if c.Op == crashfs.Sync && strings.HasSuffix(c.Name, ".seg") {
			<-held
		}
		return nil
	})
	return func() { close(held) }
}
