package hythe_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/internal/leaktest"
	"github.com/hythe-go/hythe/memnet"
)

func TestMain(m *testing.M) {
	os.Exit(leaktest.Main(m))
}

// A world is a way in which a connection can be driven.
type world struct {
	name       string
	unix       bool // a Unix socket instead of TCP
	goroutines bool // Server.Goroutines
	mem        bool // memnet, in a bubble with fake time
	tls        bool
}

var (
	tcpWorld = world{name: "loop-tcp"}
	unixW    = world{name: "loop-unix", unix: true}
	netWorld = world{name: "goroutine-tcp", goroutines: true}
	memWorld = world{name: "memnet", mem: true}
	tlsWorld = world{name: "tls", tls: true}

	allWorlds   = []world{tcpWorld, unixW, netWorld, memWorld, tlsWorld}
	plainWorlds = []world{tcpWorld, unixW, netWorld, memWorld} // without TLS
)

// inWorlds runs f as a sub-test in each world.
func inWorlds(t *testing.T, worlds []world, f func(t *testing.T, w world)) {
	t.Helper()
	for _, w := range worlds {
		t.Run(w.name, func(t *testing.T) {
			if w.mem {
				synctest.Test(t, func(t *testing.T) { f(t, w) })
			} else {
				f(t, w)
			}
		})
	}
}

// inMem runs f as a test in fake time.
func inMem(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// patience is how long a test waits for what must happen. Inside a bubble it
// costs nothing, and must be longer than every clock.
func (w world) patience() time.Duration {
	if w.mem {
		return 100 * time.Hour
	}
	return 5 * time.Second
}

// A host is a server that serves in a world, and what it has told its Observer.
type host struct {
	testing.TB
	w      world
	srv    *hythe.Server
	mem    *memnet.Network
	ln     net.Listener
	cancel context.CancelFunc
	served chan error // what Serve returned; one value
	ends   chan hythe.Event
	stuck  bool // a hook outlives Serve

	once sync.Once
	err  error
}

// start starts srv, which it owns from then on, and sees to its end.
func (w world) start(t testing.TB, srv *hythe.Server) *host {
	t.Helper()
	return w.startWith(t, context.Background(), srv, new(memnet.Network))
}

// serve starts a server of sessions on lines with default settings.
func (w world) serve(t testing.TB, open func(c *lines) *hooks) *host {
	t.Helper()
	return w.start(t, &hythe.Server{Service: hythe.Sessions(codec.Lines(), open)})
}

func (w world) startWith(t testing.TB, ctx context.Context, srv *hythe.Server, mem *memnet.Network) *host {
	t.Helper()
	h := &host{TB: t, w: w, srv: srv, mem: mem, served: make(chan error, 1), ends: make(chan hythe.Event, 1<<14)}
	h.ln = h.listen()
	srv.Goroutines = srv.Goroutines || w.goroutines
	if w.tls {
		srv.TLS = serverTLS()
	}
	theirs := srv.Observer
	srv.Observer = func(ev hythe.Event) {
		if theirs != nil {
			theirs(ev)
		}
		if ev.Kind == hythe.ConnEnded {
			h.ends <- ev
		}
	}
	ctx, h.cancel = context.WithCancel(ctx)
	started := make(chan struct{})
	srv.OnListen = func(net.Addr) { close(started) }
	go func() { h.served <- srv.Serve(ctx, h.ln) }()
	select {
	case <-started:
	case err := <-h.served:
		t.Fatalf("Serve = %v", err)
	}
	t.Cleanup(h.stop)
	hosts.add(h)
	return h
}

// listen makes a listener of the world's kind.
func (h *host) listen() net.Listener {
	h.Helper()
	var ln net.Listener
	var err error
	switch {
	case h.w.mem:
		ln, err = h.mem.Listen("")
	case h.w.unix:
		dir, e := os.MkdirTemp("", "hythe")
		if e != nil {
			h.Fatal(e)
		}
		h.Cleanup(func() { os.RemoveAll(dir) })
		ln, err = net.Listen("unix", filepath.Join(dir, "s"))
	default:
		ln, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		h.Fatal(err)
	}
	return ln
}

// stop ends the server if the test has not, and checks what must always hold.
func (h *host) stop() {
	h.Helper()
	h.checkSum()
	h.srv.Close()
	h.wait()
	h.cancel()
	if st := h.srv.Stats(); st.Live != 0 && !h.stuck {
		h.Errorf("after Serve returned %d connections are live", st.Live)
	}
	if st := h.srv.Stats(); st.Memory != 0 && !h.stuck {
		h.Errorf("after Serve returned %d bytes are charged to the budget", st.Memory)
	}
	h.checkSum()
}

// awaitDrain waits until the server has begun to drain.
func (h *host) awaitDrain() {
	h.Helper()
	eventually(h, h.w, func() bool {
		_, l := new(memnet.Network).Pipe() // anything that is no listener will do
		return h.srv.Serve(context.Background(), notListening{l}) == hythe.ErrServerClosed
	}, "the drain to begin")
}

// notListening is a listener that is never asked.
type notListening struct{ net.Conn }

func (notListening) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (notListening) Addr() net.Addr            { return memnet.Addr("nowhere") }

// wait returns what Serve returns.
func (h *host) wait() error {
	h.Helper()
	h.once.Do(func() {
		select {
		case h.err = <-h.served:
		case <-time.After(h.w.patience()):
			h.Fatalf("Serve does not return; %+v\n%s", h.srv.Stats(), allStacks())
		}
	})
	return h.err
}

// allStacks describes what the servers are doing, with all stacks if
// HYTHE_STACKS is set.
func allStacks() (s string) {
	if os.Getenv("HYTHE_STACKS") != "" {
		buf := make([]byte, 100<<10)
		s = string(buf[:runtime.Stack(buf, true)])
	}
	for _, h := range hosts.all() {
		for c := range h.srv.Conns() {
			s = hythe.DebugState(c) + "\n" + s
		}
	}
	return s
}

// hosts are the servers of the running test.
var hosts hostList

type hostList struct {
	mu   sync.Mutex
	list []*host
}

func (l *hostList) add(h *host) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, h)
	h.Cleanup(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.list = slices.DeleteFunc(l.list, func(x *host) bool { return x == h })
	})
}

func (l *hostList) all() []*host {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.list)
}

// checkSum checks that Opened == Live + sum(Ended).
func (h *host) checkSum() {
	h.Helper()
	st := h.srv.Stats()
	var ended uint64
	for _, n := range st.Ended {
		ended += n
	}
	if st.Opened != uint64(st.Live)+ended {
		h.Errorf("opened %d != live %d + ended %d (%v)", st.Opened, st.Live, ended, st.Ended)
	}
}

// nextEnd returns the event of the next connection that ended.
func (h *host) nextEnd() hythe.Event {
	h.Helper()
	return get(h, h.w, h.ends, "the end of a connection")
}

// wantEnd waits for the next connection to end, for the reason why.
func (h *host) wantEnd(why hythe.Reason) hythe.Event {
	h.Helper()
	ev := h.nextEnd()
	if ev.Reason != why {
		h.Errorf("connection %d ended: %v (%v), want %v", ev.Conn.ID(), ev.Reason, ev.Err, why)
	}
	return ev
}

// A peer is the client's side of a connection.
type peer struct {
	testing.TB
	w   world
	nc  net.Conn // TLS in that world
	raw net.Conn
	r   *bufio.Reader
}

// dial connects to the server, and closes the connection after the test.
func (h *host) dial() *peer {
	h.Helper()
	return h.dialFrom(nil)
}

// dialFrom is dial with an address of the client's own, on memnet.
func (h *host) dialFrom(from net.Addr) *peer {
	h.Helper()
	var p *peer
	var err error
	if h.w.mem {
		var nc *memnet.Conn
		if nc, err = h.mem.DialFrom(context.Background(), from, h.ln.Addr().String()); err == nil {
			p = h.peerOf(nc)
		}
	} else {
		p, err = h.tryDial(h.ln.Addr())
	}
	if err != nil {
		h.Fatal(err)
	}
	if h.w.tls {
		p.startTLS()
	}
	return p
}

func (h *host) tryDial(a net.Addr) (*peer, error) {
	h.Helper()
	d := net.Dialer{Timeout: 10 * time.Second}
	nc, err := d.Dial(a.Network(), a.String())
	if err != nil {
		return nil, err
	}
	return h.peerOf(nc), nil
}

func (h *host) peerOf(nc net.Conn) *peer {
	p := &peer{TB: h.TB, w: h.w, nc: nc, raw: nc, r: bufio.NewReader(nc)}
	h.Cleanup(func() { p.raw.Close() })
	nc.SetDeadline(time.Now().Add(h.w.patience()))
	return p
}

// startTLS goes on in TLS.
func (p *peer) startTLS() {
	p.Helper()
	if err := p.tryTLS(); err != nil {
		p.Fatalf("client's handshake: %v", err)
	}
}

func (p *peer) tryTLS() error {
	t := tls.Client(p.raw, clientTLS())
	if err := t.Handshake(); err != nil {
		return err
	}
	p.nc, p.r = t, bufio.NewReader(t)
	return nil
}

// send writes s, which must succeed.
func (p *peer) send(s string) {
	p.Helper()
	if _, err := io.WriteString(p.nc, s); err != nil {
		p.Errorf("client: sending %.40q: %v", s, err)
	}
}

// want reads lines, which must be these.
func (p *peer) want(lines ...string) {
	p.Helper()
	for _, want := range lines {
		got, err := p.r.ReadString('\n')
		if err != nil {
			p.Fatalf("client: got %.60q, %v, want %.60q\n%s", got, err, want, allStacks())
		}
		if got != want+"\n" {
			p.Errorf("client: got %.60q, want %.60q", got, want)
		}
	}
}

// wantEOF reads the end of the stream.
func (p *peer) wantEOF() {
	p.Helper()
	if rest, err := io.ReadAll(p.r); err != nil || len(rest) > 0 {
		p.Errorf("client: got %.60q, %v, want EOF", rest, err)
	}
}

// wantGone reads until the stream ends, in whatever way, within the patience.
func (p *peer) wantGone() {
	p.Helper()
	if _, err := io.Copy(io.Discard, p.r); errors.Is(err, os.ErrDeadlineExceeded) {
		p.Error("client: the connection is still there")
	}
}

// wantLive checks that the connection answers an "echo".
func (p *peer) wantLive() {
	p.Helper()
	p.send("still there?\n")
	p.want("still there?")
}

func (p *peer) closeWrite() {
	p.Helper()
	if err := p.nc.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		p.Errorf("client: CloseWrite: %v", err)
	}
}

func (p *peer) close() { p.nc.Close() }

// reset breaks the connection. On a Unix socket that cannot be told from a
// close.
func (p *peer) reset() {
	switch c := p.raw.(type) {
	case *memnet.Conn:
		c.Reset()
	case *net.TCPConn:
		c.SetLinger(0)
	}
	p.raw.Close()
}

// readAll reads to the end in the background.
func (p *peer) readAll() <-chan string {
	got := make(chan string, 1)
	go func() {
		b, err := io.ReadAll(p.r)
		if err != nil {
			b = append(b, (" error: " + err.Error())...)
		}
		got <- string(b)
	}()
	return got
}

// get receives from ch, patiently.
func get[T any](t testing.TB, w world, ch <-chan T, what string) (v T) {
	t.Helper()
	timer := time.NewTimer(w.patience())
	defer timer.Stop()
	select {
	case v = <-ch:
	case <-timer.C:
		t.Fatalf("waited in vain for %s\n%s", what, allStacks())
	}
	return v
}

// eventually waits for cond to become true.
func eventually(t testing.TB, w world, cond func() bool, what string) {
	t.Helper()
	end := time.Now().Add(w.patience())
	for pause := time.Millisecond; !cond(); time.Sleep(pause) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s\n%s", what, allStacks())
		}
		if w.mem {
			pause *= 2
		}
	}
}

// A journal records what happened, in order.
type journal struct {
	mu  sync.Mutex
	all []string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.all = append(j.all, fmt.Sprintf(format, args...))
}

func (j *journal) entries() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.all)
}

func (j *journal) count(entry string) (n int) {
	for _, e := range j.entries() {
		if e == entry {
			n++
		}
	}
	return n
}

func (j *journal) has(entry string) bool { return j.count(entry) > 0 }

func (j *journal) want(t testing.TB, want ...string) {
	t.Helper()
	if got := j.entries(); !slices.Equal(got, want) {
		t.Errorf("journal:\n got %q\nwant %q", got, want)
	}
}

// lines is the connection that most tests use.
type lines = hythe.Conn[string, string]

// onInput is a session with nothing but Input.
type onInput func(c *lines, in string) error

func (f onInput) Input(c *lines, in string) error { return f(c, in) }

// echo answers each line with itself.
func echo(c *lines, in string) error { return c.Send(in) }

func echoService() hythe.Service {
	return hythe.Sessions(codec.Lines(), func(*lines) onInput { return echo })
}

// hooks is a session with all hooks but InputClosed, whose presence changes
// what happens. Those that are nil do nothing; a nil input echoes.
type hooks struct {
	connected    func(c *lines) error
	input        func(c *lines, in string) error
	flushed      func(c *lines)
	high, low    func(c *lines)
	posted       func(c *lines, event any) error
	inputFailed  func(c *lines, err error)
	draining     func(c *lines)
	disconnected func(c *lines, why error)
}

func (h *hooks) Connected(c *lines) error {
	if h.connected == nil {
		return nil
	}
	return h.connected(c)
}

func (h *hooks) Input(c *lines, in string) error {
	if h.input == nil {
		return c.Send(in)
	}
	return h.input(c, in)
}

func (h *hooks) Posted(c *lines, event any) error {
	if h.posted == nil {
		return nil
	}
	return h.posted(c, event)
}

func (h *hooks) Flushed(c *lines)                { call(h.flushed, c) }
func (h *hooks) HighWater(c *lines)              { call(h.high, c) }
func (h *hooks) LowWater(c *lines)               { call(h.low, c) }
func (h *hooks) Draining(c *lines)               { call(h.draining, c) }
func (h *hooks) InputFailed(c *lines, err error) { call2(h.inputFailed, c, err) }

func (h *hooks) Disconnected(c *lines, why error) { call2(h.disconnected, c, why) }

func call(f func(c *lines), c *lines) {
	if f != nil {
		f(c)
	}
}

func call2(f func(c *lines, err error), c *lines, err error) {
	if f != nil {
		f(c, err)
	}
}

// halfOpen is hooks with an InputClosed.
type halfOpen struct {
	hooks
	inputClosed func(c *lines) error
}

func (h *halfOpen) InputClosed(c *lines) error { return h.inputClosed(c) }

func sessions(open func(c *lines) *hooks) hythe.Service {
	return hythe.Sessions(codec.Lines(), open)
}

// wantClosed checks an error that says that the connection has ended.
func wantClosed(t testing.TB, what string, err error, why hythe.Reason) {
	t.Helper()
	var ce *hythe.CloseError
	if !errors.As(err, &ce) || ce.Reason != why || !errors.Is(err, why) || !errors.Is(err, net.ErrClosed) {
		t.Errorf("%s = %v (%T), want a *CloseError for %v that matches net.ErrClosed", what, err, err, why)
	}
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

var serverTLS = sync.OnceValue(func() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Unix(1<<32, 0),
		DNSNames:     []string{"hythe.test"},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
})

func clientTLS() *tls.Config { return &tls.Config{InsecureSkipVerify: true, ServerName: "hythe.test"} }

func newMem() *memnet.Network { return new(memnet.Network) }
