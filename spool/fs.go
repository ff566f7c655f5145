package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// An FS is what a spool needs of a filesystem. The operating system's is the
// default; package crashfs has one for tests, which can lose power.
type FS interface {
	MkdirAll(dir string, perm fs.FileMode) error
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	ReadDir(dir string) ([]fs.DirEntry, error)
	Rename(from, to string) error
	Remove(name string) error

	// SyncDir makes the names in the directory durable.
	SyncDir(dir string) error

	// Lock takes a lock that no other process has, until it is closed or the
	// process ends. It does not wait: the error matches ErrLocked if another has
	// it.
	Lock(name string) (io.Closer, error)
}

// A File is an open file of an FS.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Truncate(size int64) error

	// Allocate reserves room for the file to grow to the size, which it does
	// not change, so that writing there does not find the disk full. Where that
	// is not possible it does nothing.
	Allocate(size int64) error

	// Sync makes the data durable, and what is needed to read it back.
	Sync() error
}

// OS returns the operating system's filesystem, for an FS that stands in front of
// it.
func OS() FS { return osFS{} }

// osFS is the operating system's filesystem.
type osFS struct{}

func (osFS) MkdirAll(dir string, perm fs.FileMode) error { return os.MkdirAll(dir, perm) }
func (osFS) ReadDir(dir string) ([]fs.DirEntry, error)   { return os.ReadDir(dir) }
func (osFS) Rename(from, to string) error                { return os.Rename(from, to) }
func (osFS) Remove(name string) error                    { return os.Remove(name) }

func (osFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Lock writes the process's number into the file, for whoever finds it locked.
func (osFS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		defer f.Close()
		if !errors.Is(err, ErrLocked) {
			return nil, err
		}
		var pid int
		if n, _ := fmt.Fscan(f, &pid); n == 0 {
			return nil, err
		}
		return nil, fmt.Errorf("%w by process %d", err, pid)
	}
	f.Truncate(0)
	fmt.Fprintln(f, os.Getpid()) // only a help
	return f, nil
}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
