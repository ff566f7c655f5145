package hythetest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/pprof"
	"sync"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/memnet"
)

// patience is how long is waited for what must happen.
const patience = 10 * time.Second

// Dial serves srv in memory until the test ends, and returns a connection to
// it. See [Serve].
func Dial(t testing.TB, srv *hythe.Server) *Conn {
	t.Helper()
	return Serve(t, srv).Dial()
}

// A Server is a [hythe.Server] that serves in memory.
type Server struct {
	t       testing.TB
	srv     *hythe.Server
	network *memnet.Network
	ln      *listener
	label   string     // on every goroutine of the server's
	served  chan error // what Serve returned; one value
	life    context.Context
	end     context.CancelCauseFunc // of life

	mu     sync.Mutex
	peers  map[net.Addr]*peer      // by the client's address, which is the peer's own; guarded by mu
	known  map[*hythe.Stream]*peer // guarded by mu
	dialed int                     // guarded by mu
}

// Serve serves srv in memory until the test ends, and then checks that nothing
// of it remains; see the package documentation. It takes srv over: a Server
// serves once. The Observer and OnListen of srv are still called; Serve puts
// functions that call them in their place. The other methods of srv may be used
// at any time.
func Serve(t testing.TB, srv *hythe.Server) *Server {
	t.Helper()
	return ServeOn(t, new(memnet.Network), srv)
}

// ServeOn is Serve on a network of the caller's, which may delay, or cut reads
// and writes short. [Server.Addr] is the server's name on it, for clients of
// another kind.
func ServeOn(t testing.TB, network *memnet.Network, srv *hythe.Server) *Server {
	t.Helper()
	ln, err := network.Listen("")
	if err != nil {
		t.Fatalf("%v", err)
	}
	s := &Server{
		t:       t,
		srv:     srv,
		network: network,
		ln:      &listener{Listener: ln, closed: make(chan struct{})},
		label:   newLabel(),
		served:  make(chan error, 1),
		peers:   make(map[net.Addr]*peer),
		known:   make(map[*hythe.Stream]*peer),
	}
	s.life, s.end = context.WithCancelCause(context.Background())
	observer, onListen := srv.Observer, srv.OnListen
	srv.Observer = func(ev hythe.Event) {
		if observer != nil {
			observer(ev) // first: who waits for our news has its own as well
		}
		s.note(ev)
	}
	listening := make(chan struct{})
	srv.OnListen = func(a net.Addr) {
		if onListen != nil {
			onListen(a)
		}
		close(listening)
	}
	go func() { // ended and awaited by stop
		pprof.Do(context.Background(), pprof.Labels(labelKey, s.label), func(ctx context.Context) {
			s.served <- srv.Serve(ctx, s.ln)
		})
	}()
	select {
	case <-listening:
	case err := <-s.served:
		t.Fatalf("Serve: %v", err)
	}
	t.Cleanup(s.stop)
	return s
}

// Addr returns the server's address on its network.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// Dial returns a new connection to the server. Its address is like no other.
// Dial does not wait for the server to accept it.
func (s *Server) Dial() *Conn {
	s.t.Helper()
	s.mu.Lock()
	s.dialed++
	name := &addr{fmt.Sprintf("client-%d", s.dialed)}
	s.mu.Unlock()
	return s.dial(name)
}

// DialFrom is Dial from an address that the server sees as the client's: an IP
// address and a port, such as "192.0.2.7:4000", or else any name.
func (s *Server) DialFrom(from string) *Conn {
	s.t.Helper()
	if ap, err := netip.ParseAddrPort(from); err == nil {
		return s.dial(net.TCPAddrFromAddrPort(ap))
	}
	return s.dial(&addr{from})
}

// dial connects from an address that is a pointer of the caller's own.
func (s *Server) dial(from net.Addr) *Conn {
	s.t.Helper()
	p := &peer{t: s.t, addr: from, accepted: make(chan struct{}), ended: make(chan struct{})}
	s.mu.Lock()
	s.peers[from] = p // before the server can accept it
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	nc, err := s.network.DialFrom(ctx, from, s.ln.Addr().String())
	if err != nil {
		s.mu.Lock()
		delete(s.peers, from)
		s.mu.Unlock()
		s.t.Fatalf("%v", err)
	}
	s.mu.Lock()
	p.mem = nc
	s.mu.Unlock()
	p.nc = nc
	return &Conn{peer: p, patience: patience}
}

// Drain begins to drain the server, and returns when it has stopped accepting.
// Connections that have not finished within the given time are cut. The
// returned function waits for the end of the drain and returns its report.
//
//	report := s.Drain(time.Minute)
//	c.WantLine("goodbye")
//	c.WantClosed(hythe.Drained)
//	if r := report(); len(r.Cut) > 0 {
//		t.Error(r)
//	}
func (s *Server) Drain(within time.Duration) (report func() hythe.Report) {
	var r hythe.Report
	done := make(chan struct{}) // closed when r is set
	go func() {                 // it ends with the drain, which stop waits for
		defer close(done)
		ctx, cancel := context.WithTimeout(s.life, within)
		defer cancel()
		r, _ = s.srv.Drain(ctx) // the error says what the report says
	}()
	<-s.ln.closed
	return func() hythe.Report {
		s.t.Helper()
		timer := time.NewTimer(within + patience)
		defer timer.Stop()
		select {
		case <-done:
		case <-timer.C:
			s.t.Fatalf("the drain is not over %v after its time", patience)
		}
		return r
	}
}

// note takes an event for the peer that it is about.
func (s *Server) note(ev hythe.Event) {
	if ev.Conn == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.known[ev.Conn]
	if p == nil {
		switch a := ev.Conn.RemoteAddr().(type) {
		case *addr, *net.TCPAddr:
			p = s.peers[a]
		}
		if p == nil || p.stream != nil {
			return // it was not dialled here
		}
		s.known[ev.Conn] = p
		p.stream = ev.Conn
		close(p.accepted)
	}
	if ev.Kind == hythe.ConnEnded {
		p.end = &hythe.CloseError{Reason: ev.Reason, Err: ev.Err}
		close(p.ended)
	}
}

// errStuck is why connections are cut that should have ended by themselves.
var errStuck = errors.New("the test is over")

// stop ends the server and checks that nothing remains.
func (s *Server) stop() {
	s.t.Helper()
	s.mu.Lock()
	for _, p := range s.peers {
		if p.mem != nil {
			p.mem.Close()
		}
	}
	s.mu.Unlock()

	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, errStuck)
	defer cancel()
	defer context.AfterFunc(ctx, func() { s.end(errStuck) })() // a longer drain that the test has begun
	report, err := s.srv.Drain(ctx)
	if errors.Is(err, errStuck) {
		for _, c := range report.Cut {
			s.t.Errorf("after the test: connection %d from %v did not end within %v, though its client had gone and the server drained", c.ID, c.Remote, patience)
		}
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case err := <-s.served:
		var cut *hythe.DrainError
		if err != nil && !errors.Is(err, hythe.ErrServerClosed) && !errors.As(err, &cut) {
			s.t.Errorf("after the test: Serve: %v", err)
		}
	case <-timer.C:
		s.t.Errorf("after the test: Serve has not returned %v after the drain", patience)
	}
	for c := range s.srv.Conns() {
		s.t.Errorf("after the test: connection %d from %v was cut and is still there: a hook has not returned", c.ID(), c.RemoteAddr())
	}
	if err := checkStats(s.srv.Stats()); err != nil {
		s.t.Errorf("after the test: %v", err)
	}
	if left := awaitGoroutines(s.label); left != "" {
		s.t.Errorf("after the test: goroutines remain:\n%s", left)
	}
}

// checkStats reports whether every connection is accounted for.
func checkStats(st hythe.ServerStats) error {
	var ended uint64
	for _, n := range st.Ended {
		ended += n
	}
	if st.Opened != uint64(st.Live)+ended {
		return fmt.Errorf("the server has opened %d connections, but %d are live and %d have ended: %v", st.Opened, st.Live, ended, st.Ended)
	}
	return nil
}

// A listener tells when it is closed.
type listener struct {
	net.Listener
	once   sync.Once
	closed chan struct{} // closed by Close
}

func (l *listener) Close() error {
	defer l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// An addr is the address of a client that has no IP address. As a pointer it is
// like no other, whatever its name.
type addr struct{ name string }

func (*addr) Network() string  { return "mem" }
func (a *addr) String() string { return a.name }
