package link

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe/memnet"
)

// An echo server on a real socket, which can be stopped and started again.
type echo struct {
	ln     net.Listener
	conns  sync.Map
	accept sync.WaitGroup
	work   sync.WaitGroup
	count  atomic.Int64
}

func startEcho(t testing.TB, network, addr string) *echo {
	t.Helper()
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	return serveEcho(t, ln)
}

func serveEcho(t testing.TB, ln net.Listener) *echo {
	e := &echo{ln: ln}
	e.accept.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			e.count.Add(1)
			e.conns.Store(c, true)
			e.work.Go(func() {
				defer e.conns.Delete(c)
				defer c.Close()
				io.Copy(struct{ io.Writer }{c}, c) // no splice, which keeps pipes
			})
		}
	})
	t.Cleanup(e.stop)
	return e
}

func (e *echo) stop() {
	e.ln.Close()
	e.accept.Wait() // it may be about to have one more
	e.cut()
	e.work.Wait()
}

// cut hangs up on everybody.
func (e *echo) cut() {
	e.conns.Range(func(c, _ any) bool { c.(net.Conn).Close(); return true })
}

// say has c echo a word.
func say(t testing.TB, c net.Conn) {
	t.Helper()
	buf := make([]byte, 5)
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "hello" {
		t.Fatalf("the echo is %q, %v", buf, err)
	}
}

// within returns a context for what must happen soon.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func closing[C any](t testing.TB, l *Link[C]) *Link[C] {
	t.Cleanup(func() { l.Close(); <-l.Done() })
	return l
}

var soon = Backoff{First: 5 * time.Millisecond, Fixed: true}

// The end of the connection, read or written into, is known without a report.
func TestTCP_ReportsItsOwnDeath(t *testing.T) {
	e := startEcho(t, "tcp", "127.0.0.1:0")
	l := closing(t, &Link[net.Conn]{Dial: TCP, Endpoints: []string{e.ln.Addr().String()}, Backoff: soon})
	c, err := l.Get(within(t))
	if err != nil {
		t.Fatal(err)
	}
	say(t, c)
	c.SetReadDeadline(time.Now())
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("Read = %v, want the deadline's error", err)
	}
	c.SetReadDeadline(time.Time{})
	if now, ok := l.Conn(); !ok || now != c {
		t.Fatal("a deadline was taken for the connection's end")
	}
	e.cut()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Fatal("Read found no end")
	}
	if _, ok := l.Conn(); ok {
		t.Error("the connection is handed out after its end was read")
	}
	again, err := l.Get(within(t))
	if err != nil || again == c {
		t.Fatalf("Get = %v, %v; want a new connection", again, err)
	}
	say(t, again)
	again.Close() // by the user: the link makes another
	if third, err := l.Get(within(t)); err != nil || third == again {
		t.Fatalf("Get after Close = %v, %v; want a new connection", third, err)
	} else if _, ok := third.(interface{ NetConn() net.Conn }).NetConn().(*net.TCPConn); !ok {
		t.Errorf("NetConn is no *net.TCPConn")
	}
}

func TestUnix(t *testing.T) {
	e := startEcho(t, "unix", filepath.Join(t.TempDir(), "s"))
	l := closing(t, &Link[net.Conn]{Dial: Unix, Endpoints: []string{e.ln.Addr().String()}})
	c, err := l.Get(within(t))
	if err != nil {
		t.Fatal(err)
	}
	say(t, c)
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Errorf("CloseWrite = %v", err)
	}
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("Read = %v, want io.EOF", err)
	}
}

func selfSigned(t testing.TB, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// The server's name is the endpoint's host, and it is checked.
func TestTLS(t *testing.T) {
	cert, pool := selfSigned(t, "db.example.com")
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	e := serveEcho(t, ln)
	_, port, _ := net.SplitHostPort(e.ln.Addr().String())
	d := &Dialer{Lookup: func(context.Context, string) ([]netip.Addr, error) { return addrs("127.0.0.1"), nil }}
	config := &tls.Config{RootCAs: pool}
	l := closing(t, &Link[net.Conn]{Dial: d.TLS(config), Endpoints: []string{"db.example.com:" + port}})
	c, err := l.Get(within(t))
	if err != nil {
		t.Fatal(err)
	}
	say(t, c)
	if config.ServerName != "" {
		t.Error("the caller's configuration was changed")
	}
	other := closing(t, &Link[net.Conn]{Dial: d.TLS(config), Endpoints: []string{"evil.example.com:" + port}})
	var wrong x509.HostnameError
	if _, err := other.Try(within(t), 1); !errors.As(err, &wrong) {
		t.Errorf("Try = %v, want an x509.HostnameError", err)
	}
}

// Names are looked up for every attempt, and every address is tried.
func TestTCP_LooksUpAfresh(t *testing.T) {
	e := startEcho(t, "tcp", "127.0.0.1:0")
	_, port, _ := net.SplitHostPort(e.ln.Addr().String())
	var lookups atomic.Int32
	d := &Dialer{Lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
		switch lookups.Add(1) {
		case 1:
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		case 2:
			return addrs("127.0.0.2"), nil // nobody is there
		default:
			return addrs("127.0.0.3", "::1", "127.0.0.1"), nil
		}
	}}
	l := closing(t, &Link[net.Conn]{Dial: d.TCP, Endpoints: []string{"db:" + port}, Backoff: soon})
	var dns *net.DNSError
	if _, err := l.Try(within(t), 1); !errors.As(err, &dns) || !dns.IsNotFound {
		t.Errorf("the first attempt = %v, want a *net.DNSError", err)
	}
	c, err := l.Get(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.RemoteAddr().String(); got != e.ln.Addr().String() || lookups.Load() != 3 {
		t.Errorf("connected to %s after %d look-ups, want %s after 3", got, lookups.Load(), e.ln.Addr())
	}
}

func TestTCP_BadEndpoint(t *testing.T) {
	for _, endpoint := range []string{"", "localhost", "localhost:nonsense", "[::1:80"} {
		if c, err := TCP(within(t), Attempt{Endpoint: endpoint}); err == nil {
			c.Close()
			t.Errorf("an endpoint %q was dialled", endpoint)
		}
	}
}

// A network in memory takes the kernel's place.
func TestDialer_DialContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		ln, err := network.Listen("db")
		if err != nil {
			t.Fatal(err)
		}
		e := serveEcho(t, ln)
		d := &Dialer{DialContext: network.DialContext}
		l := &Link[net.Conn]{Dial: d.TCP, Endpoints: []string{"db"}}
		for range 3 {
			c, err := l.Get(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			say(t, c)
			time.Sleep(time.Minute)
			e.cut()
			if n, err := c.Read(make([]byte, 1)); err == nil {
				t.Errorf("Read = %d, nil", n)
			}
		}
		l.Close()
		<-l.Done()
	})
}

// io.Copy to the connection works, with and without the kernel's help.
func TestConn_ReadFrom(t *testing.T) {
	e := startEcho(t, "tcp", "127.0.0.1:0")
	l := closing(t, &Link[net.Conn]{Dial: TCP, Endpoints: []string{e.ln.Addr().String()}})
	c, err := l.Get(within(t))
	if err != nil {
		t.Fatal(err)
	}
	a, b := memnet.Pipe()
	defer a.Close()
	defer b.Close()
	for name, to := range map[string]io.ReadWriter{"tcp": c, "memnet": &conn{a, func(error) {}}} {
		if n, err := io.Copy(to, struct{ io.Reader }{strings.NewReader("hello")}); n != 5 || err != nil {
			t.Errorf("%s: io.Copy = %d, %v", name, n, err)
		}
	}
}

// A thousand connections that come and go leave neither goroutine nor
// descriptor.
func TestFlaps_LeakNothing(t *testing.T) {
	running := runtime.NumGoroutine()
	e := startEcho(t, "tcp", "127.0.0.1:0")
	l := &Link[net.Conn]{
		Dial: TCP, Endpoints: []string{e.ln.Addr().String()},
		Backoff: Backoff{First: -1}, Throttle: Throttle{Attempts: -1},
		Watch: func(ctx context.Context, c net.Conn) error { _, err := c.Read(make([]byte, 1)); return err },
	}
	var ups, downs atomic.Int32
	l.Subscribe(&Funcs[net.Conn]{
		OnConnected:    func(net.Conn) { ups.Add(1) },
		OnDisconnected: func(error) { downs.Add(1) },
	})
	before := descriptors(t)
	for i := range 1000 {
		c, err := l.Get(within(t))
		if err != nil {
			t.Fatal(err)
		}
		switch i % 3 {
		case 0:
			l.Report(c, errDown)
		case 1:
			c.Close()
		default:
			for gone := lost(l, c); !isClosed(gone); time.Sleep(50 * time.Microsecond) {
				e.cut() // once more if the server had not accepted it yet
			}
		}
	}
	if _, err := l.Get(within(t)); err != nil {
		t.Fatal(err)
	}
	if err := l.Drain(within(t)); err != nil {
		t.Fatal(err)
	}
	s := l.Stats()
	if s.Ups < 1001 || s.Ups != s.Downs || ups.Load() != downs.Load() || ups.Load() == 0 {
		t.Errorf("%d ups, %d downs; %d and %d were told", s.Ups, s.Downs, ups.Load(), downs.Load())
	}
	e.stop()
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors were open before, %d are after", before, after)
	}
	for end := time.Now().Add(2 * time.Second); runtime.NumGoroutine() > running; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines ran before, %d do after", running, runtime.NumGoroutine())
		}
	}
}

// lost returns a channel that is closed when the link does not have c any more.
func lost(l *Link[net.Conn], c net.Conn) <-chan struct{} {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for range l.Events(context.Background()) {
			if now, ok := l.Conn(); !ok || now != c {
				return
			}
		}
	}()
	return gone
}

// descriptors returns how many the process has open.
func descriptors(t testing.TB) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("cannot count descriptors here: ", err)
	}
	return len(files)
}
