package loop

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls below are on non-blocking descriptors, so they return at once and
// need not tell the scheduler that a thread is away: syscall.RawSyscall saves
// that. The race detector sees nothing of what the kernel writes; seen makes it
// visible in race builds.

// Read reads what there is into b. It returns ErrAgain when there is nothing,
// io.EOF at the end of the stream.
func (n *Node) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		k, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(n.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), 0, 0, 0)
		switch {
		case e == 0 && k > 0:
			seen(b[:k])
			return int(k), nil
		case e == 0:
			return 0, io.EOF
		case e == syscall.EAGAIN:
			return 0, ErrAgain
		case e != syscall.EINTR:
			return 0, os.NewSyscallError("recv", e)
		}
	}
}

// Write writes what there is room for of b. It returns ErrAgain when there is
// no room at all.
func (n *Node) Write(b []byte) (int, error) {
	for {
		k, _, e := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(n.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), syscall.MSG_NOSIGNAL, 0, 0)
		switch {
		case e == 0:
			return int(k), nil
		case e == syscall.EAGAIN:
			return 0, ErrAgain
		case e != syscall.EINTR:
			return 0, os.NewSyscallError("send", e)
		}
	}
}

// WriteAll is Write for several pieces, at most 16, in one call.
func (n *Node) WriteAll(bufs [][]byte) (int, error) {
	var iov [16]unix.Iovec
	for i, b := range bufs {
		iov[i].Base = &b[0]
		iov[i].SetLen(len(b))
	}
	msg := unix.Msghdr{Iov: &iov[0]}
	msg.SetIovlen(len(bufs))
	for {
		k, _, e := syscall.RawSyscall(syscall.SYS_SENDMSG, uintptr(n.fd), uintptr(unsafe.Pointer(&msg)), syscall.MSG_NOSIGNAL)
		switch {
		case e == 0:
			return int(k), nil
		case e == syscall.EAGAIN:
			return 0, ErrAgain
		case e != syscall.EINTR:
			return 0, os.NewSyscallError("sendmsg", e)
		}
	}
}

// CloseWrite tells the peer that nothing more will come.
func (n *Node) CloseWrite() error {
	return os.NewSyscallError("shutdown", unix.Shutdown(n.fd, unix.SHUT_WR))
}

// Abort ends the connection in both directions without giving the descriptor
// up, which a turn may be using.
func (n *Node) Abort() { unix.Shutdown(n.fd, unix.SHUT_RDWR) }

// Reset ends the connection in both directions, as Abort does, with what the
// kernel has not sent, and TCP tells the peer by a reset: connecting to no address
// does that, connect(2).
func (n *Node) Reset() {
	none := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	unix.Syscall(unix.SYS_CONNECT, uintptr(n.fd), uintptr(unsafe.Pointer(&none)), unsafe.Sizeof(none))
}

// Gone asks the kernel whether the connection is over in both directions, and
// whether the peer has finished sending.
func (n *Node) Gone() (hangup, peerDone bool) {
	p := []unix.PollFd{{Fd: int32(n.fd), Events: unix.POLLRDHUP}}
	if k, err := unix.Poll(p, 0); k <= 0 || err != nil {
		return false, false
	}
	return p[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0, p[0].Revents&unix.POLLRDHUP != 0
}

// Close takes the descriptor back from its loop and closes it. It must be the
// only one of its socket, since it is its closing that tells the kernel.
func (n *Node) Close() {
	n.loop.wheel.disarm(n)
	n.loop.set.slot(n.fd).Store(nil)
	unix.Close(n.fd)
	n.fd = -1
}

// LocalAddr asks the kernel for the descriptor's own address.
func (n *Node) LocalAddr() net.Addr {
	sa, err := unix.Getsockname(n.fd)
	if err != nil {
		return nil
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return &net.TCPAddr{IP: sa.Addr[:], Port: sa.Port}
	case *unix.SockaddrInet6:
		a := &net.TCPAddr{IP: sa.Addr[:], Port: sa.Port}
		if sa.ZoneId != 0 {
			if i, err := net.InterfaceByIndex(int(sa.ZoneId)); err == nil {
				a.Zone = i.Name
			}
		}
		return a
	case *unix.SockaddrUnix:
		return &net.UnixAddr{Name: sa.Name, Net: "unix"}
	}
	return nil
}

// FD is the descriptor.
func (n *Node) FD() int { return n.fd }

// pollNow is epoll_wait that does not wait.
func pollNow(epfd int, evs []event) int {
	k, _, e := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(epfd), uintptr(unsafe.Pointer(&evs[0])), uintptr(len(evs)), 0, 0, 0)
	if e != 0 {
		return 0
	}
	return int(k)
}
