//go:build unix

package hythe

import (
	"net"
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
		return raw.Read(func(fd uintptr) bool {
			var b [1]byte
			_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK)
			return err != unix.EAGAIN
		})
	}
	return nil
}

// descriptorLimit is how many descriptors the process may have.
func descriptorLimit() int {
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) != nil || r.Cur > 1<<20 {
		return 1 << 20
	}
	return int(r.Cur)
}
