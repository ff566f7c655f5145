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
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
)

func TestConnOf_IsOneForAllRequestsOfAConnection(t *testing.T) {
	if httpd.ConnOf(context.Background()) != nil {
		t.Error("a context of nobody's has a connection")
	}
	infos := make(chan httpd.ConnInfo, 1)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { infos <- httpd.ConnOf(r.Context()).Info() })
	at := startSite(t, h, func(s *httpd.Server) { s.MoorAfter = time.Millisecond })
	c, sent := dialRaw(t, at), 0
	var first httpd.ConnInfo
	for i := range 3 {
		req := fmt.Sprintf(get, i)
		c.send(req)
		sent += len(req)
		info := <-infos
		c.want(200, "")
		if i == 0 {
			first = info
		}
		if info.ID == 0 || info.ID != first.ID || info.Opened != first.Opened || info.Remote.String() != c.nc.LocalAddr().String() ||
			info.Requests != uint64(i+1) || info.In != uint64(sent) || i > 0 && info.Out == 0 {
			t.Errorf("request %d: %+v, %d bytes were sent", i, info, sent)
		}
		time.Sleep(4 * time.Millisecond)
	}
}

func TestOnClose_IsCalledWhenTheConnectionHasEnded(t *testing.T) {
	reasons, removed := make(chan error, 4), make(chan bool, 1)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := httpd.ConnOf(r.Context())
		c.OnClose(func(why error) { reasons <- why })
		removed <- c.OnClose(func(error) { t.Error("a function that was taken back is called") })()
	})
	at := startSite(t, h, func(s *httpd.Server) { s.MoorAfter = time.Millisecond })
	c := dialRaw(t, at)
	for range 2 {
		c.send(fmt.Sprintf(get, "x"))
		c.want(200, "")
		if !<-removed {
			t.Error("remove says that it was too late")
		}
		time.Sleep(4 * time.Millisecond)
	}
	select {
	case why := <-reasons:
		t.Fatalf("called while the connection lives: %v", why)
	default:
	}
	c.nc.Close()
	for range 2 {
		var end *hythe.CloseError
		if why := wait(t, reasons, "the end"); !errors.As(why, &end) {
			t.Errorf("called with %v", why)
		}
	}
}

func TestAbort_SendsNoAnswer(t *testing.T) {
	reasons := make(chan error, 1)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := httpd.ConnOf(r.Context())
		c.OnClose(func(why error) { reasons <- why })
		io.WriteString(w, "lost")
		c.Abort()
	})
	c := dialRaw(t, startSite(t, h, nil))
	c.send(fmt.Sprintf(get, "x"))
	if b, _ := io.ReadAll(c.r); len(b) > 0 {
		t.Errorf("got %q", b)
	}
	if why := wait(t, reasons, "the end"); !errors.Is(why, hythe.Closed) {
		t.Errorf("ended with %v", why)
	}
}

func TestCloseAfter_EndsWithTheNextAnswer(t *testing.T) {
	conns := make(chan *httpd.Conn, 3)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { conns <- httpd.ConnOf(r.Context()) })
	for _, moor := range []time.Duration{-1, time.Millisecond} {
		c := dialRaw(t, startSite(t, h, func(s *httpd.Server) { s.MoorAfter = moor }))
		c.send(fmt.Sprintf(get, 1))
		if c.want(200, "").Close {
			t.Error("the first answer says Connection: close")
		}
		time.Sleep(5 * time.Millisecond)
		(<-conns).CloseAfter()
		c.send(fmt.Sprintf(get, 2))
		if !c.want(200, "").Close {
			t.Error("the answer does not say Connection: close")
		}
		c.wantEOF()
		<-conns
	}
}

// upgraded echoes lines over a connection that it takes over, until the client or
// the server has enough.
func upgraded(t *testing.T, hijacked chan net.Conn) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		draining := httpd.ConnOf(r.Context()).Draining()
		nc, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		hijacked <- nc
		defer nc.Close()
		io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
		lines := make(chan string)
		go func() {
			defer close(lines)
			for {
				line, err := rw.Reader.ReadString('\n')
				if err != nil {
					return
				}
				lines <- line
			}
		}()
		for {
			select {
			case line, ok := <-lines:
				if !ok {
					return
				}
				io.WriteString(nc, line)
			case <-draining:
				io.WriteString(nc, "bye\n")
				nc.Close()
				for range lines {
				}
				return
			}
		}
	}
}

const upgrade = "GET /x HTTP/1.1\r\nHost: x\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"

func (c *rawClient) wantLine(want string) {
	c.Helper()
	if got, err := c.r.ReadString('\n'); err != nil || got != want {
		c.Fatalf("got %q, %v, want %q", got, err, want)
	}
}

func TestHijack_LosesNothingAndHearsOfTheDrain(t *testing.T) {
	for _, secure := range []bool{false, true} {
		hijacked := make(chan net.Conn, 1)
		srv := &hythe.Server{Service: &httpd.Server{Handler: upgraded(t, hijacked), MoorAfter: time.Millisecond, HeaderTimeout: 30 * time.Millisecond}}
		if secure {
			srv.TLS = httpd.TLSConfig(testTLS(t))
		}
		at, stop := serveUntil(t, srv)
		var c *rawClient
		if secure {
			c = talk(t, dialTLS(t, at, "http/1.1"))
		} else {
			c = dialRaw(t, at)
		}
		c.send(upgrade + "\r\nGET / HTTP/1.1\r\n") // not a request any more
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil || resp.StatusCode != 101 {
			t.Fatal(resp, err)
		}
		c.wantLine("\r\n")
		c.wantLine("GET / HTTP/1.1\r\n")
		time.Sleep(50 * time.Millisecond) // longer than HeaderTimeout and MoorAfter
		c.send("hello\n")
		c.wantLine("hello\n")
		stopped := make(chan error, 1)
		go func() { stopped <- stop() }()
		c.wantLine("bye\n")
		c.wantEOF()
		c.nc.Close()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		if r := srv.Report(); len(r.Finished) != 1 || len(r.Cut)+len(r.Idle) > 0 {
			t.Errorf("the report: %+v", r)
		}
	}
}

// As with any net.Conn.
func TestHijack_CloseEndsARead(t *testing.T) {
	done := make(chan bool)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(done)
		nc, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		read := make(chan error, 1)
		go func() {
			_, err := nc.Read(make([]byte, 10))
			read <- err
		}()
		time.Sleep(10 * time.Millisecond)
		nc.Close()
		select {
		case err := <-read:
			if err == nil {
				t.Error("Read returns without an error")
			}
		case <-time.After(time.Second):
			t.Error("Read goes on after Close")
		}
		if _, err := nc.Write([]byte("x")); err == nil {
			t.Error("Write works after Close")
		}
	})
	c := dialRaw(t, startSite(t, h, nil))
	c.send(upgrade)
	<-done
	c.wantEOF()
}

func TestSyscallConn_IsTheSocket(t *testing.T) {
	results := make(chan error, 1)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		nc, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			results <- err
			return
		}
		defer nc.Close()
		raw, err := nc.(syscall.Conn).SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) {
				if fd == 0 {
					t.Error("no descriptor")
				}
			})
		}
		results <- err
	})
	c := dialRaw(t, startSite(t, h, nil))
	c.send(fmt.Sprintf(get, "x"))
	if err := wait(t, results, "an answer"); err != nil {
		t.Error(err)
	}
	at := startServer(t, &hythe.Server{Service: &httpd.Server{Handler: h}, TLS: httpd.TLSConfig(testTLS(t))})
	c = talk(t, dialTLS(t, at, "http/1.1"))
	c.send(fmt.Sprintf(get, "x"))
	if err := wait(t, results, "an answer"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("with TLS: %v", err)
	}
}

// sendfileConn notes what is sent from a file, in the form in which package net
// gives it to sendfile.
type sendfileConn struct {
	net.Conn
	fromFile *atomic.Int64
}

func (c sendfileConn) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(c.Conn, r)
	if l, ok := r.(*io.LimitedReader); ok {
		if _, ok := l.R.(*os.File); ok {
			c.fromFile.Add(n)
		}
	}
	return n, err
}

func TestSendfile_IsUsed(t *testing.T) {
	name := filepath.Join(t.TempDir(), "big")
	const size = 3<<20 + 5
	writeFile(t, name, strings.Repeat("x", size))
	for _, observer := range []func(httpd.Request){nil, func(httpd.Request) {}} {
		var fromFile atomic.Int64
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, name) })
		at, stop := serveUntil(t, &hythe.Server{
			Service:    &httpd.Server{Handler: h, Observer: observer},
			PreConnect: func(_ context.Context, nc net.Conn) (net.Conn, error) { return sendfileConn{nc, &fromFile}, nil },
		})
		c := dialRaw(t, at)
		c.send(fmt.Sprintf(get, "big"))
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
			t.Fatalf("got %d bytes, %v", n, err)
		}
		c.nc.Close()
		stop()                                   // so that all of it has been counted
		if n := fromFile.Load(); n < size-1024 { // net/http looks at the first 512
			t.Errorf("Observer %v: %d of %d bytes were left to the file", observer != nil, n, size)
		}
	}
}

func TestRequestTLS_IsSetBeforeAndAfterMooring(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || !r.TLS.HandshakeComplete {
			t.Errorf("Request.TLS is %+v", r.TLS)
		}
		io.WriteString(w, r.Proto)
	})
	at := startServer(t, &hythe.Server{Service: &httpd.Server{Handler: h, MoorAfter: time.Millisecond}, TLS: httpd.TLSConfig(testTLS(t))})
	c := talk(t, dialTLS(t, at, "http/1.1"))
	for range 3 {
		c.send(fmt.Sprintf(get, "x"))
		c.want(200, "HTTP/1.1")
		time.Sleep(4 * time.Millisecond)
	}
}

// newClient returns a client that speaks HTTP/2, over TLS or not.
func newClient(t *testing.T, secure bool) (*http.Client, string) {
	p := new(http.Protocols)
	p.SetHTTP2(secure)
	p.SetUnencryptedHTTP2(!secure)
	tr := &http.Transport{Protocols: p, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}, map[bool]string{false: "http://", true: "https://"}[secure]
}

// overHTTP2 runs a test over TLS and in clear.
func overHTTP2(t *testing.T, test func(t *testing.T, start func(*httpd.Server) (client *http.Client, at string, stop func() (hythe.Report, error)))) {
	for _, secure := range []bool{true, false} {
		t.Run(map[bool]string{false: "clear", true: "TLS"}[secure], func(t *testing.T) {
			test(t, func(s *httpd.Server) (*http.Client, string, func() (hythe.Report, error)) {
				srv := &hythe.Server{Service: s, Timeouts: hythe.Timeouts{Drain: 2 * time.Second}}
				if secure {
					srv.TLS = httpd.TLSConfig(testTLS(t))
				}
				at, stop := serveUntil(t, srv)
				client, scheme := newClient(t, secure)
				return client, scheme + at.String(), func() (hythe.Report, error) {
					err := stop()
					return srv.Report(), err
				}
			})
		})
	}
}

func getBody(t testing.TB, client *http.Client, url string) (*http.Response, string) {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func TestHTTP2_ConnOfTellsTheConnection(t *testing.T) {
	overHTTP2(t, func(t *testing.T, start func(*httpd.Server) (*http.Client, string, func() (hythe.Report, error))) {
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			i := httpd.ConnOf(r.Context()).Info()
			fmt.Fprint(w, r.Proto, " ", i.ID, " ", i.Requests)
		})
		client, at, stop := start(&httpd.Server{Handler: h, MoorAfter: time.Millisecond})
		for i := range 3 {
			if _, got := getBody(t, client, at); got != fmt.Sprint("HTTP/2.0 1 ", i+1) {
				t.Errorf("got %q", got)
			}
			time.Sleep(5 * time.Millisecond)
		}
		client.CloseIdleConnections()
		if _, err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestHTTP2_MaxRequestsSaysGoodbyeAndLosesNothing(t *testing.T) {
	overHTTP2(t, func(t *testing.T, start func(*httpd.Server) (*http.Client, string, func() (hythe.Report, error))) {
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, httpd.ConnOf(r.Context()).ID()) })
		client, at, stop := start(&httpd.Server{Handler: h, MaxRequests: 2})
		ids := make(map[string]int)
		for range 6 {
			_, id := getBody(t, client, at)
			ids[id]++
		}
		if len(ids) != 3 {
			t.Errorf("requests by connection: %v", ids)
		}
		client.CloseIdleConnections()
		stop()
	})
}

func TestHTTP2_BodyIdleEndsABodyThatStops(t *testing.T) {
	overHTTP2(t, func(t *testing.T, start func(*httpd.Server) (*http.Client, string, func() (hythe.Report, error))) {
		errs := make(chan error, 1)
		client, at, stop := start(&httpd.Server{Handler: sink(errs), BodyIdle: 50 * time.Millisecond})
		r, w := io.Pipe()
		go func() {
			io.WriteString(w, "some")
		}()
		req, _ := http.NewRequest("POST", at, bufio.NewReader(r))
		answered := make(chan bool)
		go func() {
			if resp, err := client.Do(req); err == nil {
				resp.Body.Close()
			}
			close(answered)
		}()
		select {
		case err := <-errs:
			if err == nil {
				t.Error("the handler's Read returned no error")
			}
		case <-time.After(3 * time.Second):
			t.Error("the handler waits for the body after BodyIdle")
		}
		w.Close()
		<-answered
		client.CloseIdleConnections()
		stop()
	})
}
