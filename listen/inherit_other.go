//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package listen

import (
	"errors"
	"net"
)

func adopt(fd int) (net.Listener, error) {
	return nil, &DescriptorError{FD: fd, Problem: "cannot be inherited on this system", Err: errors.ErrUnsupported}
}

func releaseFD(int) {}
