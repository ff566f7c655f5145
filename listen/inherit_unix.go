//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package listen

import (
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// adopt returns a listener on a duplicate of fd, if that is a listening stream
// socket of a family we know. Otherwise the error is a *DescriptorError.
func adopt(fd int) (net.Listener, error) {
	bad := func(problem string, err error) (net.Listener, error) {
		return nil, &DescriptorError{FD: fd, Problem: problem, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return bad("is not open", os.NewSyscallError("fstat", err))
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return bad("is not a socket", nil)
	}
	switch typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); {
	case err != nil:
		return bad("does not tell its type", os.NewSyscallError("getsockopt", err))
	case typ != unix.SOCK_STREAM:
		return bad("is not a stream socket", nil)
	}
	sa, err := unix.Getsockname(fd)
	tcp := false
	switch sa.(type) {
	case *unix.SockaddrInet4, *unix.SockaddrInet6:
		tcp = true
	case *unix.SockaddrUnix:
	default:
		return bad("is of an unknown address family", os.NewSyscallError("getsockname", err))
	}
	switch listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); {
	case err != nil:
		return bad("does not tell whether it listens", os.NewSyscallError("getsockopt", err))
	case listening == 0:
		return bad("is a socket that does not listen", nil)
	}
	if tcp {
		if err := setInherited(fd); err != nil {
			return bad("refuses an option", os.NewSyscallError("setsockopt", err))
		}
	}

	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, firstPassedFD)
	if err != nil {
		return bad("cannot be duplicated", os.NewSyscallError("fcntl", err))
	}
	f := os.NewFile(uintptr(own), "fd:"+strconv.Itoa(fd))
	defer f.Close()
	ln, err := net.FileListener(f)
	if err != nil {
		return bad("cannot be listened on", err)
	}
	return ln, nil
}

// releaseFD closes fd. Standard input, output and error become /dev/null
// instead, lest the next file opened take their place.
func releaseFD(fd int) {
	if fd > 2 {
		unix.Close(fd)
		return
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer null.Close()
	dup2(int(null.Fd()), fd)
}
