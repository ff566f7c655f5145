package listen

import (
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// noSuchHost does not resolve, as RFC 6761 section 6.4 demands.
const noSuchHost = "no-such-host.invalid"

// onFD returns what f says about the listener's descriptor.
func onFD[T any](t testing.TB, l *Listener, f func(fd int) (T, error)) T {
	t.Helper()
	file, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	v, err := f(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func sockopt(level, opt int) func(fd int) (int, error) {
	return func(fd int) (int, error) { return unix.GetsockoptInt(fd, level, opt) }
}

func port(l *Listener) int { return l.Addr().(*net.TCPAddr).Port }

func TestListenTCP(t *testing.T) {
	l := mustListen(t, nil, "tcp://127.0.0.1:0")[0]
	if port(l) == 0 {
		t.Error("the address before the first accept has no port")
	}
	ch := startAccept(l)
	dial(t, l.Addr())
	mustAccept(t, ch)

	flags := onFD(t, l, func(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0) })
	if flags&unix.O_NONBLOCK == 0 {
		t.Error("the socket blocks")
	}
	cloexec := 0
	rc, _ := l.sock.ln.(*net.TCPListener).SyscallConn()
	rc.Control(func(fd uintptr) { cloexec, _ = unix.FcntlInt(fd, unix.F_GETFD, 0) })
	if cloexec&unix.FD_CLOEXEC == 0 {
		t.Error("children inherit the socket")
	}
}

func TestListenOptions(t *testing.T) {
	for _, tt := range []struct {
		query      string
		level, opt int
		want       bool
	}{
		{"", unix.SOL_SOCKET, unix.SO_REUSEADDR, true},
		{"?reuseaddr=no", unix.SOL_SOCKET, unix.SO_REUSEADDR, false},
		{"", unix.SOL_SOCKET, unix.SO_REUSEPORT, false},
		{"?reuseport=yes", unix.SOL_SOCKET, unix.SO_REUSEPORT, true},
		{"", unix.IPPROTO_TCP, unix.TCP_NODELAY, true},
		{"", unix.SOL_SOCKET, unix.SO_KEEPALIVE, true},
	} {
		l := mustListen(t, nil, "tcp://127.0.0.1:0"+tt.query)[0]
		if got := onFD(t, l, sockopt(tt.level, tt.opt)) != 0; got != tt.want {
			t.Errorf("%s: option %d of level %d is %v; want %v", l.Endpoint(), tt.opt, tt.level, got, tt.want)
		}
	}
}

func TestListenReusePort(t *testing.T) {
	l := mustListen(t, nil, "tcp://127.0.0.1:0?reuseport=yes")[0]
	e := l.Endpoint()
	e.Service = strings.TrimPrefix(l.Addr().String(), "127.0.0.1:")
	mustListen(t, nil, e.String())
}

// TCP_INFO of a listening socket has the length of the queue in tcpi_unacked and
// its limit in tcpi_sacked.
func TestListenBacklog(t *testing.T) {
	for query, want := range map[string]uint32{"": uint32(maxBacklog()), "?backlog=7": 7} {
		l := mustListen(t, nil, "tcp://127.0.0.1:0"+query)[0]
		info := onFD(t, l, func(fd int) (*unix.TCPInfo, error) {
			return unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		})
		if info.Sacked != want {
			t.Errorf("%q: backlog %d; want %d", query, info.Sacked, want)
		}
	}
}

func TestListenBacklogLowered(t *testing.T) {
	var told []*Error
	c := &Config{OnAttempt: func(e *Error) { told = append(told, e) }}
	mustListen(t, c, "tcp://127.0.0.1:0?backlog=2000000000")
	if len(told) != 1 || told[0].Op != "listen" || !strings.Contains(told[0].Error(), "lowers the backlog") {
		t.Errorf("told %v", told)
	}
}

func TestListenWildcard(t *testing.T) {
	needIPv6(t)
	for _, tt := range []struct {
		endpoint string
		want     []string
		v6only   []int
	}{
		{"tcp://:0", []string{"[::]"}, []int{0}},
		{"tcp4://:0", []string{"0.0.0.0"}, []int{-1}},
		{"tcp6://:0", []string{"[::]"}, []int{1}},
		{"tcp6://:0?v6only=no", []string{"[::]"}, []int{0}},
		{"tcp://:0?v6only=yes", []string{"0.0.0.0", "[::]"}, []int{-1, 1}},
		{"tcp://[::]:0", []string{"[::]"}, []int{1}},
		{"tcp://[::ffff:127.0.0.1]:0", []string{"127.0.0.1"}, []int{-1}},
	} {
		ls := mustListen(t, nil, tt.endpoint)
		if len(ls) != len(tt.want) {
			t.Errorf("%s: %d listeners; want %v", tt.endpoint, len(ls), tt.want)
			continue
		}
		for i, l := range ls {
			if a := l.Addr().String(); !strings.HasPrefix(a, tt.want[i]+":") {
				t.Errorf("%s: listener %d on %s; want %s", tt.endpoint, i, a, tt.want[i])
			}
			if port(l) != port(ls[0]) {
				t.Errorf("%s: ports differ: %v and %v", tt.endpoint, l.Addr(), ls[0].Addr())
			}
			if tt.v6only[i] < 0 {
				continue
			}
			if got := onFD(t, l, sockopt(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)); got != tt.v6only[i] {
				t.Errorf("%s: V6ONLY %d; want %d", tt.endpoint, got, tt.v6only[i])
			}
		}
	}
}

func TestListenZone(t *testing.T) {
	ifis, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, ifi := range ifis {
		addrs, _ := ifi.Addrs()
		for _, a := range addrs {
			if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() == nil && ip.IP.IsLinkLocalUnicast() {
				l := mustListen(t, nil, "tcp://["+ip.IP.String()+"%"+ifi.Name+"]:0")[0]
				ch := startAccept(l)
				dial(t, l.Addr())
				mustAccept(t, ch)
				return
			}
		}
	}
	t.Skip("no link-local IPv6 address here")
}

// fail returns a fault that gives errno to op on addresses that contain part.
func fail(op, part string, errno syscall.Errno) func(string, net.Addr) error {
	return func(o string, a net.Addr) error {
		if o == op && strings.Contains(a.String(), part) {
			return errno
		}
		return nil
	}
}

func TestBindPolicies(t *testing.T) {
	needIPv6(t)
	for _, tt := range []struct {
		policy BindPolicy
		query  string
		part   string // of the addresses that fail
		want   []string
	}{
		{0, "", "none", []string{"0.0.0.0", "[::]"}},
		{0, "", "0.0.0.0", nil},
		{BindAll, "", "[::]", nil},
		{BindAny, "", "[::]", []string{"0.0.0.0"}},
		{BindAny, "", "0.0.0.0", []string{"[::]"}},
		{BindAny, "", ":", nil},
		{BindFirst, "", "none", []string{"0.0.0.0"}},
		{BindFirst, "", "0.0.0.0", []string{"[::]"}},
		{BindFirst, "", ":", nil},
		{BindAll, "&bind=any", "[::]", []string{"0.0.0.0"}},
	} {
		for _, op := range []string{"socket", "setsockopt", "bind", "listen"} {
			var told []*Error
			c := &Config{Bind: tt.policy, OnAttempt: func(e *Error) { told = append(told, e) },
				fault: fail(op, tt.part, syscall.EACCES)}
			endpoint := "tcp://:0?v6only=yes" + tt.query
			ls, err := c.Listen(t.Context(), endpoint)
			closeAll(ls)
			if len(ls) != len(tt.want) || (err != nil) != (tt.want == nil) {
				t.Errorf("%v%s, %s fails on %s: %d listeners, %v", tt.policy, tt.query, op, tt.part, len(ls), err)
				continue
			}
			for i, l := range ls {
				if !strings.HasPrefix(l.Addr().String(), tt.want[i]) {
					t.Errorf("%v: listener %d on %v; want %s", tt.policy, i, l.Addr(), tt.want[i])
				}
			}
			if tt.part == "none" {
				continue
			}
			if len(told) == 0 || told[0].Op != op || told[0].Addr == nil || !errors.Is(told[0], syscall.EACCES) {
				t.Errorf("%v, %s fails: told %v", tt.policy, op, told)
			}
			if tt.part == ":" && len(told) != 2 {
				t.Errorf("%v, %s fails twice: told %v", tt.policy, op, told)
			}
		}
	}
}

// The port that is free on the first address may be taken on the second.
func TestListenPortZeroSearches(t *testing.T) {
	needIPv6(t)
	for _, taken := range []int{3, 1000} {
		var ports []int
		c := &Config{fault: func(op string, a net.Addr) error {
			if tcp := a.(*net.TCPAddr); op == "bind" && tcp.IP.To4() == nil {
				if ports = append(ports, tcp.Port); len(ports) <= taken {
					return syscall.EADDRINUSE
				}
			}
			return nil
		}}
		ls, err := c.Listen(t.Context(), "tcp://:0?v6only=yes")
		closeAll(ls)
		if taken == 1000 {
			if !errors.Is(err, syscall.EADDRINUSE) || len(ports) != portZeroTries {
				t.Errorf("all taken: %v after %d tries", err, len(ports))
			}
		} else if err != nil || len(ls) != 2 || port(ls[0]) != port(ls[1]) {
			t.Errorf("three taken: %v, %v", ls, err)
		}
		if slices.Contains(ports, 0) {
			t.Errorf("ports tried on the second address: %v", ports)
		}
	}
}

func openFDs(t testing.TB) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

// When a later endpoint fails, nothing of the earlier ones stays.
func TestListenLeaksNothing(t *testing.T) {
	dir := t.TempDir()
	busy := mustListen(t, nil, "tcp://127.0.0.1:0")[0]
	before := openFDs(t)
	var log strings.Builder
	c := &Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}
	_, err := c.Listen(t.Context(), "unix://"+dir+"/a", "tcp://127.0.0.1:0", "tcp://"+busy.Addr().String(),
		"tcp://"+noSuchHost+":80", "tcp://localhost:nosuchservice", "mem:x", "unix://"+dir+"/no/b")
	if err == nil {
		t.Fatal("no error")
	}
	var le *Error
	var se *os.SyscallError
	var de *net.DNSError
	if !errors.As(err, &le) || le.Addr.String() != busy.Addr().String() || !errors.As(err, &se) || !errors.As(err, &de) ||
		!errors.Is(err, syscall.EADDRINUSE) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("not all found in: %v", err)
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 5 || strings.Count(log.String(), "\n") != 5 {
		t.Errorf("%d lines of error, want 5:\n%v\nlog:\n%v", len(lines), err, log.String())
	}
	if after := openFDs(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestListenRefuses(t *testing.T) {
	if _, err := Listen(t.Context()); err == nil {
		t.Error("no endpoint: no error")
	}
	_, err := Listen(t.Context(), "tcp://x", "unix:")
	if err == nil || strings.Count(err.Error(), "endpoint") != 2 {
		t.Errorf("two bad endpoints: %v", err)
	}
	if _, err := new(Config).ListenEndpoints(t.Context(), Endpoint{Scheme: "tcp"}); err == nil {
		t.Error("bad value: no error")
	}
}

type memNet struct {
	mu    sync.Mutex
	names []string
}

func (m *memNet) Listen(name string) (net.Listener, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.Contains(m.names, name) {
		return nil, os.NewSyscallError("bind", syscall.EADDRINUSE)
	}
	m.names = append(m.names, name)
	return newScripted(), nil
}

func TestListenMem(t *testing.T) {
	c := &Config{Mem: new(memNet)}
	l := mustListen(t, c, "mem:a")[0]
	if l.Endpoint().Name != "a" {
		t.Errorf("endpoint %v", l.Endpoint())
	}
	if _, err := c.Listen(t.Context(), "mem:a"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("again: %v", err)
	}
	if _, err := l.File(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("File: %v", err)
	}
	if _, _, err := l.AcceptFD(nil, nil); !errors.Is(err, errors.ErrUnsupported) || l.CanAcceptFD() {
		t.Errorf("AcceptFD: %v", err)
	}
}
