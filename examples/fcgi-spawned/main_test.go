package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hythe-go/hythe/examples/internal/extest"
	"github.com/hythe-go/hythe/examples/internal/webserver"
)

// The socket is bound here and handed over as a web server does it.
func TestSpawned(t *testing.T) {
	program := extest.Build(t)
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command(program)
	cmd.Stdin = f
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	got, errs := webserver.Ask(t, l.Addr(), webserver.Request{Role: 1, Env: []string{"REQUEST_URI", "/x"}}, nil)
	if !strings.HasSuffix(got, fmt.Sprintf("\r\n\r\nhello from process %d\n", cmd.Process.Pid)) {
		t.Errorf("got %q", got)
	}
	if !strings.Contains(errs, "level=INFO msg=asked path=/x\n") {
		t.Errorf("the web server's log gets %q", errs)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

func TestAsCGI(t *testing.T) {
	cmd := exec.Command(extest.Build(t))
	cmd.Env = append(os.Environ(), "REQUEST_METHOD=GET", "REQUEST_URI=/x", "SERVER_PROTOCOL=HTTP/1.1")
	out, err := cmd.Output()
	if err != nil || !strings.Contains(string(out), "hello from process") {
		t.Errorf("got %q, %v", out, err)
	}
}
