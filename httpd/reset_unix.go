//go:build unix

package httpd

import "syscall"

// discardUnsent has a connection's end destroy what the kernel has not sent, which
// its peer sees as a reset.
func discardUnsent(fd uintptr) {
	syscall.SetsockoptLinger(int(fd), syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
}
