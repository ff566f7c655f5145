package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The options that notice a dead peer are on the socket, with their defaults and
// with others.
func TestTCP_SocketOptions(t *testing.T) {
	e := startEcho(t, "tcp", "127.0.0.1:0")
	for _, test := range []struct {
		name                              string
		d                                 Dialer
		user, on, idle, interval, counter int
	}{
		{"default", Dialer{}, 30_000, 1, 15, 5, 3},
		{"chosen", Dialer{UserTimeout: 2 * time.Second, KeepAlive: net.KeepAliveConfig{Enable: true,
			Idle: 7 * time.Second, Interval: 3 * time.Second, Count: 9}}, 2000, 1, 7, 3, 9},
		{"off", Dialer{UserTimeout: -1, KeepAlive: net.KeepAliveConfig{Idle: -1}}, 0, 0, -1, -1, -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := closing(t, &Link[net.Conn]{Dial: test.d.TCP, Endpoints: []string{e.ln.Addr().String()}})
			c, err := l.Get(within(t))
			if err != nil {
				t.Fatal(err)
			}
			raw, err := c.(*conn).NetConn().(*net.TCPConn).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range []struct {
				name             string
				level, opt, want int
			}{
				{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, test.user},
				{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, test.on},
				{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, test.idle},
				{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, test.interval},
				{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, test.counter},
			} {
				if o.want < 0 {
					continue
				}
				var got int
				cerr := raw.Control(func(fd uintptr) { got, err = unix.GetsockoptInt(int(fd), o.level, o.opt) })
				if err := errors.Join(cerr, err); err != nil || got != o.want {
					t.Errorf("%s = %d, %v; want %d", o.name, got, err, o.want)
				}
			}
		})
	}
}

// A peer that vanishes, its cable pulled with data on the way, is noticed within
// the user timeout. Two network namespaces and a veth pair stand for the two
// machines and the cable. The test runs itself in them: see halfOpenChild.
func TestTCP_HalfOpenPeerIsNoticed(t *testing.T) {
	if os.Getenv("LINK_HALF_OPEN") != "" {
		halfOpenChild(t)
		return
	}
	if _, err := exec.LookPath("ip"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("there is no ip command: ", err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestTCP_HalfOpenPeerIsNoticed$", "-test.v", "-test.timeout=50s")
	cmd.Env = append(os.Environ(), "LINK_HALF_OPEN=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit):
		t.Skip("a network namespace is not allowed here: ", err)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("in the namespace:\n%s", out)
	case err != nil:
		t.Fatalf("in the namespace: %v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// halfOpenChild is the test, inside a user and network namespace of its own.
func halfOpenChild(t *testing.T) {
	const limit = 2 * time.Second
	ip := func(args string) {
		t.Helper()
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Skipf("ip %s: %v\n%s", args, err, out)
		}
	}
	ip("link set lo up")
	ip("link add here type veth peer name there")
	ip("addr add 10.99.0.1/24 dev here")
	ip("link set here up")

	// The server's machine: a thread in a namespace of its own, where its socket
	// is made and stays.
	thread := make(chan int)
	up := make(chan struct{})
	listening := make(chan net.Listener)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Log("unshare: ", err)
			close(thread)
			return
		}
		thread <- unix.Gettid()
		<-up
		for _, args := range []string{"addr add 10.99.0.2/24 dev there", "link set there up"} {
			if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
				t.Logf("ip %s: %v\n%s", args, err, out)
			}
		}
		ln, err := net.Listen("tcp", "10.99.0.2:7000")
		if err != nil {
			t.Log(err)
			close(listening)
			return
		}
		listening <- ln
	}()
	tid, ok := <-thread
	if !ok {
		t.Skip("a second network namespace is not allowed here")
	}
	ip(fmt.Sprintf("link set there netns /proc/%d/task/%d/ns/net", os.Getpid(), tid))
	close(up)
	ln, ok := <-listening
	if !ok {
		t.Fatal("no listener on the other side")
	}
	serveEcho(t, ln)

	d := &Dialer{UserTimeout: limit}
	l := closing(t, &Link[net.Conn]{Dial: d.TCP, Endpoints: []string{"10.99.0.2:7000"}})
	noticed := make(chan error, 1)
	l.Subscribe(&Funcs[net.Conn]{OnDisconnected: func(err error) { noticed <- err }})
	c, err := l.Get(within(t))
	if err != nil {
		t.Fatal(err)
	}
	say(t, c)
	ip("link set here down")
	began := time.Now()
	go io.Copy(io.Discard, c) // somebody reads
	if _, err := c.Write([]byte("on the way")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*limit)
	defer cancel()
	select {
	case err := <-noticed:
		took := time.Since(began)
		t.Logf("noticed after %v: %v", took.Round(time.Millisecond), err)
		if !errors.Is(err, unix.ETIMEDOUT) && !errors.Is(err, unix.EHOSTUNREACH) && !errors.Is(err, unix.ENETUNREACH) {
			t.Errorf("the cause is %v", err)
		}
	case <-ctx.Done():
		t.Errorf("not noticed after %v, with a user timeout of %v", 3*limit, limit)
	}
}
