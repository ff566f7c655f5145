//go:build unix

package output

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lockFile waits for the file's lock, flock(2), which every output that appends to
// the file takes for each batch.
func lockFile(ctx context.Context, f *os.File) error {
	for {
		err := control(f, func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
		switch err {
		case nil:
			return nil
		case unix.ENOTSUP, unix.ENOSYS, unix.EINVAL, unix.ENOLCK:
			return nil // a filesystem without locks: one output for each file, then
		case unix.EINTR:
			continue
		case unix.EWOULDBLOCK:
		default:
			return os.NewSyscallError("flock", err)
		}
		select {
		case <-time.After(time.Millisecond): // nothing tells
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// unlockFile lets others at the file.
func unlockFile(f *os.File) {
	control(f, func(fd int) error { return unix.Flock(fd, unix.LOCK_UN) }) // fails where locking did
}

func control(f *os.File, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	cerr := raw.Control(func(fd uintptr) { err = do(int(fd)) })
	if cerr != nil {
		return cerr
	}
	return err
}
