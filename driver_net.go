package hythe

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/hythe-go/hythe/internal/loop"
)

// netDriver drives any net.Conn: TLS, memnet, TCP where there are no loops.
//
// A connection has one goroutine, in the reader's role while it waits for
// input. When input has come it gives the role up, runs the turn and writes
// what the turn sent, all by itself, and takes the role again. When that takes
// longer than a millisecond another goroutine becomes the reader, so that a
// blocked hook or a peer that does not read stops neither the connection's
// other direction nor the watch for its end. The reader reads one chunk ahead
// of the turn and no more.
//
// While it waits the goroutine holds no buffer if the net.Conn lets it wait
// without one: those with a WaitRead method, those with a descriptor, and TLS
// over either. TLS over a descriptor that has nothing to say needs no goroutine
// either, where there are loops: one of them waits in its place.
type netDriver struct {
	s  *Stream
	nc net.Conn

	mu      sync.Mutex
	reading bool       // somebody has the reader's role
	resting bool       // and that is a loop
	left    *sync.Cond // signalled when the role is given up; made by detach
	stopped bool       // nobody takes the role any more
	taken   bool       // nor do they while the connection is somebody's net.Conn
	inbox   []byte     // read and not yet taken by the turn
	chunk   *[chunkBytes]byte
	err     error // what came after inbox

	timer   *time.Timer
	timerAt int64 // when it fires; 0: it is not set

	watch watched
}

const chunkBytes = 16 << 10

var (
	chunks     = sync.Pool{New: func() any { return new([chunkBytes]byte) }}
	netWorkers = sync.Pool{New: func() any { return &worker{Buf: make([]byte, 2*chunkBytes), Inline: true} }}
)

// start begins to drive the connection. The caller owns the turn.
func (d *netDriver) start() {
	d.s.srv.work.Add(1)
	go d.runAndRead()
}

func (d *netDriver) runAndRead() {
	defer d.s.srv.work.Done()
	if d.run() {
		d.readAndRun()
	}
}

// readAndRun is the life of the connection's goroutine, which has the reader's
// role.
func (d *netDriver) readAndRun() {
	for {
		hangup, rests := d.fill()
		if rests {
			return
		}
		ev := uint32(evReadable)
		if hangup == PeerReset {
			ev |= evPeerDone // which a turn that may not read looks at
		}
		if !d.s.acquire(ev) {
			// A turn is running; who runs it takes the role afterwards.
			if hangup != 0 {
				d.s.mu.Lock()
				d.s.vanished(hangup)
				d.s.mu.Unlock()
			}
			d.watchPeer()
			return
		}
		if !d.run() {
			return
		}
	}
}

// run runs the turn, which the caller owns, and writes what it sent. It reports
// whether the caller now has the reader's role.
func (d *netDriver) run() bool {
	w := netWorkers.Get().(*worker)
	w.Now, w.Owes = d.s.srv.now(), false
	run := d.s.srv.watch.enter(d)
	d.s.turns(w)
	if w.Owes {
		d.write()
	}
	d.s.srv.watch.leave(d, run)
	netWorkers.Put(w)
	return d.becomeReader()
}

// late is called when run takes long.
func (d *netDriver) late() {
	d.s.lateNow()
	if d.becomeReader() {
		d.s.srv.work.Go(d.readAndRun)
		return
	}
	d.watchPeer()
}

// watchPeer asks now and then, where the reader sees nothing: behind input that
// waits, and after its end.
func (d *netDriver) watchPeer() {
	d.mu.Lock()
	eof := d.err == io.EOF
	broken := d.err != nil && !eof
	blind := (d.chunk != nil || d.err != nil) && !d.stopped
	d.mu.Unlock()
	if !blind || d.s.state.Load()&late == 0 && d.s.holds.Load() == 0 {
		return
	}
	why := Reason(0)
	switch {
	case broken || peerGone(d.rawConn()):
		why = PeerReset
	case eof && d.s.srv.CancelOnEOF:
		why = PeerDone
	}
	if why != 0 {
		d.s.mu.Lock()
		d.s.vanished(why)
		d.s.mu.Unlock()
		return
	}
	d.arm(d.s.srv.now() + int64(100*time.Millisecond))
}

// becomeReader takes the reader's role if it is free and of use.
func (d *netDriver) becomeReader() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.reading || d.stopped || d.taken || d.chunk != nil || d.err != nil {
		return false
	}
	d.reading = true
	return true
}

// fill waits for input and puts it into the inbox, giving up the reader's role.
// It says how the peer has left, if it has. When nothing comes it may give the
// role to a loop.
func (d *netDriver) fill() (hangup Reason, rests bool) {
	chunk, n, err := d.readChunk()
	for chunk == nil && isTimeout(err) && !d.stops() {
		if d.rest() {
			return 0, true
		}
		chunk, n, err = d.readChunk()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reading = false
	if d.left != nil {
		d.left.Broadcast()
	}
	if d.stopped && isTimeout(err) {
		err = nil // detach wanted the role back
	}
	d.chunk, d.inbox, d.err = chunk, nil, err
	if chunk != nil {
		d.inbox = chunk[:n]
	}
	switch {
	case err == nil:
	case err != io.EOF:
		return PeerReset, false
	case d.s.srv.CancelOnEOF:
		return PeerDone, false
	}
	return 0, false
}

func (d *netDriver) stops() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stopped
}

// restAfter is how long nothing has to come before a loop waits in the reader's
// place.
const restAfter = 100 * time.Millisecond

// restTime returns when the reader is to rest; zero: never.
func (d *netDriver) restTime() time.Time {
	if d.s.srv.loops.Load() == nil {
		return time.Time{}
	}
	if _, ok := d.descriptor(); !ok {
		return time.Time{}
	}
	return time.Now().Add(restAfter)
}

// descriptor returns that of the connection, if it has one.
func (d *netDriver) descriptor() (fd int, ok bool) {
	return incoming{nc: innermost(d.nc)}.descriptor()
}

// innermost returns the connection that all that wrap others lie on.
func innermost(nc net.Conn) net.Conn {
	for {
		outer, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			return nc
		}
		nc = outer.NetConn()
	}
}

// rest gives the reader's role to a loop, if it will have it.
func (d *netDriver) rest() bool {
	fd, ok := d.descriptor()
	if !ok {
		return false
	}
	s := d.s
	s.mu.Lock()
	defer s.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped || s.out.dead {
		return false
	}
	s.srv.loops.Load().Prepare(&s.node, (*loopDriver)(s), fd)
	s.hooks.Or(uint32(hasReader))
	d.resting = s.node.Add() == nil
	return d.resting
}

// wakeReader is called by the loop that has a reader's role. Its turns are not
// the loop's business.
func (s *Stream) wakeReader() {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.d.(*netDriver)
	if !ok {
		return // the event was under way for another driver
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.rouse() {
		s.srv.work.Go(d.readAndRun)
	}
}

// rouse takes the role back from the loop; it reports whether the loop had it.
// d.mu is held.
func (d *netDriver) rouse() bool {
	if !d.resting {
		return false
	}
	d.resting = false
	d.s.node.Remove()
	return true
}

// readChunk waits for input, without a buffer if that is possible, and reads it
// into a chunk. No chunk is returned when nothing was read.
func (d *netDriver) readChunk() (*[chunkBytes]byte, int, error) {
	raw := d.nc
	if t, ok := raw.(*tls.Conn); ok {
		// A TLS connection may have read more records than it has returned.
		// With its time up it returns those and does not ask the network.
		d.setReadDeadline(longAgo)
		chunk, n, err := readInto(t)
		d.setReadDeadline(d.restTime())
		if n > 0 || !isTimeout(err) {
			return chunk, n, err
		}
		raw = t.NetConn()
	}
	if err := awaitRead(raw); err != nil {
		return nil, 0, err
	}
	return readInto(d.nc)
}

// longAgo is a deadline that has passed on any clock.
var longAgo = time.Unix(1, 0)

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

func (d *netDriver) setReadDeadline(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.stopped {
		d.nc.SetReadDeadline(t)
	}
}

func readInto(nc net.Conn) (*[chunkBytes]byte, int, error) {
	chunk := chunks.Get().(*[chunkBytes]byte)
	n, err := nc.Read(chunk[:])
	if n == 0 {
		chunks.Put(chunk)
		chunk = nil
	}
	return chunk, n, err
}

func (d *netDriver) read(b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.chunk == nil {
		if d.err != nil {
			return 0, d.err
		}
		return 0, errAgain
	}
	n := copy(b, d.inbox)
	if d.inbox = d.inbox[n:]; len(d.inbox) == 0 {
		chunks.Put(d.chunk)
		d.chunk, d.inbox = nil, nil
		if d.err != nil {
			d.s.signal(evReadable) // it is to be read as well
		}
	}
	return n, nil
}

// push leaves the writing to the end of the turn if it is run by run, and
// starts a goroutine for it otherwise.
func (d *netDriver) push(w *worker) {
	if w != nil && w.Inline {
		w.Owes = true
		return
	}
	d.s.out.writing = true
	d.s.srv.work.Go(d.writeAll)
}

// write writes what the queue holds, unless another goroutine is at it.
func (d *netDriver) write() {
	s, o := d.s, &d.s.out
	s.mu.Lock()
	if o.writing || o.dead || len(o.first()) == 0 {
		s.mu.Unlock()
		return
	}
	o.writing = true
	s.mu.Unlock()
	d.writeAll()
}

// writeAll writes until the queue is empty. The caller has set out.writing.
func (d *netDriver) writeAll() {
	s, o := d.s, &d.s.out
	s.mu.Lock()
	for !o.dead && len(o.first()) > 0 {
		b := o.first()
		s.stall()
		s.mu.Unlock()
		n, err := writeSome(d.nc, b)
		now := s.srv.now()
		s.mu.Lock()
		if n > 0 {
			s.took(n, now)
		}
		if err != nil {
			s.writeFailed(err)
		}
	}
	o.writing = false
	if o.buried {
		o.q.Release()
	}
	s.mu.Unlock()
}

// writeSome writes at least one byte of b and not necessarily all, so that
// progress is seen.
func writeSome(nc net.Conn, b []byte) (int, error) {
	if t, ok := nc.(interface{ TryWrite([]byte) (int, error) }); ok {
		if n, err := t.TryWrite(b); n > 0 || err != nil {
			return n, err
		}
		return nc.Write(b[:1])
	}
	return nc.Write(b[:min(len(b), chunkBytes)])
}

// closeWrite half-closes. With TLS that is a record, whose writing may block.
func (d *netDriver) closeWrite() {
	c, ok := d.nc.(interface{ CloseWrite() error })
	if !ok {
		return
	}
	if _, ok := d.nc.(*tls.Conn); ok {
		d.s.srv.work.Go(func() { c.CloseWrite() })
		return
	}
	c.CloseWrite()
}

func (d *netDriver) abort() {
	d.mu.Lock()
	d.reading = d.reading && !d.rouse() // before the descriptor is somebody else's
	d.mu.Unlock()
	d.rawConn().Close()
}

func (d *netDriver) reset() {
	for nc := d.rawConn(); nc != nil; {
		switch c := nc.(type) {
		case interface{ SetLinger(sec int) error }:
			c.SetLinger(0)
			return
		case interface{ Reset() }:
			c.Reset()
			return
		case interface{ NetConn() net.Conn }:
			nc = c.NetConn()
		default:
			return
		}
	}
}

// rawConn is the connection below TLS.
func (d *netDriver) rawConn() net.Conn {
	if t, ok := d.nc.(*tls.Conn); ok {
		return t.NetConn()
	}
	return d.nc
}

func (d *netDriver) close() {
	d.mu.Lock()
	d.stopped = true
	d.rouse()
	if d.timer != nil {
		d.timer.Stop()
	}
	if d.chunk != nil {
		chunks.Put(d.chunk)
		d.chunk, d.inbox = nil, nil
	}
	d.mu.Unlock()
	if _, ok := d.nc.(*tls.Conn); ok && d.s.out.half != halfClosed {
		// The goodbye that TLS owes the peer may block, for 5 s at most.
		d.s.srv.work.Go(func() { d.nc.Close() })
		return
	}
	d.rawConn().Close()
}

func (d *netDriver) schedule() { d.start() }

func (d *netDriver) arm(at int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped || d.timerAt != 0 && d.timerAt <= at {
		return
	}
	d.timerAt = max(at, 1)
	after := time.Duration(at - d.s.srv.now())
	if d.timer == nil {
		d.timer = time.AfterFunc(after, d.clock)
	} else {
		d.timer.Reset(after)
	}
}

func (d *netDriver) peerTook() (int64, bool) { return tookOf(d.nc) }

func (d *netDriver) clock() {
	d.mu.Lock()
	d.timerAt = 0
	d.mu.Unlock()
	if d.s.acquire(evClock) {
		d.start()
	} else {
		d.s.stallClock(d.s.srv.now())
		d.watchPeer()
	}
}

func (d *netDriver) detach() (net.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped = true
	if d.timer != nil {
		d.timer.Stop()
	}
	d.reading = d.reading && !d.rouse()
	if d.reading {
		d.left = sync.NewCond(&d.mu)
		d.nc.SetReadDeadline(longAgo)
		for d.reading {
			d.left.Wait()
		}
	}
	d.nc.SetReadDeadline(time.Time{})
	if d.err != nil && d.err != io.EOF {
		return nil, d.err
	}
	if d.chunk == nil {
		return d.nc, nil
	}
	ahead := append([]byte(nil), d.inbox...)
	chunks.Put(d.chunk)
	d.chunk, d.inbox = nil, nil
	return withUnread(d.nc, ahead), nil
}

func (d *netDriver) localAddr() net.Addr { return d.nc.LocalAddr() }
func (d *netDriver) netConn() net.Conn   { return d.nc }

// A lateWatch tells of runs that take longer than a millisecond, at the cost of
// two short locks for each and one timer for all.
type lateWatch struct {
	mu    sync.Mutex
	head  watched // list
	tick  uint64
	timer *time.Timer
	armed bool
}

// watched is a run's place in the list, guarded by lateWatch.mu.
type watched struct {
	next, prev *watched
	d          *netDriver
	since      uint64
	run        uint64 // which run of d's it is
}

func (lw *lateWatch) enter(d *netDriver) (run uint64) {
	lw.mu.Lock()
	defer lw.mu.Unlock()
	w := &d.watch
	if w.next != nil {
		w.remove() // an earlier run of the same connection is still writing
	}
	w.run++
	if lw.head.next == nil {
		lw.head.next, lw.head.prev = &lw.head, &lw.head
	}
	w.d, w.since = d, lw.tick
	w.next, w.prev = &lw.head, lw.head.prev
	w.prev.next, w.next.prev = w, w
	if !lw.armed {
		lw.armed = true
		if lw.timer == nil {
			lw.timer = time.AfterFunc(loop.LateAfter, lw.look)
		} else {
			lw.timer.Reset(loop.LateAfter)
		}
	}
	return w.run
}

func (lw *lateWatch) leave(d *netDriver, run uint64) {
	lw.mu.Lock()
	defer lw.mu.Unlock()
	if d.watch.next != nil && d.watch.run == run {
		d.watch.remove()
	}
}

func (w *watched) remove() {
	w.prev.next, w.next.prev = w.next, w.prev
	w.next, w.prev = nil, nil
}

// look tells the runs that were there a tick ago.
func (lw *lateWatch) look() {
	var late []*netDriver
	lw.mu.Lock()
	for w := lw.head.next; w != &lw.head; {
		next := w.next
		if w.since < lw.tick {
			w.remove()
			late = append(late, w.d)
		}
		w = next
	}
	lw.tick++
	if lw.armed = lw.head.next != &lw.head; lw.armed {
		lw.timer.Reset(loop.LateAfter)
	}
	lw.mu.Unlock()
	for _, d := range late {
		d.late()
	}
}
