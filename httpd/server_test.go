package httpd_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
)

// A rawClient speaks HTTP by hand.
type rawClient struct {
	testing.TB
	nc net.Conn
	r  *bufio.Reader
}

func dialRaw(t testing.TB, at net.Addr) *rawClient {
	t.Helper()
	nc, err := net.Dial(at.Network(), at.String())
	if err != nil {
		t.Fatal(err)
	}
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	t.Cleanup(func() { nc.Close() })
	return &rawClient{t, nc, bufio.NewReader(nc)}
}

func (c *rawClient) send(s string) {
	c.Helper()
	if _, err := io.WriteString(c.nc, s); err != nil {
		c.Fatal(err)
	}
}

// want reads an answer, which must have the status and the body.
func (c *rawClient) want(status int, body string) *http.Response {
	c.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.Fatalf("no answer: %v", err)
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status || string(got) != body {
		c.Fatalf("got %d %q, %v, want %d %q", resp.StatusCode, got, err, status, body)
	}
	return resp
}

func (c *rawClient) wantEOF() {
	c.Helper()
	if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
		c.Fatalf("got %q, %v, want the end", rest, err)
	}
}

const get = "GET /%v HTTP/1.1\r\nHost: example.com\r\n\r\n"

var path = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Path) })

func TestMooring_IsNotNoticed(t *testing.T) {
	conns := make(map[uint64]bool)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conns[httpd.ConnOf(r.Context()).ID()] = true
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", r.URL.Path, b)
	})
	at := startSite(t, h, func(s *httpd.Server) { s.MoorAfter = 2 * time.Millisecond })
	c := dialRaw(t, at)
	for i := range 20 {
		c.send(fmt.Sprintf(get, i))
		c.want(200, fmt.Sprintf("/%d ", i))
		time.Sleep(5 * time.Millisecond)
		c.send("POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel")
		time.Sleep(5 * time.Millisecond)
		c.send("loGET /q HTTP/1.1\r\nHo")
		c.want(200, "/p hello")
		time.Sleep(5 * time.Millisecond)
		c.send("st: x\r\n\r\nPOST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
		c.want(200, "/q ")
		c.want(200, "/c abc")
		time.Sleep(5 * time.Millisecond)
	}
	if len(conns) != 1 {
		t.Errorf("%d connections, want 1", len(conns))
	}
}

func TestDrain_ClosesIdleAtOnceAndFinishesTheRest(t *testing.T) {
	for _, moor := range []time.Duration{time.Millisecond, -1} {
		release := make(chan bool)
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				<-release
			}
			io.WriteString(w, "done")
		})
		srv := &hythe.Server{Service: &httpd.Server{Handler: h, MoorAfter: moor}}
		at, stop := serveUntil(t, srv)
		idle, busy := dialRaw(t, at), dialRaw(t, at)
		idle.send(fmt.Sprintf(get, "x"))
		idle.want(200, "done")
		busy.send(fmt.Sprintf(get, "slow"))
		time.Sleep(20 * time.Millisecond)
		stopped := make(chan error, 1)
		go func() { stopped <- stop() }()
		idle.wantEOF()
		idle.nc.Close()
		release <- true
		if resp := busy.want(200, "done"); !resp.Close {
			t.Error("the last answer does not say Connection: close")
		}
		busy.wantEOF()
		busy.nc.Close()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	}
}

func TestDetach_GoesOnAfterTheHandler(t *testing.T) {
	outs := make(chan *httpd.Out, 1)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Mine", "yes")
		o, err := httpd.Detach(w, r)
		if err != nil {
			t.Error(err)
		}
		outs <- o
	})
	told := make(chan httpd.Request, 1)
	at := startSite(t, h, func(s *httpd.Server) { s.Observer = func(r httpd.Request) { told <- r } })
	c := dialRaw(t, at)
	c.send(fmt.Sprintf(get, "x"))
	o := <-outs
	for range 3 {
		if _, err := o.Write([]byte("tick")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	flushed := make(chan bool, 10)
	o.OnFlushed(func(o *httpd.Out) { flushed <- true })
	<-flushed
	o.TryWrite([]byte("tock"))
	<-flushed
	o.Close(nil)
	if resp := c.want(200, "tickticktickock"[:12]+"tock"); resp.Header.Get("X-Mine") != "yes" {
		t.Error(resp.Header)
	}
	c.nc.Close()
	<-o.Done()
	if r := <-told; r.Cut || r.Bytes != 16 || r.Status != 200 {
		t.Errorf("%+v", r)
	}
}

func TestHTTP2_OverTLSAndClear(t *testing.T) {
	_ = context.Background
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	at := startSite(t, path, nil)
	client := &http.Client{Transport: &http.Transport{Protocols: p}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://" + at.String() + "/hello")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.ProtoMajor != 2 || !strings.HasPrefix(string(b), "/hello") {
		t.Errorf("%v %q", resp.Proto, b)
	}
}

// TLSConfig also has those configurations offer HTTP/2 that are chosen for a
// client, as hythe.TLSFiles does.
func TestTLSConfig_ChosenForTheClient(t *testing.T) {
	inner := testTLS(t)
	config := httpd.TLSConfig(&tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return inner, nil }})
	at := startServer(t, &hythe.Server{Service: &httpd.Server{Handler: path}, TLS: config})
	for range 2 {
		nc := dialTLS(t, at, "h2").(*tls.Conn)
		if got := nc.ConnectionState().NegotiatedProtocol; got != "h2" {
			t.Errorf("HTTP/2 was asked for, and %q agreed upon", got)
		}
	}
	if len(inner.NextProtos) != 0 {
		t.Errorf("the configuration was changed: %q", inner.NextProtos)
	}
}
