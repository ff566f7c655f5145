package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/hythe-go/hythe/bench/internal/child"
)

// A generator is the clients of one slice. One goroutine does everything.
type generator struct {
	job     *job
	to      unix.Sockaddr
	family  int
	epfd    int
	clients []client
	opened  int          // connections ever
	unit    uint64       // bytes of a line, or of a request
	request []byte       // nil: lines
	answer  answerParser // of requests

	began    int64 // the present flow
	feeding  bool  // an answer is followed by another line
	waiting  int   // lines that are not answered yet
	lines    int64 // answered, but for blockers'
	lastLine int64 // when the last of them was
	progress int64 // when anything last came
	latency  histogram

	buf [256 << 10]byte
	evs [512]unix.EpollEvent
}

// lineBytes is the length of a line, its newline included.
const lineBytes = 64

// A client is one connection. What was sent and has not come back is kept in a
// ring of depth lines. A request counts as a line, and so do its bytes once its
// answer has come.
type client struct {
	index  int
	fd     int // 0: none
	blocks bool
	hup    bool // the server has finished sending
	ended  bool // and modeDrain has seen it
	opened int64
	depth  uint64
	made   uint64 // lines written into the ring, ever
	done   uint64 // lines that came back whole
	sent   uint64 // bytes that the kernel has taken
	got    uint64 // bytes that came back, compared
	ring   []byte
	since  []int64 // by place in the ring: from when the line counts
	part   []byte  // of an answer to a request

	owed      int   // paced lines that wait for the last answer
	owedSince int64 // when the first of them was due
}

func newGenerator(j *job) (*generator, error) {
	g := &generator{job: j, progress: child.Clock(), unit: lineBytes}
	if err := g.ask(); err != nil {
		return nil, err
	}
	switch j.Network {
	case "tcp":
		a, err := netip.ParseAddrPort(j.Addr)
		if err != nil {
			return nil, err
		}
		g.family, g.to = unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	case "unix":
		g.family, g.to = unix.AF_UNIX, &unix.SockaddrUnix{Name: j.Addr}
	default:
		return nil, fmt.Errorf("load: unknown network %q", j.Network)
	}
	var err error
	g.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	return g, os.NewSyscallError("epoll_create1", err)
}

// close ends what is left. It may be called twice.
func (g *generator) close() {
	for i := range g.clients {
		g.hangUp(&g.clients[i])
	}
	if g.epfd >= 0 {
		unix.Close(g.epfd)
		g.epfd = -1
	}
}

// connect makes n connections.
func (g *generator) connect(n int) error {
	g.clients = make([]client, n)
	for i := range g.clients {
		if err := g.open(i); err != nil {
			return err
		}
	}
	return nil
}

// open makes connection i.
func (g *generator) open(i int) error {
	c := &g.clients[i]
	if c.ring == nil {
		c.index, c.depth = i, uint64(g.job.Depth)
		c.since = make([]int64, c.depth)
		if g.request != nil {
			c.ring = bytes.Repeat(g.request, g.job.Depth)
		} else {
			c.ring = make([]byte, c.depth*lineBytes)
			for k := range c.ring {
				c.ring[k] = 'a' + byte((k*7+k/lineBytes+i*3)%26)
			}
		}
	}
	c.made, c.done, c.sent, c.got, c.owed, c.hup = 0, 0, 0, 0, 0, false
	c.part = c.part[:0]
	c.opened = child.Clock()
	fd, err := g.dial()
	if err != nil {
		return err
	}
	c.fd = fd
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(i)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(g.epfd, unix.EPOLL_CTL_ADD, fd, &ev))
}

// dial connects, and makes the descriptor non-blocking then.
func (g *generator) dial() (int, error) {
	fd, err := unix.Socket(g.family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	if g.family == unix.AF_INET {
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		// Each address has ports of its own, and closed connections keep theirs
		// for a minute. All of 127/8 is the loopback's.
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		from := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(2 + g.opened%250)}}
		if err := unix.Bind(fd, from); err != nil {
			unix.Close(fd)
			return 0, os.NewSyscallError("bind", err)
		}
	}
	g.opened++
	err = unix.Connect(fd, g.to)
	if err == unix.EINTR { // it goes on without us
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		for err == unix.EINTR {
			_, err = unix.Poll(p, 5000)
		}
		if err == nil {
			_, err = unix.Getpeername(fd)
		}
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		unix.Close(fd)
		return 0, os.NewSyscallError("connect", err)
	}
	return fd, nil
}

func (g *generator) hangUp(c *client) {
	if c.fd != 0 {
		unix.Close(c.fd)
		c.fd = 0
	}
}

// send writes n further lines, which count from since.
func (g *generator) send(c *client, n int, since int64) error {
	const digits = "0123456789abcdef"
	for range n {
		at := c.made % c.depth
		c.since[at] = since
		c.made++
		if g.request != nil {
			continue
		}
		line := c.ring[at*lineBytes : (at+1)*lineBytes]
		v := c.made * 0x9e3779b97f4a7c15 // no two lines of a connection are alike
		for i := range 8 {
			line[1+i] = digits[v>>(32+4*i)&15]
		}
		line[0] = '='
		if c.blocks {
			line[0] = child.NapMark
		}
		line[lineBytes-1] = '\n'
	}
	g.waiting += n
	return g.flush(c)
}

// flush gives the kernel what it takes.
func (g *generator) flush(c *client) error {
	for c.sent < c.made*g.unit {
		size := uint64(len(c.ring))
		at, left := c.sent%size, c.made*g.unit-c.sent
		var pieces [2]unix.Iovec
		count := 1
		pieces[0].Base = &c.ring[at]
		pieces[0].SetLen(int(min(left, size-at)))
		if left > size-at {
			count = 2
			pieces[1].Base = &c.ring[0]
			pieces[1].SetLen(int(left - (size - at)))
		}
		// It does not block, so the scheduler need not know.
		n, _, errno := syscall.RawSyscall(syscall.SYS_WRITEV, uintptr(c.fd), uintptr(unsafe.Pointer(&pieces[0])), uintptr(count))
		switch errno {
		case 0:
			c.sent += uint64(n)
		case syscall.EAGAIN:
			return nil // an event will follow
		case syscall.EINTR:
		default:
			return os.NewSyscallError("writev", errno)
		}
	}
	return nil
}

// receive reads all there is, compares it with what was sent, and returns how
// many lines are back that were not before. errGone comes with those.
func (g *generator) receive(c *client) (lines uint64, err error) {
	before := c.done
	for c.fd != 0 {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(c.fd), uintptr(unsafe.Pointer(&g.buf[0])), uintptr(len(g.buf)))
		if errno == syscall.EINTR {
			continue
		}
		if errno == syscall.EAGAIN {
			break
		}
		if errno != 0 {
			err = os.NewSyscallError("read", errno)
			break
		}
		if n == 0 {
			err = errGone
			break
		}
		if err := g.take(c, g.buf[:n]); err != nil {
			return 0, err
		}
		if int(n) < len(g.buf) && !c.hup {
			break // that was all, and an event will tell of more
		}
	}
	c.done = c.got / g.unit
	lines = c.done - before
	if lines > 0 {
		g.waiting -= int(lines)
		g.progress = child.Clock()
	}
	return lines, err
}

// take takes what came: lines that are back, or answers.
func (g *generator) take(c *client, b []byte) error {
	if g.request == nil {
		return c.compare(b)
	}
	if len(c.part) > 0 {
		c.part = append(c.part, b...)
		b = c.part
	}
	for len(b) > 0 {
		n, err := g.answer(b)
		if err != nil {
			return fmt.Errorf("connection %d: answer %d: %w", c.index, c.done, err)
		}
		if n == 0 {
			break
		}
		if b, c.got = b[n:], c.got+g.unit; c.got > c.sent {
			return fmt.Errorf("connection %d: an answer came that was not asked for", c.index)
		}
	}
	c.part = append(c.part[:0], b...) // to its beginning; they may overlap
	return nil
}

// compare checks what came back.
func (c *client) compare(b []byte) error {
	if c.got+uint64(len(b)) > c.sent {
		return fmt.Errorf("connection %d: %d bytes came back of %d that were sent", c.index, c.got+uint64(len(b)), c.sent)
	}
	for len(b) > 0 {
		want := c.ring[c.got%uint64(len(c.ring)):]
		n := min(len(b), len(want))
		if !bytes.Equal(b[:n], want[:n]) {
			return fmt.Errorf("connection %d: at byte %d came back %q, want %q", c.index, c.got, b[:n], want[:n])
		}
		c.got += uint64(n)
		b = b[n:]
	}
	return nil
}

// patience is how long the generator waits without anything happening.
const patience = 10 * time.Second

// events calls ready for the connections on which something happened, once it
// has written what they could not take before. It waits for events if asked to.
func (g *generator) events(wait bool, ready func(*client) error) error {
	k, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(g.epfd), uintptr(unsafe.Pointer(&g.evs[0])), uintptr(len(g.evs)), 0, 0, 0)
	n := int(k)
	if errno != 0 {
		n = 0
	}
	if n == 0 {
		if child.Clock()-g.progress > int64(patience) && g.waiting > 0 {
			return fmt.Errorf("nothing came for %v, and %d lines are not answered", patience, g.waiting)
		}
		if !wait {
			return nil
		}
		var err error
		if n, err = unix.EpollWait(g.epfd, g.evs[:], 100); err != nil {
			if errors.Is(err, unix.EINTR) {
				return nil
			}
			return os.NewSyscallError("epoll_wait", err)
		}
	}
	for i := range n {
		c := &g.clients[g.evs[i].Fd]
		if c.fd == 0 {
			continue
		}
		c.hup = c.hup || g.evs[i].Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0
		if err := g.flush(c); err != nil {
			return err
		}
		if err := ready(c); err != nil {
			return err
		}
	}
	return nil
}
