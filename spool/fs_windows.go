package spool

import (
	"os"

	"golang.org/x/sys/windows"
)

// SyncDir does nothing: NTFS journals names itself, and a directory cannot be
// flushed without special rights.
func (osFS) SyncDir(string) error { return nil }

func lockFile(f *os.File) error {
	// Only a byte far behind the text is locked, so that others can read it.
	at := &windows.Overlapped{OffsetHigh: 1}
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, at)
	if err == windows.ERROR_LOCK_VIOLATION {
		return ErrLocked
	}
	return os.NewSyscallError("LockFileEx", err)
}
