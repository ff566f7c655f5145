package hythe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	"github.com/hythe-go/hythe/listen"
)

// maxRefusing is how many refused connections are being told so at once; the
// rest is closed without a word.
const maxRefusing = 64

// accept takes connections from l until it is closed. Nothing that a peer can
// delay happens here.
func (s *Server) accept(l *listen.Listener) error {
	var admit func() bool
	if s.AtLimit == Backlog {
		admit = s.admit.enter
	}
	bare := s.loops.Load() != nil && l.CanAcceptFD() && s.PreConnect == nil && s.TLS == nil
	for {
		var err error
		if bare {
			var fd int
			var peer netip.AddrPort
			if fd, peer, err = l.AcceptFD(admit, s.admit.leave); err == nil {
				s.admitted(s.newStream(peer, incoming{fd: fd}, true), admit != nil || s.makeRoom())
			}
		} else {
			var nc net.Conn
			if nc, err = l.Accept(); err == nil {
				s.admitted(s.newStream(addrPort(nc.RemoteAddr()), incoming{nc: nc}, !s.secures()), s.awaitRoom())
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, listen.ErrNotAdmitted):
			if !s.awaitChange() {
				l.Close() // who waits now will not be served
			}
		case errors.Is(err, net.ErrClosed) && s.stopping():
			return nil
		default:
			return err
		}
	}
}

// watchClosed closes l when somebody else has closed the listener behind it,
// which is accepted from through a second descriptor and so does not notice.
func (s *Server) watchClosed(behind net.Listener, l *listen.Listener) {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			raw, err := behind.(syscall.Conn).SyscallConn()
			if err == nil {
				err = raw.Control(func(uintptr) {})
			}
			if err != nil {
				l.Close()
				return
			}
		case <-s.quit:
			return
		}
	}
}

// stopping reports whether Drain or Close has begun.
func (s *Server) stopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state != stateServing
}

// awaitChange waits until there may be room. It reports whether there may.
func (s *Server) awaitChange() bool {
	room := s.admit.room()
	if room == nil {
		return true
	}
	select {
	case <-room:
		return true
	case <-s.quit:
		return false
	}
}

// awaitRoom takes a place for a connection that was accepted already.
func (s *Server) awaitRoom() bool {
	if s.AtLimit != Backlog {
		return s.makeRoom()
	}
	for !s.admit.enter() {
		if !s.awaitChange() {
			return false
		}
	}
	return true
}

// makeRoom takes a place, by ending an idle connection if that is the policy.
func (s *Server) makeRoom() bool {
	if s.admit.enter() {
		return true
	}
	if s.AtLimit != ShedIdle {
		return false
	}
	victim := s.longestIdle()
	if victim == nil {
		return false
	}
	victim.cut(Shed, nil)
	patience := time.NewTimer(time.Second)
	defer patience.Stop()
	for !s.admit.enter() {
		room := s.admit.room()
		if room == nil {
			continue
		}
		select {
		case <-room:
		case <-patience.C:
			return false // its hook is taking its time
		case <-s.quit:
			return false
		}
	}
	return true
}

// longestIdle finds the connection on which nothing has happened for longest,
// among those that are not busy.
func (s *Server) longestIdle() (victim *Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := s.head.next; c != &s.head; c = c.next {
		if c.state.Load() != 0 || c.gate.Load()&gateEnding != 0 || c.holds.Load() > 0 {
			continue
		}
		if victim == nil || c.active.Load() < victim.active.Load() {
			victim = c
		}
	}
	return victim
}

// incoming is an accepted connection: a descriptor or a net.Conn.
type incoming struct {
	fd int
	nc net.Conn
}

func addrPort(a net.Addr) netip.AddrPort {
	if a, ok := a.(*net.TCPAddr); ok {
		return a.AddrPort()
	}
	return netip.AddrPort{}
}

// newStream makes the Stream of a connection. ready says that nothing comes
// before its first turn. The caller owns its turn, until drive or bury.
func (s *Server) newStream(peer netip.AddrPort, in incoming, ready bool) *Stream {
	now := s.now()
	c := &Stream{srv: s, id: s.lastID.Add(1), peer: packAddr(peer), opened: now}
	c.active.Store(now)
	c.state.Store(running)
	c.out.q.Budget = &s.budget
	s.place(c, in, ready)
	return c
}

// place gives a connection its driver, which does nothing yet. ready says that
// it is the one for its turns, not only for a handshake.
func (s *Server) place(c *Stream, in incoming, ready bool) {
	if loops := s.loops.Load(); ready && loops != nil {
		if fd, ok := in.descriptor(); ok {
			if in.nc != nil {
				c.needRare().conn = in.nc
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			c.d = (*loopDriver)(c)
			loops.Prepare(&c.node, (*loopDriver)(c), fd)
			return
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.d = &netDriver{s: c, nc: in.nc}
}

// secures reports whether connections are talked to before their first turn.
func (s *Server) secures() bool { return s.PreConnect != nil || s.TLS != nil }

// admitted starts a connection that was accepted; room says whether a place was
// taken for it.
func (s *Server) admitted(c *Stream, room bool) {
	if room && !s.admit.enterIP(c.peer.addrPort().Addr()) {
		s.admit.leave()
		room = false
	}
	if !room {
		s.refuse(c)
		return
	}
	c.status |= sAdmitted
	if !s.register(c) {
		c.cut(Drained, nil)
		c.bury()
		return
	}
	s.observe(Event{Kind: ConnAccepted, Conn: c})
	if s.secures() {
		s.startHandshake(c)
		return
	}
	s.drive(c, evOpen)
}

// refuse tells a connection that there is no room for it.
func (s *Server) refuse(c *Stream) {
	s.mu.Lock()
	tell := len(s.Farewell) > 0 && s.TLS == nil && s.refusing < maxRefusing && s.state == stateServing
	if tell {
		s.refusing++
		c.status |= sRefusing
	}
	s.mu.Unlock()
	s.register(c)
	s.observe(Event{Kind: ConnRefused, Conn: c})
	if !tell {
		c.cut(Refused, nil)
		c.bury()
		return
	}
	c.mu.Lock()
	c.out.q.Append(s.Farewell)
	c.mu.Unlock()
	c.finish(Refused, nil)
	s.drive(c, evEnd)
}

// drive has the connection's driver take over the turn, with the first events
// of the connection's life.
func (s *Server) drive(c *Stream, ev uint32) {
	had := c.state.Or(ev)
	switch d := c.d.(type) {
	case *netDriver:
		d.start()
	case *loopDriver:
		if err := c.node.Add(); err != nil {
			c.cut(Failed, err)
			c.bury()
			return
		}
		// The loop soon tells that there is room to write, and that is the
		// first turn; unless something has happened already.
		if !c.state.CompareAndSwap(had|ev, (had|ev)&^running) {
			c.node.Schedule()
		}
	}
}

// descriptor returns the connection's descriptor if it has one that can be
// driven by a loop.
func (in incoming) descriptor() (fd int, ok bool) {
	switch nc := in.nc.(type) {
	case nil:
		return in.fd, true
	case *net.TCPConn:
		return descriptorOf(nc)
	case *net.UnixConn:
		return descriptorOf(nc)
	}
	return 0, false
}

func descriptorOf(nc syscall.Conn) (fd int, ok bool) {
	raw, err := nc.SyscallConn()
	if err != nil {
		return 0, false
	}
	err = raw.Control(func(p uintptr) { fd = int(p) })
	return fd, err == nil
}

// register adds a connection to the server's list. It reports false when the
// server has begun to stop, so that nobody would look after the connection.
func (s *Server) register(c *Stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.next, c.prev = &s.head, s.head.prev
	c.prev.next, c.next.prev = c, c
	s.live++
	s.count++
	return !s.sealed
}

// ended takes a connection off the list. It is the last thing that happens to it.
func (s *Server) ended(c *Stream, end *CloseError) {
	s.mu.Lock()
	c.prev.next, c.next.prev = c.next, c.prev
	s.live--
	s.reasons[end.Reason]++
	if c.status&sRefusing != 0 {
		s.refusing--
	}
	if s.report != nil && !s.reported {
		s.report.add(c, end, s.now())
	}
	last := s.live == 0 && s.sealed
	s.mu.Unlock()
	if c.status&sAdmitted != 0 {
		s.admit.leaveIP(c.peer.addrPort().Addr())
		s.admit.leave()
	}
	s.observe(Event{Kind: ConnEnded, Conn: c, Reason: end.Reason, Err: end.Err})
	if last {
		s.noneLeft()
	}
}

// startHandshake runs PreConnect and the TLS handshake on a goroutine of the
// connection's own, which owns its turn meanwhile.
func (s *Server) startHandshake(c *Stream) {
	s.mu.Lock()
	s.shaking = append(s.shaking, c)
	var oldest *Stream
	if len(s.shaking) > s.settings().Handshakes {
		oldest = s.shaking[0]
		s.shaking = slices.Delete(s.shaking, 0, 1)
	}
	stopping := s.state != stateServing
	s.mu.Unlock()
	if oldest != nil {
		oldest.cut(Shed, nil)
	}
	if stopping {
		c.cut(Drained, nil)
	}
	s.work.Go(func() {
		nc, why, err := net.Conn(nil), Panicked, error(&PanicError{}) // unless it returns
		defer func() { s.shook(c, nc, why, err) }()
		nc, why, err = s.handshake(c, c.netConn())
	})
}

// shook goes on with a connection after its handshake.
func (s *Server) shook(c *Stream, nc net.Conn, why Reason, err error) {
	s.mu.Lock()
	if i := slices.Index(s.shaking, c); i >= 0 {
		s.shaking = slices.Delete(s.shaking, i, i+1)
	}
	s.mu.Unlock()
	c.mu.Lock()
	if err != nil {
		c.cutLocked(why, err)
	}
	dead := c.out.dead
	c.mu.Unlock()
	if dead {
		c.bury()
		return
	}
	s.place(c, incoming{nc: nc}, true)
	s.drive(c, evOpen)
}

// handshake makes of an accepted connection one that can be used.
func (s *Server) handshake(c *Stream, nc net.Conn) (_ net.Conn, why Reason, err error) {
	ctx, cancel := s.handshakeContext(c)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	if s.PreConnect != nil {
		made, err := s.preConnect(ctx, nc)
		switch {
		case ctx.Err() != nil:
			return nil, HandshakeTimeout, ctx.Err()
		case err != nil:
			var p *PanicError
			if errors.As(err, &p) {
				return nil, Panicked, err
			}
			return nil, Denied, err
		}
		if made != nc {
			nc = made
			s.place(c, incoming{nc: nc}, false)
		}
	}
	t, ok := nc.(*tls.Conn) // PreConnect may have made one
	if s.TLS != nil {
		t, ok = tls.Server(&progressConn{nc, c}, s.TLS), true
	}
	if !ok {
		return nc, 0, nil
	}
	if why, err := shakeHands(ctx, t); err != nil {
		return nil, why, err
	}
	return t, 0, nil
}

// shakeHands does the TLS handshake, in which code of the configuration's may
// run.
func shakeHands(ctx context.Context, t *tls.Conn) (why Reason, err error) {
	defer func() {
		if v := recover(); v != nil {
			why, err = Panicked, &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	err = t.HandshakeContext(ctx)
	switch {
	case err == nil:
		return 0, nil
	case ctx.Err() != nil:
		return HandshakeTimeout, err
	}
	return HandshakeFailed, err
}

func (s *Server) handshakeContext(c *Stream) (context.Context, context.CancelFunc) {
	if d := s.settings().Handshake; d < never {
		return context.WithTimeout(c.Context(), d)
	}
	return context.WithCancel(c.Context())
}

func (s *Server) preConnect(ctx context.Context, nc net.Conn) (made net.Conn, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	made, err = s.PreConnect(ctx, nc)
	if err == nil && made == nil {
		err = fmt.Errorf("hythe: PreConnect returned neither a connection nor an error")
	}
	return made, err
}
