package httpd_test

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/hythe-go/hythe/httpd"
)

// What SimpleHTTP's filter made of HTTP. TestCorpus has many more of these.

// echo1 answers with method, path and body.
var echo1 = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	io.WriteString(w, r.Method+" "+r.URL.Path+" "+string(body))
})

// Versions: 0.9 was served, HEAD was answered with a body, and the status line
// said "200 (OK)".
func TestSimpleHTTP_VersionsAndHead(t *testing.T) {
	at := startSite(t, echo1, nil)
	if got := ask1(t, at, "GET /\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
		t.Errorf("0.9 is answered with %q", got)
	}
	if got := ask1(t, at, "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") || !strings.HasSuffix(got, "\r\n\r\n") {
		t.Errorf("HEAD is answered with %q", got)
	}
	if got := ask1(t, at, "GET / HTTP/1.0\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.0 200 OK\r\n") && !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") {
		t.Errorf("1.0 is answered with %q", got)
	}
}

// Methods are kept as they are.
func TestSimpleHTTP_Methods(t *testing.T) {
	nc := dial(t, startSite(t, echo1, nil))
	br := bufio.NewReader(nc)
	for _, method := range []string{"GEt", "PATCH", "M-SEARCH", "x"} {
		if _, body := exchange(t, nc, br, method+" /p HTTP/1.1\r\nHost: a\r\n\r\n"); body != method+" /p " {
			t.Errorf("%s: %q", method, body)
		}
	}
}

// Header parsing stopped silently at the first bad line, and what came behind was
// the next request. Malformed requests were dropped without a byte or a log line.
func TestSimpleHTTP_MalformedIsAnswered(t *testing.T) {
	refused := make(chan httpd.Request, 10)
	at := startSite(t, echo1, func(s *httpd.Server) {
		s.Observer = func(r httpd.Request) { refused <- r }
	})
	for _, raw := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\nbad line\r\nX: y\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: many\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"GET /\r\n\r\n",
		"GET / HTTP/1.1\r\n\r\n",
	} {
		got := ask1(t, at, raw)
		if !strings.HasPrefix(got, "HTTP/1.1 400 ") || !strings.Contains(got, "\r\nConnection: close\r\n") || strings.Count(got, "HTTP/1.1") != 1 {
			t.Errorf("%q is answered with %q", raw, got)
		}
		if r := wait(t, refused, "the observer"); r.Request != nil || r.Refused == "" || r.Status != 400 {
			t.Errorf("%q: the observer is told %+v", raw, r)
		}
	}
}

// Chunked requests were taken for the next request.
func TestSimpleHTTP_ChunkedRequest(t *testing.T) {
	nc := dial(t, startSite(t, echo1, nil))
	br := bufio.NewReader(nc)
	for range 2 {
		if _, body := exchange(t, nc, br, "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: u\r\n\r\n"); body != "POST /c abcde" {
			t.Errorf("got %q", body)
		}
	}
}

// What was pipelined behind a request without a body was lost, and an empty line
// behind a body is skipped.
func TestSimpleHTTP_NothingIsLostBehindABody(t *testing.T) {
	got := ask1(t, startSite(t, echo1, nil), "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"+
		"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi\r\n"+
		"POST /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	for _, want := range []string{"POST /1 ", "POST /2 hi", "POST /3 "} {
		if strings.Count(got, want) != 1 {
			t.Errorf("%q is not there once in %q", want, got)
		}
	}
}

// Expect was ignored, so that careful clients waited.
func TestSimpleHTTP_Expect(t *testing.T) {
	nc := dial(t, startSite(t, echo1, nil))
	br := bufio.NewReader(nc)
	io.WriteString(nc, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
	if line, err := br.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	br.ReadString('\n')
	if _, body := exchange(t, nc, br, "hi"); body != "POST / hi" {
		t.Errorf("got %q", body)
	}
}

// The body came in one piece, or past all limits; it can be read as it comes.
func TestSimpleHTTP_StreamingRequest(t *testing.T) {
	first := make(chan string)
	nc := dial(t, startSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := make([]byte, 5)
		io.ReadFull(r.Body, b)
		first <- string(b)
		io.Copy(w, r.Body)
	}), nil))
	io.WriteString(nc, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfirst")
	if got := wait(t, first, "the first half"); got != "first" {
		t.Errorf("got %q", got)
	}
	if _, body := exchange(t, nc, bufio.NewReader(nc), "later"); body != "later" {
		t.Errorf("got %q", body)
	}
}

// A header value cannot begin another header.
func TestSimpleHTTP_HeaderValues(t *testing.T) {
	got := ask1(t, startSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Evil", "a\r\nSet-Cookie: b\x00")
		w.Header().Set("X-Bad\r\nName", "c")
	}), nil), getHelloLast)
	if strings.Contains(got, "\nSet-Cookie") || strings.Contains(got, "\nName") {
		t.Errorf("got %q", got)
	}
}
