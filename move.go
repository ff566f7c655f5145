package hythe

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"runtime/debug"
	"sync/atomic"

	"github.com/hythe-go/hythe/internal/sendfile"
)

// How a connection moves: to TLS, out of the server, or to code that wants a
// net.Conn, and back. All of that happens between two turns: no input is
// delivered once it was asked for, what was sent before it leaves first, and
// what has been read and not been used goes along.

// ErrMoving means that StartTLS, Detach or Take was called already, and has not
// taken effect.
var ErrMoving = errors.New("hythe: the connection is being moved already")

// startMove has move called, in the turn, when what was sent so far has left.
// closes says that nothing may be sent after it.
func (s *Stream) startMove(closes bool, move func() (givenAway bool)) error {
	r := s.needRare()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch o := &s.out; {
	case s.end != nil:
		return s.end
	case o.bounded:
		return ErrMoving
	default:
		o.bounded, o.upTo = true, int32(o.q.Len())
		if closes {
			o.closed, o.taken = true, true
		}
	}
	r.move = move
	s.gate.Or(gateMoving)
	s.signal(evFlush)
	return nil
}

// move does what was asked for, if everything has left. It reports whether the
// caller has lost the turn.
func (s *Stream) move(w *worker) (givenAway bool) {
	s.mu.Lock()
	s.push(w)
	waiting := s.out.upTo > 0 || s.out.writing
	s.mu.Unlock()
	return !waiting && s.rare.Load().move()
}

// leaveDriver takes the connection from its driver, with what has been read.
func (s *Stream) leaveDriver() (net.Conn, error) {
	nc, err := s.d.detach()
	if err != nil {
		return nil, err
	}
	nc = withUnread(nc, s.in)
	s.keep(nil)
	s.status &^= sReadable | sFresh | sFin | sEOF
	return nc, nil
}

// settleDown ends a move: d drives the connection from now on.
func (s *Stream) settleDown(d driver) {
	s.mu.Lock()
	s.d = d
	s.out.bounded, s.out.blocked = false, false
	s.mu.Unlock()
	if _, is := d.(*netDriver); is {
		s.hooks.Or(uint32(hasReader))
	} else {
		s.hooks.And(^uint32(hasReader))
	}
	s.gate.And(^uint32(gateMoving))
}

// StartTLS makes the connection a TLS connection, as its server: the hook's
// answer, if it sends one before calling StartTLS, is the last thing in clear.
// Input that has come behind the message is taken for the beginning of the
// handshake. Messages of other goroutines wait and are encrypted. When the
// handshake has been done, under the handshake clock, the session goes on as it
// was, and TLS tells about it; if it fails the connection ends, for the reason
// HandshakeFailed or HandshakeTimeout. It returns at once: a *CloseError when the
// connection has ended, and ErrMoving. To be called in a hook.
func (s *Stream) StartTLS(config *tls.Config) error { return s.startTLS(tls.Server, config) }

// StartTLSClient is StartTLS as the client. config needs a ServerName.
func (s *Stream) StartTLSClient(config *tls.Config) error { return s.startTLS(tls.Client, config) }

func (s *Stream) startTLS(side func(net.Conn, *tls.Config) *tls.Conn, config *tls.Config) error {
	return s.startMove(false, func() bool {
		nc, err := s.leaveDriver()
		if err != nil {
			s.cut(PeerReset, err)
			return false
		}
		plain := &netDriver{s: s, nc: nc}
		s.mu.Lock()
		s.d = plain
		dead := s.out.dead
		s.mu.Unlock()
		s.srv.work.Go(func() {
			next := plain
			if !dead {
				ctx, cancel := s.srv.handshakeContext(s)
				t := side(&progressConn{nc, s}, config)
				if why, err := shakeHands(ctx, t); err != nil {
					s.cut(why, err)
				} else {
					next = &netDriver{s: s, nc: t}
				}
				cancel()
			}
			s.settleDown(next)
			s.mu.Lock()
			s.push(nil)
			if s.out.dead {
				next.abort() // it was cut while it was nobody's
			}
			s.mu.Unlock()
			s.rearm(s.srv.now())
			if next.run() {
				next.readAndRun()
			}
		})
		return true
	})
}

// Detach takes the connection out of the server: when what was sent has left,
// it ends, for the reason Detached, and then f is called with it, on a
// goroutine of its own. What was read and not used is what f reads first. The
// server knows nothing of the connection any more; f must close it. f is not
// called if the connection ends before. The errors are those of StartTLS. To be
// called in a hook.
func (s *Stream) Detach(f func(net.Conn)) error {
	return s.startMove(true, func() bool {
		nc, err := s.leaveDriver()
		if err != nil {
			s.cut(PeerReset, err)
			return false
		}
		s.settleDown(noDriver{})
		s.cut(Detached, nil)
		s.bury()
		go f(nc) // the program's from here on
		return true
	})
}

// noDriver stands in when there is no connection any more.
type noDriver struct{}

func (noDriver) read([]byte) (int, error)  { return 0, io.EOF }
func (noDriver) push(*worker)              {}
func (noDriver) closeWrite()               {}
func (noDriver) abort()                    {}
func (noDriver) reset()                    {}
func (noDriver) close()                    {}
func (noDriver) schedule()                 {}
func (noDriver) arm(int64)                 {}
func (noDriver) peerTook() (int64, bool)   { return 0, false }
func (noDriver) watchPeer()                {}
func (noDriver) detach() (net.Conn, error) { return nil, net.ErrClosed }
func (noDriver) localAddr() net.Addr       { return nil }
func (noDriver) netConn() net.Conn         { return nil }

// A Taken is a connection that a Protocol took out of its turns, as a net.Conn.
// It is still the server's: counted, bounded by the write stall clock and by
// its lifetime, ended by Close, waited for by a drain, and closed when the
// function that it was given to returns. Posted, Draining and Closed are still
// called.
type Taken struct {
	net.Conn
	s     *Stream
	moved atomic.Bool
	idle  atomic.Bool
	kept  bool // only by the function that was given it
}

// Take hands the connection to f, on a goroutine of its own, when what was sent
// has left. What was read and not used is what f reads first. Nothing can be
// sent through the Stream meanwhile. The connection counts as held. When f
// returns the connection is closed, for the reason Finished, unless f has called
// Moor. The errors are those of StartTLS. To be called in a hook, or in Open.
func (s *Stream) Take(f func(t *Taken)) error {
	return s.startMove(true, func() bool {
		nc, err := s.leaveDriver()
		if err != nil {
			s.cut(PeerReset, err)
			return false
		}
		s.holds.Add(1)
		s.gate.Or(gateTaken)
		s.settleDown(&netDriver{s: s, nc: nc, taken: true})
		s.rearm(s.srv.now())
		t := &Taken{Conn: nc, s: s}
		s.srv.beside.Add(1)
		s.srv.work.Add(1)
		go func() { // owned by the server, which waits for t.done
			defer func() {
				if v := recover(); v != nil {
					s.cut(Panicked, &PanicError{Value: v, Stack: debug.Stack()})
				}
				if !t.kept {
					t.done()
				}
			}()
			f(t)
		}()
		return false
	})
}

// Keep lets the function that was given t return before it is done with the
// connection. The function that Keep returns is to be called in place of that,
// once. To be called in the function that was given t.
func (t *Taken) Keep() (done func()) {
	t.kept = true
	return t.done
}

// done is what follows when the connection is not needed any more.
func (t *Taken) done() {
	t.Close()
	t.s.srv.beside.Add(-1)
	t.s.srv.work.Done()
}

// Stream returns the connection's Stream.
func (t *Taken) Stream() *Stream { return t.s }

// NetConn returns the connection without the server's counting and clocks.
func (t *Taken) NetConn() net.Conn { return t.Conn }

func (t *Taken) Read(b []byte) (int, error) {
	n, err := t.Conn.Read(b)
	if n > 0 {
		t.s.bytesIn.Add(uint64(n))
		t.s.active.Store(t.s.srv.now())
	}
	return n, err
}

func (t *Taken) Write(b []byte) (n int, err error) {
	s := t.s
	s.mu.Lock()
	s.stall()
	s.mu.Unlock()
	for n < len(b) && err == nil {
		var k int
		k, err = t.Conn.Write(b[n:min(len(b), n+64<<10)])
		n += k
		now := s.srv.now()
		s.bytesOut.Add(uint64(k))
		s.stalled.Store(now)
		s.active.Store(now)
	}
	s.stalled.Store(0)
	return n, err
}

// ReadFrom writes what it reads from r: with sendfile if that is a regular file,
// or an io.LimitedReader of one, and the system has it. The write stall clock
// runs while it writes, and with sendfile while it reads too.
func (t *Taken) ReadFrom(r io.Reader) (n int64, err error) {
	limited, ok := r.(*io.LimitedReader) // which sendfile sees through, but only one
	if !ok {
		limited = &io.LimitedReader{R: r, N: math.MaxInt64}
	}
	to, ok := t.Conn.(io.ReaderFrom)
	if !ok || !sendfile.Can(limited.R) {
		return io.Copy(justWriter{t}, r)
	}
	s := t.s
	s.mu.Lock()
	s.stall()
	s.mu.Unlock()
	defer s.stalled.Store(0)
	for limited.N > 0 {
		const piece = 256 << 10 // progress is seen after each
		part := &io.LimitedReader{R: limited.R, N: min(limited.N, piece)}
		k, err := to.ReadFrom(part)
		n += k
		limited.N -= k
		now := s.srv.now()
		s.bytesOut.Add(uint64(k))
		s.stalled.Store(now)
		s.active.Store(now)
		if err != nil || k < piece {
			return n, err
		}
	}
	return n, nil
}

// justWriter hides ReadFrom.
type justWriter struct{ io.Writer }

// CloseWrite half-closes the connection.
func (t *Taken) CloseWrite() error { return closeWriteOf(t.Conn) }

// Close ends the connection, for the reason Finished. After Moor it does
// nothing.
func (t *Taken) Close() error {
	if !t.moved.Swap(true) {
		t.s.cut(Finished, nil)
	}
	return nil
}

// SetIdle says whether nothing is owed to the peer at the moment, as between two
// requests. An idle connection does not count as held, so that a drain reports
// it as idle and ShedIdle may end it. The drain does not close it: Draining does.
func (t *Taken) SetIdle(idle bool) {
	switch was := t.idle.Swap(idle); {
	case idle && !was:
		t.s.holds.Add(-1)
	case was && !idle:
		t.s.holds.Add(1)
	}
}

// CloseFor is Close for another reason. err, which may be nil, is what lies
// behind it.
func (t *Taken) CloseFor(why Reason, err error) {
	if !t.moved.Swap(true) {
		t.s.cut(why, err)
	}
}

// Shutdown ends the connection in peace: it is half-closed, what the peer still
// sends is discarded until it has finished too, and it is closed. It returns at
// once. The reason is Finished. t must not be used any more.
func (t *Taken) Shutdown() error { return t.ShutdownFor(Finished, nil) }

// ShutdownFor is Shutdown for another reason. err, which may be nil, is what lies
// behind it.
func (t *Taken) ShutdownFor(why Reason, err error) error {
	return t.giveBack(func() { t.s.finish(why, err) })
}

// Moor gives the connection back to its turns: Input is called when something
// comes, and until then the connection costs as little as any other. t must not
// be used any more. No bytes that were read can be given back.
func (t *Taken) Moor() error { return t.giveBack(func() {}) }

// MoorThen is Moor that has f called in the first turn, from which on the Stream
// can be written to again. f is not called if the connection ends before.
func (t *Taken) MoorThen(f func()) error { return t.giveBack(f) }

// giveBack returns the connection to its turns, and calls then in the first.
func (t *Taken) giveBack(then func()) error {
	if t.moved.Swap(true) {
		return net.ErrClosed
	}
	s := t.s
	return s.startMove(false, func() bool {
		s.mu.Lock()
		s.out.closed, s.out.taken = false, false
		dead := s.out.dead
		s.mu.Unlock()
		if dead {
			return false
		}
		s.d.(*netDriver).retire()
		if !t.idle.Load() {
			s.holds.Add(-1)
		}
		s.active.Store(s.srv.now())
		s.gate.And(^uint32(gateTaken))
		s.srv.place(s, incoming{nc: t.Conn}, true)
		s.settleDown(s.d)
		s.rearm(s.srv.now())
		d, ok := s.d.(*netDriver)
		if !ok {
			if err := s.node.Add(); err != nil {
				s.cut(Failed, err)
			}
		}
		then()
		s.signal(evResume)
		if ok {
			d.start() // its turn: who ran this one would not read for it afterwards
		}
		return ok
	})
}

// retire stops a driver that has no reader.
func (d *netDriver) retire() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped = true
	if d.timer != nil {
		d.timer.Stop()
	}
}

// NetConns makes a Service of a function that is given each connection as a
// net.Conn, which is a [*Taken]. The connection is closed when it returns. The
// reason is Finished, or Failed if it returned an error. ctx is the Stream's
// Context.
func NetConns(f func(ctx context.Context, nc net.Conn) error) Service {
	return ServiceFunc(func(s *Stream) (Protocol, error) {
		err := s.Take(func(t *Taken) {
			if err := f(s.Context(), t); err != nil && !t.moved.Swap(true) {
				s.cut(Failed, err)
			}
		})
		return takenProtocol{}, err
	})
}

// takenProtocol belongs to a connection that is never in a turn.
type takenProtocol struct{}

func (takenProtocol) Input(src []byte, eof bool) (int, error) { return 0, nil }
