package link

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// setUserTimeout bounds the time that data is retransmitted, in whole seconds.
func setUserTimeout(fd uintptr, d time.Duration) error {
	err := unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_RXT_CONNDROPTIME, int(max(d/time.Second, 1)))
	return os.NewSyscallError("setsockopt TCP_RXT_CONNDROPTIME", err)
}
