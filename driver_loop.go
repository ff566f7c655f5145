package hythe

import (
	"net"
	"os"

	"github.com/hythe-go/hythe/internal/loop"
)

type worker = loop.Worker

// loopDriver drives a connection on the server's epoll loops. It is the Stream
// under another name, so that it needs no memory of its own and its methods are
// nobody else's business.
//
// Between turns such a connection has no goroutine and no buffer.
type loopDriver Stream

var (
	_ driver    = (*loopDriver)(nil)
	_ loop.Task = (*loopDriver)(nil)
)

// Ready runs a turn, or leaves word for the one that is running.
func (d *loopDriver) Ready(w *worker, ev loop.Events) {
	s := (*Stream)(d)
	if s.has(hasReader) {
		if ev&(loop.Readable|loop.PeerDone|loop.Hangup) != 0 {
			s.wakeReader()
		}
		return
	}
	var what uint32
	if ev&(loop.Readable|loop.Hangup) != 0 {
		what |= evReadable
	}
	if ev&(loop.PeerDone|loop.Hangup) != 0 {
		what |= evPeerDone
	}
	if ev&loop.Hangup != 0 || ev&loop.Writable != 0 && s.stalled.Load() != 0 {
		what |= evWritable // it is told along with every event; see push
	}
	if ev&loop.Expired != 0 {
		what |= evClock
	}
	if what != 0 && s.state.CompareAndSwap(0, running) {
		s.turnsWith(w, what)
		return
	}
	if what == 0 {
		if s.state.Load() == 0 {
			return
		}
		what = evResume // drive wants to know that somebody was here
	}
	if s.acquire(what) {
		s.turns(w)
		return
	}
	// A turn is running, perhaps a long one.
	if what&evClock != 0 {
		s.stallClock(s.srv.now())
	}
	if what&evWritable != 0 {
		s.mu.Lock()
		s.out.blocked = false
		if !s.out.buried {
			s.push(nil)
		}
		s.mu.Unlock()
	}
	if what&evPeerDone != 0 && s.state.Load()&late != 0 {
		d.watchPeer()
	}
}

// watchPeer asks the kernel: events are hints.
func (d *loopDriver) watchPeer() {
	s := (*Stream)(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out.buried {
		return
	}
	switch hangup, done := s.node.Gone(); {
	case hangup:
		s.vanished(PeerReset)
	case done && s.srv.CancelOnEOF:
		s.vanished(PeerDone)
	}
}

// Run runs a turn that was scheduled, and so is owned already.
func (d *loopDriver) Run(w *worker) { (*Stream)(d).turns(w) }

// Late says that a turn has been running for long.
func (d *loopDriver) Late() {
	(*Stream)(d).lateNow()
	d.watchPeer()
}

func (d *loopDriver) read(b []byte) (int, error) { return d.node.Read(b) }

func (d *loopDriver) push(w *worker) {
	s, o := (*Stream)(d), &d.out
	var now int64
	if w != nil {
		now = w.Now
	}
	for {
		b := o.first()
		if len(b) == 0 {
			return
		}
		var n int
		var err error
		if o.bounded || o.q.One() {
			n, err = d.node.Write(b)
		} else {
			var pieces [16][]byte
			n, err = d.node.WriteAll(o.q.Buffers(pieces[:0]))
		}
		switch {
		case err == nil:
			if now == 0 {
				now = s.srv.now()
			}
			o.blocked = false
			s.took(n, now)
		case err == errAgain && !o.blocked:
			// Ready does not look at writable while stalled is not set, so the
			// room may have come unnoticed before it was: try once more.
			s.stall()
			o.blocked = true
			continue
		case err == errAgain:
			return
		default:
			s.writeFailed(err)
			return
		}
	}
}

func (d *loopDriver) closeWrite() { d.node.CloseWrite() }

// abort need not do anything where a turn will soon close the connection.
func (d *loopDriver) abort() {
	if d.state.Load()&late != 0 {
		d.node.Abort()
	}
}

func (d *loopDriver) reset() { d.node.Reset() }

func (d *loopDriver) close() {
	if nc := d.netConn(); nc != nil {
		d.node.Remove()
		nc.Close()
		return
	}
	d.node.Close()
}

func (d *loopDriver) schedule()    { d.node.Schedule() }
func (d *loopDriver) arm(at int64) { d.node.Arm(at) }

func (d *loopDriver) peerTook() (int64, bool) {
	if nc := d.netConn(); nc != nil {
		return tookOf(nc)
	}
	return tookFrom(d.node.FD())
}

func (d *loopDriver) detach() (net.Conn, error) {
	d.node.Remove()
	if nc := d.netConn(); nc != nil {
		d.rare.Load().conn = nil
		return nc, nil
	}
	f := os.NewFile(uintptr(d.node.FD()), "")
	defer f.Close()
	return net.FileConn(f)
}

func (d *loopDriver) localAddr() net.Addr {
	if nc := d.netConn(); nc != nil {
		return nc.LocalAddr()
	}
	return d.node.LocalAddr()
}

// netConn is nil while only the descriptor is known.
func (d *loopDriver) netConn() net.Conn {
	if r := d.rare.Load(); r != nil {
		return r.conn
	}
	return nil
}
