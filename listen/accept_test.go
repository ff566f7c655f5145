//go:build unix

package listen

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A scripted listener's Accept returns errors from its script, then waits.
type scripted struct {
	mu     sync.Mutex
	script []error
	calls  int
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newScripted(script ...error) *scripted {
	return &scripted{script: script, conns: make(chan net.Conn, 1), closed: make(chan struct{})}
}

func (s *scripted) Accept() (net.Conn, error) {
	s.mu.Lock()
	s.calls++
	if len(s.script) > 0 {
		err := s.script[0]
		s.script = s.script[1:]
		s.mu.Unlock()
		return nil, err
	}
	s.mu.Unlock()
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

func (s *scripted) Close() error   { s.once.Do(func() { close(s.closed) }); return nil }
func (s *scripted) Addr() net.Addr { return &net.UnixAddr{Name: "scripted", Net: "unix"} }

func (s *scripted) connect() {
	a, b := net.Pipe()
	b.Close()
	s.conns <- a
}

// fail adds to the script.
func (s *scripted) fail(errs ...error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = append(s.script, errs...)
}

// A recorder keeps events.
type recorder struct {
	mu     sync.Mutex
	events []AcceptEvent
}

func (r *recorder) add(ev AcceptEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, ev)
}

func (r *recorder) all() []AcceptEvent {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

func (r *recorder) kinds() (kinds []EventKind) {
	for _, ev := range r.all() {
		kinds = append(kinds, ev.Kind)
	}
	return kinds
}

func acceptErr(errno syscall.Errno) error {
	return &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", errno)}
}

func repeat(err error, n int) []error { return slices.Repeat([]error{err}, n) }

type temporary struct{ error }

func (temporary) Temporary() bool { return true }

func TestClassify(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want Class
	}{
		{nil, ClassRetry},
		{acceptErr(syscall.ECONNABORTED), ClassRetry},
		{syscall.EINTR, ClassRetry},
		{acceptErr(syscall.EPROTO), ClassRetry},
		{acceptErr(syscall.ENETDOWN), ClassRetry},
		{acceptErr(syscall.EHOSTUNREACH), ClassRetry},
		{acceptErr(errnoNoNet), ClassRetry},
		{acceptErr(syscall.EMFILE), ClassShortage},
		{acceptErr(syscall.ENFILE), ClassShortage},
		{acceptErr(syscall.ENOBUFS), ClassShortage},
		{acceptErr(syscall.ENOMEM), ClassShortage},
		{acceptErr(syscall.EPERM), ClassShortage},
		{temporary{errors.New("later")}, ClassShortage},
		{acceptErr(syscall.EBADF), ClassFatal},
		{acceptErr(syscall.EINVAL), ClassFatal},
		{acceptErr(syscall.ENOTSOCK), ClassFatal},
		{errors.New("what?"), ClassFatal},
		{os.ErrDeadlineExceeded, ClassFatal},
		{&net.OpError{Op: "accept", Err: net.ErrClosed}, ClassClosed},
		{&os.PathError{Op: "read", Err: os.ErrClosed}, ClassClosed},
	} {
		if got := Classify(tt.err); got != tt.want {
			t.Errorf("Classify(%v) = %v; want %v", tt.err, got, tt.want)
		}
	}
}

func TestAcceptRetriesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted(repeat(acceptErr(syscall.ECONNABORTED), 10)...)
		l := Wrap(s)
		defer l.Close()
		s.connect()
		start := time.Now()
		mustAccept(t, startAccept(l))
		if d := time.Since(start); d != 0 {
			t.Errorf("took %v; want no wait", d)
		}
		if st := l.Stats(); st.Retried != 10 || st.Accepted != 1 || st.Starved != 0 {
			t.Errorf("stats %+v", st)
		}
	})
}

// An error that never ends is not retried at once for ever.
func TestAcceptRetryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted(repeat(acceptErr(syscall.EOPNOTSUPP), 3*(maxRetries+1))...)
		l := Wrap(s)
		defer l.Close()
		s.connect()
		start := time.Now()
		mustAccept(t, startAccept(l))
		if got, want := time.Since(start), 35*time.Millisecond; got != want {
			t.Errorf("waited %v; want %v", got, want)
		}
	})
}

func TestAcceptShortage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rec recorder
		c := Config{OnAcceptEvent: rec.add}
		s := newScripted(repeat(acceptErr(syscall.EMFILE), 7)...)
		l := c.Wrap(s)
		s.connect()
		start := time.Now()
		mustAccept(t, startAccept(l))
		if got, want := time.Since(start), (5+10+20+40+80+80+80)*time.Millisecond; got != want {
			t.Errorf("waited %v; want %v", got, want)
		}
		if st := l.Stats(); !st.Short || st.Shortages != 1 || st.Starved != 7 {
			t.Errorf("during the shortage: stats %+v", st)
		}
		// One that succeeds in between is not yet the end.
		s.fail(repeat(acceptErr(syscall.ENFILE), 2)...)
		s.connect()
		mustAccept(t, startAccept(l))
		if events := rec.all(); len(events) != 1 || events[0].Kind != ShortageBegan || !errors.Is(events[0].Err, syscall.EMFILE) {
			t.Fatalf("events %+v; want one beginning", rec.all())
		}
		time.Sleep(2 * shortageCalm)
		synctest.Wait()
		if events := rec.all(); len(events) != 2 || events[1].Kind != ShortageEnded || events[1].Failures != 9 || events[1].Duration != 320*time.Millisecond {
			t.Fatalf("events %+v; want a beginning and an end", rec.all())
		}
		// Closing ends the next one.
		s.fail(repeat(acceptErr(syscall.EMFILE), 1000)...)
		ch := startAccept(l)
		synctest.Wait()
		start = time.Now()
		l.Close()
		if a := <-ch; !errors.Is(a.err, net.ErrClosed) || time.Since(start) != 0 {
			t.Errorf("accept: %v after %v; want net.ErrClosed at once", a.err, time.Since(start))
		}
		if events := rec.all(); len(events) != 4 || events[2].Kind != ShortageBegan || events[3].Kind != ShortageEnded {
			t.Errorf("events %+v; want two pairs", rec.all())
		}
	})
}

func TestPauseEndsBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted(repeat(acceptErr(syscall.EMFILE), 6)...)
		l := Wrap(s)
		defer l.Close()
		ch := startAccept(l)
		time.Sleep(100 * time.Millisecond) // in the middle of the wait of 80 ms
		l.Pause()
		synctest.Wait()
		calls := s.calls
		time.Sleep(time.Hour)
		if s.calls != calls {
			t.Errorf("%d calls of accept during the pause", s.calls-calls)
		}
		s.connect()
		l.Resume()
		mustAccept(t, ch)
	})
}

// A listener without deadlines keeps back what it accepts during a pause.
func TestPauseHoldsConnection(t *testing.T) {
	for _, end := range []string{"resume", "close"} {
		t.Run(end, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScripted()
				l := Wrap(s)
				defer l.Close()
				ch := startAccept(l)
				synctest.Wait()
				l.Pause()
				s.connect()
				synctest.Wait()
				select {
				case <-ch:
					t.Fatal("accepted during the pause")
				default:
				}
				if end == "resume" {
					l.Resume()
					mustAccept(t, ch)
				} else if l.Close(); !errors.Is((<-ch).err, net.ErrClosed) {
					t.Error("want net.ErrClosed")
				}
			})
		})
	}
}

func TestWrappedDies(t *testing.T) {
	l := Wrap(newScripted(acceptErr(syscall.EBADF)))
	defer l.Close()
	if _, err := l.Accept(); !errors.Is(err, syscall.EBADF) {
		t.Errorf("accept: %v; want EBADF", err)
	}
}

// rebinding returns a listener on first whose rebind takes the next of sockets;
// a nil one is a failure.
func rebinding(c Config, first *scripted, sockets ...*scripted) *Listener {
	l := c.Wrap(first)
	l.rebind = func(context.Context) (socket, error) {
		if len(sockets) == 0 {
			return socket{}, &Error{Op: "bind", Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
		}
		s := sockets[0]
		sockets = sockets[1:]
		if s == nil {
			return socket{}, &Error{Op: "bind", Err: os.NewSyscallError("bind", syscall.EADDRNOTAVAIL)}
		}
		return socket{ln: s}, nil
	}
	return l
}

func TestRebind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rec recorder
		c := Config{OnAcceptEvent: rec.add}
		second := newScripted()
		first := newScripted()
		l := rebinding(c, first, nil, nil, second)
		defer l.Close()
		waiting := []<-chan accepted{startAccept(l), startAccept(l)}
		synctest.Wait() // both wait in the accept of the one that is to die
		first.fail(acceptErr(syscall.EINVAL))
		second.connect()
		start := time.Now()
		waiting = append(waiting, startAccept(l))
		synctest.Wait()
		time.Sleep(300 * time.Millisecond) // 0, 100 and 200 ms before the three tries
		synctest.Wait()
		second.connect()
		synctest.Wait()
		second.connect()
		for _, ch := range waiting {
			mustAccept(t, ch)
		}
		if got := time.Since(start); got != 300*time.Millisecond {
			t.Errorf("took %v; want 300ms", got)
		}
		if kinds, want := rec.kinds(), []EventKind{Died, Rebound}; !slices.Equal(kinds, want) {
			t.Errorf("events %v; want %v", kinds, want)
		}
		if n := l.Stats().Rebinds; n != 1 {
			t.Errorf("%d rebinds; want 1", n)
		}
	})
}

func TestRebindGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rec recorder
		c := Config{RebindTries: 3, OnAcceptEvent: rec.add}
		// It dies after each of the first two tries, too soon to count as healthy.
		l := rebinding(c, newScripted(syscall.EBADF), newScripted(syscall.EINVAL), newScripted(syscall.ENOTSOCK))
		defer l.Close()
		for range 2 { // the second says the same
			_, err := l.Accept()
			if !errors.Is(err, syscall.ENOTSOCK) || !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("accept: %v; want what killed it and what stopped it", err)
			}
		}
		events := rec.all()
		last := events[len(events)-1]
		if last.Kind != GaveUp || last.Failures != 3 {
			t.Errorf("last event %+v; want GaveUp after 3 tries", last)
		}
	})
}

func TestRebindCountsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sockets := make([]*scripted, 10)
		for i := range sockets {
			sockets[i] = newScripted()
		}
		l := rebinding(Config{RebindTries: 1}, newScripted(syscall.EBADF), sockets...)
		defer l.Close()
		ch := startAccept(l)
		for _, s := range sockets[:9] {
			synctest.Wait()
			time.Sleep(time.Minute) // healthy
			s.fail(syscall.EBADF)
			s.connect()
			mustAccept(t, ch)
			ch = startAccept(l)
		}
		sockets[9].connect()
		mustAccept(t, ch)
	})
}

func TestCloseEndsRebind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := rebinding(Config{}, newScripted(syscall.EBADF))
		ch := startAccept(l)
		synctest.Wait() // in the wait before the second try
		start := time.Now()
		l.Close()
		if a := <-ch; !errors.Is(a.err, net.ErrClosed) || time.Since(start) != 0 {
			t.Errorf("accept: %v after %v; want net.ErrClosed at once", a.err, time.Since(start))
		}
	})
}

func TestEventKindNames(t *testing.T) {
	for k := ShortageBegan; k <= GaveUp; k++ {
		if strings.Contains(k.String(), "(") {
			t.Errorf("%v has no name", k)
		}
	}
}
