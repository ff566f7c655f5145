package httpd_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
	"github.com/hythe-go/hythe/httpd/middleware"
)

// SimpleHTTP's events: DONE, CLOSE, STREAM, handlers, close handlers, listening and
// shutting down.

// wait waits for what must happen.
func wait[T any](t testing.TB, ch <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(patience):
		t.Fatal("nothing came of: ", what)
	}
	return v
}

// DONE twice ended the process. A handler that goes on after its answer harms
// nobody.
func TestSimpleHTTP_DoneTwice(t *testing.T) {
	nc := dial(t, startSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for range 2 {
			w.WriteHeader(200)
			io.WriteString(w, "hello")
		}
	}), nil))
	br := bufio.NewReader(nc)
	for range 2 {
		if _, body := exchange(t, nc, br, getHello); body != "hellohello" {
			t.Errorf("got %q", body)
		}
	}
}

// Two requests in one segment ended the process. They are answered in order, and
// each once; the second does not begin before the first has ended.
func TestSimpleHTTP_TwoPipelinedRequests(t *testing.T) {
	var running atomic.Int32
	at := startSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if running.Add(1) > 1 {
			t.Error("two at once")
		}
		time.Sleep(time.Millisecond)
		io.WriteString(w, r.URL.Path)
		running.Add(-1)
	}), nil)
	for _, fields := range []string{"", "Connection: keep-alive\r\n"} {
		one := "GET /one HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n"
		two := "GET /two HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
		got := ask1(t, at, one+two)
		br := bufio.NewReader(strings.NewReader(got))
		for _, want := range []string{"/one", "/two"} {
			resp, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatalf("in %q: %v", got, err)
			}
			if body, _ := io.ReadAll(resp.Body); string(body) != want {
				t.Errorf("got %q, want %q", body, want)
			}
		}
		if br.Buffered() > 0 {
			t.Errorf("more than two answers: %q", got)
		}
	}
	// Without keep-alive the second is not answered, and the server lives.
	if got := ask1(t, at, "GET /one HTTP/1.0\r\n\r\nGET /two HTTP/1.0\r\n\r\n"); strings.Count(got, "HTTP/1.") != 1 || !strings.HasSuffix(got, "/one") {
		t.Errorf("got %q, want one answer", got)
	}
	if got := ask1(t, at, getHelloLast); !strings.HasSuffix(got, "/") {
		t.Errorf("after all that: %q", got)
	}
}

// DONE for a client that has left: the request's context has ended, and writing
// does no harm.
func TestSimpleHTTP_DoneAfterTheClientLeft(t *testing.T) {
	ended := make(chan error, 1)
	at := startSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/leave" {
			<-r.Context().Done()
			w.Write(make([]byte, 1<<20))
			ended <- r.Context().Err()
		}
	}), nil)
	nc := dial(t, at)
	io.WriteString(nc, "GET /leave HTTP/1.1\r\nHost: a\r\n\r\n")
	nc.Close()
	if err := wait(t, ended, "the request's context"); err == nil {
		t.Error("the context has no error")
	}
	ask1(t, at, getHelloLast)
}

// CLOSE: the connection ends with nothing sent; on one that has ended it does
// nothing.
func TestSimpleHTTP_Close(t *testing.T) {
	at := startSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := httpd.ConnOf(r.Context())
		io.WriteString(w, "this is not sent")
		c.Abort()
		c.Abort()
	}), nil)
	nc := dial(t, at)
	io.WriteString(nc, getHello)
	if got, _ := io.ReadAll(nc); len(got) > 0 {
		t.Errorf("got %q", got)
	}
	panics := startSite(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), nil)
	if got := ask1(t, panics, getHello); got != "" {
		t.Errorf("after ErrAbortHandler: got %q", got)
	}
}

// GETHANDLERS gave a copy, SETHANDLERS ended the process if an entry was bad.
func TestSimpleHTTP_GetAndSetHandlers(t *testing.T) {
	table := newTable(t, httpd.Route{Name: "old", Pattern: "~.", Handler: say0})
	at := startSite(t, table, nil)
	copied := table.Routes()
	copied[0].Pattern = "~^/nowhere$"
	if _, err := table.Swap([]httpd.Route{{Pattern: "~(", Handler: say0}}); err == nil {
		t.Error("a bad list was taken")
	}
	nc := dial(t, at)
	br := bufio.NewReader(nc)
	if _, body := exchange(t, nc, br, getHello); body != "hello" {
		t.Errorf("with the old list: %q", body)
	}
	if _, err := table.Swap(copied); err != nil {
		t.Fatal(err)
	}
	if resp, _ := exchange(t, nc, br, getHello); resp.StatusCode != 404 {
		t.Errorf("with the new list: %d", resp.StatusCode)
	}
}

// SETCLOSEHANDLER: any number, each can be taken back, and they are called when
// the socket closes, not later and not before: not when a request ends, nor when
// the connection is moored.
func TestSimpleHTTP_SetCloseHandler(t *testing.T) {
	closed := make(chan string, 10)
	at := startSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := httpd.ConnOf(r.Context())
		name := r.URL.Path
		c.OnClose(func(error) { closed <- name })
		remove := c.OnClose(func(error) { closed <- "removed" })
		if !remove() {
			t.Error("OnClose cannot be taken back")
		}
	}), func(s *httpd.Server) { s.MoorAfter = moorAfter })
	nc := dial(t, at)
	br := bufio.NewReader(nc)
	exchange(t, nc, br, "GET /one HTTP/1.1\r\nHost: a\r\n\r\n")
	time.Sleep(10 * moorAfter) // is moored by now, more than likely
	exchange(t, nc, br, "GET /two HTTP/1.1\r\nHost: a\r\n\r\n")
	select {
	case name := <-closed:
		t.Fatalf("the close handler of %s was called before the connection closed", name)
	default:
	}
	nc.Close()
	got := wait(t, closed, "closing") + wait(t, closed, "closing")
	if got != "/one/two" && got != "/two/one" {
		t.Errorf("called were %s", got)
	}
}

// STOPLISTEN and STARTLISTEN: the port stays ours, connections go on, and those
// that come meanwhile wait.
func TestSimpleHTTP_StopAndStartListening(t *testing.T) {
	srv := &hythe.Server{Service: &httpd.Server{Handler: say0}}
	at := startServer(t, srv)
	old := dial(t, at)
	oldReader := bufio.NewReader(old)
	exchange(t, old, oldReader, getHello)
	srv.Pause()
	exchange(t, old, oldReader, getHello)
	if l, err := net.Listen("tcp", at.String()); err == nil {
		l.Close()
		t.Error("somebody else could take the port")
	}
	fresh := dial(t, at) // the kernel answers
	io.WriteString(fresh, getHello)
	fresh.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := fresh.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Error("a connection was accepted while the server was paused")
	}
	fresh.SetReadDeadline(time.Now().Add(patience))
	srv.Resume()
	if resp, err := http.ReadResponse(bufio.NewReader(fresh), nil); err != nil || resp.StatusCode != 200 {
		t.Errorf("after Resume: %v, %v", resp, err)
	}
}

// SHUTDOWN: everything ends at once.
func TestSimpleHTTP_Shutdown(t *testing.T) {
	begun := make(chan struct{}, 1)
	srv := &hythe.Server{Service: &httpd.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stay" {
			begun <- struct{}{}
			<-r.Context().Done()
		}
	})}}
	at, stop := serveUntil(t, srv)
	defer stop()
	busy, idle := dial(t, at), dial(t, at)
	exchange(t, idle, bufio.NewReader(idle), getHello)
	io.WriteString(busy, "GET /stay HTTP/1.1\r\nHost: a\r\n\r\n")
	wait(t, begun, "the request")
	start := time.Now()
	srv.Close()
	for _, nc := range []net.Conn{busy, idle} {
		if got, _ := io.ReadAll(nc); len(got) > 0 {
			t.Errorf("got %q", got)
		}
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
}

// SHUTDOWN GRACEFUL waited for ever for idle connections that were kept alive, and
// for requests that were ended with CLOSE. Idle ones are closed at once, whatever
// state they are in, and the busy get their answers, with Connection: close.
func TestSimpleHTTP_ShutdownGraceful(t *testing.T) {
	begun, release := make(chan struct{}, 2), make(chan struct{})
	srv := &hythe.Server{Service: &httpd.Server{MoorAfter: 50 * time.Millisecond, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/busy":
			begun <- struct{}{}
			<-release
			io.WriteString(w, "done")
		case "/abort":
			begun <- struct{}{}
			<-release
			httpd.ConnOf(r.Context()).Abort()
		}
	})}}
	at, stop := serveUntil(t, srv)
	defer stop()
	silent, moored, kept := dial(t, at), dial(t, at), dial(t, at)
	exchange(t, moored, bufio.NewReader(moored), getHello)
	time.Sleep(150 * time.Millisecond) // it is moored, more than likely
	exchange(t, kept, bufio.NewReader(kept), getHello)
	busy, aborted := dial(t, at), dial(t, at)
	io.WriteString(busy, "GET /busy HTTP/1.1\r\nHost: a\r\n\r\n")
	io.WriteString(aborted, "GET /abort HTTP/1.1\r\nHost: a\r\n\r\n")
	wait(t, begun, "the busy request")
	wait(t, begun, "the request to be aborted")

	drained := make(chan error, 1)
	var report hythe.Report
	start := time.Now()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		r, err := srv.Drain(ctx)
		report = r
		drained <- err
	}()
	for name, nc := range map[string]net.Conn{"silent": silent, "moored": moored, "kept alive": kept} {
		if got, err := io.ReadAll(nc); len(got) > 0 || err != nil {
			t.Errorf("the %s connection ends with %q, %v", name, got, err)
		}
		nc.Close()
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("idle connections were closed after %v", d)
	}
	select {
	case err := <-drained:
		t.Fatalf("Drain has returned before the requests: %v", err)
	default:
	}
	close(release)
	br := bufio.NewReader(busy)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(resp.Body); string(body) != "done" || !resp.Close {
		t.Errorf("the busy one got %q, close: %v", body, resp.Close)
	}
	wantEnd(t, br)
	busy.Close()
	if err := wait(t, drained, "Drain"); err != nil {
		t.Errorf("Drain = %v", err)
	}
	// The one that is kept alive may have been at the end of its answer.
	if n := len(report.Idle); n < 2 || n+len(report.Finished) != 5 || len(report.Cut) != 0 {
		t.Errorf("the report is %v", report)
	}
}

// counting yields chunks for ever, and counts them.
func counting(n *atomic.Int64, size int) iter.Seq2[[]byte, error] {
	chunk := make([]byte, size)
	return func(yield func([]byte, error) bool) {
		for n.Add(1); yield(chunk, nil); n.Add(1) {
		}
	}
}

// STREAM had no flow control: a client that does not read took the server from 35
// MB to 1.9 GB in three seconds. Here the producer is not asked.
func TestSimpleHTTP_StreamToAClientThatDoesNotRead(t *testing.T) {
	for _, proto := range []string{"http/1.1", "h2"} {
		t.Run(proto, func(t *testing.T) {
			var asked atomic.Int64
			ended := make(chan error, 1)
			handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ended <- httpd.Stream(w, r, counting(&asked, 64<<10))
			})
			at := startServer(t, &hythe.Server{Service: &httpd.Server{Handler: handler}, TLS: httpd.TLSConfig(testTLS(t))})
			tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{proto}}, ForceAttemptHTTP2: proto == "h2"}
			defer tr.CloseIdleConnections()
			req, _ := http.NewRequest("GET", "https://"+at.String()+"/", nil)
			resp, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			if got := resp.TLS.NegotiatedProtocol; got != proto {
				t.Fatalf("the protocol is %q", got)
			}
			var before, after runtime.MemStats
			for last := int64(-1); asked.Load() != last; { // until it stands still
				last = asked.Load()
				time.Sleep(200 * time.Millisecond)
			}
			runtime.ReadMemStats(&before)
			stood := asked.Load()
			time.Sleep(500 * time.Millisecond)
			runtime.ReadMemStats(&after)
			if n := asked.Load(); n != stood || n > 400 { // socket buffers and windows take some megabytes
				t.Errorf("%d chunks of 64 KiB were asked for, and then %d", stood, n)
			}
			if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
				t.Errorf("the heap has grown by %d bytes", grown)
			}
			// The client reads, and the stream goes on; it leaves, and it ends.
			if _, err := io.CopyN(io.Discard, resp.Body, (stood+16)*64<<10); err != nil {
				t.Error(err)
			}
			resp.Body.Close()
			if err := wait(t, ended, "the stream's end"); err == nil {
				t.Error("Stream says nothing of a client that left")
			}
		})
	}
}

// The end of a stream was the end of the connection, or nothing at all. In
// HTTP/1.1 it has an end of its own, and the connection goes on; in HTTP/1.0 it is
// closed. All that was streamed arrives before.
func TestSimpleHTTP_StreamFraming(t *testing.T) {
	at := startSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		httpd.Stream(w, r, func(yield func([]byte, error) bool) {
			for i := range 200 {
				if !yield(fmt.Appendf(nil, "%05d", i), nil) {
					return
				}
			}
		})
	}), nil)
	nc := dial(t, at)
	br := bufio.NewReader(nc)
	for range 2 {
		resp, body := exchange(t, nc, br, getHello)
		if len(body) != 1000 || !strings.HasSuffix(body, "00199") || resp.Close || resp.ContentLength != -1 {
			t.Errorf("%d bytes, close: %v, length %d", len(body), resp.Close, resp.ContentLength)
		}
	}
	if got := ask1(t, at, "GET / HTTP/1.0\r\n\r\n"); !strings.HasSuffix(got, "00199") || strings.Contains(got, "chunked") {
		t.Errorf("HTTP/1.0 got %.300q", got)
	}
}

// A stream that is broken off does not look whole.
func TestSimpleHTTP_StreamBrokenOff(t *testing.T) {
	at := startSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		httpd.Stream(w, r, func(yield func([]byte, error) bool) {
			yield([]byte("half"), nil)
			yield(nil, errors.New("the source has failed"))
		})
	}), nil)
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(ask1(t, at, getHello))), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); string(body) != "half" || err == nil {
		t.Errorf("got %q, %v", body, err)
	}
}

// LOGHANDLER and LOG2HANDLER, which did not see streams nor malformed requests,
// and ERRORHANDLER: all are told, with status, bytes and whether they were cut.
func TestSimpleHTTP_LogHandlers(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	told := make(chan struct{}, 10)
	note := func(format string, args ...any) {
		mu.Lock()
		seen = append(seen, fmt.Sprintf(format, args...))
		mu.Unlock()
		told <- struct{}{}
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/plain":
			io.WriteString(w, "hello")
		case "/stream":
			httpd.Stream(w, r, func(yield func([]byte, error) bool) { yield([]byte("stream"), nil) })
		case "/cut":
			io.WriteString(w, "half")
			panic(http.ErrAbortHandler)
		}
	})
	log := middleware.AccessLog(func(e *middleware.Entry) {
		note("log %s %d %d %v", e.Request.URL.Path, e.Status, e.Bytes, e.Cut)
	})
	at := startSite(t, log(handler), func(s *httpd.Server) {
		s.Observer = func(r httpd.Request) {
			if r.Request == nil {
				note("refused %d %v", r.Status, r.Refused != "")
			} else {
				note("observer %s %d %d %v", r.Request.URL.Path, r.Status, r.Bytes, r.Cut)
			}
		}
	})
	for _, test := range []struct {
		raw  string
		want []string
	}{
		{"GET /plain HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", []string{"log /plain 200 5 false", "observer /plain 200 5 false"}},
		{"GET /stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", []string{"log /stream 200 6 false", "observer /stream 200 6 false"}},
		{"GET /cut HTTP/1.1\r\nHost: a\r\n\r\n", []string{"log /cut 200 4 true", "observer /cut 200 4 true"}},
		{"nonsense\r\n\r\n", []string{"refused 400 true"}},
		{"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", []string{"refused 400 true"}},
	} {
		ask1(t, at, test.raw)
		for range test.want {
			wait(t, told, fmt.Sprintf("%q", test.raw))
		}
		mu.Lock()
		for i, want := range test.want {
			if seen[i] != want {
				t.Errorf("%q: told was %q, want %q", test.raw, seen, test.want)
				break
			}
		}
		seen = nil
		mu.Unlock()
	}
}

// The connection object: addresses, TLS and an ID that stays.
func TestSimpleHTTP_ConnectionObject(t *testing.T) {
	at := startServer(t, &hythe.Server{TLS: httpd.TLSConfig(testTLS(t)), Service: &httpd.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		fmt.Fprint(w, httpd.ConnOf(r.Context()).ID(), " ", r.RemoteAddr, " ", local, " ", r.TLS != nil && r.TLS.CipherSuite != 0)
	})}})
	var ids []string
	for range 2 {
		nc, err := tls.Dial("tcp", at.String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		br := bufio.NewReader(nc)
		_, one := exchange(t, nc, br, getHello)
		_, two := exchange(t, nc, br, getHello)
		id, rest, _ := strings.Cut(one, " ")
		if one != two || rest != fmt.Sprint(nc.LocalAddr(), " ", at, " true") {
			t.Errorf("got %q, then %q", one, two)
		}
		ids = append(ids, id)
	}
	if ids[0] == ids[1] {
		t.Error("two connections have one ID")
	}
	if httpd.ConnOf(context.Background()) != nil {
		t.Error("there is a connection without a request")
	}
}

// A response that nobody gave back was SimpleHTTP's one leak. A handler that does
// nothing has answered, and one that panics is the end of its connection only.
func TestSimpleHTTP_DiscardedResponse(t *testing.T) {
	at := startSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panic" {
			panic("boom")
		}
	}), func(s *httpd.Server) { s.Logger = slog.New(slog.DiscardHandler) })
	if got := ask1(t, at, getHelloLast); !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") || !strings.Contains(got, "Content-Length: 0\r\n") {
		t.Errorf("got %q", got)
	}
	if got := ask1(t, at, "GET /panic HTTP/1.1\r\nHost: a\r\n\r\n"); got != "" {
		t.Errorf("a panic is answered with %q", got)
	}
	ask1(t, at, getHelloLast)
}
