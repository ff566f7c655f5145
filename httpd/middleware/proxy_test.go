package middleware_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hythe-go/hythe/httpd/middleware"
)

func everybody(*http.Request) bool      { return true }
func everywhere(to netip.AddrPort) bool { return true }
func serve(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv
}

// through asks for a URL through a proxy.
func through(t testing.TB, proxy *httptest.Server, method, target string, fields ...string) (*http.Response, string) {
	t.Helper()
	at, _ := url.Parse(proxy.URL)
	tr := &http.Transport{Proxy: http.ProxyURL(at)}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequest(method, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		req.Header.Add(name, value)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return resp, string(body)
}

func TestProxy(t *testing.T) {
	var got *http.Request
	origin := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		w.Header().Set("Connection", "X-Hop")
		w.Header().Set("X-Hop", "1")
		w.Header().Set("Trailer", "X-Trailer")
		io.WriteString(w, "hello")
		w.Header().Set("X-Trailer", "end")
	}))
	proxy := serve(t, middleware.Proxy{Access: everybody, Reach: everywhere, Name: "p"}.Wrap(write("not proxied")))
	resp, body := through(t, proxy, "GET", origin.URL+"/a%2Fb?c=d&x;y",
		"Proxy-Authorization: Basic eDp5", "Proxy-Connection: keep-alive", "Keep-Alive: 5", "Connection: X-Mine", "X-Mine: 1",
		"X-Forwarded-For: 6.6.6.6", "TE: trailers, gzip", "User-Agent: test")
	if resp.StatusCode != 200 || body != "hello" || resp.Header.Get("Via") != "1.1 p" || resp.Header.Get("X-Hop") != "" || resp.Trailer.Get("X-Trailer") != "end" {
		t.Errorf("got %d %q %v %v", resp.StatusCode, body, resp.Header, resp.Trailer)
	}
	if got.RequestURI != "/a%2Fb?c=d&x;y" || got.Host != strings.TrimPrefix(origin.URL, "http://") || got.Header.Get("Via") != "1.1 p" || got.UserAgent() != "test" {
		t.Errorf("the origin got %s of %s with %v", got.RequestURI, got.Host, got.Header)
	}
	for _, name := range []string{"Proxy-Authorization", "Proxy-Connection", "Keep-Alive", "X-Mine", "X-Forwarded-For"} {
		if v := got.Header.Get(name); v != "" {
			t.Errorf("the origin got %s: %s", name, v)
		}
	}

	plain, err := http.Get(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	defer plain.Body.Close()
	if b, _ := io.ReadAll(plain.Body); string(b) != "not proxied" {
		t.Errorf("a request for the server itself got %q", b)
	}
}

func TestProxy_Refuses(t *testing.T) {
	reached := false
	origin := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { reached = true }))
	port := origin.URL[strings.LastIndex(origin.URL, ":"):]
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	open := middleware.Proxy{Access: everybody, Reach: everywhere, Name: "p"}
	for _, test := range []struct {
		name   string
		p      middleware.Proxy
		head   string
		status int
	}{
		{"the zero value", middleware.Proxy{}, "GET " + origin.URL + "/ HTTP/1.1", 403},
		{"the zero value, CONNECT", middleware.Proxy{}, "CONNECT 127.0.0.1" + port + " HTTP/1.1", 403},
		{"loopback", middleware.Proxy{Access: everybody}, "GET " + origin.URL + "/ HTTP/1.1", 403},
		{"loopback by name", middleware.Proxy{Access: everybody}, "GET http://localhost" + port + "/ HTTP/1.1", 403},
		{"loopback in IPv6", middleware.Proxy{Access: everybody}, "GET http://[::ffff:127.0.0.1]" + port + "/ HTTP/1.1", 403},
		{"loopback as 0", middleware.Proxy{Access: everybody}, "GET http://0.0.0.0" + port + "/ HTTP/1.1", 403},
		{"loopback by CONNECT", middleware.Proxy{Access: everybody}, "CONNECT 127.0.0.1:443 HTTP/1.1", 403},
		{"another port by CONNECT", middleware.Proxy{Access: everybody}, "CONNECT 8.8.8.8:25 HTTP/1.1", 403},
		{"the cloud's metadata", middleware.Proxy{Access: everybody}, "GET http://169.254.169.254/latest/ HTTP/1.1", 403},
		{"in circles", open, "GET " + origin.URL + "/ HTTP/1.1\r\nVia: 1.1 a, 1.1 p (x)", 508},
		{"nobody there", open, "GET http://" + closed.Addr().String() + "/ HTTP/1.1", 502},
		{"nobody there, CONNECT", open, "CONNECT " + closed.Addr().String() + " HTTP/1.1", 502},
		{"no port", open, "CONNECT 127.0.0.1 HTTP/1.1", 400},
		{"port 0", open, "CONNECT 127.0.0.1:0 HTTP/1.1", 400},
		{"port that is none", open, "CONNECT 127.0.0.1:http HTTP/1.1", 400},
		{"https", open, "GET https://127.0.0.1" + port + "/ HTTP/1.1", 400},
		{"ftp", open, "GET ftp://127.0.0.1" + port + "/ HTTP/1.1", 400},
		{"TRACE", open, "TRACE " + origin.URL + "/ HTTP/1.1", 405},
	} {
		t.Run(test.name, func(t *testing.T) {
			reached = false
			proxy := serve(t, test.p.Wrap(http.NotFoundHandler()))
			nc, err := net.Dial("tcp", proxy.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			io.WriteString(nc, test.head+"\r\nHost: x\r\n\r\n")
			resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != test.status || reached {
				t.Errorf("%d, reached %v; want %d", resp.StatusCode, reached, test.status)
			}
			if strings.Contains(string(body), "dial") {
				t.Errorf("it tells of the network: %s", body)
			}
		})
	}
}

// echo is a TCP server that says back what it hears, and ends when its client
// has.
func echo(t testing.TB) net.Addr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			io.Copy(nc, nc)
			nc.Close()
		}
	}()
	return l.Addr()
}

func TestProxy_Tunnel(t *testing.T) {
	proxy := serve(t, middleware.Proxy{Access: everybody, Reach: everywhere}.Wrap(http.NotFoundHandler()))
	nc, err := net.Dial("tcp", proxy.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	to := echo(t)
	// The tunnel's first bytes come with the head.
	fmt.Fprintf(nc, "CONNECT %s HTTP/1.1\r\nHost: %[1]s\r\n\r\nearly ", to)
	br := bufio.NewReader(nc)
	resp, err := http.ReadResponse(br, &http.Request{Method: "CONNECT"})
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%v, %v", resp, err)
	}
	if len(resp.Header) > 0 {
		t.Errorf("a tunnel's answer has %v", resp.Header)
	}
	io.WriteString(nc, "and late")
	nc.(*net.TCPConn).CloseWrite() // the end is passed on, and the rest comes back
	if got, err := io.ReadAll(br); string(got) != "early and late" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestProxy_TunnelOverHTTP2(t *testing.T) {
	proxy := httptest.NewUnstartedServer(middleware.Proxy{Access: everybody, Reach: everywhere}.Wrap(http.NotFoundHandler()))
	proxy.EnableHTTP2 = true
	proxy.StartTLS()
	defer proxy.Close()
	tr := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer tr.CloseIdleConnections()
	body, w := io.Pipe()
	defer w.Close()
	u, _ := url.Parse(proxy.URL)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req := (&http.Request{Method: "CONNECT", URL: u, Host: echo(t).String(), Body: body, Header: http.Header{}}).WithContext(ctx)
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || resp.ProtoMajor != 2 {
		t.Fatalf("%s by %s", resp.Status, resp.Proto)
	}
	for _, word := range []string{"one", "three"} {
		io.WriteString(w, word)
		got := make([]byte, len(word))
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != word {
			t.Fatalf("%q, %v", got, err)
		}
	}
	w.Close()
	if rest, err := io.ReadAll(resp.Body); len(rest) > 0 || err != nil {
		t.Errorf("in the end: %q, %v", rest, err)
	}
}

func TestProxy_IdleTunnelEnds(t *testing.T) {
	proxy := serve(t, middleware.Proxy{Access: everybody, Reach: everywhere, Idle: 50 * time.Millisecond}.Wrap(http.NotFoundHandler()))
	nc, err := net.Dial("tcp", proxy.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	fmt.Fprintf(nc, "CONNECT %s HTTP/1.1\r\nHost: %[1]s\r\n\r\n", echo(t))
	nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadAll(nc); errors.Is(err, context.DeadlineExceeded) || errors.Is(err, net.ErrClosed) {
		t.Errorf("the tunnel ends with %v", err)
	} else if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		t.Error("the tunnel does not end")
	}
}

func TestPublic(t *testing.T) {
	for s, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true, "::ffff:8.8.8.8": true, "64:ff9b::808:808": true, "2002:808:808::1": true,
		"127.0.0.1": false, "127.255.0.1": false, "::1": false, "0.0.0.0": false, "0.1.2.3": false, "::": false,
		"10.1.2.3": false, "172.16.0.1": false, "192.168.0.1": false, "fd00::1": false, "fc00::1": false,
		"169.254.169.254": false, "fe80::1": false, "100.64.0.1": false, "192.0.0.1": false, "192.0.2.1": false,
		"198.18.0.1": false, "224.0.0.1": false, "ff02::1": false, "240.0.0.1": false, "255.255.255.255": false,
		"::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::127.0.0.1": false, "64:ff9b::7f00:1": false,
		"64:ff9b::a00:1": false, "64:ff9b:1::1": false, "2002:7f00:1::": false, "2001::1": false, "2001:db8::1": false, "fec0::1": false,
	} {
		if got := middleware.Public(netip.MustParseAddr(s)); got != want {
			t.Errorf("Public(%s) = %v", s, got)
		}
	}
	if middleware.Public(netip.Addr{}) {
		t.Error("no address is public")
	}
}
