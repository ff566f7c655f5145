package hythe

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hythe-go/hythe/internal/loop"
	"github.com/hythe-go/hythe/internal/outq"
)

// A Stream is one connection as bytes: what a [Service] is handed, and what a
// [Conn] puts messages on. It is safe for concurrent use.
type Stream struct {
	// What every turn touches comes first, in the order in which it does.

	node loop.Node // the loop driver's

	// state holds who runs a turn and what has happened meanwhile, gate why no
	// input is delivered; 0: it is. See turn.go.
	state, gate atomic.Uint32

	hooks  atomic.Uint32 // a hookSet
	status status        // turn only
	proto  Protocol      // turn only
	d      driver        // written under mu, in a turn
	srv    *Server

	// The input.
	in      []byte // unfinished input, nil when there is none. Turn only
	inSince int64  // when in became non-empty; 0: it is empty. Turn only

	// Times are nanoseconds since the server's epoch.
	active            atomic.Int64 // when a byte came or went
	bytesIn, bytesOut atomic.Uint64

	// The output.
	mu      sync.Mutex
	out     output       // guarded by mu
	stalled atomic.Int64 // since when the kernel has taken nothing though output waits; 0: it does
	frames  uint64       // guarded by mu

	// What turns seldom touch.

	rare      atomic.Pointer[rare] // made when it is first needed
	holds     atomic.Int32
	newFrames uint32 // not yet in frames. Turn only
	opened    int64
	outAtIn   uint64 // bytesOut when input last came. Turn only
	lingerTo  int64  // when a lingering connection is cut; 0: it does not linger. Turn only
	id        uint64
	peer      peerAddr
	end       *CloseError // guarded by mu; final once out.settled

	next, prev *Stream // the server's list, guarded by Server.mu
}

// status bits record what has been learnt of the input side.
type status uint16

const (
	sReadable    status = 1 << iota // reading may give something
	sFramed                         // something was delivered
	sFin                            // the kernel says that the peer has finished
	sEOF                            // the end of the input was read
	sInputClosed                    // the session's InputClosed was called
	sEOFTold                        // the protocol knows
	sFresh                          // unfinished input is to be offered again before more is read
	sHighTold                       // HighWater was called last, not LowWater
	sConnected                      // Open succeeded
	sDraining                       // the server drains
	sAdmitted                       // a place was taken for it
	sRefusing                       // it is being told that there is no room
	sIdleAtDrain                    // nothing was owed to the peer when the drain began
)

// rare is the part of a Stream that is made when it is first needed.
type rare struct {
	mu      sync.Mutex
	conn    net.Conn // of a connection that a loop drives and that has one
	ctx     context.Context
	cancel  context.CancelCauseFunc
	onClose map[int]func(reason error)
	nextID  int
	events  []any
	ended   *CloseError // the context's cause
	buried  bool        // the OnClose functions have been called
	service Service     // of a connection that was attached; nil: the server's
	aside   aside
	move    func() (givenAway bool) // what StartTLS, Detach, Take or Moor asked for

	stalled int64 // of which stall took is; Stream.mu guards both
	took    int64 // by the peer, when the stall was first looked at
}

func (s *Stream) needRare() *rare {
	if r := s.rare.Load(); r != nil {
		return r
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rare.Load()
	if r == nil {
		r = &rare{buried: s.out.buried}
		if s.out.settled {
			r.ended = s.end
		}
		s.rare.Store(r)
	}
	return r
}

// cancelled cancels the context, if there is one. The first end counts; it is
// returned.
func (r *rare) cancelled(end *CloseError) *CloseError {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended == nil {
		r.ended = end
	}
	if r.cancel != nil {
		r.cancel(r.ended)
	}
	return r.ended
}

// closed takes the OnClose functions, which are then called.
func (r *rare) closed(end *CloseError) []func(error) {
	r.cancelled(end)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.buried = true
	fs := slices.Collect(maps.Values(r.onClose))
	r.onClose = nil
	return fs
}

// ID returns the connection's number, unique within its server and never
// reused.
func (s *Stream) ID() uint64 { return s.id }

// RemoteAddr returns the peer's address.
func (s *Stream) RemoteAddr() net.Addr {
	if c := s.netConn(); c != nil {
		return c.RemoteAddr()
	}
	if p := s.peer.addrPort(); p.IsValid() {
		return net.TCPAddrFromAddrPort(p)
	}
	return &net.UnixAddr{Net: "unix"}
}

// LocalAddr returns the connection's own address.
func (s *Stream) LocalAddr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.d.localAddr()
}

func (s *Stream) netConn() net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.d.netConn()
}

func (s *Stream) has(h hookSet) bool { return hookSet(s.hooks.Load())&h != 0 }

// minds reports whether the protocol has one of the hooks, or may have: nobody
// knows before Open has returned.
func (s *Stream) minds(h hookSet) bool { return s.has(h) || !s.has(hasOpened) }

// TLS returns the state of the connection's TLS layer; ok is false when it has
// none.
func (s *Stream) TLS() (state tls.ConnectionState, ok bool) {
	if c, is := s.netConn().(interface{ ConnectionState() tls.ConnectionState }); is {
		return c.ConnectionState(), true
	}
	return state, false
}

// Context returns a context that is cancelled when the connection is of no more
// use: it ended, or its peer vanished while a hook was running or it was held.
// Its cause is the *CloseError. A peer that has only finished sending, and still
// wants its answers, does not cancel it, unless Server.CancelOnEOF is set.
func (s *Stream) Context() context.Context {
	r := s.needRare()
	ctx, made := r.context(s.srv.baseContext())
	if made { // the peer may have left already
		switch {
		case s.state.Load()&late != 0:
			s.mu.Lock()
			d := s.d
			s.mu.Unlock()
			d.watchPeer()
		case s.holds.Load() > 0:
			s.signal(evResume)
		}
	}
	return ctx
}

func (r *rare) context(base context.Context) (ctx context.Context, made bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if made = r.ctx == nil; made {
		r.ctx, r.cancel = context.WithCancelCause(base)
		if r.ended != nil {
			r.cancel(r.ended)
		}
	}
	return r.ctx, made
}

// watched reports whether somebody has the context.
func (r *rare) watched() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ctx != nil
}

// OnClose has f called when the connection has ended, once, after every hook.
// If it has ended already, f is called at once. The returned function takes f
// back, and reports whether it was in time.
func (s *Stream) OnClose(f func(reason error)) (remove func() bool) {
	r := s.needRare()
	r.mu.Lock()
	if r.buried {
		r.mu.Unlock()
		f(r.ended)
		return func() bool { return false }
	}
	if r.onClose == nil {
		r.onClose = make(map[int]func(error))
	}
	id := r.nextID
	r.nextID++
	r.onClose[id] = f
	r.mu.Unlock()
	return func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		_, ok := r.onClose[id]
		delete(r.onClose, id)
		return ok
	}
}

// Post hands event to the session's Posted hook. It runs in a turn, like
// everything else of the session; events of one goroutine arrive in order. Post
// never blocks: it returns ErrFull when Limits.Events of them wait already,
// ErrNotHere when the session has no Posted, and a *CloseError when the
// connection has ended. An event that was accepted may still be lost to the
// connection's end.
func (s *Stream) Post(event any) error {
	if s.has(hasOpened) && !s.has(hasPosted) {
		return ErrNotHere
	}
	s.mu.Lock()
	var ended error
	if s.end != nil {
		ended = s.end
	}
	s.mu.Unlock()
	if ended != nil {
		return ended
	}
	r := s.needRare()
	r.mu.Lock()
	if len(r.events) >= s.srv.settings().Events {
		r.mu.Unlock()
		return ErrFull
	}
	r.events = append(r.events, event)
	first := len(r.events) == 1
	r.mu.Unlock()
	if first {
		s.signal(evPosted)
	}
	return nil
}

// Hold says that something is being done for the connection that no turn shows:
// a request is being worked on, say. While it is held it is not idle, a drain
// waits for it, and it stays open when its peer has finished sending. The
// returned function lets go; calls after the first do nothing.
func (s *Stream) Hold() (release func()) {
	s.holds.Add(1)
	var once atomic.Bool
	return func() {
		if !once.Swap(true) {
			if s.holds.Add(-1) == 0 {
				s.active.Store(s.srv.now())
				s.signal(evResume | evClock) // the clocks that stood still run again
			}
		}
	}
}

// PauseInput stops the delivery of input until ResumeInput. The input that is
// being delivered is the last; what has come already waits. Bytes then fill the
// kernel's buffer, and the peer has to wait. A peer's end goes unnoticed while
// input waits in front of it.
func (s *Stream) PauseInput() { s.gate.Or(gatePaused) }

// ResumeInput undoes PauseInput. What has come already is delivered first.
func (s *Stream) ResumeInput() {
	if s.gate.And(^uint32(gatePaused))&gatePaused != 0 {
		s.signal(evResume)
	}
}

// Yield reports whether a Protocol's Input should return, leaving the rest of
// its bytes for later: input was paused, too much output waits, or the
// connection is ending.
func (s *Stream) Yield() bool { return s.gate.Load() != 0 }

// Shutdown ends the connection in peace: no more input is delivered, not even
// what was read already, what was sent before is flushed, and the connection is
// closed. It returns at once. Nothing can be sent after it. The reason is
// Finished.
func (s *Stream) Shutdown() { s.finish(Finished, nil) }

// Close ends the connection now; what the kernel has not taken is lost. It
// never blocks. The reason is Closed.
func (s *Stream) Close() error {
	s.cut(Closed, nil)
	return nil
}

// Reset is Close that the peer can tell from an end in peace: what the kernel has
// not sent is discarded, and TCP says so by a reset. The reason is Closed.
func (s *Stream) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.out.dead {
		s.d.reset()
		s.cutLocked(Closed, nil)
	}
}

// CloseWrite flushes what was sent and then tells the peer that nothing more
// will come; input goes on. It returns at once. Nothing can be sent after it.
func (s *Stream) CloseWrite() error {
	s.mu.Lock()
	if err := s.out.closedErr(s); err != nil {
		s.mu.Unlock()
		return err
	}
	s.out.closed, s.out.half = true, halfClosing
	s.mu.Unlock()
	s.signal(evFlush)
	return nil
}

// Stats are a connection's counters.
type Stats struct {
	Opened            time.Time
	BytesIn, BytesOut uint64 // as the protocol saw them: without TLS
	Frames            uint64 // delivered to the session, in the turns that have ended
	Queued            int    // bytes that wait for the kernel
}

// Stats returns the connection's counters.
func (s *Stream) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{
		Opened:   s.srv.epoch.Add(time.Duration(s.opened)),
		BytesIn:  s.bytesIn.Load(),
		BytesOut: s.bytesOut.Load(),
		Frames:   s.frames,
		Queued:   s.out.q.Len(),
	}
}

// addCounts adds what the turn has counted. s.mu is held.
func (s *Stream) addCounts() {
	s.frames += uint64(s.newFrames)
	s.newFrames = 0
}

// half says how far a half-close is.
type half uint8

const (
	_           half = iota
	halfClosing      // as soon as all has left
	halfClosed
)

// untold is what has become of the output queue that no hook has heard of yet.
type untold uint8

const (
	crossed  untold = 1 << iota // a mark: HighWater, LowWater
	ranEmpty                    // Flushed
)

// output is the writing side of a Stream.
type output struct {
	q    outq.Queue
	wait *sync.Cond // made by the first who waits
	upTo int32      // see bounded

	full    bool // HighWater was reached and LowWater not yet
	untold  untold
	blocked bool // the kernel took nothing; an event will follow
	writing bool // a goroutine is inside a blocking write
	closed  bool // nothing more may be sent
	half    half // of a half-close
	dead    bool // the connection was cut: nothing can leave
	lost    bool // ... and something was to
	settled bool // the reason is final
	buried  bool // the connection is closed

	// Before StartTLS, Detach and Take only the first upTo bytes may leave.
	bounded bool
	taken   bool // nothing may be sent here: somebody has the net.Conn
}

// closedErr returns why nothing more may be sent, nil when it may. s.mu is held.
func (o *output) closedErr(s *Stream) error {
	switch {
	case !o.closed:
		return nil
	case s.end != nil:
		return s.end
	case o.taken:
		return ErrNotHere
	}
	return errWriteClosed
}

var errWriteClosed = &CloseError{Reason: Finished, Err: errors.New("CloseWrite was called")}
