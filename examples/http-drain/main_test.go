package main

import (
	"bufio"
	"net"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/hythe-go/hythe/examples/internal/extest"
)

func TestDrain(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no SIGTERM")
	}
	cmd := exec.Command(extest.Build(t), "-listen", "tcp://127.0.0.1:0", "-patience", "2s")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	said := bufio.NewScanner(stderr)
	hear := func(want string) string {
		t.Helper()
		if !said.Scan() || !strings.Contains(said.Text(), want) {
			t.Fatalf("it said %q, want %q", said.Text(), want)
		}
		return said.Text()
	}
	_, addr, _ := strings.Cut(hear("listening on "), "listening on ")
	at, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(path string) *extest.Client {
		t.Helper()
		c := extest.Dial(t, at)
		c.Send("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r")
		hear("GET " + path)
		return c
	}
	header := func(c *extest.Client) (fields string) {
		t.Helper()
		c.Expect("HTTP/1.1 200 OK")
		for line := c.Line(); line != ""; line = c.Line() {
			fields += line + "\n"
		}
		return fields
	}
	idle := ask("/work")
	if h := header(idle); strings.Contains(h, "close") {
		t.Errorf("before the drain:\n%s", h)
	}
	idle.Expect("done")
	busy, waiting, stuck := ask("/work?for=1s"), ask("/news?for=1h"), ask("/work?for=1h")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	idle.ExpectEnd()
	header(waiting)
	waiting.Expect("no news")
	waiting.ExpectEnd()
	if h := header(busy); !strings.Contains(h, "Connection: close\n") {
		t.Errorf("during the drain:\n%s", h)
	}
	busy.Expect("done")
	busy.ExpectEnd()
	if line, err := bufio.NewReader(stuck).ReadString('\n'); err == nil {
		t.Errorf("the request that never ends was answered %q", line)
	}
	if line := hear("drained in "); !regexp.MustCompile(`drained in 2(\.\d+)?s: 1 idle, 2 finished, 1 cut$`).MatchString(line) {
		t.Error(line)
	}
	hear("cut: connection 4 from 127.0.0.1:")
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("it ended with %v, want 1", err)
	}
}
