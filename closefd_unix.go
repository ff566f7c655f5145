//go:build unix

package hythe

import "syscall"

func closeFD(fd int) { syscall.Close(fd) }
