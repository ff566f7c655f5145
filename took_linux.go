package hythe

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// tookFrom says how much the peer of a socket has taken: what a TCP peer has
// acknowledged, and what has been read from a Unix socket. Of the latter only the
// rest is known, which is counted backwards.
func tookFrom(fd int) (n int64, known bool) {
	if info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
		return int64(info.Bytes_acked), true
	}
	left, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	return -int64(left), err == nil
}

// tookOf is tookFrom for the socket of a connection, or below it.
func tookOf(nc net.Conn) (n int64, known bool) {
	c, ok := innermost(nc).(syscall.Conn)
	if !ok {
		return 0, false
	}
	if raw, err := c.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { n, known = tookFrom(int(fd)) })
	}
	return n, known
}
