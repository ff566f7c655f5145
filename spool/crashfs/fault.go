package crashfs

import (
	"errors"
	"path"
	"path/filepath"
	"sync/atomic"
)

// An Op is a kind of operation.
type Op uint8

// The operations.
const (
	Mkdir Op = iota
	Open
	ReadDir
	Rename
	Remove
	SyncDir
	Lock
	Read
	Write
	Truncate
	Allocate
	Sync
)

var opNames = [...]string{"mkdir", "open", "readdir", "rename", "remove", "syncdir", "lock", "read", "write", "truncate", "allocate", "sync"}

// String returns the operation's name, in lower case.
func (o Op) String() string { return opNames[o] }

// A Call is an operation about to be carried out.
type Call struct {
	Op     Op
	Name   string // of the file or directory; the old name of a Rename
	Offset int64  // of a Read or Write
	Size   int64  // bytes to read or write; the size of a Truncate or Allocate
	N      int    // how many of this Op there have been, this one included
}

// A Short error makes a write take only the first N bytes before it fails with
// Err.
type Short struct {
	N   int
	Err error
}

// Error returns Err's text.
func (s *Short) Error() string { return s.Err.Error() }

// Unwrap returns Err.
func (s *Short) Unwrap() error { return s.Err }

// SetHook makes hook be called before every operation, without locks: it may
// block, and it may call the FS. If it returns an error, the operation fails
// with it. A write that fails has written nothing unless the error is a
// [*Short]; a Sync that fails leaves what it should have written in doubt; every
// other operation that fails has done nothing. Nil removes the hook.
func (f *FS) SetHook(hook func(Call) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = hook
}

// Fail returns a hook that fails operations of one kind with err: the first
// count of those after the first skip ones whose file's name, without its
// directory, matches the pattern as in [path.Match].
func Fail(kind Op, pattern string, skip, count int, err error) func(Call) error {
	var seen atomic.Int64
	return func(c Call) error {
		if c.Op != kind {
			return nil
		}
		if ok, _ := path.Match(pattern, filepath.Base(c.Name)); !ok {
			return nil
		}
		if n := int(seen.Add(1)); n <= skip || n > skip+count {
			return nil
		}
		return err
	}
}

// enter counts an operation and asks the hook.
func (f *FS) enter(c Call) error {
	f.mu.Lock()
	f.calls[c.Op]++
	c.N = f.calls[c.Op]
	hook := f.hook
	f.mu.Unlock()
	if hook == nil {
		return nil
	}
	return hook(c)
}

// taken returns how much of a write of size bytes happens although it fails
// with err.
func taken(err error, size int) int {
	if s, ok := errors.AsType[*Short](err); ok {
		return min(max(s.N, 0), size)
	}
	return 0
}
