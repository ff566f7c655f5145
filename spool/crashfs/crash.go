package crashfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// An Outcome says what a crash does with what is not durable. The first three
// are fixed; each of the others is one random mixture, the same every time.
type Outcome uint64

// The fixed outcomes.
const (
	Lost   Outcome = iota // nothing survives that need not
	Kept                  // everything survives, as when only the process dies
	Hollow                // names and sizes survive, data does not
)

// Crash returns the disk as a power failure after the first at operations left
// it: a disk of its own, with an empty log and without locks, hook and capacity.
// The disk that crashed stays as it is. Going through the positions in ascending
// order is cheap.
func (f *FS) Crash(at int, o Outcome) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seek(at)
	c := &crash{state: f.replay, outcome: o, stale: f.Stale, journaled: f.Journaled, rng: rand.New(rand.NewPCG(uint64(o), uint64(at)))}
	c.likely = [...]int{50, 90, 10}[c.rng.IntN(3)]
	left := &FS{Journaled: f.Journaled, Evict: f.Evict, Stale: f.Stale, now: c.leave()}
	left.charge()
	return left
}

// charge counts the blocks in use of a disk that is new.
func (f *FS) charge() {
	for _, n := range f.now.nodes {
		if n != nil && (n.links > 0 || n.names != nil) {
			n.charged = n.held
			f.used += n.held
		}
	}
}

// Kill returns the disk as it is for the next process when the one that used it
// died after the first at operations: all is there to be read, and nothing more
// is durable than was. It is a disk of its own, as Crash returns.
func (f *FS) Kill(at int) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seek(at)
	now := f.replay.clone()
	now.restart()
	left := &FS{Journaled: f.Journaled, Evict: f.Evict, Stale: f.Stale, now: now}
	left.charge()
	return left
}

// Unsynced returns how much was not durable after the first at operations: how
// many blocks, sizes and directory operations. If it is zero, every outcome is
// the same.
func (f *FS) Unsynced(at int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seek(at)
	n := len(f.replay.pending)
	for _, node := range f.replay.nodes {
		if node == nil {
			continue
		}
		n += len(node.dirty)
		if len(node.size.versions) > 0 {
			n++
		}
	}
	return n
}

// seek moves the replay. The caller holds mu.
func (f *FS) seek(at int) {
	f.state()
	if f.replay == nil || f.replay.done > at {
		if f.base == nil {
			f.base = f.now.clone()
		}
		f.replay = f.base.clone()
	}
	for f.replay.done < at {
		f.replay.apply(&f.log[f.replay.done])
	}
	f.replay.touched = nil
}

// A crash makes one disk out of what a state may leave.
type crash struct {
	state            *state
	outcome          Outcome
	stale, journaled bool
	rng              *rand.Rand
	likely           int // in percent: that something survives in full
}

func (c *crash) chance(percent int) bool { return c.rng.IntN(100) < percent }

// leave makes what is left.
func (c *crash) leave() *state {
	names := make(map[int]map[string]int)
	for i, n := range c.state.nodes {
		switch {
		case n == nil || n.names == nil:
		case c.outcome == Kept || c.outcome == Hollow:
			names[i] = maps.Clone(n.names)
		default:
			names[i] = maps.Clone(n.durableNames)
		}
	}
	if c.outcome > Hollow {
		keep := c.rng.IntN(len(c.state.pending) + 1)
		for i, p := range c.state.pending {
			if c.journaled && i < keep || !c.journaled && c.chance(c.likely) {
				p.link(names[p.dir], nil)
			}
		}
	}
	left := &state{nodes: make([]*node, len(c.state.nodes))}
	c.copy(left, names, 0)
	return left
}

// copy makes the node of that number, and what is below it.
func (c *crash) copy(left *state, names map[int]map[string]int, at int) {
	n := c.state.nodes[at]
	if n.names == nil {
		left.nodes[at] = c.file(n)
		return
	}
	left.nodes[at] = &node{names: names[at], durableNames: maps.Clone(names[at])}
	for _, name := range slices.Sorted(maps.Keys(names[at])) {
		c.copy(left, names, names[at][name])
	}
}

// file makes what is left of a file.
func (c *crash) file(n *node) *node {
	size := n.size.durable
	blocks := slices.Clone(n.durable)
	switch {
	case c.outcome == Lost:
	case c.outcome == Kept:
		size = n.size.now
		blocks = slices.Clone(n.blocks)
	case c.outcome == Hollow:
		size = n.size.now
	default:
		size = pick(c, &n.size.slot)
		for _, i := range slices.Sorted(maps.Keys(n.dirty)) {
			for len(blocks) <= i {
				blocks = append(blocks, nil)
			}
			blocks[i] = c.pickBlock(n.dirty[i])
		}
	}
	blocks = blocks[:min(int64(len(blocks)), blocksOf(size))]
	if c.stale && c.outcome != Kept {
		for i := int(blocksOf(n.size.durable)); i < int(blocksOf(size)); i++ {
			for len(blocks) <= i {
				blocks = append(blocks, nil)
			}
			if blocks[i] == nil {
				blocks[i] = c.otherBlock()
			}
		}
	}
	if cut := int(size % blockSize); cut > 0 && len(blocks) == int(blocksOf(size)) && blocks[len(blocks)-1] != nil {
		tail := *blocks[len(blocks)-1]
		clear(tail[cut:])
		blocks[len(blocks)-1] = &tail
	}
	left := &node{blocks: blocks, durable: slices.Clone(blocks), links: 1, reserved: n.reserved}
	left.size.now, left.size.durable = size, size
	left.held = left.heldWith(0)
	return left
}

// pick returns one of the states that a value may be left in.
func pick[T any](c *crash, s *slot[T]) T {
	n := len(s.versions)
	switch {
	case n > 0 && c.chance(c.likely):
		return s.versions[n-1].value
	case n > 0:
		if i := c.rng.IntN(n); i > 0 {
			return s.versions[i-1].value
		}
	}
	return s.durable
}

// pickBlock is pick for blocks, which may be torn between two states: anywhere,
// or where sectors meet.
func (c *crash) pickBlock(s *slot[*[blockSize]byte]) *[blockSize]byte {
	head := pick(c, s)
	if !c.chance(25) {
		return head
	}
	tail := pick(c, s)
	if head == tail {
		return head
	}
	torn := *block([]*[blockSize]byte{head}, 0)
	at := c.rng.IntN(blockSize)
	if c.chance(50) {
		at &^= 511
	}
	copy(torn[at:], block([]*[blockSize]byte{tail}, 0)[at:])
	return &torn
}

// otherBlock returns some block of some file, or nil.
func (c *crash) otherBlock() *[blockSize]byte {
	n := c.state.nodes[c.rng.IntN(len(c.state.nodes))]
	if n == nil || len(n.blocks) == 0 {
		return nil
	}
	return n.blocks[c.rng.IntN(len(n.blocks))]
}
