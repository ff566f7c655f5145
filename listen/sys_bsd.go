//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package listen

import "golang.org/x/sys/unix"

// maxBacklog returns the longest backlog listen(2) grants.
func maxBacklog() int {
	for _, name := range []string{"kern.ipc.somaxconn", "kern.somaxconn"} {
		if n, err := unix.SysctlUint32(name); err == nil && n > 0 {
			return int(n)
		}
	}
	return unix.SOMAXCONN
}

// setInherited does nothing: here package net accepts, and sets the options on
// each connection.
func setInherited(int) error { return nil }

// presetMode does nothing: fchmod(2) on a socket fails here. The file has the
// umask's mode until chmod, but nobody can connect before listen(2).
func presetMode(int, uint32) error { return nil }

func dup2(from, to int) error { return unix.Dup2(from, to) }

const abstractSockets = false
