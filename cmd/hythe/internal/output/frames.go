package output

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/framing"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/link"
)

// frames delivers framed messages over a stream connection.
//
// With the framing hythe a message counts as delivered when the other relay says
// so. With any other there are no answers, and it counts when the other side's
// kernel has acknowledged its bytes, as far as this one's tells (TCP on Linux), or
// when this one has taken them. What does not count yet when a connection ends is
// sent again over the next.
type frames struct {
	c     *config.Output
	codec codec.Codec[[]byte, []byte] // nil: framing hythe
}

func newFrames(c *config.Output, o Options, scheme string) (relay.Output, error) {
	f := &frames{c: c}
	if c.Framing != "hythe" {
		var err error
		if f.codec, err = framing.New(c.Framing, 1<<30); err != nil {
			return nil, err
		}
	}
	list, err := endpoints(c)
	if err != nil {
		return nil, err
	}
	dial := link.TCP
	switch scheme {
	case "unix":
		dial = link.Unix
	case "tls":
		conf, err := clientTLS(c.TLS)
		if err != nil {
			return nil, err
		}
		dial = link.TLS(conf)
	}
	return newLinked(c, o, list, dial, f.deliver), nil
}

// A delivery is the use of one connection. deliver writes; a goroutine reads, and
// another one looks what the peer's kernel has acknowledged.
//
//	written ── mark ── mark ── mark ─►   acknowledged bytes pass marks, which confirms messages
type delivery struct {
	*frames
	conn           net.Conn
	lane           *relay.Lane
	unacknowledged func() (int, bool) // bytes that the peer's kernel does not have

	mu      sync.Mutex
	written int64         // bytes. Guarded by mu
	marks   []mark        // of what is not confirmed, oldest first. Guarded by mu
	since   time.Time     // the last progress, or when there was something to wait for again. Guarded by mu
	wake    chan struct{} // holds one: there are marks
	empty   chan struct{} // closed when there are none, if somebody waits. Guarded by mu
}

// A mark says that n messages end with the byte at end.
type mark struct {
	end int64
	n   int
}

const (
	markEvery  = 64       // messages
	writeBytes = 64 << 10 // at once, each within the clock: a slow peer is not a dead one
	pollFirst  = time.Millisecond
	pollMost   = 50 * time.Millisecond
	lastWords  = time.Second // what confirmations are waited for at the end
)

var (
	errPeerClosed = errors.New("the other side closed the connection")
	errSilent     = errors.New("no acknowledgement in time")
)

// deliver implements relay.Linked's Deliver.
func (f *frames) deliver(ctx context.Context, conn net.Conn, lane *relay.Lane) error {
	d := &delivery{frames: f, conn: conn, lane: lane, unacknowledged: unacknowledged(conn), wake: make(chan struct{}, 1)}
	running, stop := context.WithCancelCause(ctx)
	var work sync.WaitGroup
	work.Go(func() { stop(d.read()) })
	over, finish := context.WithCancel(context.Background())
	if f.codec != nil {
		work.Go(func() { d.watch(over) })
	}
	err := d.write(running)
	if ctx.Err() != nil {
		d.awaitEmpty(context.WithoutCancel(ctx), lastWords)
	} else if cause := context.Cause(running); cause != nil {
		err = cause // what the reader has found out is the better reason
	}
	finish()
	conn.Close()
	work.Wait()
	return err
}

// write writes what the lane has.
func (d *delivery) write(ctx context.Context) error {
	most, bytes := d.c.BatchMessages, int(d.c.BatchBytes)
	var buf []byte
	for {
		msgs, err := d.lane.Next(ctx, most, bytes, time.Duration(d.c.Linger))
		if err != nil {
			return err
		}
		buf = buf[:0]
		count := 0
		for i := range msgs {
			var bad error
			if buf, bad = d.append(buf, &msgs[i]); bad == nil {
				if count++; count == markEvery {
					d.mark(len(buf), count)
					count = 0
				}
				continue
			}
			d.mark(len(buf), count)
			if err := d.send(buf); err != nil {
				return err
			}
			buf, count = buf[:0], 0
			if !d.awaitEmpty(ctx, -1) {
				return context.Cause(ctx)
			}
			if err := d.lane.Reject(ctx, bad); err != nil {
				return err
			}
		}
		d.mark(len(buf), count)
		if err := d.send(buf); err != nil {
			return err
		}
		if cap(buf) > 4<<20 {
			buf = nil
		}
	}
}

// append appends a message as it goes over the wire.
func (d *delivery) append(buf []byte, m *relay.Message) ([]byte, error) {
	if d.codec != nil {
		return d.codec.Append(buf, m.Body)
	}
	at := len(buf)
	buf = m.Append(append(buf, 0, 0, 0, 0))
	binary.BigEndian.PutUint32(buf[at:], uint32(len(buf)-at-4))
	return buf, nil
}

// mark notes that n messages end n bytes behind what was written.
func (d *delivery) mark(bytes, n int) {
	if n == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.marks) == 0 {
		d.since = time.Now()
	}
	d.marks = append(d.marks, mark{d.written + int64(bytes), n})
}

// send writes buf, for which marks have been made.
func (d *delivery) send(buf []byte) error {
	for len(buf) > 0 {
		d.conn.SetWriteDeadline(time.Now().Add(time.Duration(d.c.Timeout)))
		n, err := d.conn.Write(buf[:min(len(buf), writeBytes)])
		d.mu.Lock()
		d.written += int64(n)
		d.mu.Unlock()
		select {
		case d.wake <- struct{}{}:
		default:
		}
		if err != nil {
			return err
		}
		buf = buf[n:]
	}
	return nil
}

// confirmBytes confirms the messages that end within the first bytes.
func (d *delivery) confirmBytes(bytes int64) (all bool) {
	n, k := 0, 0
	d.mu.Lock()
	defer d.mu.Unlock()
	for ; k < len(d.marks) && d.marks[k].end <= bytes; k++ {
		n += d.marks[k].n
	}
	d.drop(k, n)
	return len(d.marks) == 0
}

// drop forgets k marks, with n messages. d.mu is held.
func (d *delivery) drop(k, n int) {
	d.marks = d.marks[:copy(d.marks, d.marks[k:])]
	if n > 0 {
		d.since = time.Now()
		d.lane.Confirm(n)
	}
	if len(d.marks) == 0 && d.empty != nil {
		close(d.empty)
		d.empty = nil
	}
}

// confirmCount confirms n messages. It reports whether so many were sent.
func (d *delivery) confirmCount(n uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	left, k := n, 0
	for ; k < len(d.marks) && uint64(d.marks[k].n) <= left; k++ {
		left -= uint64(d.marks[k].n)
	}
	if left > 0 {
		if k == len(d.marks) {
			return false
		}
		d.marks[k].n -= int(left)
	}
	d.drop(k, int(n))
	return true
}

// awaitEmpty waits until everything is confirmed, at most so long. Negative: for
// ever.
func (d *delivery) awaitEmpty(ctx context.Context, most time.Duration) bool {
	if most >= 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, most)
		defer cancel()
	}
	d.mu.Lock()
	if len(d.marks) == 0 {
		d.mu.Unlock()
		return true
	}
	if d.empty == nil {
		d.empty = make(chan struct{})
	}
	empty := d.empty
	d.mu.Unlock()
	select {
	case <-empty:
		return true
	case <-ctx.Done():
		return false
	}
}

// watch confirms what the peer's kernel has acknowledged, until over ends.
func (d *delivery) watch(over context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	pause := pollFirst
	for {
		d.mu.Lock()
		written, left := d.written, len(d.marks)
		d.mu.Unlock()
		if left > 0 {
			if waiting, ok := d.unacknowledged(); ok {
				written -= int64(waiting)
			}
			if d.confirmBytes(written) {
				left = 0
			}
		}
		if left == 0 {
			pause = pollFirst
			select {
			case <-d.wake:
			case <-over.Done():
				return
			}
		}
		timer.Reset(pause)
		select {
		case <-timer.C:
			pause = min(2*pause, pollMost)
		case <-over.Done():
			return
		}
	}
}

// read reads what the peer sends, until it sends no more. It returns why.
func (d *delivery) read() error {
	var err error
	if d.codec == nil {
		err = d.readCounts()
	} else {
		_, err = io.Copy(io.Discard, d.conn)
	}
	if err == nil || err == io.EOF {
		return errPeerClosed
	}
	return err
}

// readCounts reads the other relay's acknowledgements: each is the number of
// messages of this connection that are durable there.
func (d *delivery) readCounts() error {
	var frame [12]byte
	var count uint64
	at := 0
	for {
		d.conn.SetReadDeadline(time.Now().Add(time.Duration(d.c.Timeout) / 4))
		n, err := d.conn.Read(frame[at:])
		at += n
		if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
			if d.silent() {
				return errSilent
			}
			continue
		}
		if err != nil {
			return err
		}
		if at < len(frame) {
			continue
		}
		at = 0
		now := binary.BigEndian.Uint64(frame[4:])
		if size := binary.BigEndian.Uint32(frame[:]); size != 8 || now < count || !d.confirmCount(now-count) {
			return fmt.Errorf("not an acknowledgement: %x after %d", frame, count)
		}
		count = now
	}
}

// silent reports whether acknowledgements are overdue.
func (d *delivery) silent() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.marks) > 0 && time.Since(d.since) > time.Duration(d.c.Timeout)
}
