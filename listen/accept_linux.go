package listen

import (
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A rawListener accepts bare descriptors. Package net does not let go of those,
// and its listeners cannot be waited for, so this is a second descriptor of the
// same socket, known to the runtime's poller as a file.
type rawListener struct {
	file     *os.File
	conn     syscall.RawConn
	fd       int // file's; used under Listener.mu, where it is known to be open
	parked   atomic.Bool
	shut     atomic.Bool           // the socket was shut down, by whoever shares it
	readable func(fd uintptr) bool // r.isReadable, made once
}

func newRawListener(ln net.Listener) (*rawListener, error) {
	file, err := dup(ln)
	if err != nil {
		return nil, err
	}
	r := &rawListener{file: file, fd: int(file.Fd())} // non-blocking, and stays so; see dup
	r.readable = r.isReadable
	if r.conn, err = file.SyscallConn(); err != nil {
		file.Close()
		return nil, err
	}
	return r, nil
}

// setDeadline and close do nothing on nil: until AcceptFD needs one, there is none.

func (r *rawListener) setDeadline(t time.Time) {
	if r != nil {
		r.file.SetReadDeadline(t)
	}
}

func (r *rawListener) close() {
	if r != nil {
		r.file.Close()
	}
}

// wait returns when a connection waits, or may wait, or with the error that a
// deadline or close causes.
func (r *rawListener) wait() error {
	err := r.conn.Read(r.readable)
	if err == nil && r.shut.Load() {
		// For a TCP socket accept4 would say so itself. A Unix socket stays
		// readable for ever, while accept4 goes on saying EAGAIN.
		err = os.NewSyscallError("accept4", syscall.EINVAL)
	}
	return err
}

// isReadable is called by RawConn.Read before it parks the goroutine and after.
// Before, the socket itself must be asked: the poller reports changes only, and
// forgets those from before this Read. After, its word is good enough.
func (r *rawListener) isReadable(fd uintptr) bool {
	if r.parked.Swap(false) {
		return true
	}
	p := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}}
	if n, err := unix.Poll(p[:], 0); n != 0 || err != nil {
		if p[0].Revents&unix.POLLRDHUP != 0 {
			r.shut.Store(true)
		}
		return true
	}
	r.parked.Store(true)
	return false
}

// CanAcceptFD reports whether AcceptFD works: on Linux, for TCP and for Unix
// stream sockets, be they bound, inherited or wrapped.
func (l *Listener) CanAcceptFD() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return hasFD(l.sock.ln)
}

func hasFD(ln net.Listener) bool {
	switch ln.(type) {
	case *net.TCPListener:
		return true
	case *net.UnixListener:
		return ln.Addr().Network() == "unix"
	}
	return false
}

// AcceptFD is Accept for callers that want the bare descriptor: non-blocking,
// close-on-exec and owned by the caller, with the peer's address, which is the
// zero AddrPort for a Unix socket. TCP connections have TCP_NODELAY and
// keep-alive set as those of package net have. It allocates nothing, but for the
// zone of a link-local peer, which is its interface's number.
//
// If admit is not nil, it is asked for leave before a connection is taken from
// the backlog. If it says no while one waits, AcceptFD returns [ErrNotAdmitted]
// and the connection stays where it is. If it says yes but no connection could
// be had, release is called, if it is not nil, to take the leave back; so admit
// may be asked more than once in one call. Neither is called under a lock.
//
// Other errors are those of Accept, and one that matches errors.ErrUnsupported
// where CanAcceptFD is false.
func (l *Listener) AcceptFD(admit func() bool, release func()) (fd int, peer netip.AddrPort, err error) {
	var p patience
	waits := false // a connection is known to wait
	for {
		t, err := l.readyRaw()
		switch {
		case err != nil && t.ln == nil: // closed, dead or unsupported
			return -1, netip.AddrPort{}, err
		case err != nil: // no descriptor to accept with: a shortage like others
		case admit != nil && !admit():
			if waits || l.lastCall.Load() {
				return -1, netip.AddrPort{}, ErrNotAdmitted
			}
			err = t.raw.wait()
			waits = err == nil
		default:
			fd, peer, err = l.accept4(t)
			if err == nil {
				l.accepted.Add(1)
				return fd, peer, nil
			}
			if admit != nil && release != nil {
				release()
			}
			waits = false
			if err == errAgain && l.lastCall.Load() {
				l.Close()
				continue
			}
			if err == errAgain {
				err = t.raw.wait()
				waits = err == nil
			}
		}
		if err == nil {
			continue
		}
		waits = false
		if err := l.survive(&p, t, err); err != nil {
			return -1, netip.AddrPort{}, err
		}
	}
}

// readyRaw is ready, with a rawListener. An error with a turn is one of making
// that.
func (l *Listener) readyRaw() (turn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, err := l.readyLocked()
	if err != nil {
		return turn{}, err
	}
	if l.raw == nil {
		if !hasFD(t.ln) {
			return turn{}, l.errUnsupported()
		}
		if l.raw, err = newRawListener(t.ln); err != nil {
			return t, err
		}
	}
	t.raw = l.raw
	return t, nil
}

// errAgain is EAGAIN as an error value, made once.
var errAgain error = syscall.EAGAIN

// accept4 takes a connection if there is one and accepting is still allowed. It
// holds mu meanwhile, so that Pause and Close, once they have returned, can be
// sure; the call does not block.
func (l *Listener) accept4(t turn) (int, netip.AddrPort, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.raw != t.raw || l.paused {
		return -1, netip.AddrPort{}, errAgain // and waiting will tell why
	}
	var sa unix.RawSockaddrAny
	size := uint32(unsafe.Sizeof(sa))
	fd, _, errno := unix.Syscall6(unix.SYS_ACCEPT4, uintptr(l.raw.fd), uintptr(unsafe.Pointer(&sa)),
		uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	switch errno {
	case 0:
		return int(fd), peerAddr(&sa), nil
	case syscall.EAGAIN:
		return -1, netip.AddrPort{}, errAgain
	}
	return -1, netip.AddrPort{}, os.NewSyscallError("accept4", errno)
}

// peerAddr decodes what accept4 has written; the zero AddrPort if it is not an
// internet address. IPv4 peers of an IPv6 socket come out as IPv4.
func peerAddr(sa *unix.RawSockaddrAny) netip.AddrPort {
	switch sa.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), hostOrder(&in.Port))
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		ip := netip.AddrFrom16(in.Addr).Unmap()
		if in.Scope_id != 0 && ip.Is6() {
			ip = ip.WithZone(strconv.FormatUint(uint64(in.Scope_id), 10))
		}
		return netip.AddrPortFrom(ip, hostOrder(&in.Port))
	}
	return netip.AddrPort{}
}

// hostOrder reads a port in network byte order.
func hostOrder(port *uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(port))
	return uint16(b[0])<<8 | uint16(b[1])
}

// prepareWrapped sets on a TCP listener from elsewhere what AcceptFD's
// connections are to inherit. If that fails, they have the system's defaults.
func prepareWrapped(ln net.Listener) {
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return
	}
	if rc, err := tcp.SyscallConn(); err == nil {
		rc.Control(func(fd uintptr) { setInherited(int(fd)) })
	}
}
