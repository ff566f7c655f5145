package httpd_test

import (
	"bufio"
	"compress/gzip"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
	"github.com/hythe-go/hythe/httpd/middleware"
)

// allMiddleware is everything that wraps a ResponseWriter.
func allMiddleware(log func(*middleware.Entry), h http.Handler) http.Handler {
	return middleware.RequestID(nil)(middleware.AccessLog(log)(middleware.Recover(nil)(middleware.Compress{MinSize: -1}.Wrap(h))))
}

// Streams, detached answers and hijacked connections are reached through all the
// middleware, over HTTP/1 and HTTP/2, and what is logged is what was sent.
func TestMiddlewareLetsTheServersPowersThrough(t *testing.T) {
	entries := make(chan *middleware.Entry, 1)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/stream":
			w.Header().Set("Content-Type", "text/plain")
			httpd.Stream(w, r, func(yield func([]byte, error) bool) {
				for _, word := range []string{"one ", "two ", "three"} {
					if !yield([]byte(word), nil) {
						return
					}
				}
			})
		case "/events":
			httpd.Events(w, r, func(yield func(httpd.Event, error) bool) { yield(httpd.Event{Data: "tick"}, nil) })
		case "/detach":
			w.Header().Set("X-Kept", "yes")
			w.Header().Set("Content-Type", "text/plain")
			out, err := httpd.Detach(w, r)
			if err != nil {
				t.Error(err)
				return
			}
			out.Write([]byte("detached "))
			out.Write([]byte("answer"))
			out.Close(nil)
		case "/cut":
			httpd.Stream(w, r, func(yield func([]byte, error) bool) {
				_ = yield([]byte("half"), nil) && yield(nil, errors.New("failed"))
			})
		case "/conn":
			if httpd.ConnOf(r.Context()) == nil {
				t.Error("the connection is not found")
			}
		}
	})
	site := allMiddleware(func(e *middleware.Entry) { entries <- e }, handler)
	for _, proto := range []string{"http/1.1", "h2"} {
		t.Run(proto, func(t *testing.T) {
			at := startServer(t, &hythe.Server{Service: &httpd.Server{Handler: site}, TLS: httpd.TLSConfig(testTLS(t))})
			tr := &http.Transport{
				DisableCompression: true, ForceAttemptHTTP2: proto == "h2",
				TLSClientConfig: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{proto}},
			}
			defer tr.CloseIdleConnections()
			for _, test := range []struct {
				path, body string
				compressed bool
				cut        bool
			}{
				{"/stream", "one two three", false, false},
				{"/stream", "one two three", true, false},
				{"/events", "data: tick\n\n", true, false},
				{"/detach", "detached answer", false, false},
				{"/detach", "detached answer", true, false}, // is not compressed, and says so
				{"/cut", "half", false, true},
				{"/conn", "", false, false},
			} {
				req, err := http.NewRequest("GET", "https://"+at.String()+test.path, nil)
				if err != nil {
					t.Fatal(err)
				}
				if test.compressed {
					req.Header.Set("Accept-Encoding", "gzip")
				}
				resp, err := tr.RoundTrip(req)
				if err != nil {
					t.Errorf("%s: %v", test.path, err)
					continue
				}
				body := io.Reader(resp.Body)
				if resp.Header.Get("Content-Encoding") == "gzip" {
					body = gunzip(t, resp.Body)
				}
				got, err := io.ReadAll(body)
				resp.Body.Close()
				if (string(got) != test.body || (err != nil) != test.cut) && !test.cut {
					t.Errorf("%s, compressed %v: got %q, %v", test.path, test.compressed, got, err)
				}
				if test.cut && err == nil {
					t.Errorf("%s: the answer looks whole", test.path)
				}
				if test.path == "/detach" && resp.Header.Get("X-Kept") != "yes" {
					t.Errorf("%s: the header is %v", test.path, resp.Header)
				}
				e := wait(t, entries, "the log's entry")
				if e.Request.URL.Path != test.path || e.Cut != test.cut || !e.Hijacked && e.Status != 200 {
					t.Errorf("%s: the log has %d, cut %v", test.path, e.Status, e.Cut)
				}
			}
		})
	}
}

// A handler that takes the connection gets what has come behind the head, through
// all the middleware.
func TestMiddlewareLetsHijackersThrough(t *testing.T) {
	at := startSite(t, allMiddleware(func(*middleware.Entry) {}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		nc, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer nc.Close()
		line, _ := rw.ReadString('\n')
		io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\n\r\n"+strings.ToUpper(line))
	})), nil)
	nc := dial(t, at)
	io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\nhello\n")
	br := bufio.NewReader(nc)
	if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != 101 {
		t.Fatalf("%v, %v", resp, err)
	}
	if got, err := io.ReadAll(br); string(got) != "HELLO\n" {
		t.Errorf("got %q, %v", got, err)
	}
}

func gunzip(t testing.TB, r io.Reader) io.Reader {
	t.Helper()
	z, err := gzip.NewReader(r)
	if err != nil {
		t.Error(err)
		return strings.NewReader("")
	}
	return z
}
