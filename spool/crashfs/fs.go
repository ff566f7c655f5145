package crashfs

import (
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hythe-go/hythe/spool"
)

var _ spool.FS = (*FS)(nil)

// An FS is a disk: a filesystem in memory, with its history. The zero value is
// an empty one, ready for use. All methods are safe for concurrent use; the
// fields must not be changed after the first call.
//
// Names are separated by slashes, or as the operating system does it, and
// relative ones are the same as those below the root. There are no links and no
// permissions. A directory operation becomes durable with SyncDir of the
// directory that holds the name: that is the parent's for a new directory.
type FS struct {
	// Journaled makes the directories those of ext4 or XFS: what survives of the
	// operations on them is a prefix, and Sync of any file makes all that were
	// done before durable. Without it each survives or not on its own, which is
	// what POSIX allows. Programs must work with both.
	Journaled bool

	// Evict makes a failed Sync drop the blocks in doubt from memory, so that
	// they read as the disk has them from then on. Without it they read as
	// written until the crash. Linux does either.
	Evict bool

	// Stale makes a crash show other files' blocks, removed ones too, where a
	// file grew and its data did not arrive, as filesystems do that do not
	// journal in order. Without it such blocks are zeros.
	Stale bool

	mu       sync.Mutex
	capacity int64 // bytes; zero: no bound; guarded by mu
	used     int64 // blocks in use; guarded by mu
	hook     func(Call) error
	calls    [len(opNames)]int // per Op; guarded by mu
	locks    map[string]bool   // guarded by mu
	base     *state            // the state before log[0]; nil: as now, the log is empty
	now      *state            // guarded by mu
	log      []op              // guarded by mu
	replay   *state            // the state at the last Crash's position; guarded by mu
}

// SetCapacity bounds the disk to so many bytes, in blocks of 4 KiB that files
// hold or have reserved; names cost nothing. Zero or less means no bound, which
// is the default. What needs more fails with [syscall.ENOSPC]; a write takes
// the part that fits.
func (f *FS) SetCapacity(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.capacity = bytes
}

// Used returns how many bytes of the capacity are in use.
func (f *FS) Used() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.used * blockSize
}

// Len returns the number of recorded operations: those that changed a file or
// a directory, or made something durable.
func (f *FS) Len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.log)
}

// Log describes the first n recorded operations, one string each, for the
// message of a failing test.
func (f *FS) Log(n int) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var lines []string
	for i := range f.log[:n] {
		lines = append(lines, f.log[i].String())
	}
	return lines
}

// MkdirAll makes the directory and those above it.
func (f *FS) MkdirAll(dir string, _ fs.FileMode) error {
	if err := f.enter(Call{Op: Mkdir, Name: dir}); err != nil {
		return pathError("mkdir", dir, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	at := 0
	for _, name := range split(dir) {
		parent := f.state().nodes[at]
		next, found := parent.names[name]
		switch {
		case !found:
			next = len(f.now.nodes)
			f.record(op{kind: Mkdir, path: dir, node: next, dir: at, name: name})
		case parent.names == nil || f.now.nodes[next].names == nil:
			return pathError("mkdir", dir, syscall.ENOTDIR)
		}
		at = next
	}
	return nil
}

// OpenFile opens a file. Of the flags it knows O_RDONLY, O_WRONLY, O_RDWR,
// O_CREATE, O_EXCL and O_TRUNC.
func (f *FS) OpenFile(name string, flag int, _ fs.FileMode) (spool.File, error) {
	if err := f.enter(Call{Op: Open, Name: name}); err != nil {
		return nil, pathError("open", name, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, base, err := f.parent(name)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	at, found := f.now.nodes[dir].names[base]
	switch {
	case found && flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
		return nil, pathError("open", name, syscall.EEXIST)
	case found && f.now.nodes[at].names != nil:
		return nil, pathError("open", name, syscall.EISDIR)
	case !found && flag&os.O_CREATE == 0:
		return nil, pathError("open", name, syscall.ENOENT)
	case !found:
		at = len(f.now.nodes)
		f.record(op{kind: Open, path: name, node: at, dir: dir, name: base})
	case flag&os.O_TRUNC != 0:
		f.truncate(name, at, 0)
	}
	f.now.nodes[at].opens++
	return &file{fs: f, name: name, node: at, write: flag&(os.O_WRONLY|os.O_RDWR) != 0}, nil
}

// ReadDir returns the directory's entries in order of their names.
func (f *FS) ReadDir(dir string) ([]fs.DirEntry, error) {
	if err := f.enter(Call{Op: ReadDir, Name: dir}); err != nil {
		return nil, pathError("open", dir, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	at, err := f.directory(split(dir))
	if err != nil {
		return nil, pathError("open", dir, err)
	}
	names := f.now.nodes[at].names
	var entries []fs.DirEntry
	for _, name := range slices.Sorted(maps.Keys(names)) {
		n := f.now.nodes[names[name]]
		entries = append(entries, fs.FileInfoToDirEntry(info{name: name, size: n.size.now, dir: n.names != nil}))
	}
	return entries, nil
}

// Rename renames a file within its directory, replacing one of the new name.
func (f *FS) Rename(from, to string) error {
	if err := f.enter(Call{Op: Rename, Name: from}); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, base, err := f.parent(from)
	toDir, toBase, toErr := f.parent(to)
	at, found := 0, false
	if err == nil {
		at, found = f.now.nodes[dir].names[base]
	}
	switch {
	case err == nil && toErr != nil:
		err = toErr
	case err == nil && dir != toDir:
		err = syscall.EXDEV
	case err == nil && !found:
		err = syscall.ENOENT
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	if base != toBase {
		f.record(op{kind: Rename, path: from + " to " + to, node: at, dir: dir, name: base, to: toBase})
	}
	return nil
}

// Remove removes a file or an empty directory. Open files stay usable.
func (f *FS) Remove(name string) error {
	if err := f.enter(Call{Op: Remove, Name: name}); err != nil {
		return pathError("remove", name, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, base, err := f.parent(name)
	if err != nil {
		return pathError("remove", name, err)
	}
	at, found := f.now.nodes[dir].names[base]
	if !found {
		return pathError("remove", name, syscall.ENOENT)
	}
	if len(f.now.nodes[at].names) > 0 {
		return pathError("remove", name, syscall.ENOTEMPTY)
	}
	f.record(op{kind: Remove, path: name, node: at, dir: dir, name: base})
	return nil
}

// SyncDir makes the names in the directory durable. When the hook makes it
// fail, it has done nothing.
func (f *FS) SyncDir(dir string) error {
	upto := f.Len()
	if err := f.enter(Call{Op: SyncDir, Name: dir}); err != nil {
		return pathError("sync", dir, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	at, err := f.directory(split(dir))
	if err != nil {
		return pathError("sync", dir, err)
	}
	f.record(op{kind: SyncDir, path: dir, dir: at, upto: upto})
	return nil
}

// state returns the live state, making it on first use. The caller holds mu.
func (f *FS) state() *state {
	if f.now == nil {
		f.now = &state{nodes: []*node{newDir()}}
	}
	return f.now
}

// record appends to the log and carries it out. The caller holds mu.
func (f *FS) record(o op) {
	f.state()
	if f.base == nil {
		f.base = f.now.clone()
	}
	f.log = append(f.log, o)
	f.now.apply(&f.log[len(f.log)-1])
	f.account()
}

// account charges what the last operation changed. The caller holds mu.
func (f *FS) account() {
	for _, n := range f.now.touched {
		if n.links == 0 && n.opens == 0 {
			n.held, n.reserved = 0, 0
		}
		f.used += n.held - n.charged
		n.charged = n.held
	}
	f.now.touched = f.now.touched[:0]
}

// parent finds the directory that holds the name. The caller holds mu.
func (f *FS) parent(name string) (dir int, base string, err error) {
	parts := split(name)
	if len(parts) == 0 {
		return 0, "", syscall.EISDIR
	}
	last := len(parts) - 1
	dir, err = f.directory(parts[:last])
	return dir, parts[last], err
}

// directory finds a directory. The caller holds mu.
func (f *FS) directory(parts []string) (int, error) {
	at := 0
	for _, name := range parts {
		next, found := f.state().nodes[at].names[name]
		if !found {
			return 0, syscall.ENOENT
		}
		at = next
	}
	if f.state().nodes[at].names == nil {
		return 0, syscall.ENOTDIR
	}
	return at, nil
}

// split cuts a name into its parts.
func split(name string) []string {
	name = strings.Trim(filepath.ToSlash(filepath.Clean(name)), "/")
	if name == "." || name == "" {
		return nil
	}
	return strings.Split(name, "/")
}

func pathError(verb, name string, err error) error {
	return &fs.PathError{Op: verb, Path: name, Err: err}
}

// info describes a file to ReadDir.
type info struct {
	name string
	size int64
	dir  bool
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) IsDir() bool        { return i.dir }
func (i info) Sys() any           { return nil }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}

// Lock takes the named lock, which is held until it is closed; until then the
// error matches [spool.ErrLocked]. A crashed disk has no locks.
func (f *FS) Lock(name string) (io.Closer, error) {
	if err := f.enter(Call{Op: Lock, Name: name}); err != nil {
		return nil, pathError("lock", name, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.locks[name] {
		return nil, pathError("lock", name, spool.ErrLocked)
	}
	if f.locks == nil {
		f.locks = make(map[string]bool)
	}
	f.locks[name] = true
	return &lock{fs: f, name: name}, nil
}

// A lock is one that is held.
type lock struct {
	fs   *FS
	name string // guarded by fs.mu; empty: released
}

// Close releases the lock.
func (l *lock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	if l.name == "" {
		return os.ErrClosed
	}
	delete(l.fs.locks, l.name)
	l.name = ""
	return nil
}
