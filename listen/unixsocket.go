//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Unix socket's path outlives the process that crashed, so a starter has to
// find out whether somebody is behind it:
//
//	nothing there            bind
//	not a socket             refuse, never remove
//	connect succeeds, or     refuse: somebody listens (or it is not ours to ask)
//	fails otherwise
//	connection refused       stale: remove and bind
//
// Two starters could both see a stale path, and the slower one remove what the
// faster has just bound. Therefore all of it, up to listen(2), happens under an
// exclusive flock(2) on the directory: it leaves no lock file behind, and the
// kernel drops it with the process.
//
// The mode and owner are set between bind and listen, when connecting is still
// refused. Binding under another name and renaming would do too, but the kernel
// goes on calling the socket by the name it was bound to, in Addr as in ss(8).

// How long a starter waits for others in the same directory.
const (
	lockPatience = 5 * time.Second
	lockRetry    = 10 * time.Millisecond
)

// openUnix returns a listening socket on the path or abstract name of e.
func (c *Config) openUnix(ctx context.Context, e Endpoint) (socket, error) {
	s := builder{cfg: c, endpoint: e, addr: &net.UnixAddr{Name: e.Path, Net: "unix"}, fd: -1}
	if e.abstract() {
		if !abstractSockets {
			return socket{}, c.failed(&Error{Op: "bind", Endpoint: e, Addr: s.addr,
				Err: fmt.Errorf("abstract names: %w", errors.ErrUnsupported)})
		}
		s.socket(unix.AF_UNIX)
		s.do("bind", "bind", func() error { return unix.Bind(s.fd, &unix.SockaddrUnix{Name: e.Path}) })
		s.listen()
		return s.finish()
	}

	uid, gid, err := lookupOwner(e.Owner)
	if err != nil {
		return socket{}, c.failed(&Error{Op: "chown", Endpoint: e, Addr: s.addr, Err: err})
	}
	unlock, err := c.lockDir(ctx, e, s.addr)
	if err != nil {
		return socket{}, err
	}
	defer unlock()
	if err := c.clearPath(e, s.addr); err != nil {
		return socket{}, err
	}

	var unlink func()
	s.socket(unix.AF_UNIX)
	if e.Mode != 0 {
		s.do("chmod", "fchmod", func() error { return presetMode(s.fd, uint32(e.Mode)) })
	}
	s.do("bind", "bind", func() error {
		err := unix.Bind(s.fd, &unix.SockaddrUnix{Name: e.Path})
		if err == unix.EINVAL && len(e.Path) >= len(unix.RawSockaddrUnix{}.Path) {
			err = unix.ENAMETOOLONG
		}
		if err == nil {
			unlink = unlinker(e.Path)
		}
		return err
	})
	if uid >= 0 || gid >= 0 {
		s.do("chown", "lchown", func() error { return unix.Lchown(e.Path, uid, gid) })
	}
	if e.Mode != 0 { // again: bind has taken away what the umask says
		s.do("chmod", "chmod", func() error { return unix.Chmod(e.Path, uint32(e.Mode)) })
	}
	s.listen()
	sock, err := s.finish()
	if err != nil && unlink != nil {
		unlink()
	}
	sock.unlink = unlink
	return sock, err
}

// lockDir takes the lock of the directory of e's path.
func (c *Config) lockDir(ctx context.Context, e Endpoint, addr net.Addr) (unlock func(), err error) {
	failed := func(op string, err error) error {
		return c.failed(&Error{Op: op, Endpoint: e, Addr: addr, Err: err})
	}
	dir, err := os.Open(filepath.Dir(e.Path))
	if err != nil {
		return nil, failed("flock", err)
	}
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	for {
		switch err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err {
		case nil:
			return func() { dir.Close() }, nil
		case unix.EINTR:
			continue
		case unix.EWOULDBLOCK:
			select {
			case <-time.After(lockRetry):
				continue
			case <-ctx.Done():
			}
			fallthrough
		default:
			dir.Close()
			return nil, failed("flock", os.NewSyscallError("flock", err))
		}
	}
}

// clearPath makes sure that nothing is at e's path, removing a stale socket.
func (c *Config) clearPath(e Endpoint, addr net.Addr) error {
	inUse := func(why string) error {
		return c.failed(&Error{Op: "probe", Endpoint: e, Addr: addr,
			Err: fmt.Errorf("%s: %w", why, os.NewSyscallError("bind", unix.EADDRINUSE))})
	}
	fi, err := os.Lstat(e.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return c.failed(&Error{Op: "probe", Endpoint: e, Addr: addr, Err: err})
	case fi.Mode().Type() != fs.ModeSocket:
		return inUse("there is a file that is not a socket")
	}
	switch err := probe(e.Path); err {
	case unix.ECONNREFUSED:
		return c.call(e, addr, "unlink", "unlink", func() error { return unix.Unlink(e.Path) })
	case unix.ENOENT:
		return nil
	case nil, unix.EAGAIN, unix.EINPROGRESS:
		return inUse("another process listens there")
	default:
		return inUse(fmt.Sprintf("there is a socket that may be alive (connect: %v)", err))
	}
}

// probe connects to the socket at path.
func probe(path string) error {
	fd, err := cloexecSocket(unix.AF_UNIX)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	return unix.Connect(fd, &unix.SockaddrUnix{Name: path})
}

// lookupOwner turns "user:group" into numbers; -1 is to be left alone.
func lookupOwner(owner string) (uid, gid int, err error) {
	name, group, _ := strings.Cut(owner, ":")
	uid, gid = -1, -1
	if name != "" {
		if uid, err = strconv.Atoi(name); err != nil {
			u, err := user.Lookup(name)
			if err != nil {
				return -1, -1, err
			}
			if uid, err = strconv.Atoi(u.Uid); err != nil {
				return -1, -1, err
			}
		}
	}
	if group != "" {
		if gid, err = strconv.Atoi(group); err != nil {
			g, err := user.LookupGroup(group)
			if err != nil {
				return -1, -1, err
			}
			if gid, err = strconv.Atoi(g.Gid); err != nil {
				return -1, -1, err
			}
		}
	}
	return uid, gid, nil
}
