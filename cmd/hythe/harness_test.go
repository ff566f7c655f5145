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

// built is the path of the program.
var built string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "hythe")
	if err != nil {
		panic(err)
	}
	built = filepath.Join(dir, "hythe")
	build := exec.Command("go", "build", "-trimpath", "-o", built, ".") // as packaging/Dockerfile does
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v: %v\n%s", build, err, out)
		os.Exit(1)
	}
	code := leaktest.Main(m)
	os.RemoveAll(dir)
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

// await waits until pattern matches what was written n times, and returns the
// matches.
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

// A process is hythe, running.
type process struct {
	testing.TB
	stdout, stderr transcript
	cmd            *exec.Cmd
	exit           chan int // one value
}

// execute runs hythe in a directory. prepare, if not nil, may change the command.
func execute(t testing.TB, dir string, prepare func(*exec.Cmd), args ...string) *process {
	t.Helper()
	p := &process{TB: t, exit: make(chan int, 1)}
	p.cmd = exec.Command(built, args...)
	p.cmd.Dir = dir
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if prepare != nil {
		prepare(p.cmd)
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

// serve runs hythe and waits until it listens.
func serve(t testing.TB, dir string, args ...string) *process {
	t.Helper()
	p := execute(t, dir, nil, args...)
	p.stderr.await(t, `(?m)^hythe: route .* by the spool in`, 1)
	return p
}

func (p *process) signal(s os.Signal) {
	p.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.Fatal(err)
	}
}

// wait waits for the end and returns the exit status.
func (p *process) wait() int {
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
func (p *process) stop(want int) {
	p.Helper()
	p.signal(syscall.SIGTERM)
	p.ends(want)
}

// ends wants the exit status.
func (p *process) ends(want int) {
	p.Helper()
	if got := p.wait(); got != want {
		p.Errorf("exit status %d, want %d; stderr:\n%s", got, want, &p.stderr)
	}
}

// hythe runs a command of hythe's in this process, and returns what it wrote.
func hythe(t testing.TB, stdin string, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	p := &program{stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if got := p.run(ctx, args); got != want {
		t.Errorf("hythe %s: exit status %d, want %d\n%s%s", strings.Join(args, " "), got, want, &out, &errs)
	}
	return out.String(), errs.String()
}

// freePort returns an address that nobody listens at.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// say connects, writes and leaves, as nc -N does.
func say(t testing.TB, addr, what string) {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(nc, what); err != nil {
		t.Fatal(err)
	}
	if err := nc.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(nc); err != nil || len(got) > 0 {
		t.Errorf("hythe answered %q, %v; want nothing", got, err)
	}
}

// need skips the test if a tool is missing, and fails it on a builder.
func need(t *testing.T, tool string) {
	t.Helper()
	_, err := exec.LookPath(tool)
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatalf("%v, and CI is set", err)
	default:
		t.Skip(err)
	}
}

// write makes a file in a directory of the test's, and returns its path.
func write(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
