package loop

import (
	"math"
	"sync"
	"sync/atomic"
)

// A wheel keeps one time for each of many nodes, cheaply and coarsely: a node
// is told up to a tick late, never early. Arming is lazy. A node whose time
// moved back is told when the old one comes, and arms itself anew; a node whose
// time lies beyond the wheel's span waits at its end and is looked at again.
type wheel struct {
	mu    sync.Mutex
	slots [wheelSlots]Node // list heads: next and prev only
	at    int64            // tick up to which nodes have been told
	count int

	// nextAt is when the wheel has to be looked at again: no later than any
	// node is due, at times too early. Written under mu.
	nextAt atomic.Int64
}

const (
	wheelSlots = 512
	wheelTick  = 64 << 20 // 67 ms; the span is 34 s
)

// timing is a node's place in the wheel.
type timing struct {
	next, prev *Node        // guarded by wheel.mu
	armed      atomic.Int64 // when the node will be looked at; 0: not armed. Written under wheel.mu
}

func newWheel() *wheel {
	w := new(wheel)
	w.nextAt.Store(math.MaxInt64)
	return w
}

// tickAfter is the first tick that begins at or after t.
func tickAfter(t int64) int64 { return (t + wheelTick - 1) / wheelTick }

// arm sees to it that n is told at when or up to a tick later, unless it will
// be told earlier anyway.
func (w *wheel) arm(n *Node, when, now int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.remove(n)
	if w.count == 0 {
		w.at = now / wheelTick
		w.nextAt.Store(math.MaxInt64)
	} else {
		w.at = max(w.at, min(now, w.nextAt.Load()-1)/wheelTick) // nobody is due before
	}
	tick := min(max(tickAfter(when), w.at+1), w.at+wheelSlots-1)
	n.timing.armed.Store(min(when, tick*wheelTick))
	head := &w.slots[tick%wheelSlots]
	if head.timing.next == nil {
		head.timing.next, head.timing.prev = head, head
	}
	n.timing.next, n.timing.prev = head, head.timing.prev
	n.timing.prev.timing.next = n
	head.timing.prev = n
	w.count++
	if at := tick * wheelTick; at < w.nextAt.Load() {
		w.nextAt.Store(at)
	}
}

// disarm forgets n.
func (w *wheel) disarm(n *Node) {
	w.mu.Lock()
	w.remove(n)
	w.mu.Unlock()
}

func (w *wheel) remove(n *Node) {
	if n.timing.next == nil {
		return
	}
	n.timing.next.timing.prev = n.timing.prev
	n.timing.prev.timing.next = n.timing.next
	n.timing.next, n.timing.prev = nil, nil
	n.timing.armed.Store(0)
	w.count--
}

// expired takes the nodes whose look-in time has come out of the wheel and
// appends them to dst, at most cap(dst) of them.
func (w *wheel) expired(dst []*Node, now int64) []*Node {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.count > 0 && (w.at+1)*wheelTick <= now {
		head := &w.slots[(w.at+1)%wheelSlots]
		for n := head.timing.next; n != nil && n != head; n = head.timing.next {
			if len(dst) == cap(dst) {
				return dst
			}
			w.remove(n)
			dst = append(dst, n)
		}
		w.at++
	}
	w.nextAt.Store(w.next())
	return dst
}

// next finds the time at which somebody is due, math.MaxInt64 when nobody is.
func (w *wheel) next() int64 {
	for i := int64(1); i < wheelSlots && w.count > 0; i++ {
		head := &w.slots[(w.at+i)%wheelSlots]
		if head.timing.next != nil && head.timing.next != head {
			return (w.at + i) * wheelTick
		}
	}
	return math.MaxInt64
}
