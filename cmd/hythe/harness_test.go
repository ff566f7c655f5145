package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hythe-go/hythe/internal/leaktest"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	code := leaktest.Main(m)
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// A transcript is what a program has written so far.
type transcript struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	changed chan struct{} // closed at the next change; nil: nobody waits
}

func (tr *transcript) Write(b []byte) (int, error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.changed != nil {
		close(tr.changed)
		tr.changed = nil
	}
	return tr.buf.Write(b)
}

func (tr *transcript) String() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.buf.String()
}

// await waits until pattern matches what was written, and returns the matches.
func (tr *transcript) await(t testing.TB, pattern string, n int) [][]string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	timeout := time.After(patience)
	for {
		tr.mu.Lock()
		got := re.FindAllStringSubmatch(tr.buf.String(), -1)
		if len(got) >= n {
			tr.mu.Unlock()
			return got
		}
		if tr.changed == nil {
			tr.changed = make(chan struct{})
		}
		changed := tr.changed
		tr.mu.Unlock()
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("%q did not come %d times; got:\n%s", pattern, n, tr)
		}
	}
}

// A program is hythe, running in the test's process or in its own.
type program struct {
	testing.TB
	stdout, stderr transcript
	cancel         context.CancelFunc // in the test's process
	cmd            *exec.Cmd          // in its own
	exit           chan int           // one value
}

// start runs hythe in the test's process.
func start(t testing.TB, args ...string) *program {
	ctx, cancel := context.WithCancel(context.Background())
	p := &program{TB: t, cancel: cancel, exit: make(chan int, 1)}
	go func() { p.exit <- run(ctx, args, strings.NewReader(""), &p.stdout, &p.stderr) }()
	t.Cleanup(func() {
		cancel()
		p.wait()
	})
	return p
}

// execute runs hythe as a program. stdout may be nil: then it is p.stdout.
func execute(t testing.TB, stdout *os.File, args ...string) *program {
	t.Helper()
	p := &program{TB: t, exit: make(chan int, 1)}
	p.cmd = exec.Command(build(t), args...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if stdout != nil {
		p.cmd.Stdout = stdout
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.cmd.Wait()
		p.exit <- p.cmd.ProcessState.ExitCode()
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		p.wait()
	})
	return p
}

var built struct {
	once sync.Once
	dir  string
	err  error
}

// build builds hythe once and returns its path.
func build(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "hythe"); built.err != nil {
			return
		}
		if out, err := exec.Command("go", "build", "-o", built.dir, ".").CombinedOutput(); err != nil {
			built.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "hythe")
}

// endpoints waits until n sockets are listened on and returns them.
func (p *program) endpoints(n int) (all []string) {
	p.Helper()
	for _, match := range p.stderr.await(p, `listening on (\S+), try`, n) {
		all = append(all, match[1])
	}
	return all
}

// term sends the signal that drains.
func (p *program) term() {
	p.Helper()
	if p.cmd == nil {
		p.cancel()
	} else if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.Fatal(err)
	}
}

// wait waits for the end and returns the exit status.
func (p *program) wait() int {
	p.Helper()
	select {
	case code := <-p.exit:
		p.exit <- code
		return code
	case <-time.After(patience):
		p.Fatalf("hythe does not end; stderr:\n%s", &p.stderr)
		return 0
	}
}

// stop drains and wants the exit status.
func (p *program) stop(want int) {
	p.Helper()
	p.term()
	if got := p.wait(); got != want {
		p.Errorf("exit status %d, want %d; stderr:\n%s", got, want, &p.stderr)
	}
}

// dial connects to an endpoint as hythe prints it.
func dial(t testing.TB, endpoint string) net.Conn {
	t.Helper()
	network, address, _ := strings.Cut(endpoint, "://")
	nc, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	nc.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { nc.Close() })
	return nc
}

// say connects, writes and leaves, as nc -N does.
func say(t testing.TB, endpoint, what string) {
	t.Helper()
	nc := dial(t, endpoint)
	defer nc.Close()
	if _, err := io.WriteString(nc, what); err != nil {
		t.Fatal(err)
	}
	if err := nc.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(nc); err != nil || len(got) > 0 {
		t.Errorf("hythe answered %q, %v; want nothing", got, err)
	}
}
