package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// These tests run the program that users run.

func TestProgram_Defaults(t *testing.T) {
	probe, err := net.Listen("tcp", "127.0.0.1:7000")
	if err != nil {
		t.Skipf("port 7000 is taken: %v", err)
	}
	probe.Close()
	p := execute(t, nil)
	if got, want := p.endpoints(1)[0], "tcp://127.0.0.1:7000"; got != want {
		t.Errorf("it listens on %s, want %s", got, want)
	}
	p.stderr.await(t, `try: printf 'hello\\n' \| nc -N 127\.0\.0\.1 7000\n`, 1)
	say(t, "tcp://127.0.0.1:7000", "hello\n")
	p.stdout.await(t, "^hello\n$", 1)
	p.stop(exitOK)
	p.stderr.await(t, `drained in \S+: \d idle, 0 finished, 0 cut\n`, 1)
	if got, want := p.stdout.String(), "hello\n"; got != want {
		t.Errorf("standard output %q, want %q", got, want)
	}
}

func TestProgram_Interrupt(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "socket")
	p := execute(t, nil, "-listen", "unix://"+socket+"?mode=0600")
	say(t, p.endpoints(1)[0], "over a Unix socket\n")
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("Stat = %v, %v; want mode 0600", info, err)
	}
	p.stdout.await(t, "^over a Unix socket\n$", 1)
	p.cmd.Process.Signal(os.Interrupt)
	if got := p.wait(); got != exitOK {
		t.Errorf("exit status %d, want %d", got, exitOK)
	}
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// full connects to p and writes lines until p takes no more. It returns how
// many bytes that were; the last line may be incomplete.
func full(t *testing.T, endpoint string) (nc net.Conn, line string, written int) {
	t.Helper()
	nc = dial(t, endpoint)
	line = strings.Repeat("0123456789abcde", 68) + "...\n"
	block := []byte(strings.Repeat(line, 64))
	for written < 256<<20 {
		nc.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		n, err := nc.Write(block[written%len(block):])
		if written += n; err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			nc.SetWriteDeadline(time.Now().Add(patience))
			return nc, line, written
		}
	}
	t.Fatalf("hythe took %d bytes while its output took none", written)
	return nil, "", 0
}

func TestProgram_SlowOutput(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := execute(t, w, "-listen", "tcp://127.0.0.1:0")
	w.Close() // the program has its own
	nc, line, written := full(t, p.endpoints(1)[0])
	if runtime.GOOS == "linux" {
		if peak := peakMemory(t, p.cmd.Process.Pid); peak > 64<<20 {
			t.Errorf("hythe took %d MiB of memory", peak>>20)
		}
	}
	t.Logf("the sender was stopped after %d bytes", written)

	rest := make(chan error, 1)
	go func() {
		_, err := io.WriteString(nc, line[written%len(line):]+"the end\n")
		nc.Close()
		rest <- err
	}()
	lines := bufio.NewScanner(r)
	n := 0
	for lines.Scan() && lines.Text() != "the end" {
		if n++; lines.Text()+"\n" != line {
			t.Fatalf("line %d is %q", n, lines.Text())
		}
	}
	if want := written/len(line) + 1; n != want {
		t.Errorf("%d lines came, want %d", n, want)
	}
	if err := <-rest; err != nil {
		t.Error(err)
	}
	p.stop(exitOK)
}

// peakMemory returns the largest resident set that a process has had.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip("no /proc: ", err)
	}
	_, after, _ := bytes.Cut(status, []byte("VmHWM:"))
	kib, err := strconv.Atoi(string(bytes.Fields(after)[0]))
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// Senders have left, and most of what they wrote waits in their kernel's queues
// when the drain begins.
func TestProgram_DrainTakesWhatSendersLeft(t *testing.T) {
	const senders, lines = 100, 300
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := execute(t, w, "-listen", "tcp://127.0.0.1:0", "-v")
	w.Close() // the program has its own
	line := strings.Repeat("x", 1007) + "\n"
	for range senders {
		nc := dial(t, p.endpoints(1)[0])
		for range lines { // one by one, so that packets end where lines do
			if _, err := io.WriteString(nc, line); err != nil {
				t.Fatal(err)
			}
		}
		nc.Close()
	}
	p.stderr.await(t, fmt.Sprintf("msg=accepted conn=%d ", senders), 1)
	p.term()
	p.stderr.await(t, "draining", 1)
	if got, err := io.ReadAll(r); err != nil || len(got) != senders*lines*len(line) {
		t.Errorf("got %d bytes, %v; want %d", len(got), err, senders*lines*len(line))
	}
	if got := p.wait(); got != exitOK {
		t.Errorf("exit status %d, want %d", got, exitOK)
	}
}

func TestProgram_OutputClosed(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := execute(t, w, "-listen", "tcp://127.0.0.1:0")
	w.Close()
	nc := dial(t, p.endpoints(1)[0])
	io.WriteString(nc, "read\n")
	if got, err := bufio.NewReader(r).ReadString('\n'); got != "read\n" {
		t.Fatalf("got %q, %v", got, err)
	}
	r.Close()
	io.WriteString(nc, "not read\n")
	if got := p.wait(); got != exitFailed {
		t.Errorf("exit status %d, want %d", got, exitFailed)
	}
	p.stderr.await(t, `hythe: nobody reads standard output any more\n`, 1)
	p.stderr.await(t, `lines: 2 taken, 1 written, 1 perhaps not`, 1)
}

func TestProgram_StuckOutputAndSecondSignal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	t.Run("the drain has an end", func(t *testing.T) {
		p := execute(t, w, "-listen", "tcp://127.0.0.1:0", "-drain", "100ms")
		full(t, p.endpoints(1)[0])
		p.stop(exitFailed)
		p.stderr.await(t, `1 cut`, 1)
		p.stderr.await(t, `perhaps not`, 1)
	})
	t.Run("a second signal ends at once", func(t *testing.T) {
		p := execute(t, w, "-listen", "tcp://127.0.0.1:0", "-drain", "1h")
		full(t, p.endpoints(1)[0])
		p.term()
		p.stderr.await(t, `draining, for 1h0m0s at most`, 1)
		p.term() // again
		if got, want := p.wait(), 128+int(syscall.SIGTERM); got != want {
			t.Errorf("exit status %d, want %d", got, want)
		}
	})
}

func TestProgram_Mistakes(t *testing.T) {
	p := execute(t, nil, "-max-line", "-1", "-to", "nowhere")
	if got := p.wait(); got != exitUsage {
		t.Errorf("exit status %d, want %d", got, exitUsage)
	}
	p.stderr.await(t, `-max-line`, 1)
	p.stderr.await(t, `-to`, 1)
}

// Clients that people have, with the commands that hythe prints.
func TestProgram_Clients(t *testing.T) {
	dir := t.TempDir()
	p := execute(t, nil, "-listen", "tcp://127.0.0.1:0", "-listen", "unix://"+dir+"/socket")
	_, port, _ := strings.Cut(p.endpoints(2)[0], "127.0.0.1:")
	for i, test := range []struct{ tool, script, want string }{
		{"nc", `printf 'it is $ME\n' | nc -N 127.0.0.1 $PORT`, "it is ME\n"},
		{"nc", `printf 'it is $ME\n' | nc -N -U $DIR/socket`, "it is ME\n"},
		{"nc", `(printf 'half '; printf 'a line $ME\nno end $ME') | nc -N 127.0.0.1 $PORT`, "half a line ME\nno end ME\n"},
		{"socat", `echo it is $ME | socat - TCP:127.0.0.1:$PORT`, "it is ME\n"},
		{"socat", `echo it is $ME | socat - UNIX-CONNECT:$DIR/socket`, "it is ME\n"},
		{"bash", `echo it is $ME > /dev/tcp/127.0.0.1/$PORT`, "it is ME\n"},
		{"bash", `exec 3<>/dev/tcp/127.0.0.1/$PORT; echo first $ME >&3; echo second $ME >&3`, "first ME\nsecond ME\n"},
	} {
		t.Run(fmt.Sprint(test.tool, i), func(t *testing.T) {
			need(t, test.tool)
			need(t, "bash")
			me := fmt.Sprintf("client %d", i)
			script := strings.NewReplacer("$ME", me, "$PORT", port, "$DIR", dir).Replace(test.script)
			if out, err := exec.Command("bash", "-c", script).CombinedOutput(); err != nil || len(out) > 0 {
				t.Fatalf("%s: %v, %q", script, err, out)
			}
			p.stdout.await(t, `(?m)^`+strings.ReplaceAll(test.want, "ME", me), 1)
		})
	}
	p.stop(exitOK)
}

// need skips the test if a tool is missing, and fails it on a builder.
func need(t *testing.T, tool string) {
	t.Helper()
	_, err := exec.LookPath(tool)
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatalf("%v, and CI is set", err)
	default:
		t.Skip(err)
	}
}
