package hythe

import (
	"context"
	"crypto/tls"
	"errors"
	"iter"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hythe-go/hythe/internal/loop"
	"github.com/hythe-go/hythe/internal/outq"
	"github.com/hythe-go/hythe/listen"
)

// A Server accepts connections and has its Service deal with them. Only Service
// must be set. The fields must not be changed once Serve has been called; the
// methods are safe for concurrent use at any time. A Server serves once.
type Server struct {
	// Service says what is done with connections.
	Service Service

	// Limits and Timeouts bound what connections take. See SetLimits and
	// SetTimeouts for changing them while serving.
	Limits   Limits
	Timeouts Timeouts

	// AtLimit says what happens to a connection for which there is no room.
	AtLimit AtLimit

	// Farewell is sent to a connection that is refused, if there is no TLS.
	Farewell []byte

	// TLS, if set, makes every connection a TLS connection. See TLSFiles for
	// certificates that are reloaded.
	TLS *tls.Config

	// PreConnect, if set, is called for each connection before anything else is
	// done with it, TLS included. It may look at it, talk over it, deny it with
	// an error, or return another net.Conn in its place. It runs on a goroutine
	// of the connection's own; ctx ends with the handshake clock.
	PreConnect func(ctx context.Context, nc net.Conn) (net.Conn, error)

	// Listen says how ListenAndServe binds.
	Listen listen.Config

	// OnListen, if set, is called with each listener's address before the first
	// connection is accepted.
	OnListen func(net.Addr)

	// CancelOnEOF has the end of a peer's input cancel the connection's context
	// while a hook is running or the connection is held, which suits protocols
	// whose clients never half-close. Without it only a peer that is gone in
	// both directions does.
	CancelOnEOF bool

	// Slow says what a Group does with a member that does not keep up.
	Slow SlowPolicy

	// Goroutines has every connection driven by a goroutine of its own, even
	// where the epoll loops could. What a program sees is the same.
	Goroutines bool

	// Observer, if set, is told what happens. It is called from many
	// goroutines, under no lock, and must not block.
	Observer func(Event)

	// Logger, if set, gets a line for each connection that ends, at level
	// Debug, or Warn when it was the server's own fault.
	Logger *slog.Logger

	initOnce sync.Once
	epoch    time.Time
	set      atomic.Pointer[settings]
	budget   outq.Budget
	admit    admission
	watch    lateWatch
	base     context.Context          // set before the first connection
	loops    atomic.Pointer[loop.Set] // nil: only netDriver. Made under mu
	work     sync.WaitGroup           // goroutines of connections
	beside   atomic.Int32             // functions that run beside turns: what Aside and Take were given
	lastID   atomic.Uint64
	late     atomic.Uint64

	mu        sync.Mutex
	state     serverState
	listeners []*listen.Listener
	head      Stream // list of connections: next and prev only
	live      int
	count     uint64             // connections ever
	reasons   [numReasons]uint64 // connections ended
	shaking   []*Stream          // in PreConnect or the handshake, oldest first
	refusing  int                // refused ones that are being told
	report    *Report            // since Drain or Close
	reported  bool               // nothing is added to report any more
	sealed    bool               // no connection is taken any more
	quit      chan struct{}      // closed when Drain or Close begins
	accepted  chan struct{}      // closed when the last listener has closed
	empty     chan struct{}      // closed when draining and the last connection has ended
	stopped   chan struct{}      // closed when Drain or Close has done its work
	stopErr   error              // what Serve returns after that
}

type serverState uint8

const (
	stateNew serverState = iota
	stateServing
	stateDraining
	stateClosed
)

// AtLimit says what happens to a connection for which there is no room.
type AtLimit uint8

const (
	// Backlog leaves it in the kernel's queue until there is room. Connections
	// above the limit for one address are refused all the same, since the queue
	// holds others as well.
	Backlog AtLimit = iota

	// Refuse accepts it, sends Server.Farewell, and closes it.
	Refuse

	// ShedIdle ends the connection that has been idle for longest. If all are
	// busy the new one is refused.
	ShedIdle
)

// init makes the zero Server ready.
func (s *Server) init() {
	s.initOnce.Do(func() {
		s.epoch = time.Now().Add(-time.Nanosecond)
		s.apply(s.Limits, s.Timeouts)
		set := s.set.Load()
		s.admit.set(set.Conns, set.ConnsPerIP)
		s.head.next, s.head.prev = &s.head, &s.head
		s.quit, s.empty, s.stopped = make(chan struct{}), make(chan struct{}), make(chan struct{})
		s.accepted = make(chan struct{})
		s.base = context.Background()
	})
}

func (s *Server) apply(l Limits, t Timeouts) {
	set := &settings{l.withDefaults(), t.withDefaults()}
	s.budget.SetMax(set.Memory)
	s.set.Store(set)
}

func (s *Server) settings() *settings          { return s.set.Load() }
func (s *Server) baseContext() context.Context { return s.base }

// now is the server's clock.
func (s *Server) now() int64 { return int64(time.Since(s.epoch)) }

// SetLimits changes the limits, for connections that exist as well. Lowering
// one cuts nobody. Fields mean what they mean in Server.Limits, and all of them
// are set: a zero one is the default again. An error changes nothing.
func (s *Server) SetLimits(l Limits) error {
	s.init()
	if err := l.validate(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.settings()
	s.apply(l, Timeouts{})
	set := *s.settings()
	set.Timeouts = old.Timeouts
	s.set.Store(&set)
	s.admit.set(set.Conns, set.ConnsPerIP)
	return nil
}

// SetTimeouts changes the clocks, all of them, for connections that exist as
// well. Each notices when its next clock is looked at.
func (s *Server) SetTimeouts(t Timeouts) {
	s.init()
	s.mu.Lock()
	defer s.mu.Unlock()
	set := *s.settings()
	set.Timeouts = t.withDefaults()
	s.set.Store(&set)
}

// SetMaxConns changes how many connections there may be at once. Here 0 means
// none: nobody is admitted until it is raised. A negative number means no limit.
// Lowering it cuts nobody.
func (s *Server) SetMaxConns(n int) {
	s.init()
	s.admit.setTotal(n)
}

// SetMaxConnsPerIP is SetMaxConns for the connections from one address.
func (s *Server) SetMaxConnsPerIP(n int) {
	s.init()
	s.admit.setPerIP(n)
}

// ListenAndServe binds the endpoints, which package listen explains, and calls
// Serve.
func (s *Server) ListenAndServe(ctx context.Context, endpoints ...string) error {
	s.init()
	if err := s.validate(); err != nil {
		return err
	}
	bound, err := s.Listen.Listen(ctx, endpoints...)
	if err != nil {
		return err
	}
	ls := make([]net.Listener, len(bound))
	for i, l := range bound {
		ls[i] = l
	}
	return s.Serve(ctx, ls...)
}

// Serve accepts connections from the listeners, which it closes in the end. It
// returns when everything has come to its end:
//
//   - nil when ctx was cancelled or Drain was called and every connection
//     finished
//   - a *DrainError when some had to be cut
//   - ErrServerClosed after Close
//   - what went wrong when the last listener failed, or was closed by somebody
//     else, after draining
//   - at once, all that is wrong with the fields and with the settings of the
//     Service; ErrServing or ErrServerClosed if the server cannot begin any more
//
// Cancelling ctx drains, for Timeouts.Drain. The values of ctx are those of the
// connections' contexts.
func (s *Server) Serve(ctx context.Context, ls ...net.Listener) error {
	s.init()
	err := s.validate()
	if err == nil && len(ls) == 0 {
		err = errors.New("hythe: Serve: no listener")
	}
	if err == nil {
		err = s.begin(ctx, ls)
	}
	if err != nil {
		for _, l := range ls {
			l.Close()
		}
		return err
	}
	failed := make(chan error, 1)
	var accepting sync.WaitGroup
	var errs []error
	for _, l := range s.listeners {
		if s.OnListen != nil {
			s.OnListen(l.Addr())
		}
	}
	for i, l := range s.listeners {
		if l.CanAcceptFD() && net.Listener(l) != ls[i] {
			accepting.Go(func() { s.watchClosed(ls[i], l) })
		}
		accepting.Go(func() {
			if err := s.accept(l); err != nil {
				s.observe(Event{Kind: ListenerFailed, Addr: l.Addr(), Err: err})
				s.mu.Lock()
				errs = append(errs, err)
				if len(errs) == len(s.listeners) {
					failed <- errors.Join(errs...)
				}
				s.mu.Unlock()
			}
		})
	}
	go func() { // Serve waits for it
		accepting.Wait()
		close(s.accepted)
	}()
	var cause error
	select {
	case <-ctx.Done():
	case cause = <-failed:
	case <-s.quit:
	}
	if cause != nil || ctx.Err() != nil {
		within := s.settings().Drain
		dctx := context.Background()
		if within < never {
			var cancel context.CancelFunc
			dctx, cancel = context.WithTimeout(dctx, within)
			defer cancel()
		}
		s.Drain(dctx)
	}
	<-s.accepted
	<-s.stopped
	if cause == nil {
		return s.stopErr // not joined: it may be compared
	}
	return errors.Join(cause, s.stopErr)
}

// begin starts what serving needs.
func (s *Server) begin(ctx context.Context, ls []net.Listener) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.state {
	case stateNew:
	case stateServing:
		return ErrServing
	default:
		return ErrServerClosed
	}
	if slices.ContainsFunc(ls, func(l net.Listener) bool { return drivenByLoop(l.Addr()) }) {
		if err := s.needLoops(); err != nil {
			return err
		}
	}
	s.base = context.WithoutCancel(ctx)
	s.state = stateServing
	for _, l := range ls {
		s.listeners = append(s.listeners, listen.Wrap(l))
	}
	return nil
}

// needLoops starts the loops, if there are to be any. s.mu is held.
func (s *Server) needLoops() error {
	if !loop.Available || s.Goroutines || s.loops.Load() != nil {
		return nil
	}
	set, err := loop.New(0, s.epoch)
	if err == nil {
		s.loops.Store(set)
	}
	return err
}

// drivenByLoop reports whether connections with such an address have a
// descriptor of their own.
func drivenByLoop(a net.Addr) bool {
	switch a.(type) {
	case *net.TCPAddr, *net.UnixAddr:
		return true
	}
	return false
}

// Addrs returns the addresses of the listeners, once Serve was called.
func (s *Server) Addrs() []net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	var addrs []net.Addr
	for _, l := range s.listeners {
		addrs = append(addrs, l.Addr())
	}
	return addrs
}

// Pause stops accepting and keeps the ports: new connections wait in the
// kernel's queue. Existing ones go on.
func (s *Server) Pause() {
	for _, l := range s.snapshotListeners() {
		l.Pause()
	}
}

// Resume undoes Pause.
func (s *Server) Resume() {
	for _, l := range s.snapshotListeners() {
		l.Resume()
	}
}

func (s *Server) snapshotListeners() []*listen.Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*listen.Listener(nil), s.listeners...)
}

// Conns returns the connections that there are at the moment of the call.
func (s *Server) Conns() iter.Seq[*Stream] {
	s.init()
	all := s.snapshot()
	return func(yield func(*Stream) bool) {
		for _, c := range all {
			if !yield(c) {
				return
			}
		}
	}
}

func (s *Server) snapshot() []*Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Stream, 0, s.live)
	for c := s.head.next; c != &s.head; c = c.next {
		all = append(all, c)
	}
	return all
}

// ServerStats are a server's counters. Opened is always Live plus all of Ended.
type ServerStats struct {
	Opened uint64            // connections accepted, refused ones included
	Live   int               // connections that have not ended
	Ended  map[Reason]uint64 // connections that have, by reason
	Late   uint64            // turns that took longer than a millisecond or two
	Memory int64             // bytes in output queues and unfinished input
}

// Stats returns the counters, all of one moment.
func (s *Server) Stats() ServerStats {
	s.init()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := ServerStats{Opened: s.count, Live: s.live, Ended: make(map[Reason]uint64), Late: s.late.Load(), Memory: s.budget.Used()}
	for r, n := range s.reasons {
		if n > 0 {
			st.Ended[Reason(r)] = n
		}
	}
	return st
}
