//go:build unix

package hythe

import (
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// awaitRead blocks until a Read from nc would not, if nc has a way to say so.
// Its read deadline applies.
func awaitRead(nc net.Conn) error {
	switch c := nc.(type) {
	case interface{ WaitRead() error }:
		return c.WaitRead()
	case syscall.Conn:
		raw, err := c.SyscallConn()
		if err != nil {
			return err
		}
		var failed error // looking takes a pending error away
		err = raw.Read(func(fd uintptr) bool {
			var b [1]byte
			_, _, errno := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK)
			if errno != nil && errno != unix.EINTR && errno != unix.EAGAIN {
				failed = os.NewSyscallError("recvfrom", errno)
			}
			return errno != unix.EAGAIN
		})
		if err == nil {
			err = failed
		}
		return err
	}
	return nil
}

// peerGone asks the kernel whether the connection is over in both directions.
// It is false for connections without a descriptor.
func peerGone(nc net.Conn) (gone bool) {
	for {
		switch c := nc.(type) {
		case interface{ Gone() bool }:
			return c.Gone()
		case interface{ NetConn() net.Conn }:
			nc = c.NetConn()
		case syscall.Conn:
			raw, err := c.SyscallConn()
			if err != nil {
				return false
			}
			raw.Control(func(fd uintptr) {
				p := []unix.PollFd{{Fd: int32(fd)}}
				n, err := unix.Poll(p, 0)
				gone = n > 0 && err == nil && p[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
			})
			return gone
		default:
			return false
		}
	}
}

// descriptorLimit is how many descriptors the process may have.
func descriptorLimit() int {
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) != nil || r.Cur > 1<<20 {
		return 1 << 20
	}
	return int(r.Cur)
}
