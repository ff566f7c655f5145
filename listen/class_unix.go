//go:build unix

package listen

import (
	"errors"
	"slices"
	"syscall"
)

var retryErrnos = []syscall.Errno{
	syscall.EINTR, syscall.EAGAIN, syscall.EWOULDBLOCK, syscall.ECONNABORTED, syscall.EPROTO,
	// "Error handling" in accept(2): treat them as EAGAIN.
	syscall.ENETDOWN, syscall.ENOPROTOOPT, syscall.EHOSTDOWN,
	syscall.EHOSTUNREACH, syscall.EOPNOTSUPP, syscall.ENETUNREACH, errnoNoNet,
}

var shortageErrnos = []syscall.Errno{
	syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EPERM,
}

func classifyErrno(err error) (class Class, known bool) {
	var errno syscall.Errno
	switch {
	case !errors.As(err, &errno):
		return ClassFatal, false
	case slices.Contains(retryErrnos, errno):
		return ClassRetry, true
	case slices.Contains(shortageErrnos, errno):
		return ClassShortage, true
	}
	return ClassFatal, true
}
