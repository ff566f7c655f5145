package crashfs

import (
	"io"
	"os"
	"syscall"

	"github.com/hythe-go/hythe/spool"
)

var _ spool.File = (*file)(nil)

// A file is an open file.
type file struct {
	fs     *FS
	name   string
	node   int
	write  bool
	closed bool // guarded by fs.mu
}

// check returns why the file cannot be used so. The caller holds fs.mu.
func (h *file) check(write bool) error {
	switch {
	case h.closed:
		return os.ErrClosed
	case write && !h.write:
		return syscall.EBADF
	}
	return nil
}

// ReadAt reads what was written, durable or not.
func (h *file) ReadAt(p []byte, off int64) (int, error) {
	if err := h.fs.enter(Call{Op: Read, Name: h.name, Offset: off, Size: int64(len(p))}); err != nil {
		return 0, pathError("read", h.name, err)
	}
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.check(false); err != nil {
		return 0, pathError("read", h.name, err)
	}
	if off < 0 {
		return 0, pathError("read", h.name, syscall.EINVAL)
	}
	node := h.fs.now.nodes[h.node]
	n := int(min(int64(len(p)), max(node.size.now-off, 0)))
	for done := 0; done < n; {
		at := off + int64(done)
		done += copy(p[done:n], block(node.blocks, int(at/blockSize))[at%blockSize:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes as much as the hook and the capacity let through.
func (h *file) WriteAt(p []byte, off int64) (int, error) {
	err := h.fs.enter(Call{Op: Write, Name: h.name, Offset: off, Size: int64(len(p))})
	n := len(p)
	if err != nil {
		n = taken(err, n)
	}
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.check(true); err != nil {
		return 0, pathError("write", h.name, err)
	}
	if off < 0 {
		return 0, pathError("write", h.name, syscall.EINVAL)
	}
	if fits := h.fs.fits(h.node, off, n); fits < n {
		n, err = fits, syscall.ENOSPC
	}
	if n > 0 {
		h.fs.writeAt(h.name, h.node, p[:n], off)
	}
	if err != nil {
		return n, pathError("write", h.name, err)
	}
	return n, nil
}

// Close closes the file. It makes nothing durable.
func (h *file) Close() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.check(false); err != nil {
		return pathError("close", h.name, err)
	}
	h.closed = true
	node := h.fs.now.nodes[h.node]
	node.opens--
	h.fs.now.touch(node)
	h.fs.account()
	return nil
}

// Size returns the size in bytes.
func (h *file) Size() (int64, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.check(false); err != nil {
		return 0, pathError("stat", h.name, err)
	}
	return h.fs.now.nodes[h.node].size.now, nil
}

// Truncate sets the size.
func (h *file) Truncate(size int64) error {
	if err := h.fs.enter(Call{Op: Truncate, Name: h.name, Size: size}); err != nil {
		return pathError("truncate", h.name, err)
	}
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.check(true); err != nil {
		return pathError("truncate", h.name, err)
	}
	if size < 0 {
		return pathError("truncate", h.name, syscall.EINVAL)
	}
	h.fs.truncate(h.name, h.node, size)
	return nil
}

// Allocate reserves the blocks of the first size bytes.
func (h *file) Allocate(size int64) error {
	if err := h.fs.enter(Call{Op: Allocate, Name: h.name, Size: size}); err != nil {
		return pathError("allocate", h.name, err)
	}
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.check(true); err != nil {
		return pathError("allocate", h.name, err)
	}
	node := h.fs.now.nodes[h.node]
	if more := node.heldWith(blocksOf(size)) - node.held; more > h.fs.free() {
		return pathError("allocate", h.name, syscall.ENOSPC)
	}
	h.fs.record(op{kind: Allocate, path: h.name, node: h.node, size: size})
	return nil
}

// Sync makes durable what was written before it was called.
func (h *file) Sync() error {
	upto := h.fs.Len()
	err := h.fs.enter(Call{Op: Sync, Name: h.name})
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.check(false); err != nil {
		return pathError("sync", h.name, err)
	}
	h.fs.record(op{
		kind: Sync, path: h.name, node: h.node, upto: upto,
		failed: err != nil, evict: h.fs.Evict, journal: h.fs.Journaled,
	})
	if err != nil {
		return pathError("sync", h.name, err)
	}
	return nil
}

// free returns how many blocks are free. The caller holds mu.
func (f *FS) free() int64 {
	if f.capacity <= 0 {
		return 1 << 50
	}
	return max(f.capacity/blockSize-f.used, 0)
}

// fits returns how many of n bytes at off the disk has room for. The caller
// holds mu.
func (f *FS) fits(at int, off int64, n int) int {
	free := f.free()
	node := f.now.nodes[at]
	for i := off / blockSize; i*blockSize < off+int64(n); i++ {
		if node.holds(int(i)) {
			continue
		}
		if free == 0 {
			return int(max(i*blockSize-off, 0))
		}
		free--
	}
	return n
}

// writeAt records a write. The caller holds mu.
func (f *FS) writeAt(name string, at int, p []byte, off int64) {
	node := f.now.nodes[at]
	first, end := int(off/blockSize), int(blocksOf(off+int64(len(p))))
	made := make([]*[blockSize]byte, end-first)
	fresh := make([][blockSize]byte, end-first)
	for i := range made {
		start := int64(first+i)*blockSize - off // of the block, counted from p's start
		made[i] = &fresh[i]
		if start < 0 || start+blockSize > int64(len(p)) {
			*made[i] = *block(node.blocks, first+i)
		}
		copy(made[i][max(-start, 0):], p[max(start, 0):])
	}
	f.record(op{
		kind: Write, path: name, node: at, offset: off, length: int64(len(p)),
		first: first, blocks: made, size: max(node.size.now, off+int64(len(p))),
	})
}

// truncate records a change of size. The caller holds mu.
func (f *FS) truncate(name string, at int, size int64) {
	node := f.now.nodes[at]
	o := op{kind: Truncate, path: name, node: at, first: int(blocksOf(size)), size: size}
	if cut := int(size % blockSize); cut > 0 && size < node.size.now {
		o.first--
		tail := *block(node.blocks, o.first)
		clear(tail[cut:])
		o.blocks = []*[blockSize]byte{&tail}
	}
	f.record(o)
}
