package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hythe-go/hythe/examples/internal/extest"
)

// Sockets are bound here and handed over as a service manager does it, LISTEN_PID
// and all. A client that comes before the program runs waits for it.
func TestInherited(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("no shell to be the service manager: ", err)
	}
	program := extest.Build(t)
	for _, test := range []struct {
		name string
		args []string
		env  []string
		want int // how many sockets are listened on
	}{
		{"all", nil, []string{"LISTEN_FDS=2", "LISTEN_FDNAMES=one:two"}, 2},
		{"by name", []string{"-listen", "systemd:one"}, []string{"LISTEN_FDS=2", "LISTEN_FDNAMES=one:two"}, 1},
		{"by number", []string{"-listen", "fd:3"}, nil, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			tcp, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			unix, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
			if err != nil {
				t.Fatal(err)
			}
			early := extest.Dial(t, tcp.Addr())
			early.Send("I came early")

			cmd := exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, program}, test.args...)...)
			cmd.Env = append(os.Environ(), test.env...)
			stderr := new(strings.Builder)
			cmd.Stderr = stderr
			for _, l := range []net.Listener{tcp, unix} {
				f, err := l.(interface{ File() (*os.File, error) }).File()
				if err != nil {
					t.Fatal(err)
				}
				cmd.ExtraFiles = append(cmd.ExtraFiles, f)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill()
			for _, f := range cmd.ExtraFiles {
				f.Close()
			}
			early.Expect("I came early")
			late := extest.Dial(t, tcp.Addr())
			if test.want == 2 {
				late = extest.Dial(t, unix.Addr())
			}
			late.Send("I did not")
			late.Expect("I did not")
			tcp.Close()
			unix.Close()
			cmd.Process.Signal(os.Interrupt)
			if err := cmd.Wait(); err != nil {
				t.Errorf("it ended with %v", err)
			}
			if got := strings.Count(stderr.String(), "listening on "); got != test.want {
				t.Errorf("it listened on %d sockets, want %d:\n%s", got, test.want, stderr)
			}
		})
	}
}
