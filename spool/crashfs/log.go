package crashfs

import (
	"fmt"
	"maps"
	"slices"
)

// blockSize is the unit in which a disk keeps or loses data.
const blockSize = 4096

var zeros [blockSize]byte

// block returns the i-th block, which is not to be modified.
func block(blocks []*[blockSize]byte, i int) *[blockSize]byte {
	if i < len(blocks) && blocks[i] != nil {
		return blocks[i]
	}
	return &zeros
}

// blocksOf returns how many blocks hold so many bytes.
func blocksOf(size int64) int64 { return (size + blockSize - 1) / blockSize }

// An op is one recorded operation. What it wrote is in it as whole blocks.
type op struct {
	kind Op
	path string // for String
	node int

	offset, length int64              // Write, for String
	first          int                // Write, Truncate: the index of blocks[0]
	blocks         []*[blockSize]byte // Write, Truncate: from first on, the file has these
	size           int64              // Write, Truncate: the file's size; Allocate: what is reserved
	upto           int                // Sync, SyncDir: covers the operations before this one
	failed         bool               // Sync: the blocks stay in doubt
	evict, journal bool               // Sync: see the FS

	dir      int    // directory operations
	name, to string // directory operations
}

// String describes the operation.
func (o *op) String() string {
	switch o.kind {
	case Write:
		return fmt.Sprintf("write %s at %d: %d bytes", o.path, o.offset, o.length)
	case Truncate, Allocate:
		return fmt.Sprintf("%v %s to %d", o.kind, o.path, o.size)
	case Open:
		return "create " + o.path
	case Sync:
		if o.failed {
			return "sync " + o.path + ": failed"
		}
	}
	return o.kind.String() + " " + o.path
}

// A version is what a block or a size was made by the operation before number
// after.
type version[T any] struct {
	after int
	value T
}

// A slot is a value on the disk, and what it may have become there since it was
// last made durable.
type slot[T any] struct {
	durable  T
	versions []version[T]
	doubt    int // a Sync that covered the operations before this one failed
}

func (s *slot[T]) set(after int, value T) {
	s.versions = append(s.versions, version[T]{after, value})
}

// sync makes durable the last version made before operation number upto,
// unless a failed Sync covered it.
func (s *slot[T]) sync(upto int) {
	n := 0
	for n < len(s.versions) && s.versions[n].after <= upto {
		n++
	}
	if n > 0 && s.versions[n-1].after > s.doubt {
		s.durable = s.versions[n-1].value
		s.versions = s.versions[n:]
	}
}

func (s *slot[T]) clone() *slot[T] {
	return &slot[T]{s.durable, slices.Clone(s.versions), s.doubt}
}

// restart makes all that was done be done before the first operation of a new
// log.
func (s *slot[T]) restart() {
	doubt := -1
	if n := len(s.versions); n > 0 && s.versions[n-1].after <= s.doubt {
		doubt = 0
	}
	for i := range s.versions {
		s.versions[i].after = 0
	}
	s.doubt = doubt
}

// A node is a file or a directory.
type node struct {
	names, durableNames map[string]int // of a directory; of a file they are nil

	blocks  []*[blockSize]byte              // as they read now
	durable []*[blockSize]byte              // as they are certain to be on the disk, but for those in dirty
	dirty   map[int]*slot[*[blockSize]byte] // blocks that differ, or may
	size    struct {
		now int64
		slot[int64]
	}

	links, opens int   // names and handles of a file
	reserved     int64 // so many blocks from the start are held in any case
	held         int64 // blocks in use
	charged      int64 // of them, what the FS has counted
}

func newDir() *node {
	return &node{names: make(map[string]int), durableNames: make(map[string]int)}
}

// holds says whether writing the i-th block needs no room.
func (n *node) holds(i int) bool {
	return int64(i) < n.reserved || i < len(n.blocks) && n.blocks[i] != nil
}

// heldWith returns how many blocks would be in use were the first so many
// reserved.
func (n *node) heldWith(reserved int64) int64 {
	held := max(reserved, n.reserved)
	for i := int(held); i < len(n.blocks); i++ {
		if n.blocks[i] != nil {
			held++
		}
	}
	return held
}

func (n *node) clone() *node {
	c := *n
	c.names, c.durableNames = maps.Clone(n.names), maps.Clone(n.durableNames)
	c.blocks, c.durable = slices.Clone(n.blocks), slices.Clone(n.durable)
	c.size.versions = slices.Clone(n.size.versions)
	c.dirty = make(map[int]*slot[*[blockSize]byte], len(n.dirty))
	for i, s := range n.dirty {
		c.dirty[i] = s.clone()
	}
	return &c
}

// setBlock makes b the i-th block; nil is a hole.
func (n *node) setBlock(after, i int, b *[blockSize]byte) {
	for len(n.blocks) <= i {
		n.blocks = append(n.blocks, nil)
	}
	if b != nil && !n.holds(i) {
		n.held++
	}
	n.blocks[i] = b
	s := n.dirty[i]
	if s == nil {
		s = new(slot[*[blockSize]byte])
		if i < len(n.durable) {
			s.durable = n.durable[i]
		}
		if n.dirty == nil {
			n.dirty = make(map[int]*slot[*[blockSize]byte])
		}
		n.dirty[i] = s
	}
	s.set(after, b)
}

// sync makes durable what the operations before number upto wrote.
func (n *node) sync(o *op) {
	if o.failed {
		n.size.doubt = o.upto
	} else {
		n.size.sync(o.upto)
	}
	for i, s := range n.dirty {
		if o.failed {
			s.doubt = o.upto
			if o.evict && s.versions[0].after <= o.upto {
				n.blocks[i] = block([]*[blockSize]byte{s.durable}, 0) // never a hole: it stays allocated
			}
			continue
		}
		s.sync(o.upto)
		for len(n.durable) <= i {
			n.durable = append(n.durable, nil)
		}
		n.durable[i] = s.durable
		if len(s.versions) == 0 {
			delete(n.dirty, i)
		}
	}
}

// A state is all files after some operations.
type state struct {
	done    int     // how many operations
	nodes   []*node // by number; the root is first, and the numbers are never used again
	pending []*op   // operations on directories that are not durable yet, in order
	after   []int   // pending[i] was number after[i]-1
	touched []*node // files whose use of blocks may have changed
}

func (s *state) clone() *state {
	c := &state{done: s.done, pending: slices.Clone(s.pending), after: slices.Clone(s.after)}
	for _, n := range s.nodes {
		if n != nil {
			n = n.clone()
		}
		c.nodes = append(c.nodes, n)
	}
	return c
}

// restart makes the state that of a new log, without open files.
func (s *state) restart() {
	s.done = 0
	clear(s.after)
	for _, n := range s.nodes {
		if n == nil {
			continue
		}
		n.opens, n.charged = 0, 0
		n.size.restart()
		for _, b := range n.dirty {
			b.restart()
		}
	}
}

func (s *state) touch(n *node) { s.touched = append(s.touched, n) }

// apply carries out the next operation.
func (s *state) apply(o *op) {
	s.done++
	switch o.kind {
	case Mkdir, Open, Rename, Remove:
		if o.kind == Mkdir {
			s.nodes = append(s.nodes, newDir())
		} else if o.kind == Open {
			s.nodes = append(s.nodes, new(node))
		}
		o.link(s.nodes[o.dir].names, s)
		s.pending = append(s.pending, o)
		s.after = append(s.after, s.done)
	case SyncDir:
		s.syncNames(o.upto, func(p *op) bool { return p.dir == o.dir })
	case Write, Truncate:
		n := s.nodes[o.node]
		for i, b := range o.blocks {
			n.setBlock(s.done, o.first+i, b)
		}
		if o.kind == Truncate {
			for i := o.first + len(o.blocks); i < len(n.blocks); i++ {
				if n.blocks[i] != nil {
					n.setBlock(s.done, i, nil)
				}
			}
			n.reserved = min(n.reserved, blocksOf(o.size))
			n.held = n.heldWith(0)
		}
		// Writing the end again writes the size again too, if that is in doubt.
		if n.size.now != o.size || len(n.size.versions) > 0 && o.kind == Write && o.offset+o.length == o.size {
			n.size.now = o.size
			n.size.set(s.done, o.size)
		}
		s.touch(n)
	case Allocate:
		n := s.nodes[o.node]
		n.held = n.heldWith(blocksOf(o.size))
		n.reserved = max(n.reserved, blocksOf(o.size))
		s.touch(n)
	case Sync:
		s.nodes[o.node].sync(o)
		if o.journal && !o.failed {
			s.syncNames(o.upto, func(*op) bool { return true })
		}
	}
}

// syncNames makes durable the pending operations before number upto that match.
func (s *state) syncNames(upto int, match func(*op) bool) {
	kept := 0
	for i, p := range s.pending {
		if s.after[i] <= upto && match(p) {
			p.link(s.nodes[p.dir].durableNames, nil)
			continue
		}
		s.pending[kept], s.after[kept] = p, s.after[i]
		kept++
	}
	s.pending, s.after = s.pending[:kept], s.after[:kept]
}

// link carries out an operation on a directory's names. With live not nil they
// are the live ones, and the files' links are counted.
func (o *op) link(names map[string]int, live *state) {
	count := func(name string, by int) {
		if at, found := names[name]; found && live != nil {
			live.nodes[at].links += by
			live.touch(live.nodes[at])
		}
	}
	to := o.name
	if o.kind == Rename {
		to = o.to
	}
	if o.kind == Rename {
		for name, at := range names { // after a crash it may be another name than o.name
			if at == o.node {
				count(name, -1)
				delete(names, name)
			}
		}
	}
	if o.kind == Remove && names[o.name] == o.node {
		count(o.name, -1)
		delete(names, o.name)
	}
	if o.kind != Remove {
		count(to, -1)
		names[to] = o.node
		count(to, 1)
	}
}
