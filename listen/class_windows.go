package listen

import (
	"errors"

	"golang.org/x/sys/windows"
)

func classifyErrno(err error) (class Class, known bool) {
	switch {
	case errors.Is(err, windows.WSAECONNRESET), errors.Is(err, windows.WSAEINTR),
		errors.Is(err, windows.WSAENETDOWN), errors.Is(err, windows.WSAEWOULDBLOCK),
		errors.Is(err, windows.ERROR_NETNAME_DELETED):
		return ClassRetry, true
	case errors.Is(err, windows.WSAEMFILE), errors.Is(err, windows.WSAENOBUFS):
		return ClassShortage, true
	}
	return ClassFatal, false
}
