package fcgi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe/fcgi"
)

// transport returns a Transport to the app, and how often it has dialled.
func (a *app) transport() (*fcgi.Transport, *atomic.Int32) {
	dials := new(atomic.Int32)
	t := &fcgi.Transport{Address: "app", Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if network != "tcp" || address != "app" {
			a.Errorf("dialled %q, %q", network, address)
		}
		dials.Add(1)
		return a.netDial(ctx)
	}}
	a.Cleanup(t.CloseIdleConnections)
	return t, dials
}

// fetch makes a request and returns the response with its body read.
func fetch(t testing.TB, rt http.RoundTripper, method, url string, body io.Reader) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := rt.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("%s %s: reading the body: %v", method, url, err)
	}
	resp.Body.Close()
	return resp, string(b)
}

func TestTransport(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		a := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Add("Set-Cookie", "a=1")
			w.Header().Add("Set-Cookie", "b=2")
			w.Header().Set("X-Got", r.Header.Get("X-Sent")+r.Header.Get("Cookie")+r.Host)
			fcgi.SetAppStatus(w, 7)
			w.WriteHeader(http.StatusTeapot)
			fmt.Fprintf(w, "%s %s", r.Method, r.RequestURI)
		})
		tr, dials := a.transport()
		for range 5 {
			r, _ := http.NewRequest("PATCH", "http://example.org/a%20b?q=1", nil)
			r.Header.Set("X-Sent", "sent ")
			r.Header["Cookie"] = []string{"c=1", "d=2"}
			resp, err := tr.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := fcgi.AppStatus(resp); ok {
				t.Error("there is an application status before the end")
			}
			b, err := io.ReadAll(resp.Body)
			if string(b) != "PATCH /a%20b?q=1" || err != nil {
				t.Errorf("body %q, %v", b, err)
			}
			if resp.StatusCode != 418 || resp.Status != "418 I'm a teapot" || resp.ContentLength != 16 || resp.Request != r || len(resp.Header["Set-Cookie"]) != 2 ||
				resp.Header.Get("X-Got") != "sent c=1; d=2example.org" || resp.Header["Status"] != nil {
				t.Errorf("got %+v", resp)
			}
			if status, ok := fcgi.AppStatus(resp); status != 7 || !ok {
				t.Errorf("application status %d, %v", status, ok)
			}
			if err := resp.Body.Close(); err != nil {
				t.Error(err)
			}
		}
		if n := dials.Load(); n != 1 {
			t.Errorf("%d connections for 5 requests, one after the other", n)
		}
		resp, body := fetch(t, tr, "HEAD", "http://example.org/", nil)
		if body != "" || resp.StatusCode != 418 {
			t.Errorf("HEAD: %+v", resp)
		}
		if n := dials.Load(); n != 1 {
			t.Error("HEAD has cost the connection")
		}
	})
}

func TestTransportBodies(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		a := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Length", fmt.Sprint(r.ContentLength))
			echo(w, r)
		})
		tr, dials := a.transport()
		for _, size := range []int{0, 1, 7, 8, 4096, 32752, 32753, 3 << 20} {
			data := strings.Repeat("0123456789abcdef", size/16+1)[:size]
			resp, body := fetch(t, tr, "POST", "http://h/", strings.NewReader(data))
			if body != data || resp.Header.Get("X-Length") != fmt.Sprint(size) {
				t.Errorf("%d bytes: got %d, Content-Length %s", size, len(body), resp.Header.Get("X-Length"))
			}
			if size > 1<<20 {
				continue
			}
			unknown := struct{ io.Reader }{strings.NewReader(data)}
			resp, body = fetch(t, tr, "POST", "http://h/", unknown)
			if body != data || resp.Header.Get("X-Length") != fmt.Sprint(size) {
				t.Errorf("%d bytes of unknown length: got %d, Content-Length %s", size, len(body), resp.Header.Get("X-Length"))
			}
		}
		if n := dials.Load(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// A body that is not what the request says makes an error, and the application
// does not take it for the whole.
func TestTransportBodyLength(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		served := make(chan error, 10)
		a := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(io.Discard, r.Body)
			served <- err
		})
		tr, _ := a.transport()
		tr.BufferBytes = 1000
		closed := &closeCounter{}
		for name, r := range map[string]*http.Request{
			"too short":        {ContentLength: 10, Body: closed.of(strings.NewReader("123456789"))},
			"too long to keep": {ContentLength: -1, Body: closed.of(strings.NewReader(strings.Repeat("x", 1001)))},
		} {
			r.Method, r.URL = "POST", &url.URL{Scheme: "http", Host: "h", Path: "/"}
			resp, err := tr.RoundTrip(r)
			if resp != nil || !errors.Is(err, fcgi.ErrBodyLength) {
				t.Errorf("%s: %v, %v", name, resp, err)
			}
		}
		boom := errors.New("boom")
		r, _ := http.NewRequest("POST", "http://h/", closed.of(io.MultiReader(strings.NewReader("x"), errReader{boom})))
		r.ContentLength = 10
		if _, err := tr.RoundTrip(r); !errors.Is(err, boom) {
			t.Errorf("a body that fails: %v", err)
		}
		if n := closed.n.Load(); n != 3 {
			t.Errorf("%d bodies of 3 were closed", n)
		}
		a.srv.Drain(t.Context())
		close(served) // the handlers that were called at all have returned
		for err := range served {
			if err == nil {
				t.Error("the application has read a whole body")
			}
		}
	})
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// A closeCounter counts the bodies that were closed.
type closeCounter struct{ n atomic.Int32 }

func (c *closeCounter) of(r io.Reader) io.ReadCloser { return countedCloser{r, c} }

type countedCloser struct {
	io.Reader
	c *closeCounter
}

func (c countedCloser) Close() error { c.c.n.Add(1); return nil }

// Input and output flow at the same time.
func TestTransportFullDuplex(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		a := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
			rc := http.NewResponseController(w)
			rc.Flush()
			b := make([]byte, 4)
			for {
				if _, err := io.ReadFull(r.Body, b); err != nil {
					return
				}
				w.Write(bytes.ToUpper(b))
				rc.Flush()
			}
		})
		tr, dials := a.transport()
		pr, pw := io.Pipe()
		r, _ := http.NewRequest("POST", "http://h/", pr)
		r.ContentLength = 12
		resp, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4)
		for _, word := range []string{"ping", "pong", "four"} {
			io.WriteString(pw, word)
			if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != strings.ToUpper(word) {
				t.Fatalf("got %q, %v", b, err)
			}
		}
		pw.Close()
		if rest, err := io.ReadAll(resp.Body); len(rest) > 0 || err != nil {
			t.Errorf("got %q, %v as well", rest, err)
		}
		resp.Body.Close()
		fetch(t, tr, "POST", "http://h/", strings.NewReader("four"))
		if n := dials.Load(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// The parameters, as an application gets them.
func TestTransportParams(t *testing.T) {
	a := unixWorld.serve(t, func(w http.ResponseWriter, r *http.Request) {
		env := fcgi.ProcessEnv(r)
		for _, name := range slices.Sorted(maps.Keys(env)) {
			fmt.Fprintf(w, "%s=%s\n", name, env[name])
		}
	})
	for _, test := range []struct {
		name string
		tr   *fcgi.Transport
		url  string
		want map[string]string // "-" is none
	}{
		{"a script", &fcgi.Transport{Root: "/srv/www"}, "http://example.org/a/b.php?x=1&y", map[string]string{
			"GATEWAY_INTERFACE": "CGI/1.1", "REQUEST_METHOD": "GET", "REQUEST_URI": "/a/b.php?x=1&y", "QUERY_STRING": "x=1&y",
			"SCRIPT_NAME": "/a/b.php", "SCRIPT_FILENAME": "/srv/www/a/b.php", "DOCUMENT_ROOT": "/srv/www", "PATH_INFO": "-", "PATH_TRANSLATED": "-",
			"SERVER_NAME": "example.org", "SERVER_PORT": "80", "HTTP_HOST": "example.org", "HTTPS": "-", "CONTENT_LENGTH": "-", "REMOTE_ADDR": "127.0.0.1", "SERVER_PROTOCOL": "HTTP/1.1",
		}},
		{"a script and what follows", &fcgi.Transport{Root: "/srv/www"}, "https://[::1]:8443/b.php/c%20d/e", map[string]string{
			"SCRIPT_NAME": "/b.php", "SCRIPT_FILENAME": "/srv/www/b.php", "PATH_INFO": "/c d/e", "PATH_TRANSLATED": "/srv/www/c d/e",
			"REQUEST_URI": "/b.php/c%20d/e", "SERVER_NAME": "::1", "SERVER_PORT": "8443", "HTTPS": "on", "REQUEST_SCHEME": "https", "HTTP_HOST": "[::1]:8443",
		}},
		{"a front controller", &fcgi.Transport{Root: "/srv/www/", Index: "index.php"}, "http://h/wiki/Page/", map[string]string{
			"SCRIPT_NAME": "/index.php", "SCRIPT_FILENAME": "/srv/www/index.php", "PATH_INFO": "/wiki/Page/", "REQUEST_URI": "/wiki/Page/",
		}},
		{"no script", &fcgi.Transport{}, "http://h", map[string]string{
			"SCRIPT_NAME": "/", "SCRIPT_FILENAME": "-", "DOCUMENT_ROOT": "-", "PATH_INFO": "-", "REQUEST_URI": "/",
		}},
		{"above the root", &fcgi.Transport{Root: "/srv/www"}, "http://h/../../etc/passwd.php/../x", map[string]string{
			"SCRIPT_NAME": "/etc/x", "SCRIPT_FILENAME": "/srv/www/etc/x",
		}},
		{"by encoding", &fcgi.Transport{Root: "/srv/www"}, "http://h/%2e%2e/x.php", map[string]string{
			"SCRIPT_FILENAME": "/srv/www/x.php",
		}},
		{"no .php of its own", &fcgi.Transport{Root: "/srv/www"}, "http://h/a.phpx/b.php7", map[string]string{
			"SCRIPT_FILENAME": "/srv/www/a.phpx/b.php7", "PATH_INFO": "-",
		}},
		{"hooks", &fcgi.Transport{Root: "/srv", Script: func(*http.Request) (string, string) { return "../x.pl", "/info" }, Params: func(r *http.Request, p map[string]string) {
			p["MINE"] = r.URL.Path
			delete(p, "SERVER_SOFTWARE")
		}}, "http://h/p", map[string]string{
			"SCRIPT_FILENAME": "/srv/x.pl", "PATH_INFO": "/info", "MINE": "/p", "SERVER_SOFTWARE": "-",
		}},
	} {
		tr := test.tr
		tr.Network, tr.Address = a.ln.Addr().Network(), a.ln.Addr().String()
		_, body := fetch(t, tr, "GET", test.url, nil)
		tr.CloseIdleConnections()
		got := make(map[string]string)
		for line := range strings.Lines(body) {
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			got[name] = value
		}
		for name, want := range test.want {
			if value, ok := got[name]; want == "-" && ok || want != "-" && (value != want || !ok) {
				t.Errorf("%s: %s = %q (%v), want %q", test.name, name, value, ok, want)
			}
		}
	}
}

// Header fields that are no parameters, or another's, do not become any.
func TestTransportHeaderFields(t *testing.T) {
	a := unixWorld.serve(t, func(w http.ResponseWriter, r *http.Request) {
		for name, value := range fcgi.Params(r) {
			if strings.HasPrefix(name, "HTTP_") || strings.HasPrefix(name, "CONTENT_") || strings.HasPrefix(name, "REMOTE_") {
				fmt.Fprintf(w, "%s=%s;", name, value)
			}
		}
	})
	tr, _ := a.transport()
	r, _ := http.NewRequest("POST", "http://h/", strings.NewReader("{}"))
	r.RemoteAddr = "[2001:db8::1]:4711"
	r.Header = http.Header{
		"Proxy": {"evil"}, "X_underscore": {"evil"}, "Connection": {"x"}, "Transfer-Encoding": {"chunked"}, "Content-Length": {"77"}, "Host": {"evil"},
		"X-Two": {"1", "2"}, "Content-Type": {"application/json"}, "x-lower": {"l"},
	}
	resp, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	const want = "CONTENT_LENGTH=2;CONTENT_TYPE=application/json;HTTP_HOST=h;HTTP_X_LOWER=l;HTTP_X_TWO=1, 2;REMOTE_ADDR=2001:db8::1;REMOTE_PORT=4711;"
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	for _, evil := range []string{"a\nb", "a\rb", "a\x00b"} {
		r, _ := http.NewRequest("GET", "http://h/", nil)
		r.Header.Set("X-Evil", evil)
		if _, err := tr.RoundTrip(r); err == nil {
			t.Errorf("a header field %q was sent", evil)
		}
	}
}

// A Transport is what httputil.ReverseProxy wants: a web server.
func TestTransportBehindAReverseProxy(t *testing.T) {
	a := unixWorld.serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s ", r.Method, r.URL, fcgi.Param(r, "REMOTE_ADDR"))
		io.Copy(w, r.Body)
	})
	tr, _ := a.transport()
	web := httptest.NewServer(&httputil.ReverseProxy{Transport: tr, Rewrite: func(p *httputil.ProxyRequest) {
		p.Out.URL.Scheme, p.Out.URL.Host = "http", "app"
	}})
	defer web.Close()
	resp, err := web.Client().Post(web.URL+"/x?y", "text/plain", struct{ io.Reader }{strings.NewReader("chunked")})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); !strings.HasPrefix(string(b), "POST ") || !strings.HasSuffix(string(b), "/x?y 127.0.0.1 chunked") {
		t.Errorf("got %q", b)
	}
}

func TestTransportRefusals(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		g := newGate(t)
		a := w.start(t, &fcgi.Server{Limits: fcgi.Limits{Requests: 1}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.wait(r) })})
		tr, dials := a.transport()
		done := make(chan error, 1)
		go func() {
			r, _ := http.NewRequest("GET", "http://h/", nil)
			resp, err := tr.RoundTrip(r)
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
			}
			done <- err
		}()
		get(t, w, g.entered, "the handler")
		for range 3 {
			r, _ := http.NewRequest("POST", "http://h/", strings.NewReader("body"))
			if _, err := tr.RoundTrip(r); !errors.Is(err, fcgi.ErrOverloaded) {
				t.Fatalf("got %v, want ErrOverloaded", err)
			}
		}
		g.pass()
		if err := get(t, w, done, "the answer"); err != nil {
			t.Error(err)
		}
		if n := dials.Load(); n > 5 {
			t.Errorf("%d connections", n)
		}
	})
}

// When a request's context ends, so does that of the application, and nobody
// waits for it.
func TestTransportCancel(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		g := newGate(t)
		a := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/late" {
				io.WriteString(w, "some")
				http.NewResponseController(w).Flush()
			}
			g.wait(r)
		})
		tr, _ := a.transport()
		why := errors.New("why not")
		for _, path := range []string{"/early", "/late"} {
			ctx, cancel := context.WithCancelCause(context.Background())
			go func() {
				get(t, w, g.entered, "the handler")
				if path == "/early" {
					cancel(why)
				}
			}()
			r, _ := http.NewRequestWithContext(ctx, "POST", "http://h"+path, strings.NewReader("body"))
			resp, err := tr.RoundTrip(r)
			if path == "/late" {
				if err != nil {
					t.Fatal(err)
				}
				b := make([]byte, 4)
				if _, err := io.ReadFull(resp.Body, b); err != nil {
					t.Fatal(err)
				}
				cancel(why)
				_, err = resp.Body.Read(b)
				if err != why {
					t.Errorf("reading on: %v", err)
				}
				resp.Body.Close()
			} else if !errors.Is(err, why) {
				t.Errorf("got %v, want the context's cause", err)
			}
			if err := get(t, w, g.left, "the application to be told"); !errors.Is(err, fcgi.ErrAborted) {
				t.Errorf("the application's context ended with %v, want ErrAborted", err)
			}
		}
	})
}

// Closing the body early tells the application as well.
func TestTransportCloseEarly(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		left := make(chan error, 1)
		a := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(10 * time.Millisecond) // in a bubble time stands still while anybody works
			io.Copy(w, neverEnding{})
			left <- context.Cause(r.Context())
		})
		tr, _ := a.transport()
		r, _ := http.NewRequest("GET", "http://h/", nil)
		resp, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		io.CopyN(io.Discard, resp.Body, 100_000)
		resp.Body.Close()
		if _, err := resp.Body.Read(make([]byte, 1)); !errors.Is(err, http.ErrBodyReadAfterClose) {
			t.Errorf("reading after Close: %v", err)
		}
		if err := get(t, w, left, "the application to be told"); err == nil {
			t.Error("its context has not ended")
		}
	})
}

// The bounds of the pool.
func TestTransportPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		a := memWorld.serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/wait" {
				g.wait(r)
			}
		})
		tr, dials := a.transport()
		tr.ConnsPerAddress = 5
		done := make(chan error)
		for range 20 {
			go func() {
				r, _ := http.NewRequest("GET", "http://h/wait", nil)
				resp, err := tr.RoundTrip(r)
				if err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
				}
				done <- err
			}()
		}
		synctest.Wait()
		if n := dials.Load(); n != 5 || a.srv.Stats().Live != 5 {
			t.Errorf("%d connections, want 5", n)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		r, _ := http.NewRequestWithContext(ctx, "GET", "http://h/", nil)
		if _, err := tr.RoundTrip(r); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("one more request, which waits for a connection: %v", err)
		}
		g.pass()
		for range 20 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		if n := a.srv.Stats().Live; n != 2 {
			t.Errorf("%d connections were kept, want 2", n)
		}
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if n := a.srv.Stats().Live; n != 0 {
			t.Errorf("%d connections were kept for more than 30 s", n)
		}
		fetch(t, tr, "GET", "http://h/", nil)
		tr.CloseIdleConnections()
		synctest.Wait()
		if n := a.srv.Stats().Live; n != 0 {
			t.Errorf("%d connections are left after CloseIdleConnections", n)
		}
		tr.IdlePerAddress = -1
		before := dials.Load()
		fetch(t, tr, "GET", "http://h/", nil)
		fetch(t, tr, "GET", "http://h/", nil)
		if n := dials.Load() - before; n != 2 {
			t.Errorf("%d connections for 2 requests that keep none", n)
		}
	})
}

func TestTransportWithoutAddress(t *testing.T) {
	a := tcpWorld.serve(t, path)
	tr := new(fcgi.Transport)
	defer tr.CloseIdleConnections()
	if _, body := fetch(t, tr, "GET", "http://"+a.ln.Addr().String()+"/there", nil); body != "/there" {
		t.Errorf("got %q", body)
	}
	a.srv.Close()
	r, _ := http.NewRequest("GET", "http://"+a.ln.Addr().String()+"/there", nil)
	if _, err := tr.RoundTrip(r); err == nil {
		t.Error("no error from an application that is not there")
	} else if _, ok := errors.AsType[net.Error](err); !ok {
		t.Errorf("%v is no net.Error", err)
	}
	if _, err := tr.RoundTrip(&http.Request{Method: "GET", URL: &url.URL{Path: "/"}}); err == nil {
		t.Error("no error without any address")
	}
}
