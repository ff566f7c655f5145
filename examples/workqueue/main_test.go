package main

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/hythe-go/hythe/examples/internal/extest"
	"github.com/hythe-go/hythe/spool"
)

// A job that fails is not lost, and is done before the others next time.
func TestWork(t *testing.T) {
	queue, err := spool.Open(t.TempDir(), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer queue.Close()
	client := extest.Dial(t, extest.Start(t, newServer(queue)))
	client.Send("wash", "brush", "comb")
	client.Expect("queued 1", "queued 2", "queued 3")

	var done []string
	broken := errors.New("the brush is broken")
	do := func(_ context.Context, job string) error {
		if job == "brush" && broken != nil {
			return broken
		}
		done = append(done, job)
		if job == "comb" {
			return context.Canceled
		}
		return nil
	}
	if err := work(t.Context(), queue, do); err != broken {
		t.Errorf("work = %v", err)
	}
	broken = nil
	if err := work(t.Context(), queue, do); err != context.Canceled {
		t.Errorf("work = %v", err)
	}
	if want := []string{"wash", "brush", "comb"}; !slices.Equal(done, want) {
		t.Errorf("done are %q, want %q", done, want)
	}
}

// The program is killed at its work, and does it when it is started again.
func TestKilled(t *testing.T) {
	program, dir := extest.Build(t), t.TempDir()
	start := func(takes string) (cmd *exec.Cmd, addr string, out *bufio.Scanner) {
		cmd = exec.Command(program, "-listen", "tcp://127.0.0.1:0", "-dir", dir, "-takes", takes)
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
		})
		line, err := bufio.NewReader(stderr).ReadString('\n')
		_, addr, ok := strings.Cut(strings.TrimSpace(line), "listening on ")
		if !ok {
			t.Fatalf("it said %q, %v", line, err)
		}
		return cmd, addr, bufio.NewScanner(stdout)
	}
	cmd, addr, _ := start("1h")
	at, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	client := extest.Dial(t, at)
	client.Send("wash", "brush")
	client.Expect("queued 1", "queued 2")
	cmd.Process.Kill()
	cmd.Wait()

	_, _, out := start("1ms")
	for _, want := range []string{"done: wash", "done: brush"} {
		if !out.Scan() || out.Text() != want {
			t.Errorf("it said %q, want %q", out.Text(), want)
		}
	}
}
