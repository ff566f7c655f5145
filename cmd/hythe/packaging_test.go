//go:build linux

package main

import (
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
)

func TestPackaging_Configurations(t *testing.T) {
	for _, name := range []string{"hythe.toml", "container.toml"} {
		if _, err := config.Load(filepath.Join("packaging", name)); err != nil {
			t.Error(err)
		}
	}
	// What is commented out is right, too, but for the files that it names.
	b, err := os.ReadFile("packaging/hythe.toml")
	if err != nil {
		t.Fatal(err)
	}
	all := regexp.MustCompile(`(?m)^#(\[|[a-z_]+ = )`).ReplaceAll(b, []byte("$1"))
	_, err = config.Parse("all", all)
	if err == nil || !bytes.Contains(all, []byte("\n[output.center]")) {
		t.Fatal("nothing was commented out")
	}
	for line := range strings.Lines(err.Error()) {
		if !strings.Contains(line, "no such file") {
			t.Error(line)
		}
	}
}

// What TestMain has built, with the Dockerfile's command, runs without any library.
func TestPackaging_StaticProgram(t *testing.T) {
	b, err := os.ReadFile("packaging/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, []byte("RUN CGO_ENABLED=0 go build -trimpath -o /out/hythe .")) {
		t.Error("the Dockerfile builds in another way than TestMain")
	}
	f, err := elf.Open(built)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if libs, err := f.ImportedLibraries(); len(libs) > 0 {
		t.Errorf("it needs %v, %v", libs, err)
	}
}

func TestPackaging_UnitIsValid(t *testing.T) {
	need(t, "systemd-analyze")
	dir := t.TempDir()
	for _, name := range []string{"hythe.service", "hythe.socket"} {
		b, err := os.ReadFile(filepath.Join("packaging", name))
		if err != nil {
			t.Fatal(err)
		}
		write(t, dir, name, strings.ReplaceAll(string(b), "/usr/local/bin/hythe", built))
	}
	out, err := exec.Command("systemd-analyze", "verify", filepath.Join(dir, "hythe.service"), filepath.Join(dir, "hythe.socket")).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("hythe.s")) {
		t.Errorf("%v\n%s", err, out)
	}
}

// systemd passes sockets under names, from descriptor 3 on.
func TestSystemd_SocketActivation(t *testing.T) {
	need(t, "bash")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := execute(t, t.TempDir(), func(c *exec.Cmd) {
		c.Args = append([]string{"bash", "-c", `export LISTEN_PID=$$; exec "$0" "$@"`, built}, c.Args[1:]...)
		c.Path, c.Err = exec.LookPath("bash")
		c.ExtraFiles = []*os.File{f}
		c.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES=lines")
	}, "run", "-listen", "systemd:lines", "-admin", "off")
	p.stderr.await(t, `lines +tcp://`+l.Addr().String(), 1)
	say(t, l.Addr().String(), "through a socket that was passed\n")
	p.stdout.await(t, `^through a socket that was passed\n$`, 1)
	p.stop(exitOK)
}

func TestSystemd_Notifications(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.SetReadDeadline(time.Now().Add(patience))
	conf := write(t, dir, "c.toml", "data = \"d\"\nadmin.listen = \"off\"\ninput.in.listen = [\"tcp://"+freePort(t)+"\"]\n"+
		"output.out.to = \"stdout:\"\nroute.all.to = [\"out\"]\n")
	p := execute(t, dir, func(c *exec.Cmd) {
		c.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=2000000")
	}, "run", "-config", conf)
	next := func(want string) string {
		t.Helper()
		for {
			var b [256]byte
			n, err := l.Read(b[:])
			if err != nil {
				t.Fatalf("%s did not come: %v\n%s", want, err, &p.stderr)
			}
			if got := string(b[:n]); strings.HasPrefix(got, want) {
				return got
			} else if got != "WATCHDOG=1" {
				t.Fatalf("got %q, want %s", got, want)
			}
		}
	}
	next("READY=1")
	next("WATCHDOG=1")
	p.signal(syscall.SIGHUP)
	if got := next("RELOADING=1"); !strings.Contains(got, "\nMONOTONIC_USEC=") {
		t.Errorf("%q", got)
	}
	next("READY=1")
	write(t, dir, "c.toml", "nonsense")
	p.signal(syscall.SIGHUP)
	next("RELOADING=1")
	next("READY=1") // with the old configuration
	p.signal(syscall.SIGTERM)
	next("STOPPING=1")
	p.ends(exitOK)
}

// top in a terminal redraws, and ends with q.
func TestTop_InATerminal(t *testing.T) {
	need(t, "script")
	dir, in, admin := t.TempDir(), freePort(t), freePort(t)
	p := serve(t, dir, "-listen", "tcp://"+in, "-admin", "tcp://"+admin)
	cmd := exec.Command("script", "-qec", "stty rows 20 cols 60; exec "+built+" top -every 100ms -admin tcp://"+admin, "/dev/null")
	keys, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var screen transcript
	cmd.Stdout, cmd.Stderr = &screen, &screen
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	screen.await(t, `\x1b\[\?1049h`, 1)
	say(t, in, "a\nb\n")
	screen.await(t, `lines +frames +\d+ +2 `, 1)
	screen.await(t, `\x1b\[H`, 3)
	io.WriteString(keys, "q")
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Errorf("%v\n%s", err, &screen)
		}
	case <-time.After(patience):
		cmd.Process.Kill()
		t.Fatalf("q does not end it:\n%q", screen.String())
	}
	screen.await(t, `\x1b\[\?1049l`, 1)
	p.stop(exitOK)
}
