package listen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

type acceptedFD struct {
	fd   int
	peer netip.AddrPort
	err  error
}

func startAcceptFD(l *Listener, admit func() bool, release func()) <-chan acceptedFD {
	ch := make(chan acceptedFD, 1)
	go func() {
		fd, peer, err := l.AcceptFD(admit, release)
		ch <- acceptedFD{fd, peer, err}
	}()
	return ch
}

// queued returns how many connections wait in the backlog.
func queued(t testing.TB, l *Listener) int {
	t.Helper()
	return int(onFD(t, l, func(fd int) (*unix.TCPInfo, error) {
		return unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	}).Unacked)
}

func TestAcceptFD(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	wrapped := Wrap(ln)
	defer wrapped.Close()
	ls := []*Listener{wrapped, mustListen(t, nil, "tcp://127.0.0.1:0")[0], mustListen(t, nil, "tcp://:0")[0]}
	if ln, err := net.Listen("tcp6", "[::1]:0"); err == nil {
		ln.Close()
		ls = append(ls, mustListen(t, nil, "tcp6://[::1]:0")[0])
	}
	for _, l := range ls {
		if !l.CanAcceptFD() {
			t.Fatalf("%v: CanAcceptFD is false", l.Addr())
		}
		ch := startAcceptFD(l, nil, nil)
		to := l.Addr().(*net.TCPAddr)
		if to.IP.IsUnspecified() {
			to = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: to.Port}
		}
		c := dial(t, to)
		a := <-ch
		if a.err != nil {
			t.Fatal(a.err)
		}
		if want := c.LocalAddr().(*net.TCPAddr).AddrPort(); a.peer.Port() != want.Port() || a.peer.Addr() != want.Addr().Unmap() {
			t.Errorf("peer %v; want %v", a.peer, want)
		}
		fl, _ := unix.FcntlInt(uintptr(a.fd), unix.F_GETFL, 0)
		fd, _ := unix.FcntlInt(uintptr(a.fd), unix.F_GETFD, 0)
		if fl&unix.O_NONBLOCK == 0 || fd&unix.FD_CLOEXEC == 0 {
			t.Errorf("flags %#x and %#x; want O_NONBLOCK and FD_CLOEXEC", fl, fd)
		}
		for _, o := range []struct{ level, opt, want int }{
			{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1}, {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15},
		} {
			if got, _ := unix.GetsockoptInt(a.fd, o.level, o.opt); got != o.want {
				t.Errorf("option %d is %d; want %d", o.opt, got, o.want)
			}
		}
		unix.Close(a.fd)
	}
}

func TestAcceptFDUnix(t *testing.T) {
	l := mustListen(t, nil, "unix://"+t.TempDir()+"/s")[0]
	ch := startAcceptFD(l, nil, nil)
	dial(t, l.Addr())
	a := <-ch
	if a.err != nil || a.peer.IsValid() {
		t.Errorf("%+v; want no address and no error", a)
	}
	unix.Close(a.fd)
	if s := l.Stats(); s.Accepted != 1 {
		t.Errorf("stats %+v", s)
	}
}

// Leave is balanced: granted = accepted + released; and refused, the connection
// stays in the backlog.
func TestAcceptFDAdmission(t *testing.T) {
	l := mustListen(t, nil, "tcp://127.0.0.1:0")[0]
	var open, limit atomic.Int64
	asked := make(chan struct{}, 1)
	admit := func() bool {
		select {
		case asked <- struct{}{}:
		default:
		}
		if open.Add(1) <= limit.Load() {
			return true
		}
		open.Add(-1)
		return false
	}
	release := func() { open.Add(-1) }

	// Refused while none waits, AcceptFD waits for one before it says so.
	ch := startAcceptFD(l, admit, release)
	<-asked
	select {
	case a := <-ch:
		t.Fatalf("%+v; want it to wait", a)
	default:
	}
	dial(t, l.Addr())
	if a := <-ch; a.err != ErrNotAdmitted {
		t.Fatalf("%+v; want ErrNotAdmitted", a)
	}
	if a := <-startAcceptFD(l, admit, release); a.err != ErrNotAdmitted {
		t.Fatalf("%+v; want ErrNotAdmitted at once", a)
	}
	if n := queued(t, l); n != 1 || open.Load() != 0 {
		t.Errorf("%d queued, %d admitted; want 1 and 0", n, open.Load())
	}
	limit.Store(1)
	a := <-startAcceptFD(l, admit, release)
	if a.err != nil || open.Load() != 1 {
		t.Fatalf("%+v, %d admitted", a, open.Load())
	}
	unix.Close(a.fd)

	// Admitted while none waits, the leave is taken back.
	open.Store(0)
	released := make(chan struct{}, 10)
	ch = startAcceptFD(l, admit, func() { release(); released <- struct{}{} })
	<-released
	l.Close()
	if a := <-ch; !errors.Is(a.err, net.ErrClosed) || open.Load() != 0 {
		t.Errorf("%+v, %d admitted; want net.ErrClosed and 0", a, open.Load())
	}
}

func TestAcceptFDAllocatesNothing(t *testing.T) {
	const n = 50
	l := mustListen(t, nil, "tcp://127.0.0.1:0")[0]
	for range n + 2 {
		dial(t, l.Addr())
	}
	admit, release := func() bool { return true }, func() {}
	allocs := testing.AllocsPerRun(n, func() {
		fd, _, err := l.AcceptFD(admit, release)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
	})
	if allocs != 0 {
		t.Errorf("%v allocations per accept; want 0", allocs)
	}
}

// After Pause has returned, no connection is taken, whatever was going on.
func TestPauseIsExact(t *testing.T) {
	for _, form := range []string{"Accept", "AcceptFD"} {
		t.Run(form, func(t *testing.T) {
			l := mustListen(t, nil, "tcp://127.0.0.1:0")[0]
			got := make(chan error)
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() {
					for {
						var err error
						if form == "AcceptFD" {
							var fd int
							if fd, _, err = l.AcceptFD(nil, nil); err == nil {
								unix.Close(fd)
							}
						} else {
							var c net.Conn
							if c, err = l.Accept(); err == nil {
								c.Close()
							}
						}
						if got <- err; err != nil {
							return
						}
					}
				})
			}
			for range 200 {
				l.Pause()
				l.Pause()
				before := l.Stats().Accepted
				dial(t, l.Addr()).Close()
				if after := l.Stats().Accepted; after != before || !l.Paused() {
					t.Fatalf("%d accepted during the pause", after-before)
				}
				if form == "AcceptFD" {
					if n := queued(t, l); n != 1 {
						t.Fatalf("%d queued during the pause; want 1", n)
					}
				}
				l.Resume()
				if err := <-got; err != nil {
					t.Fatal(err)
				}
			}
			l.Pause()
			l.Close()
			for range 2 {
				if err := <-got; !errors.Is(err, net.ErrClosed) {
					t.Errorf("after Close: %v; want net.ErrClosed", err)
				}
			}
			wg.Wait()
			if err := l.Close(); err != nil {
				t.Errorf("second Close: %v", err)
			}
		})
	}
}

// Pause also wins against an AcceptFD that is just about to take a connection.
func TestPauseDuringAdmission(t *testing.T) {
	l := mustListen(t, nil, "tcp://127.0.0.1:0")[0]
	dial(t, l.Addr())
	released := make(chan struct{}, 1)
	pause := l.Pause // the first time only
	ch := startAcceptFD(l, func() bool { pause(); pause = func() {}; return true },
		func() { released <- struct{}{} })
	<-released
	if n := queued(t, l); n != 1 {
		t.Errorf("%d queued; want 1", n)
	}
	l.Resume()
	a := <-ch
	if a.err != nil {
		t.Fatal(a.err)
	}
	unix.Close(a.fd)
}

// admit may even close the listener: it is called under no lock.
func TestCloseDuringAdmission(t *testing.T) {
	l := mustListen(t, nil, "tcp://127.0.0.1:0")[0]
	dial(t, l.Addr())
	if _, _, err := l.AcceptFD(func() bool { l.Close(); return true }, nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v; want net.ErrClosed", err)
	}
}

// A socket that somebody shuts down is bound again, to the same address.
func TestRebindReal(t *testing.T) {
	for _, endpoint := range []string{"tcp://127.0.0.1:0", "unix://" + filepath.Join(t.TempDir(), "s")} {
		for _, form := range []string{"Accept", "AcceptFD"} {
			t.Run(endpoint[:4]+form, func(t *testing.T) {
				if endpoint[:4] == "unix" && form == "Accept" {
					t.Skip("Linux does not tell a non-blocking accept(2) that the socket was shut down")
				}
				events := make(chan EventKind, 10)
				c := &Config{OnAcceptEvent: func(ev AcceptEvent) { events <- ev.Kind }}
				l := mustListen(t, c, endpoint)[0]
				errs := make(chan error, 1)
				go func() {
					if form == "Accept" {
						c, err := l.Accept()
						if err == nil {
							c.Close()
						}
						errs <- err
						return
					}
					fd, _, err := l.AcceptFD(nil, nil)
					unix.Close(fd)
					errs <- err
				}()
				onFD(t, l, func(fd int) (int, error) { return 0, unix.Shutdown(fd, unix.SHUT_RDWR) })
				for _, want := range []EventKind{Died, Rebound} {
					if got := <-events; got != want {
						t.Fatalf("event %q; want %q", got, want)
					}
				}
				dial(t, l.Addr())
				if err := <-errs; err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

func TestRebindAddressTaken(t *testing.T) {
	c := &Config{RebindTries: 2, RebindBackoff: time.Millisecond}
	l := mustListen(t, c, "tcp://127.0.0.1:0")[0]
	l.cfg.fault = func(string, net.Addr) error { return syscall.EADDRINUSE }
	onFD(t, l, func(fd int) (int, error) { return 0, unix.Shutdown(fd, unix.SHUT_RDWR) })
	for range 2 {
		if _, err := l.Accept(); !errors.Is(err, syscall.EINVAL) || !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("%v; want why it died and why it stayed dead", err)
		}
	}
	if err := l.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// With no descriptor left, a process neither spins nor floods its log, and
// accepts within 100 ms of relief.
func TestNoDescriptorsLeft(t *testing.T) {
	for _, form := range []string{"Accept", "AcceptFD"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			out, err := child(t, "no-descriptors", "LISTEN_TEST_FORM="+form).CombinedOutput()
			t.Logf("%s", out)
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func init() {
	children["no-descriptors"] = func() error {
		limit := unix.Rlimit{Cur: 40, Max: 40}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			return err
		}
		var log strings.Builder
		c := Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}
		ls, err := c.Listen(context.Background(), "tcp://127.0.0.1:0")
		if err != nil {
			return err
		}
		l := ls[0]
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return err
		}
		defer client.Close()
		var hoard []int
		for {
			fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err == unix.EMFILE {
				break
			} else if err != nil {
				return err
			}
			hoard = append(hoard, fd)
		}
		done := make(chan error, 1)
		cpu := cpuTime()
		go func() {
			if os.Getenv("LISTEN_TEST_FORM") == "AcceptFD" {
				_, _, err := l.AcceptFD(nil, nil)
				done <- err
				return
			}
			_, err := l.Accept()
			done <- err
		}()
		const window = 1500 * time.Millisecond
		time.Sleep(window) // what is measured
		cpu = cpuTime() - cpu
		for _, fd := range hoard[:4] {
			unix.Close(fd)
		}
		relief := time.Now()
		if err := <-done; err != nil {
			return err
		}
		took := time.Since(relief)
		stats := l.Stats()
		l.Close()
		lines := strings.Count(log.String(), "\n")
		fmt.Printf("%d log lines, %d failures, CPU %.2f %%, accepted %v after relief\n%s",
			lines, stats.Starved, 100*cpu.Seconds()/window.Seconds(), took, log.String())
		switch {
		case lines > 2:
			return errors.New("too many log lines")
		case stats.Starved < 10 || stats.Shortages != 1:
			return fmt.Errorf("stats %+v", stats)
		case cpu > window/100:
			return errors.New("too much CPU")
		case took > time.Second:
			return errors.New("too slow")
		}
		return nil
	}
}

func cpuTime() time.Duration {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		panic(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// BenchmarkAccept compares what taking one waiting connection costs.
func BenchmarkAccept(b *testing.B) {
	for _, form := range []string{"Accept", "AcceptFD"} {
		b.Run(form, func(b *testing.B) {
			l := mustListen(b, nil, "tcp://127.0.0.1:0")[0]
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				c, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if form == "AcceptFD" {
					fd, _, err := l.AcceptFD(nil, nil)
					if err != nil {
						b.Fatal(err)
					}
					b.StopTimer()
					unix.Close(fd)
				} else {
					a, err := l.Accept()
					if err != nil {
						b.Fatal(err)
					}
					b.StopTimer()
					a.Close()
				}
				io.Copy(io.Discard, c)
				c.Close()
				b.StartTimer()
			}
		})
	}
}
