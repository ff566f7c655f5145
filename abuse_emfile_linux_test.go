package hythe_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/listen"
)

const (
	emfileEnv   = "HYTHE_ABUSE_EMFILE" // says to the child that it is one, and with which driver
	emfileLimit = 64                   // its descriptors
)

// TestAbuse_EMFILEChild is no test, but the server of TestAbuse_EMFILE, in a
// process of its own. It logs to its standard output, a line for a line.
func TestAbuse_EMFILEChild(t *testing.T) {
	mode := os.Getenv(emfileEnv)
	if mode == "" {
		t.Skip("this is run by TestAbuse_EMFILE, in a process of its own")
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: emfileLimit, Max: emfileLimit}); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	ctx, cancel := context.WithCancel(context.Background())
	srv := &hythe.Server{
		Goroutines: mode == "goroutines",
		Limits:     hythe.Limits{Conns: -1}, // the default would not get that far
		Logger:     log,
		Listen:     listen.Config{Logger: log},
		OnListen:   func(a net.Addr) { fmt.Println("address", a) },
		Service: hythe.Sessions(codec.Lines(), func(c *lines) onInput {
			return func(c *lines, in string) error {
				if in == "cpu" {
					return c.Send(fmt.Sprint(cpuTime().Microseconds()))
				}
				return c.Send(in)
			}
		}),
	}
	go func() { // until its parent goes
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	if err := srv.ListenAndServe(ctx, "tcp://127.0.0.1:0"); err != nil {
		t.Error(err)
	}
}

// cpuTime is what the process has used of its processors.
func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// An emfileChild is a server that is about to run out of descriptors.
type emfileChild struct {
	*host
	mu  sync.Mutex
	log []string // lines that are not the address
}

func startEMFILEChild(t *testing.T, w world) *emfileChild {
	t.Helper()
	mode := "loops"
	if w.goroutines {
		mode = "goroutines"
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestAbuse_EMFILEChild$", "-test.timeout=50s")
	cmd.Env = append(os.Environ(), emfileEnv+"="+mode, "GOMAXPROCS=2") // each has a loop, and that its descriptors
	stdin, err1 := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &emfileChild{}
	address := make(chan string, 1)
	var reading sync.WaitGroup
	reading.Go(func() {
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if a, ok := strings.CutPrefix(lines.Text(), "address "); ok {
				address <- a
				continue
			}
			c.mu.Lock()
			c.log = append(c.log, lines.Text())
			c.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		stdin.Close()
		reading.Wait()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the child: %v\n%s", err, strings.Join(c.log, "\n"))
		}
	})
	a := get(t, w, address, "the child's address")
	tcp, err := net.ResolveTCPAddr("tcp", a)
	if err != nil {
		t.Fatal(err)
	}
	c.host = &host{TB: t, w: w, ln: addrOnly{tcp}}
	return c
}

// addrOnly is a listener that is in another process.
type addrOnly struct{ addr net.Addr }

func (l addrOnly) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (l addrOnly) Close() error              { return nil }
func (l addrOnly) Addr() net.Addr            { return l.addr }

func (c *emfileChild) lines() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.log)
}

// cpu asks the child how much processor time it has used.
func (p *peer) cpu() time.Duration {
	p.Helper()
	p.nc.SetDeadline(time.Now().Add(p.w.patience()))
	p.send("cpu\n")
	var us int64
	if _, err := fmt.Fscanln(p.r, &us); err != nil {
		p.Fatalf("the child's cpu: %v", err)
	}
	return time.Duration(us) * time.Microsecond
}

// A server that runs out of descriptors says so once, uses no processor time,
// serves those that it has, and accepts again within 100 ms of relief.
func TestAbuse_EMFILE(t *testing.T) {
	const clients, window, reliefs = 100, 1500 * time.Millisecond, 7
	inWorlds(t, abuseWorlds, func(t *testing.T, w world) {
		c := startEMFILEChild(t, w)
		ns := c.neighbours(4)
		witness := c.dial()
		witness.cpu()
		// More clients than descriptors. All are connected; some wait in the kernel's queue.
		var served atomic.Int32
		var conns [clients]*peer
		var answered [clients]chan time.Time
		for i := range conns {
			p := c.dial()
			p.send("hello\n")
			p.nc.SetDeadline(time.Now().Add(30 * time.Second))
			conns[i], answered[i] = p, make(chan time.Time, 1)
			go func() {
				if got, _ := p.r.ReadString('\n'); got == "hello\n" {
					answered[i] <- time.Now()
					served.Add(1)
				}
			}()
		}
		eventually(t, w, func() bool { return len(c.lines()) > 0 }, "the child to say that it is short of descriptors")
		// The kernel's queue is first in, first out.
		var fed int
		eventually(t, w, func() bool { fed = int(served.Load()); return fed > emfileLimit-30 }, "the first to be served")
		ns.check(w.neighbourBound())

		used := witness.cpu()
		time.Sleep(window) // in which nothing happens but the shortage
		used = witness.cpu() - used
		share := 100 * float64(used) / float64(window)
		fed = int(served.Load())
		t.Logf("%d clients served, %d wait; %.2f %% CPU while short", fed, clients-fed, share)
		if share >= 1 && !raceEnabled {
			t.Errorf("%.2f %% CPU, want less than 1", share)
		} else if share >= 3 {
			t.Errorf("%.2f %% CPU under the race detector", share)
		}
		if fed >= emfileLimit {
			t.Fatalf("%d were served with %d descriptors", fed, emfileLimit)
		}

		// Each client that goes is one descriptor of relief.
		var waits []time.Duration
		for i := range reliefs {
			relieved := time.Now()
			conns[i].close()
			waits = append(waits, get(t, w, answered[fed+i], "a waiting client to be served").Sub(relieved))
		}
		slices.Sort(waits)
		t.Logf("relief to service: %v", waits)
		if m := waits[len(waits)/2]; m > time.Second {
			t.Errorf("half of the waiting clients were served later than %v after relief, want far less", m)
		}
		if m := waits[len(waits)-1]; m > 4*time.Second {
			t.Errorf("one waited for %v after relief", m)
		}
		witness.cpu() // it is served
		for _, p := range conns {
			p.close()
		}
		p := c.dial()
		p.wantLive()
		eventually(t, w, func() bool { return len(c.lines()) >= 2 }, "the end of the shortage")
		if log := c.lines(); len(log) > 2 {
			t.Errorf("%d lines were logged, want 2:\n%s", len(log), strings.Join(log, "\n"))
		}
	})
}
