package relay

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hythe-go/hythe/spool"
)

// How much a lane hands out before something of it is settled.
const (
	maxOutstanding      = 16 << 10
	maxOutstandingBytes = 4 << 20
)

// A Lane is one ordered stream of a delivery's messages, for one connection of an
// output. It remembers what was handed out and not settled, so that it can be
// handed out again.
//
// One goroutine calls Next and Again, another may call Confirm and Reject.
type Lane struct {
	d      *Delivery
	output Output

	// more waits for messages; it is called by Next.
	more func(ctx context.Context) (*chunk, error)

	batch []Message      // what Next returned. Next only
	found []spool.Record // what was read last, if this is the only lane. Next only

	mu          sync.Mutex
	chunks      []*chunk      // not settled, oldest first. Guarded by mu
	next        int           // index in all their messages of the first to hand out. Guarded by mu
	again       int           // of those so many were handed out before. Guarded by mu
	outstanding int           // messages handed out and not settled: settled..next. Guarded by mu
	bytes       int           // of all chunks. Guarded by mu
	settled     chan struct{} // closed when something is, if Next waits. Guarded by mu
	trouble     string        // the last error. Guarded by mu
	spare       []*chunk      // settled, to be filled again. Guarded by mu
}

// A chunk is some messages that were read together.
type chunk struct {
	arena    []byte
	messages []Message // parts of arena
	ids      []uint64  // the spool's
	size     int       // of all envelopes
	settled  int       // so many of them are
}

func (c *chunk) reset() {
	c.arena, c.ids, c.size, c.settled = c.arena[:0], c.ids[:0], 0, 0
	clear(c.messages)
	c.messages = c.messages[:0]
}

// Next returns the next messages in order: at least one, for which it waits, and
// at most so many, with so many bytes in their bodies (though one may have more).
// When there are fewer it waits for others as long as linger says.
//
// The slice is good until the next call, and what the messages refer to until
// they are settled. The error is what ended ctx. Next waits, too, while 16,384
// messages are handed out and not settled, or 4 MiB over all lanes.
func (l *Lane) Next(ctx context.Context, most, bytes int, linger time.Duration) ([]Message, error) {
	l.batch = l.batch[:0]
	size := 0
	var waiting context.Context
	for {
		size = l.take(most, bytes, size)
		if len(l.batch) >= most || size >= bytes || len(l.batch) > 0 && linger <= 0 {
			return l.batch, nil
		}
		if len(l.batch) == 0 {
			if err := l.fetch(ctx); err != nil {
				return nil, err
			}
			continue
		}
		if waiting == nil {
			var cancel context.CancelFunc
			waiting, cancel = context.WithTimeout(ctx, linger)
			defer cancel()
		}
		if err := l.fetch(waiting); err != nil {
			if ctx.Err() == nil {
				return l.batch, nil
			}
			l.undo()
			return nil, context.Cause(ctx)
		}
	}
}

// take adds to the batch what is there, and returns the bytes in it.
func (l *Lane) take(most, bytes, size int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.next
	for _, c := range l.chunks {
		if at >= len(c.messages) {
			at -= len(c.messages)
			continue
		}
		for ; at < len(c.messages); at++ {
			m := c.messages[at]
			if len(l.batch) >= most || len(l.batch) > 0 && size+len(m.Body) > bytes {
				return max(size, bytes)
			}
			if l.again > 0 {
				l.again--
				m.Again = true
				l.d.again.Add(1)
			}
			l.batch = append(l.batch, m)
			size += len(m.Body)
			l.next++
			l.outstanding++
		}
		at = 0
	}
	return size
}

// undo takes the batch back.
func (l *Lane) undo() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next -= len(l.batch)
	l.outstanding -= len(l.batch)
	l.batch = l.batch[:0]
}

// fetch waits for a chunk, and for room for it.
func (l *Lane) fetch(ctx context.Context) error {
	for {
		l.mu.Lock()
		full := l.outstanding >= maxOutstanding || l.outstanding > 0 && l.bytes >= maxOutstandingBytes/len(l.d.lanes)
		if full && l.settled == nil {
			l.settled = make(chan struct{})
		}
		settled := l.settled
		l.mu.Unlock()
		if !full {
			break
		}
		select {
		case <-settled:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	c, err := l.more(ctx)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.chunks = append(l.chunks, c)
	l.bytes += len(c.arena)
	return nil
}

// Outstanding returns how many messages were handed out and are not settled.
func (l *Lane) Outstanding() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.outstanding
}

// Confirm says that the oldest n messages that are not settled were delivered.
func (l *Lane) Confirm(n int) {
	if n > 0 {
		l.settle(n)
		l.d.delivered.Add(uint64(n))
	}
}

// Reject says that the oldest message that is not settled will never be taken. It
// is put into the dead-letter spool with the cause, for which Reject waits. The
// error is what ended ctx, and then the message is not settled.
func (l *Lane) Reject(ctx context.Context, cause error) error {
	l.mu.Lock()
	if l.outstanding == 0 {
		l.mu.Unlock()
		panic("relay: Reject without a message")
	}
	m := l.chunks[0].messages[l.chunks[0].settled]
	l.mu.Unlock()
	if err := l.d.bury(ctx, m, cause); err != nil {
		return err
	}
	l.settle(1)
	l.d.dead.Add(1)
	return nil
}

// Again has everything handed out again that is not settled. Nothing that uses
// earlier messages, or settles them, may run any more.
func (l *Lane) Again() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next -= l.outstanding
	l.again += l.outstanding
	l.outstanding = 0
}

// settle drops the oldest n messages and acknowledges them to the spool.
func (l *Lane) settle(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n > l.outstanding {
		panic("relay: more messages settled than were handed out")
	}
	l.outstanding -= n
	for n > 0 {
		c := l.chunks[0]
		k := min(n, len(c.messages)-c.settled)
		l.d.acknowledge(c.ids[c.settled : c.settled+k])
		c.settled += k
		n -= k
		if c.settled == len(c.messages) {
			l.drop(c)
		}
	}
	if l.settled != nil {
		close(l.settled)
		l.settled = nil
	}
}

// drop forgets the oldest chunk. l.mu is held.
func (l *Lane) drop(c *chunk) {
	l.chunks[0] = nil
	l.chunks = l.chunks[1:]
	l.next -= len(c.messages)
	l.bytes -= len(c.arena)
	if len(l.spare) < 4 && cap(c.arena) <= 1<<20 {
		c.reset()
		l.spare = append(l.spare, c)
	}
}

// empty returns a chunk to fill.
func (l *Lane) empty() *chunk {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.spare); n > 0 {
		c := l.spare[n-1]
		l.spare = l.spare[:n-1]
		return c
	}
	return new(chunk)
}

// failed remembers why delivering has failed.
func (l *Lane) failed(err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trouble = err.Error()
}
