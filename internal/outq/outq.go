// Package outq is the output queue of one connection: bytes waiting for the
// kernel, in pooled chunks that are charged to a budget.
//
// A Queue has no lock of its own; the connection that owns it guards it. An
// empty queue holds no memory. The chunks come from pools shared by all queues.
package outq

import (
	"sync"
	"sync/atomic"
)

const (
	smallBytes = 4 << 10
	largeBytes = 32 << 10
)

// A Budget is a number of bytes shared by many queues. The zero Budget has no
// bytes to give; a nil *Budget has no bound. It is safe for concurrent use.
type Budget struct {
	max  atomic.Int64
	used atomic.Int64
}

// SetMax sets the bound. Lowering it takes nothing back.
func (b *Budget) SetMax(n int64) { b.max.Store(n) }

// Used returns how many bytes are charged at the moment.
func (b *Budget) Used() int64 {
	if b == nil {
		return 0
	}
	return b.used.Load()
}

// Exhausted reports whether the budget has nothing left.
func (b *Budget) Exhausted() bool { return b != nil && b.used.Load() >= b.max.Load() }

// Charge adds n bytes, which may pass the bound: who must not, asks Exhausted
// first. A negative n gives back.
func (b *Budget) Charge(n int) {
	if b != nil {
		b.used.Add(int64(n))
	}
}

// chunk is a piece of a queue. buf[r:w] waits for the kernel, buf[w:] is free.
type chunk struct {
	next *chunk
	buf  []byte
	r, w int
	kind kind
}

type kind uint8

const (
	small  kind = iota // buf has smallBytes and goes back to its pool
	large              // buf has largeBytes and goes back to its pool
	own                // buf was made for one message
	shared             // buf belongs to several queues; nobody writes to it
)

var (
	smallPool = sync.Pool{New: func() any { return &chunk{buf: make([]byte, smallBytes), kind: small} }}
	largePool = sync.Pool{New: func() any { return &chunk{buf: make([]byte, largeBytes), kind: large} }}
)

// A Queue holds bytes in the order in which they were added. The zero Queue is
// empty. It may hold up to 2 GiB. Set Budget before the first byte is added, or leave it nil.
type Queue struct {
	Budget     *Budget
	head, tail *chunk
	size       int32 // bytes waiting
	held       int32 // bytes of memory
	charged    bool
}

// Charge charges the queue's memory to its budget, now and until it is empty
// again. A queue charges itself once it holds more than one small chunk; less
// than that need not be counted if it leaves at once.
func (q *Queue) Charge() {
	if !q.charged {
		q.charged = true
		q.Budget.Charge(int(q.held))
	}
}

// A Message is room to encode a message into, which Add puts on a queue without
// copying where that is possible.
type Message struct{ c *chunk }

// NewMessage returns an empty Message. It must end in Add or Drop.
func NewMessage() Message { return Message{smallPool.Get().(*chunk)} }

// Room is where to append the message.
func (m Message) Room() []byte { return m.c.buf[:0] }

// Drop gives the Message back.
func (m Message) Drop() { smallPool.Put(m.c) }

// Add puts b, which was appended to m.Room, on the queue. Neither m nor b may be
// used afterwards.
func (q *Queue) Add(m Message, b []byte) {
	switch {
	case len(b) > smallBytes: // it was moved elsewhere
		if len(b) >= ownBytes {
			q.AppendOwned(b)
		} else {
			q.Append(b)
		}
	case q.head == nil && len(b) > 0 && &b[0] == &m.c.buf[0]:
		m.c.w = len(b)
		q.size += int32(len(b))
		q.push(m.c)
		return
	default:
		q.Append(b)
	}
	m.Drop()
}

// ownBytes is the size from which a message is not copied.
const ownBytes = 16 << 10

// Len returns how many bytes wait.
func (q *Queue) Len() int { return int(q.size) }

// Append copies b to the end of the queue.
func (q *Queue) Append(b []byte) {
	q.size += int32(len(b))
	if t := q.tail; t != nil && t.kind != shared {
		n := copy(t.buf[t.w:], b)
		t.w += n
		b = b[n:]
	}
	for len(b) > 0 {
		c := q.get(len(b))
		c.w = copy(c.buf, b)
		b = b[c.w:]
		q.push(c)
	}
}

// AppendOwned adds b without copying it. The queue keeps b, and reads it, until
// its last byte has left; the caller must not touch it again. It suits large
// messages; small ones are cheaper to copy.
func (q *Queue) AppendOwned(b []byte) { q.adopt(b, own) }

// AppendShared adds b without copying it. Many queues may hold the same b;
// nobody may write to it any more.
func (q *Queue) AppendShared(b []byte) { q.adopt(b, shared) }

func (q *Queue) adopt(b []byte, k kind) {
	if len(b) == 0 {
		return
	}
	q.size += int32(len(b))
	q.push(&chunk{buf: b, w: len(b), kind: k})
}

func (q *Queue) get(n int) *chunk {
	if n <= smallBytes && (q.head == nil || q.Budget.Exhausted()) {
		return smallPool.Get().(*chunk)
	}
	return largePool.Get().(*chunk)
}

func (q *Queue) push(c *chunk) {
	if q.head != nil || len(c.buf) > smallBytes {
		q.Charge()
	}
	q.held += int32(len(c.buf))
	if q.charged {
		q.Budget.Charge(len(c.buf))
	}
	if q.tail == nil {
		q.head = c
	} else {
		q.tail.next = c
	}
	q.tail = c
}

// First returns the first contiguous bytes, nil when the queue is empty. They
// stay valid, and unchanged, until they are taken off with Advance.
func (q *Queue) First() []byte {
	if q.head == nil {
		return nil
	}
	return q.head.buf[q.head.r:q.head.w]
}

// One reports whether First is all there is.
func (q *Queue) One() bool { return q.head == q.tail }

// Buffers appends the waiting bytes to dst, a slice for each piece, up to dst's
// capacity. The slices stay valid until they are taken off with Advance.
func (q *Queue) Buffers(dst [][]byte) [][]byte {
	for c := q.head; c != nil && len(dst) < cap(dst); c = c.next {
		dst = append(dst, c.buf[c.r:c.w])
	}
	return dst
}

// Advance takes the first n bytes off the queue. n must not be larger than Len.
func (q *Queue) Advance(n int) {
	q.size -= int32(n)
	for n > 0 || (q.head != nil && q.head.r == q.head.w) {
		c := q.head
		k := min(n, c.w-c.r)
		c.r += k
		n -= k
		if c.r < c.w {
			return
		}
		q.head = c.next
		q.put(c)
		if q.head == nil {
			q.tail, q.charged = nil, false
		}
	}
}

// Release empties the queue and gives all that it held back.
func (q *Queue) Release() { q.Advance(q.Len()) }

func (q *Queue) put(c *chunk) {
	q.held -= int32(len(c.buf))
	if q.charged {
		q.Budget.Charge(-len(c.buf))
	}
	c.next, c.r, c.w = nil, 0, 0
	switch c.kind {
	case small:
		smallPool.Put(c)
	case large:
		largePool.Put(c)
	}
}
