//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package listen

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// The sockets are made here, call by call, and not by net.ListenConfig, because
// that one chooses the backlog itself, sets SO_REUSEADDR always, and has a Unix
// socket listening before its file's mode and owner can be set.

// openTCP returns a listening socket on a.
func (c *Config) openTCP(e Endpoint, a tcpAddr) (socket, error) {
	family := unix.AF_INET6
	if a.Addr().Is4() {
		family = unix.AF_INET
	}
	s := builder{cfg: c, endpoint: e, addr: net.TCPAddrFromAddrPort(a.AddrPort), fd: -1}
	s.socket(family)
	s.option("SO_REUSEADDR", unix.SOL_SOCKET, unix.SO_REUSEADDR, e.ReuseAddr != Off)
	s.option("SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, e.ReusePort == On)
	if family == unix.AF_INET6 {
		s.option("IPV6_V6ONLY", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, !a.dual)
	}
	s.do("setsockopt", "setsockopt", func() error { return setInherited(s.fd) })
	s.do("bind", "bind", func() error {
		sa, err := sockaddr(a.AddrPort)
		if err != nil {
			return err
		}
		return unix.Bind(s.fd, sa)
	})
	s.listen()
	return s.finish()
}

func sockaddr(a netip.AddrPort) (unix.Sockaddr, error) {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}, nil
	}
	sa := &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	if zone := a.Addr().Zone(); zone != "" {
		n, err := strconv.ParseUint(zone, 10, 32)
		if err != nil {
			ifi, err := net.InterfaceByName(zone)
			if err != nil {
				return nil, err
			}
			n = uint64(ifi.Index)
		}
		sa.ZoneId = uint32(n)
	}
	return sa, nil
}

// probeIPv6 reports whether there are IPv6 sockets, and whether they can take
// IPv4 too.
func probeIPv6() (v6, dual bool) {
	fd, err := cloexecSocket(unix.AF_INET6)
	if err != nil {
		return false, false
	}
	defer unix.Close(fd)
	return true, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0) == nil
}

// A builder makes one listening socket step by step; after a step that failed,
// the others do nothing. finish must be called.
type builder struct {
	cfg      *Config
	endpoint Endpoint
	addr     net.Addr
	fd       int
	err      error
}

func (s *builder) do(op, syscall string, f func() error) {
	if s.err == nil {
		s.err = s.cfg.call(s.endpoint, s.addr, op, syscall, f)
	}
}

func (s *builder) socket(family int) {
	s.do("socket", "socket", func() (err error) {
		s.fd, err = cloexecSocket(family)
		return err
	})
}

func (s *builder) option(name string, level, opt int, on bool) {
	value := 0
	if on {
		value = 1
	}
	s.do("setsockopt", "setsockopt "+name, func() error { return unix.SetsockoptInt(s.fd, level, opt, value) })
}

func (s *builder) listen() {
	backlog, most := s.endpoint.Backlog, maxBacklog()
	if backlog == 0 {
		backlog = most
	}
	s.do("listen", "listen", func() error { return unix.Listen(s.fd, backlog) })
	if s.err == nil && backlog > most {
		s.cfg.failed(&Error{Op: "listen", Endpoint: s.endpoint, Addr: s.addr,
			Err: fmt.Errorf("the system lowers the backlog from %d to %d", backlog, most)})
	}
}

// finish hands the descriptor to package net, which makes it non-blocking.
func (s *builder) finish() (socket, error) {
	if s.err != nil {
		if s.fd >= 0 {
			unix.Close(s.fd)
		}
		return socket{}, s.err
	}
	f := os.NewFile(uintptr(s.fd), s.addr.String())
	defer f.Close()
	ln, err := net.FileListener(f) // on a duplicate
	if err != nil {
		return socket{}, s.cfg.failed(&Error{Op: "socket", Endpoint: s.endpoint, Addr: s.addr, Err: err})
	}
	return socket{ln: ln}, nil
}

// cloexecSocket returns a stream socket that children do not inherit. Not all of
// these systems have SOCK_CLOEXEC, so forks are kept out meanwhile.
func cloexecSocket(family int) (int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	return fd, err
}

// dup returns a further descriptor for the socket of ln. Not ln.File: a File of
// package net makes the socket blocking as soon as somebody asks for its Fd, as
// os/exec does, and that would make every other descriptor of it blocking too.
func dup(ln net.Listener) (*os.File, error) {
	sc, ok := ln.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("hythe: listen: %T has no descriptor: %w", ln, errors.ErrUnsupported)
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var dupErr error
	if err := rc.Control(func(old uintptr) {
		fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 3)
	}); err != nil {
		return nil, err
	}
	if dupErr != nil {
		return nil, os.NewSyscallError("fcntl", dupErr)
	}
	return os.NewFile(uintptr(fd), ln.Addr().String()), nil
}
