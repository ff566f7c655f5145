package httpd_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
	"github.com/hythe-go/hythe/httpd/middleware"
)

// The tests whose names begin with TestSimpleHTTP say, power by power, what became of
// those of POE::Component::Server::SimpleHTTP 2.28, and of its faults. This file
// has the constructor's.

// say0 answers "hello".
var say0 = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") })

// ask1 sends bytes, and returns all that comes until the server closes.
func ask1(t testing.TB, at net.Addr, raw string) string {
	t.Helper()
	nc := dial(t, at)
	defer nc.Close()
	if _, err := io.WriteString(nc, raw); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(nc)
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		t.Fatalf("after %q the server does not close", got)
	}
	return string(got)
}

// exchange sends a request on a connection and reads one answer to it.
func exchange(t testing.TB, nc net.Conn, br *bufio.Reader, raw string) (*http.Response, string) {
	t.Helper()
	if _, err := io.WriteString(nc, raw); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(raw, " ")
	resp, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("to %q: %v", raw, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("to %q: %v", raw, err)
	}
	return resp, string(body)
}

// wantEnd wants the server to have closed.
func wantEnd(t testing.TB, br *bufio.Reader) {
	t.Helper()
	if rest, err := io.ReadAll(br); len(rest) > 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %q, %v; want the end", rest, err)
	}
}

const (
	getHello     = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	getHelloLast = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
)

// ADDRESS, DOMAIN, PORT, SETUPHANDLER: any address, several at once, and the port
// that the kernel chose is told.
func TestSimpleHTTP_AddressAndPort(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	endpoints := []string{"tcp4://127.0.0.1:0", "unix://" + path}
	if l, err := net.Listen("tcp6", "[::1]:0"); err == nil {
		l.Close()
		endpoints = append(endpoints, "tcp6://[::1]:0")
	}
	listening := make(chan net.Addr, len(endpoints))
	srv := &hythe.Server{Service: &httpd.Server{Handler: say0}, OnListen: func(a net.Addr) { listening <- a }}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- srv.ListenAndServe(ctx, endpoints...) }()
	for range endpoints {
		at := <-listening
		if a, ok := at.(*net.TCPAddr); ok && a.Port == 0 {
			t.Errorf("%v is no port", a)
		}
		nc, err := net.Dial(at.Network(), at.String())
		if err != nil {
			t.Error(err)
			continue
		}
		if _, body := exchange(t, nc, bufio.NewReader(nc), getHello); body != "hello" {
			t.Errorf("%v says %q", at, body)
		}
		nc.Close()
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// HOSTNAME, which SimpleHTTP put in the place of Host: it is kept.
func TestSimpleHTTP_HostIsKept(t *testing.T) {
	at := startSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Host) }), nil)
	nc := dial(t, at)
	if _, body := exchange(t, nc, bufio.NewReader(nc), "GET / HTTP/1.1\r\nHost: Some.Host:81\r\n\r\n"); body != "Some.Host:81" {
		t.Errorf("the handler sees %q", body)
	}
}

// HEADERS.
func TestSimpleHTTP_DefaultHeaders(t *testing.T) {
	at := startSite(t, middleware.DefaultHeaders(http.Header{"X-All": {"yes"}, "Server": {"mine"}})(say0), nil)
	nc := dial(t, at)
	if resp, _ := exchange(t, nc, bufio.NewReader(nc), getHello); resp.Header.Get("X-All") != "yes" || resp.Header.Get("Server") != "mine" {
		t.Errorf("the header is %v", resp.Header)
	}
}

// HANDLERS, and the DIR that handlers are told: in order, the first that matches.
// Nothing matches: 404, as text.
func TestSimpleHTTP_Handlers(t *testing.T) {
	names := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		route, _ := httpd.RouteOf(r)
		io.WriteString(w, route.Name+" "+r.Pattern)
	})
	table := newTable(t,
		httpd.Route{Name: "honk", Pattern: "~^/honk/", Handler: names},
		httpd.Route{Name: "bye", Pattern: "~^/(bye|honk).*", Handler: names})
	nc := dial(t, startSite(t, table, nil))
	br := bufio.NewReader(nc)
	for path, want := range map[string]string{"/honk/x": "honk ~^/honk/", "/honk": "bye ~^/(bye|honk).*", "/bye": "bye ~^/(bye|honk).*"} {
		if _, body := exchange(t, nc, br, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n"); body != want {
			t.Errorf("%s: %q, want %q", path, body, want)
		}
	}
	if resp, body := exchange(t, nc, br, getHello); resp.StatusCode != 404 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") || !strings.HasPrefix(body, "404") {
		t.Errorf("nothing matches: %d %q", resp.StatusCode, body)
	}
}

// The empty path is "/", and a leading "//" is not rewritten behind the client's
// back, but redirected.
func TestSimpleHTTP_EmptyPathAndDoubleSlash(t *testing.T) {
	table := newTable(t, httpd.Route{Pattern: "~^/$", Handler: say0}, httpd.Route{Pattern: "/x", Handler: say0})
	nc := dial(t, startSite(t, table, nil))
	br := bufio.NewReader(nc)
	for target, want := range map[string]string{"http://a": "/", "//x": "/x", "///": "/"} {
		resp, _ := exchange(t, nc, br, "GET "+target+" HTTP/1.1\r\nHost: a\r\n\r\n")
		if at := resp.Header.Get("Location"); resp.StatusCode != 307 || at != want {
			t.Errorf("%s: %d to %q, want %q", target, resp.StatusCode, at, want)
		}
		if _, body := exchange(t, nc, br, "GET "+want+" HTTP/1.1\r\nHost: a\r\n\r\n"); body != "hello" {
			t.Errorf("%s: %q", want, body)
		}
	}
}

// KEEPALIVE: by the rules of HTTP, not off for every error, nor for HTTP/1.0.
func TestSimpleHTTP_KeepAlive(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("/{$}", say0)
	at := startSite(t, mux, nil)
	nc := dial(t, at)
	br := bufio.NewReader(nc)
	for _, raw := range []string{
		getHello, "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
		"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		if resp, _ := exchange(t, nc, br, raw); resp.Close {
			t.Fatalf("after %q the connection is to be closed", raw)
		}
	}
	if resp, _ := exchange(t, nc, br, getHelloLast); !resp.Close {
		t.Error("Connection: close is not answered with the same")
	}
	wantEnd(t, br)
	if got := ask1(t, at, "GET / HTTP/1.0\r\n\r\n"); !strings.HasSuffix(got, "hello") {
		t.Errorf("HTTP/1.0 is answered with %q", got)
	}
}

// … with limits, of which SimpleHTTP had none.
func TestSimpleHTTP_KeepAliveLimits(t *testing.T) {
	at := startServer(t, &hythe.Server{
		Service:  &httpd.Server{Handler: say0, MaxRequests: 3, IdleTimeout: 200 * time.Millisecond, MoorAfter: 50 * time.Millisecond},
		Timeouts: hythe.Timeouts{Idle: 200 * time.Millisecond},
	})
	nc := dial(t, at)
	br := bufio.NewReader(nc)
	for i := range 3 {
		if resp, _ := exchange(t, nc, br, getHello); resp.Close != (i == 2) {
			t.Errorf("answer %d says close: %v", i, resp.Close)
		}
	}
	wantEnd(t, br)

	idle := dial(t, at)
	br = bufio.NewReader(idle)
	exchange(t, idle, br, getHello)
	wantEnd(t, br)
}

// PROXYMODE: the URI is left alone, and CONNECT works.
func TestSimpleHTTP_ProxyMode(t *testing.T) {
	at := startSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.RequestURI+" "+r.URL.String())
	}), nil)
	nc := dial(t, at)
	const uri = "http://other.example/a//b?c"
	if _, body := exchange(t, nc, bufio.NewReader(nc), "GET "+uri+" HTTP/1.1\r\nHost: other.example\r\n\r\n"); body != uri+" "+uri {
		t.Errorf("the handler sees %q", body)
	}

	proxy := startSite(t, middleware.Proxy{
		Access: func(*http.Request) bool { return true },
		Reach:  func(to netip.AddrPort) bool { return to.String() == at.String() },
	}.Wrap(http.NotFoundHandler()), nil)
	nc = dial(t, proxy)
	br := bufio.NewReader(nc)
	fmt.Fprintf(nc, "CONNECT %s HTTP/1.1\r\nHost: %[1]s\r\n\r\n", at)
	if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != 200 { // its body is the tunnel
		t.Fatalf("CONNECT: %v, %v", resp, err)
	}
	if _, body := exchange(t, nc, br, "GET /in HTTP/1.1\r\nHost: a\r\n\r\n"); body != "/in /in" {
		t.Errorf("through the tunnel: %q", body)
	}
}

// SSLKEYCERT: whoever asks for TLS gets TLS, or nothing. SimpleHTTP served in clear
// when it could not load a certificate.
func TestSimpleHTTP_TLSFailsClosed(t *testing.T) {
	files := &hythe.TLSFiles{Cert: filepath.Join(t.TempDir(), "none"), Key: "none"}
	if _, err := files.Config(); err == nil {
		t.Error("certificates that are not there make a configuration")
	}
	at := startServer(t, &hythe.Server{Service: &httpd.Server{Handler: say0}, TLS: httpd.TLSConfig(testTLS(t))})
	if got := ask1(t, at, getHello); strings.Contains(got, "hello") {
		t.Errorf("in clear the server says %q", got)
	}
	nc, err := tls.Dial("tcp", at.String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, body := exchange(t, nc, bufio.NewReader(nc), getHelloLast); body != "hello" {
		t.Errorf("over TLS the server says %q", body)
	}
}

// SimpleHTTP bounded a body (1 MiB) and nothing else.
func TestSimpleHTTP_Limits(t *testing.T) {
	var read atomic.Int64
	at := startSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		read.Store(n)
		if err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		}
	}), func(s *httpd.Server) {
		s.MaxBodyBytes, s.MaxHeaderBytes = 1000, 8<<10
		s.HeaderTimeout, s.BodyIdle = 300*time.Millisecond, 300*time.Millisecond
	})
	for name, test := range map[string]struct{ raw, status string }{
		"body":            {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n" + strings.Repeat("x", 1001), "413"},
		"body in chunks":  {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + strings.Repeat("x", 1001) + "\r\n0\r\n\r\n", "413"},
		"header":          {"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 20<<10) + "\r\n\r\n", "431"},
		"slow header":     {"GET / HTTP/1.1\r\nHost: a\r\nX: ", ""},
		"slow body":       {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nxx", ""},
		"slow first line": {"GE", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := ask1(t, at, test.raw)
			if test.status != "" && !strings.HasPrefix(got, "HTTP/1.1 "+test.status) {
				t.Errorf("got %.100q, want %s", got, test.status)
			}
			if strings.HasPrefix(got, "HTTP/1.1 200") {
				t.Errorf("got %.100q", got)
			}
			if n := read.Load(); n > 1000 {
				t.Errorf("a handler has read %d bytes", n)
			}
		})
	}
}

// MAX_RETRIES: SimpleHTTP counted every start, and died at the fifth. Here errors of
// accepting do not add up.
func TestSimpleHTTP_AcceptErrorsDoNotAddUp(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	failing := &failingListener{Listener: l}
	srv := &hythe.Server{Service: &httpd.Server{Handler: say0}}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, failing) }()
	for range 8 {
		ask1(t, l.Addr(), getHelloLast)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if n := failing.failed.Load(); n < 8 {
		t.Errorf("accepting failed only %d times", n)
	}
}

// failingListener fails before each connection.
type failingListener struct {
	net.Listener
	calls, failed atomic.Int64
}

func (l *failingListener) Accept() (net.Conn, error) {
	if l.calls.Add(1)%2 == 1 {
		l.failed.Add(1)
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: syscall.ECONNABORTED}
	}
	return l.Listener.Accept()
}

// A port that is taken is an error at once; SimpleHTTP said five times that it was
// ready, and died.
func TestSimpleHTTP_BindFailure(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	srv := &hythe.Server{Service: &httpd.Server{Handler: say0}, OnListen: func(net.Addr) { t.Error("OnListen was called") }}
	if err := srv.ListenAndServe(context.Background(), "tcp://"+l.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("ListenAndServe = %v", err)
	}
}

// Basic authentication, in SimpleHTTP a snippet of its manual that compared with eq.
func TestSimpleHTTP_BasicAuth(t *testing.T) {
	auth := middleware.BasicAuth{Check: middleware.Passwords(map[string]string{"ann": "secret"}), FailDelay: -1}
	nc := dial(t, startSite(t, auth.Wrap(say0), nil))
	br := bufio.NewReader(nc)
	if resp, _ := exchange(t, nc, br, getHello); resp.StatusCode != 401 || resp.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("without a login: %d %v", resp.StatusCode, resp.Header)
	}
	if _, body := exchange(t, nc, br, "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YW5uOnNlY3JldA==\r\n\r\n"); body != "hello" {
		t.Errorf("with the right one: %q", body)
	}
}
