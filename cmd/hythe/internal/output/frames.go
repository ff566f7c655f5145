package output

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
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
//
// A message that the framing cannot hold, as one with a newline in it among lines,
// becomes a dead letter.
type frames struct {
	c      *config.Output
	codec  codec.Codec[[]byte, []byte] // nil: framing hythe
	dialer *link.Dialer
}

func newFrames(c *config.Output, o Options) (relay.Output, error) {
	f := &frames{c: c}
	switch {
	case c.Framing == "hythe":
	case !framing.CanAnswer(c.Framing):
		return nil, fmt.Errorf("framing %s: messages behind each other would run together", c.Framing)
	default:
		var err error
		if f.codec, err = framing.New(c.Framing, 1<<30); err != nil {
			return nil, err
		}
	}
	for _, to := range c.To {
		scheme, _, err := address(to)
		if err == nil && scheme == "tls" {
			_, err = clientTLS(c.TLS)
		}
		if err != nil {
			return nil, err
		}
	}
	f.dialer = cmp.Or(o.dialer, &link.Dialer{UserTimeout: time.Duration(c.Timeout)})
	return newLinked(c, o, c.To, f.dial, f.deliver), nil
}

// dial connects to an endpoint. The connection does not report its own end: deliver
// reads all the time, and has better words for it.
func (f *frames) dial(ctx context.Context, a link.Attempt) (net.Conn, error) {
	scheme, endpoint, err := address(a.Endpoint)
	if err != nil {
		return nil, err
	}
	a.Endpoint, a.Report = endpoint, nil
	switch scheme {
	case "unix":
		return f.dialer.Unix(ctx, a)
	case "tls":
		conf, err := clientTLS(f.c.TLS) // files may have been renewed
		if err != nil {
			return nil, err
		}
		return f.dialer.TLS(conf)(ctx, a)
	}
	return f.dialer.TCP(ctx, a)
}

// A delivery is the use of one connection. deliver writes; a goroutine reads, and
// another one looks what the peer's kernel has acknowledged.
//
//	written ── mark ── mark ── mark ─►   acknowledged bytes pass marks, which confirms messages
type delivery struct {
	*frames
	conn           net.Conn
	lane           *relay.Lane
	unacknowledged func() int64 // bytes that the peer's kernel does not have

	mu      sync.Mutex
	written int64         // bytes. Guarded by mu
	marks   []mark        // of what is not confirmed, oldest first. Guarded by mu
	since   time.Time     // the last progress, or when there was something to wait for again. Guarded by mu
	wake    chan struct{} // holds one: there are marks
	empty   chan struct{} // closed when there are none, if somebody waits. Guarded by mu

	writeEnd time.Time // when writing ends, if it does. Guarded by mu
	readEnds bool      // reading does. Guarded by mu
}

// A mark says that n messages end with the byte at end.
type mark struct {
	end int64
	n   int
}

const (
	markEvery  = 16       // messages
	markBytes  = 4 << 10  // or so many bytes: a mark is what is confirmed at once
	writeBytes = 64 << 10 // at once, each within the clock: a slow peer is not a dead one
	pollFirst  = time.Millisecond
	pollMost   = 50 * time.Millisecond
	lastWords  = time.Second // what confirmations are waited for at the end
)

var (
	errPeerClosed = errors.New("the other side closed the connection")
	errSilent     = errors.New("no acknowledgement in time")
)

// deliver implements relay.Linked's Deliver. When ctx ends it finishes the batch,
// waits for what is to be confirmed, says goodbye and waits for the answer, each
// for a second at most.
func (f *frames) deliver(ctx context.Context, conn net.Conn, lane *relay.Lane) error {
	d := &delivery{frames: f, conn: conn, lane: lane, unacknowledged: unacknowledged(conn), wake: make(chan struct{}, 1)}
	alive, lost := context.WithCancelCause(context.WithoutCancel(ctx))
	running, stop := context.WithCancelCause(alive)
	defer context.AfterFunc(ctx, func() { stop(context.Cause(ctx)) })()
	defer context.AfterFunc(running, func() {
		if alive.Err() != nil {
			d.hurry(0)
		} else {
			d.hurry(lastWords)
		}
	})()
	var work sync.WaitGroup
	work.Go(func() { lost(d.read()) })
	over, finish := context.WithCancel(context.Background())
	if f.codec != nil {
		work.Go(func() { d.watch(over) })
	}
	err := d.write(running)
	if ctx.Err() != nil {
		d.goodbye(alive)
	} else if cause := context.Cause(alive); cause != nil {
		err = cause // what the reader has found out is the better reason
	}
	finish()
	d.endRead()
	work.Wait()
	lost(nil)
	stop(nil)
	return err
}

// goodbye waits until everything is confirmed, and until the peer has read
// everything and closes: a connection that is closed with input unread is reset,
// and the peer would lose what it has not read yet.
func (d *delivery) goodbye(alive context.Context) {
	wait, cancel := context.WithTimeout(alive, lastWords)
	defer cancel()
	if !d.awaitEmpty(wait) {
		return
	}
	if half, ok := d.conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		<-wait.Done()
	}
}

// hurry bounds the writes that are still made.
func (d *delivery) hurry(most time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writeEnd = time.Now().Add(most)
	d.conn.SetWriteDeadline(d.writeEnd)
}

// extendWrite gives the next write its time.
func (d *delivery) extendWrite() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.writeEnd.IsZero() {
		d.conn.SetWriteDeadline(time.Now().Add(time.Duration(d.c.Timeout)))
	}
}

// endRead ends the reader.
func (d *delivery) endRead() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.readEnds = true
	d.conn.SetReadDeadline(time.Unix(1, 0))
}

// write writes what the lane has.
func (d *delivery) write(ctx context.Context) error {
	var buf []byte
	for {
		msgs, err := d.lane.Next(ctx, d.c.BatchMessages, int(d.c.BatchBytes), time.Duration(d.c.Linger))
		if err != nil {
			return err
		}
		count, from := 0, 0 // messages behind the last mark, and where it is
		for i := range msgs {
			var bad error
			if buf, bad = d.append(buf, &msgs[i]); bad == nil {
				if count++; count == markEvery || len(buf)-from >= markBytes {
					d.mark(len(buf), count)
					count, from = 0, len(buf)
				}
				continue
			}
			d.mark(len(buf), count)
			if err := d.send(buf); err != nil {
				return err
			}
			buf, count, from = buf[:0], 0, 0
			if !d.awaitEmpty(ctx) { // only the oldest can be rejected
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
		if buf = buf[:0]; cap(buf) > 4<<20 {
			buf = nil
		}
	}
}

// append appends a message as it goes over the wire.
func (d *delivery) append(buf []byte, m *relay.Message) ([]byte, error) {
	if d.codec != nil {
		return d.codec.Append(buf, m.Body)
	}
	return m.AppendFrame(buf), nil
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
		d.extendWrite()
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

// confirmBytes confirms the messages that end within the first bytes. It returns
// how many those are, and whether there are others.
func (d *delivery) confirmBytes(bytes int64) (n int, more bool) {
	k := 0
	d.mu.Lock()
	defer d.mu.Unlock()
	for ; k < len(d.marks) && d.marks[k].end <= bytes; k++ {
		n += d.marks[k].n
	}
	d.drop(k, n)
	return n, len(d.marks) > 0
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

// awaitEmpty waits until everything is confirmed, or ctx ends.
func (d *delivery) awaitEmpty(ctx context.Context) bool {
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

// watch confirms what the peer's kernel has acknowledged, until over ends. The
// kernel does not tell: it has to be asked, less and less often while nothing
// changes.
func (d *delivery) watch(over context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-d.wake:
		case <-over.Done():
			return
		}
		for pause := pollFirst; ; pause = min(2*pause, pollMost) {
			n, more := d.look()
			if !more {
				break
			}
			if n > 0 {
				pause = pollFirst
			}
			timer.Reset(pause)
			select {
			case <-timer.C:
			case <-over.Done():
				d.look()
				return
			}
		}
	}
}

// look confirms what the peer's kernel has acknowledged so far.
func (d *delivery) look() (n int, more bool) {
	d.mu.Lock()
	written := d.written // before the question: what is written meanwhile does not count
	d.mu.Unlock()
	return d.confirmBytes(written - d.unacknowledged())
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
		if err := d.awaitCount(); err != nil {
			return err
		}
		n, err := d.conn.Read(frame[at:])
		at += n
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue
		case err != nil:
			return err
		case at < len(frame):
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

// awaitCount sets the clock for the next read. Only while something is to be
// acknowledged does it matter that it runs out.
func (d *delivery) awaitCount() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	now, timeout := time.Now(), time.Duration(d.c.Timeout)
	due := now.Add(timeout)
	if len(d.marks) > 0 {
		due = d.since.Add(timeout)
	}
	switch {
	case d.readEnds:
		return net.ErrClosed
	case !due.After(now):
		return fmt.Errorf("%w (%v)", errSilent, timeout)
	}
	return d.conn.SetReadDeadline(due)
}
