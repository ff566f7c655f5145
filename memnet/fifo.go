package memnet

import "sync"

// chunkBytes makes a chunk 4 KiB in all on 64-bit systems, which is one of the
// allocator's size classes.
const chunkBytes = 4096 - 24

// A chunk is a piece of a fifo.
type chunk struct {
	next       *chunk
	start, end int // b[start:end] is unread
	b          [chunkBytes]byte
}

// chunks holds free chunks of all connections, so that traffic which comes and
// goes does not allocate.
var chunks = sync.Pool{New: func() any { return new(chunk) }}

// A fifo is a queue of bytes in pooled chunks. It has no bound of its own. The
// zero value is empty; an empty fifo holds no chunk. Not safe for concurrent
// use.
type fifo struct {
	first, last *chunk
}

// write appends a copy of b.
func (q *fifo) write(b []byte) {
	for len(b) > 0 {
		if q.last == nil || q.last.end == chunkBytes {
			c := chunks.Get().(*chunk)
			c.next, c.start, c.end = nil, 0, 0
			if q.last == nil {
				q.first = c
			} else {
				q.last.next = c
			}
			q.last = c
		}
		n := copy(q.last.b[q.last.end:], b)
		q.last.end += n
		b = b[n:]
	}
}

// read moves bytes into b until b is full or the fifo is empty, and returns how
// many it moved.
func (q *fifo) read(b []byte) (n int) {
	for n < len(b) && q.first != nil {
		c := q.first
		k := copy(b[n:], c.b[c.start:c.end])
		c.start += k
		n += k
		if c.start == c.end {
			q.drop()
		}
	}
	return n
}

// clear throws the content away.
func (q *fifo) clear() {
	for q.first != nil {
		q.drop()
	}
}

// drop frees the first chunk.
func (q *fifo) drop() {
	c := q.first
	if q.first = c.next; q.first == nil {
		q.last = nil
	}
	chunks.Put(c)
}
