package link

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// setUserTimeout bounds the time that sent data may remain unacknowledged.
func setUserTimeout(fd uintptr, d time.Duration) error {
	err := unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(max(d.Milliseconds(), 1)))
	return os.NewSyscallError("setsockopt TCP_USER_TIMEOUT", err)
}
