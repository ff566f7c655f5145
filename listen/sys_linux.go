package listen

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxBacklog returns the longest backlog listen(2) grants.
func maxBacklog() int {
	text, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err != nil {
		return unix.SOMAXCONN
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || n <= 0 {
		return unix.SOMAXCONN
	}
	return n
}

// setInherited sets on a listening TCP socket what Linux passes on to every
// connection it accepts, with the values of package net, so that AcceptFD needs
// no further system call.
func setInherited(fd int) error {
	for _, o := range [...]struct{ level, opt, value int }{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 9},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.opt, o.value); err != nil {
			return err
		}
	}
	return nil
}

// presetMode gives the socket the mode from which bind(2) makes that of its
// file, less the umask: the file never allows more than mode.
func presetMode(fd int, mode uint32) error { return unix.Fchmod(fd, mode) }

func dup2(from, to int) error { return unix.Dup3(from, to, 0) }

const abstractSockets = true
