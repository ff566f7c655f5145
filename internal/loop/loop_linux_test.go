package loop

import (
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pipeTask echoes what it reads. Turns do not overlap, as Task demands.
type pipeTask struct {
	Node
	mu     sync.Mutex
	handle func(w *Worker, b []byte)
	late   atomic.Int32
	ran    chan bool
	due    chan int64
}

func (p *pipeTask) Ready(w *Worker, ev Events) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ev&Expired != 0 {
		p.due <- p.Now()
	}
	for ev&Readable != 0 {
		n, err := p.Read(w.Buf)
		if err != nil {
			return
		}
		if p.handle != nil {
			p.handle(w, w.Buf[:n])
		}
		p.Write(w.Buf[:n])
	}
}

func (p *pipeTask) Run(*Worker) { p.ran <- true }
func (p *pipeTask) Late()       { p.late.Add(1) }

// serve puts one end of a socket pair under a loop's care and returns the other.
func serve(t *testing.T, s *Set, p *pipeTask) (peer int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.SetNonblock(fds[0], true)
	p.ran, p.due = make(chan bool, 1), make(chan int64, 1)
	s.Prepare(&p.Node, p, fds[0])
	if err := p.Add(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.mu.Lock() // between two turns
		defer p.mu.Unlock()
		p.Close()
		unix.Close(fds[1])
	})
	return fds[1]
}

func newSet(t *testing.T, n int) *Set {
	t.Helper()
	s, err := New(n, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func roundTrip(t *testing.T, fd int, msg string) {
	t.Helper()
	if _, err := unix.Write(fd, []byte(msg)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	n, err := unix.Read(fd, b)
	if err != nil || string(b[:n]) != msg {
		t.Fatalf("got %q, %v, want %q", b[:n], err, msg)
	}
}

func TestEcho(t *testing.T) {
	s := newSet(t, 1)
	fd := serve(t, s, &pipeTask{})
	for range 100 {
		roundTrip(t, fd, "hello")
	}
}

// A turn that blocks keeps nobody else, is told that it is late, and the ones
// after it still come.
func TestBlockedTurn(t *testing.T) {
	s := newSet(t, 1)
	free := make(chan bool)
	blocked := &pipeTask{handle: func(w *Worker, b []byte) {
		if b[0] == 'x' {
			<-free
		}
	}}
	a := serve(t, s, blocked)
	b := serve(t, s, &pipeTask{})
	if _, err := unix.Write(a, []byte("x")); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		roundTrip(t, b, "neighbour") // the first ones wait for the watchdog
	}
	if n := blocked.late.Load(); n != 1 {
		t.Errorf("Late was called %d times, want once", n)
	}
	close(free)
	buf := make([]byte, 1)
	if n, err := unix.Read(a, buf); n != 1 || err != nil {
		t.Fatalf("the blocked turn's answer: %d, %v", n, err)
	}
	roundTrip(t, a, "again")
}

// Blocking turns that come in numbers do not wait for one another, and those
// that were lent out are told that they are late as well.
func TestManyBlockedTurns(t *testing.T) {
	s := newSet(t, 1)
	const many = 200
	var inside sync.WaitGroup
	inside.Add(many)
	free := make(chan bool)
	var tasks []*pipeTask
	for range many {
		p := &pipeTask{handle: func(*Worker, []byte) {
			inside.Done()
			<-free
		}}
		tasks = append(tasks, p)
		unix.Write(serve(t, s, p), []byte("x"))
	}
	inside.Wait() // all at once
	for _, p := range tasks {
		for p.late.Load() == 0 {
			runtime.Gosched()
		}
	}
	close(free)
}

func TestGoexitInTurn(t *testing.T) {
	s := newSet(t, 1)
	dying := &pipeTask{handle: func(*Worker, []byte) { runtime.Goexit() }}
	a := serve(t, s, dying)
	b := serve(t, s, &pipeTask{})
	unix.Write(a, []byte("x"))
	for range 100 {
		roundTrip(t, b, "neighbour")
	}
}

func TestScheduleWakesParkedLoop(t *testing.T) {
	s := newSet(t, 1)
	p := &pipeTask{}
	serve(t, s, p)
	for range 1000 {
		p.Schedule()
		<-p.ran
	}
}

func TestArm(t *testing.T) {
	s := newSet(t, 1)
	p := &pipeTask{}
	serve(t, s, p)
	at := p.Now() + int64(100*time.Millisecond)
	p.Arm(p.Now() + int64(time.Hour))
	p.Arm(at) // the earlier one counts, though the loop waits for the other
	if now := <-p.due; now < at || now > at+int64(time.Second) {
		t.Errorf("told %v late", time.Duration(now-at))
	}
}

func TestReadEOF(t *testing.T) {
	s := newSet(t, 1)
	p := &pipeTask{}
	fd := serve(t, s, p)
	roundTrip(t, fd, "x")
	unix.Shutdown(fd, unix.SHUT_WR)
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("Read at the end of the stream: %v, want EOF", err)
	}
	if hangup, done := p.Gone(); hangup || !done {
		t.Errorf("Gone = %v, %v after the peer's half-close, want false, true", hangup, done)
	}
}

func TestCloseEndsGoroutines(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 20 {
		s, err := New(4, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		s.Close()
	}
	after := runtime.NumGoroutine()
	for end := time.Now().Add(time.Second); after > before && time.Now().Before(end); after = runtime.NumGoroutine() {
		runtime.Gosched() // the last thing that a goroutine does takes a moment
	}
	if after > before {
		t.Errorf("%d goroutines, %d before", after, before)
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	s, err := New(1, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	unix.SetNonblock(fds[0], true)
	p := &pipeTask{}
	s.Prepare(&p.Node, p, fds[0])
	if err := p.Add(); err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	buf := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		unix.Write(fds[1], buf)
		unix.Read(fds[1], buf)
	}
}
