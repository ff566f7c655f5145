// Package faults has the tests of the whole program: it is run as a process, with
// real sockets and a real disk, and what it has acknowledged is looked for at the
// other end.
package faults

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/status"
	"github.com/hythe-go/hythe/internal/leaktest"
)

var program string // the built daemon

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "hythe")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "hythe")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/hythe-go/hythe/cmd/hythe").CombinedOutput(); err != nil {
		fmt.Printf("%s%v\n", out, err)
		os.Exit(1)
	}
	code := leaktest.Main(m)
	os.RemoveAll(dir)
	os.Exit(code)
}

// A daemon is a running hythe, or one that can be started again.
type daemon struct {
	t    testing.TB
	dir  string // of its files
	conf string // TOML, behind the common part

	http, frames, admin string // host:port

	cmd    *exec.Cmd
	ended  chan struct{}
	output *lockedBuffer
}

// lockedBuffer is standard error, for the test to look at.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
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

// newDaemon returns a daemon that is not started: an input http, an input frames
// with the framing hythe, and what conf says beside.
func newDaemon(t testing.TB, conf string) *daemon {
	t.Helper()
	d := &daemon{t: t, dir: t.TempDir(), conf: conf, http: freePort(t), frames: freePort(t), admin: freePort(t), output: new(lockedBuffer)}
	t.Cleanup(d.kill)
	return d
}

func (d *daemon) file() string { return filepath.Join(d.dir, "hythe.toml") }
func (d *daemon) data() string { return filepath.Join(d.dir, "data") }

// configure writes the configuration.
func (d *daemon) configure() {
	d.t.Helper()
	text := fmt.Sprintf("data = %q\n[admin]\nlisten = \"tcp://%s\"\n", d.data(), d.admin)
	text += fmt.Sprintf("[input.http]\nprotocol = \"http\"\nlisten = [\"tcp://%s\"]\n", d.http)
	text += fmt.Sprintf("[input.hythe]\nframing = \"hythe\"\nlisten = [\"tcp://%s\"]\n", d.frames)
	if err := os.WriteFile(d.file(), []byte(text+d.conf), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// start starts the daemon and waits until it is ready. It returns how long that took.
func (d *daemon) start() time.Duration {
	d.t.Helper()
	d.configure()
	began := time.Now()
	d.launch()
	for {
		resp, err := http.Get("http://" + d.admin + "/healthz")
		if err == nil {
			resp.Body.Close()
			return time.Since(began)
		}
		select {
		case <-d.ended:
			d.t.Fatalf("the daemon ended:\n%s", d.output)
		case <-time.After(2 * time.Millisecond):
		}
		if time.Since(began) > 20*time.Second {
			d.t.Fatalf("the daemon does not listen:\n%s", d.output)
		}
	}
}

func (d *daemon) launch() {
	d.t.Helper()
	cmd := exec.Command(program, "run", "-config", d.file())
	cmd.Stderr = d.output
	cmd.Stdout = d.output
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	ended := make(chan struct{})
	d.cmd, d.ended = cmd, ended
	go func() {
		cmd.Wait()
		close(ended)
	}()
}

// kill ends the daemon as a power failure would, but for what the kernel holds.
func (d *daemon) kill() {
	if d.cmd != nil {
		d.cmd.Process.Kill()
		<-d.ended
		d.cmd = nil
	}
}

// stop has the daemon drain, and returns its exit status.
func (d *daemon) stop() int {
	d.t.Helper()
	d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.ended:
	case <-time.After(20 * time.Second):
		d.t.Fatalf("the daemon does not end:\n%s", d.output)
	}
	code := d.cmd.ProcessState.ExitCode()
	d.cmd = nil
	return code
}

// hangUp has the daemon read its configuration again, and waits until it has.
func (d *daemon) hangUp() {
	d.t.Helper()
	const done = "the configuration was "
	before := strings.Count(d.output.String(), done)
	d.cmd.Process.Signal(syscall.SIGHUP)
	for began := time.Now(); strings.Count(d.output.String(), done) == before; time.Sleep(time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			d.t.Fatalf("the configuration was not read:\n%s", d.output)
		}
	}
}

// status asks the daemon what it is doing.
func (d *daemon) status() (s status.Snapshot) {
	d.t.Helper()
	resp, err := http.Get("http://" + d.admin + "/status.json")
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		d.t.Fatal(err)
	}
	return s
}

// ready waits until /readyz has the status.
func (d *daemon) ready(status int) {
	d.t.Helper()
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get("http://" + d.admin + "/readyz")
		if err != nil {
			d.t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == status {
			return
		}
		if time.Since(began) > 15*time.Second {
			d.t.Fatalf("/readyz says %s", resp.Status)
		}
	}
}

// delivery returns the only route's state of an output.
func (d *daemon) delivery(output string) (status.Route, status.Delivery) {
	d.t.Helper()
	for _, r := range d.status().Routes {
		for _, v := range r.Deliveries {
			if v.Output == output {
				return r, v
			}
		}
	}
	d.t.Fatalf("no output %s", output)
	return status.Route{}, status.Delivery{}
}

// rss returns the daemon's resident memory, and the most that it ever was, in MiB.
func (d *daemon) rss() (now, peak float64) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	field := func(name string) (kib float64) {
		for line := range strings.Lines(string(b)) {
			fmt.Sscanf(line, name+": %f kB", &kib)
		}
		return kib
	}
	return field("VmRSS") / 1024, field("VmHWM") / 1024
}

// settled waits until an output has nothing left, and checks the ledger.
func (d *daemon) settled(output string, limit time.Duration) status.Delivery {
	d.t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		r, v := d.delivery(output)
		if v.Backlog == 0 {
			if in, settled := v.Start+r.In, v.Delivered+v.Dead+v.Lost+v.Skipped+v.Backlog; in != settled {
				d.t.Errorf("ledger: %d came, %d were settled: %+v", in, settled, v)
			}
			return v
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("%d messages are left after %v: %+v\n%s", v.Backlog, limit, v, d.output)
		}
	}
}

// A sink is an upstream that takes lines and remembers which.
type sink struct {
	t    testing.TB
	addr string

	mu    sync.Mutex
	l     net.Listener // guarded by mu
	conns map[net.Conn]bool
	seen  map[string]int // guarded by mu
	order []string       // guarded by mu
	work  sync.WaitGroup
}

func newSink(t testing.TB) *sink {
	t.Helper()
	s := &sink{t: t, addr: freePort(t), seen: make(map[string]int), conns: make(map[net.Conn]bool)}
	s.up()
	t.Cleanup(s.down)
	return s
}

// up has the sink listen.
func (s *sink) up() {
	s.t.Helper()
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.l = l
	s.mu.Unlock()
	s.work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns[c] = true
			s.mu.Unlock()
			s.work.Go(func() { s.read(c) })
		}
	})
}

func (s *sink) read(c net.Conn) {
	defer c.Close()
	r := bufio.NewReaderSize(c, 64<<10)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return // what is cut off is not a line
		}
		s.mu.Lock()
		line = line[:len(line)-1]
		s.seen[line]++
		s.order = append(s.order, line)
		s.mu.Unlock()
	}
}

// down closes the sink with its connections.
func (s *sink) down() {
	s.mu.Lock()
	if s.l != nil {
		s.l.Close()
		s.l = nil
	}
	for c := range s.conns {
		c.Close()
	}
	clear(s.conns)
	s.mu.Unlock()
	s.work.Wait()
}

// missing returns which of the messages have not come, and how many came twice.
// What the kernel has taken for the sink may not have been read yet: it has 5 s.
func (s *sink) missing(sent []string) (missing []string, twice int) {
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		missing, twice = s.look(sent)
		if len(missing) == 0 || time.Since(began) > 5*time.Second {
			return missing, twice
		}
	}
}

func (s *sink) look(sent []string) (missing []string, twice int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range sent {
		if s.seen[m] == 0 {
			missing = append(missing, m)
		}
	}
	for _, n := range s.seen {
		twice += n - 1
	}
	return missing, twice
}

// problem is what an operator should look at.
type problem = status.Problem

// A sender posts numbered lines, and remembers those that were acknowledged.
type sender struct {
	name  string
	url   string
	batch int

	next  int
	acked []string
}

// post sends the next batch. The error says that it was not acknowledged.
func (s *sender) post(ctx context.Context) error {
	lines := make([]string, s.batch)
	for i := range lines {
		lines[i] = fmt.Sprintf("%s-%d", s.name, s.next)
		s.next++
	}
	req, err := http.NewRequestWithContext(ctx, "POST", s.url, strings.NewReader(strings.Join(lines, "\n")+"\n"))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return errors.New(resp.Status)
	}
	s.acked = append(s.acked, lines...)
	return nil
}

// load has senders post until ctx ends, and returns what was acknowledged when
// the function that it returns is called.
func (d *daemon) load(ctx context.Context, senders, batch int) (acked func() []string) {
	list := make([]*sender, senders)
	var work sync.WaitGroup
	for i := range list {
		s := &sender{name: fmt.Sprintf("s%d", i), url: "http://" + d.http + "/in", batch: batch}
		list[i] = s
		work.Go(func() {
			for ctx.Err() == nil {
				if s.post(context.WithoutCancel(ctx)) != nil {
					time.Sleep(2 * time.Millisecond)
				}
			}
		})
	}
	return func() (all []string) {
		work.Wait()
		http.DefaultClient.CloseIdleConnections()
		for _, s := range list {
			all = append(all, s.acked...)
		}
		return all
	}
}
