package extest_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// own are the examples whose main needs more than -listen, and is run by tests
// of their own.
var own = map[string]bool{
	"fcgi-client":    true,
	"latesubscriber": true,
	"linkwrap":       true,
	"reconnect":      true,
	"starttls":       true,
	"tls":            true,
}

// Every example's main listens where it is told to, and ends in peace when it is
// interrupted.
func TestMains(t *testing.T) {
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", dir, "./...")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	programs, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range programs {
		name := program.Name()
		if own[strings.TrimSuffix(name, ".exe")] {
			continue
		}
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(filepath.Join(dir, name), "-listen", "tcp://127.0.0.1:0")
			stderr, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill()
			line, err := bufio.NewReader(stderr).ReadString('\n')
			if err != nil || !strings.Contains(line, "listening on 127.0.0.1:") {
				t.Errorf("it said %q, %v; want where it listens", line, err)
			}
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}
