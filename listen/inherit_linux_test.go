package listen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestPassedFDs(t *testing.T) {
	for _, tt := range []struct {
		pid, fds, names string
		want            []passedFD
		err             string
	}{
		{"7", "2", "web:admin", []passedFD{{3, "web"}, {4, "admin"}}, ""},
		{"7", "2", "", []passedFD{{3, "unknown"}, {4, "unknown"}}, ""},
		{"7", "2", "web:", []passedFD{{3, "web"}, {4, "unknown"}}, ""},
		{"", "1", "tcp%3A//%3A80", []passedFD{{3, "tcp%3A//%3A80"}}, ""},
		{"7", "0", "", []passedFD{}, ""},
		{"8", "1", "web", nil, "for another process"},
		{"x", "1", "web", nil, "not the number of a process"},
		{"-7", "1", "web", nil, "not the number of a process"},
		{"7", "", "", nil, "LISTEN_FDS is not set"},
		{"7", "-1", "", nil, "not a number of descriptors"},
		{"7", "many", "", nil, "not a number of descriptors"},
		{"7", "2", "web", nil, "1 names for 2 descriptors"},
	} {
		env := map[string]string{envPID: tt.pid, envFDs: tt.fds, envNames: tt.names}
		got, err := passedFDs(func(k string) string { return env[k] }, 7)
		if tt.err == "" && (err != nil || !slices.Equal(got, tt.want)) || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%v: %v, %v; want %v, %s", env, got, err, tt.want, tt.err)
		}
	}
}

// rawFD returns a descriptor of l that no os.File knows.
func rawFD(t testing.TB, l *Listener) int {
	t.Helper()
	return onFD(t, l, unix.Dup)
}

func TestInheritChecks(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	udp, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		for _, fd := range []int{pair[0], pair[1], null, udp} {
			unix.Close(fd)
		}
	}()
	for _, tt := range []struct {
		fd   int
		want string
	}{
		{null, "is not a socket"},
		{udp, "is not a stream socket"},
		{pair[0], "does not listen"},
		{1 << 20, "is not open"},
	} {
		_, err := Listen(t.Context(), fmt.Sprintf("fd:%d", tt.fd))
		var de *DescriptorError
		if !errors.As(err, &de) || de.FD != tt.fd || !strings.Contains(de.Error(), tt.want) {
			t.Errorf("descriptor %d: %v; want %q", tt.fd, err, tt.want)
		}
	}
}

// An inherited descriptor is taken when all went well, and left alone otherwise.
func TestInheritIsAllOrNothing(t *testing.T) {
	first := mustListen(t, nil, "tcp://127.0.0.1:0")[0]
	fd := rawFD(t, first)
	endpoint := fmt.Sprintf("fd:%d", fd)
	if _, err := Listen(t.Context(), endpoint, "mem:x"); err == nil {
		t.Fatal("no error")
	}
	if _, err := Listen(t.Context(), endpoint, endpoint); err == nil || !strings.Contains(err.Error(), "taken by another") {
		t.Errorf("twice: %v", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
		t.Fatalf("after the failures: %v", err)
	}
	l := mustListen(t, nil, endpoint)[0]
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
		t.Errorf("after success: %v; want EBADF", err)
	}
	if !l.CanAcceptFD() || l.Addr().String() != first.Addr().String() {
		t.Errorf("inherited %v, CanAcceptFD %v; want %v", l.Addr(), l.CanAcceptFD(), first.Addr())
	}
	first.Close()
	ch := startAccept(l)
	dial(t, l.Addr())
	mustAccept(t, ch)
}

func TestSystemdErrors(t *testing.T) {
	c := &Config{Getenv: func(k string) string { return map[string]string{envFDs: "0"}[k] }}
	if _, err := c.Listen(t.Context(), "systemd:web"); err == nil || !strings.Contains(err.Error(), "no descriptor has that name") {
		t.Errorf("unknown name: %v", err)
	}
	c.Getenv = func(string) string { return "" }
	if _, err := c.Listen(t.Context(), "systemd:web"); err == nil || !strings.Contains(err.Error(), "LISTEN_FDS is not set") {
		t.Errorf("nothing passed: %v", err)
	}
}

// greet makes the child say its name on every listener, once.
func greet(ls []*Listener) error {
	for _, l := range ls {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		fmt.Fprintf(c, "%s", l.Endpoint())
		c.Close()
	}
	closeAll(ls)
	return nil
}

func greeting(t testing.TB, a net.Addr) string {
	t.Helper()
	b, err := io.ReadAll(dial(t, a))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func init() {
	children["systemd"] = func() error {
		c := Config{UnsetEnv: true}
		ls, err := c.Listen(context.Background(), "systemd:admin", "systemd:web")
		if err != nil {
			return err
		}
		if os.Getenv(envFDs)+os.Getenv(envPID)+os.Getenv(envNames) != "" {
			return errors.New("the environment is still set")
		}
		return greet(ls)
	}
	children["stdin"] = func() error {
		ls, err := Listen(context.Background(), "fd:0")
		if err != nil {
			return err
		}
		if _, err := os.Stdin.Read(make([]byte, 1)); err != io.EOF {
			return fmt.Errorf("reading the standard input: %v; want EOF", err)
		}
		return greet(ls)
	}
	children["successor"] = func() error {
		c := Config{Inherit: true}
		ls, err := c.Listen(context.Background(), strings.Fields(os.Getenv("LISTEN_TEST_ENDPOINTS"))...)
		if err != nil {
			return err
		}
		return greet(ls)
	}
}

// As a service manager does it, LISTEN_PID and all.
func TestSystemdActivation(t *testing.T) {
	web := mustListen(t, nil, "tcp://127.0.0.1:0")[0]
	admin := mustListen(t, nil, "unix://"+t.TempDir()+"/s")[0]
	cmd := child(t, "systemd", "LISTEN_FDS=2", "LISTEN_FDNAMES=web:admin")
	cmd.Args = []string{"sh", "-c", `LISTEN_PID=$$ exec "$0"`, cmd.Path}
	cmd.Path = "/bin/sh"
	for _, l := range []*Listener{web, admin} {
		f, err := l.File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if got := greeting(t, admin.Addr()); got != "systemd:admin" {
		t.Errorf("admin says %q", got)
	}
	if got := greeting(t, web.Addr()); got != "systemd:web" {
		t.Errorf("web says %q", got)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("child: %v: %s", err, &out)
	}
	if !exists(admin.Addr().String()) {
		t.Error("the child removed a path it had not made")
	}
}

func TestInheritStdin(t *testing.T) {
	l := mustListen(t, nil, "tcp://127.0.0.1:0")[0]
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := child(t, "stdin")
	cmd.Stdin = f
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if got := greeting(t, l.Addr()); got != "fd:0" {
		t.Errorf("child says %q", got)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("child: %v: %s", err, &out)
	}
}

// A predecessor hands everything over to a successor with the same endpoints.
func TestExport(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	endpoints := []string{"tcp://127.0.0.1:0?backlog=9", "unix://" + path + "?mode=0600", "tcp://localhost:0?bind=any"}
	ls := mustListen(t, nil, endpoints...)
	files, env, err := Export(ls)
	if err != nil {
		t.Fatal(err)
	}
	cmd := child(t, "successor", append(env, "LISTEN_TEST_ENDPOINTS="+strings.Join(endpoints, " "))...)
	cmd.ExtraFiles = files
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		f.Close()
	}
	// The sockets are still non-blocking, or Pause and Close would hang.
	for _, l := range ls {
		flags := onFD(t, l, func(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0) })
		if flags&unix.O_NONBLOCK == 0 {
			t.Errorf("%v blocks after Export", l.Endpoint())
		}
	}
	addrs := make([]net.Addr, len(ls))
	for i, l := range ls {
		addrs[i] = l.Addr()
		l.SetUnlinkOnClose(false)
		l.Close()
	}
	for i, a := range addrs {
		if got, want := greeting(t, a), ls[i].Endpoint().String(); got != want {
			t.Errorf("at %v: %q; want %q", a, got, want)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("child: %v: %s", err, &out)
	}
	if exists(path) {
		t.Error("the successor did not remove the path")
	}
}

func TestExportWithoutDescriptor(t *testing.T) {
	l := Wrap(newScripted())
	defer l.Close()
	if files, _, err := Export([]*Listener{mustListen(t, nil, "tcp://127.0.0.1:0")[0], l}); !errors.Is(err, errors.ErrUnsupported) || files != nil {
		t.Errorf("%v, %v; want ErrUnsupported", files, err)
	}
}
