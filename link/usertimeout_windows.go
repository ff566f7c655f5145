package link

import (
	"os"
	"time"

	"golang.org/x/sys/windows"
)

// setUserTimeout bounds the time that data is retransmitted, in whole seconds.
func setUserTimeout(fd uintptr, d time.Duration) error {
	err := windows.SetsockoptInt(windows.Handle(fd), windows.IPPROTO_TCP, windows.TCP_MAXRT, int(max(d/time.Second, 1)))
	return os.NewSyscallError("setsockopt TCP_MAXRT", err)
}
