package main

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hythe-go/hythe/examples/internal/extest"
)

func TestRot13(t *testing.T) {
	c := extest.Dial(t, extest.Start(t, newServer()))
	c.Send("Hello, wörld! 123", "Uryyb")
	c.Expect("Uryyb, jöeyq! 123", "Hello")
}

// The program prints its port, and takes lines there and on the Unix socket.
func TestProgram(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "socket")
	cmd := exec.Command(extest.Build(t), "-listen", "tcp://127.0.0.1:0", "-listen", "unix://"+socket)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr := new(strings.Builder)
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("no port: %v", err)
	}
	for _, at := range [][2]string{{"tcp", "127.0.0.1:" + strings.TrimSpace(port)}, {"unix", socket}} {
		nc, err := net.Dial(at[0], at[1])
		if err != nil {
			t.Fatal(err)
		}
		c := extest.Talk(t, nc)
		c.Send("Uryyb")
		c.Done()
		c.Expect("Hello")
		c.ExpectEnd()
	}
	cmd.Process.Signal(os.Interrupt)
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v; it said:\n%s", err, stderr)
	}
}
