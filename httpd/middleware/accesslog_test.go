package middleware_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/hythe-go/hythe/httpd/middleware"
)

func request(method, target string, fields ...string) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		r.Header.Add(name, value)
	}
	return r
}

// run serves a request as net/http would: a panic goes no further.
func run(h http.Handler, r *http.Request) (w *httptest.ResponseRecorder, panicked any) {
	w = httptest.NewRecorder()
	defer func() { panicked = recover() }()
	h.ServeHTTP(w, r)
	return w, nil
}

func TestCombined(t *testing.T) {
	var log bytes.Buffer
	h := middleware.AccessLog(middleware.Combined(&log))(write("hello"))
	r := request("GET", "/a?b=c", "Referer: http://x/", "User-Agent: test/1")
	r.RemoteAddr = "[2001:db8::1]:4711"
	run(h, r)
	want := regexp.MustCompile(`^2001:db8::1 - - \[\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d [-+]\d{4}\] "GET /a\?b=c HTTP/1\.1" 200 5 "http://x/" "test/1"\n$`)
	if !want.Match(log.Bytes()) {
		t.Errorf("got %s", &log)
	}
}

// Whatever a client sends, there is one line, and its fields stay apart.
func TestCommon_CannotBeForged(t *testing.T) {
	line := regexp.MustCompile(`^([!#-\[\]-~]|\\.)+ - ([!#-\[\]-~]|\\.)+ \[[^]]+\] "([^"\\]|\\.)*" \d+ (\d+|-) "([^"\\]|\\.)*" "([^"\\]|\\.)*"\n$`)
	for _, evil := range []string{
		"x\" 200 5 \"-\" \"-\"\n127.0.0.1 - - [01/Jan/2026:00:00:00 +0000] \"GET /admin HTTP/1.1\" 200 5",
		"\r\nforged", "\\", `\"`, "\x1b[31mred", "a b c", "ü\u2028\u202e", "\x00", "\xff\xfe", strings.Repeat("x", 1<<20),
	} {
		var log bytes.Buffer
		h := middleware.AccessLog(middleware.Combined(&log))(middleware.BasicAuth{
			Check: func(context.Context, string, string) bool { return true },
		}.Wrap(write("hello")))
		r := request("GET", "/")
		r.Method, r.RequestURI, r.RemoteAddr = "GET", evil, evil
		r.Header["User-Agent"] = []string{evil}
		r.Header["Referer"] = []string{evil}
		r.SetBasicAuth(strings.ReplaceAll(evil, ":", ""), "x")
		run(h, r)
		if got := log.String(); !line.MatchString(got) || strings.Count(got, "\n") != 1 {
			t.Errorf("%.40q gave\n%.400s", evil, got)
		} else if len(got) > 40<<10 {
			t.Errorf("%.40q gave a line of %d bytes", evil, len(got))
		}
	}
}

func TestAccessLog(t *testing.T) {
	boom := func(http.ResponseWriter, *http.Request) { panic("boom") }
	for _, test := range []struct {
		name   string
		method string
		h      http.HandlerFunc
		status int
		bytes  int64
		cut    bool
	}{
		{"plain", "GET", write("hello"), 200, 5, false},
		{"nothing written", "GET", func(http.ResponseWriter, *http.Request) {}, 200, 0, false},
		{"head", "HEAD", write("hello", "Content-Length: 5"), 200, 0, false},
		{"status", "GET", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404) }, 404, 0, false},
		{"the first status counts", "GET", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404); w.WriteHeader(200) }, 404, 0, false},
		{"early hints", "GET", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(103); w.WriteHeader(204) }, 204, 0, false},
		{"copied", "GET", func(w http.ResponseWriter, r *http.Request) { io.Copy(w, strings.NewReader("hello")) }, 200, 5, false},
		{"short", "GET", write("hell", "Content-Length: 5"), 200, 4, true},
		{"panic", "GET", boom, 0, 0, true},
		{"recovered", "GET", middleware.Recover(nil)(http.HandlerFunc(boom)).ServeHTTP, 500, 22, false},
		{"broken off", "GET", func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "hello")
			panic(http.ErrAbortHandler)
		}, 200, 5, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got *middleware.Entry
			run(middleware.AccessLog(func(e *middleware.Entry) { got = e })(test.h), request(test.method, "/"))
			if got == nil {
				t.Fatal("nothing was logged")
			}
			if got.Status != test.status || got.Bytes != test.bytes || got.Cut != test.cut {
				t.Errorf("got %d, %d bytes, cut %v", got.Status, got.Bytes, got.Cut)
			}
		})
	}
}

// A client that leaves cuts the answer, though the handler sees no error.
func TestAccessLog_ClientLeaves(t *testing.T) {
	entries := make(chan *middleware.Entry, 1)
	ready := make(chan struct{})
	srv := httptest.NewServer(middleware.AccessLog(func(e *middleware.Entry) { entries <- e })(
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "hello")
			http.NewResponseController(w).Flush()
			close(ready)
			<-r.Context().Done()
		})))
	defer srv.Close()
	ctx, cancel := context.WithCancel(context.Background())
	req, _ := http.NewRequestWithContext(ctx, "GET", srv.URL, nil)
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	<-ready
	cancel()
	resp.Body.Close()
	if e := <-entries; !e.Cut || e.Status != 200 || e.Bytes != 5 {
		t.Errorf("got %+v", e)
	}
}

func TestAccessLog_Hijacked(t *testing.T) {
	entries := make(chan *middleware.Entry, 1)
	srv := httptest.NewServer(middleware.AccessLog(func(e *middleware.Entry) { entries <- e })(
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			nc, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			io.WriteString(nc, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
			nc.Close()
		})))
	defer srv.Close()
	resp, err := srv.Client().Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if e := <-entries; !e.Hijacked || e.Status != 0 {
		t.Errorf("got %+v", e)
	}
}

// Files go to the connection by ReadFrom, where the kernel can send them, through
// all of our writers.
func TestWritersKeepReadFrom(t *testing.T) {
	var reads int
	h := middleware.AccessLog(func(*middleware.Entry) {})(middleware.Recover(nil)(middleware.Compress{}.Wrap(
		http.FileServerFS(os.DirFS("testdata")))))
	w := &readerFrom{ResponseRecorder: httptest.NewRecorder(), reads: &reads}
	h.ServeHTTP(w, request("GET", "/pixel.gif", gz))
	if w.Code != 200 || reads != 1 {
		t.Errorf("%d, %d calls of ReadFrom; want 200 and 1", w.Code, reads)
	}
}

type readerFrom struct {
	*httptest.ResponseRecorder
	reads *int
}

func (w *readerFrom) ReadFrom(r io.Reader) (int64, error) {
	*w.reads++
	return io.Copy(w.ResponseRecorder, r)
}

// http.ResponseController finds the server's writer behind ours.
func TestWritersUnwrap(t *testing.T) {
	h := middleware.AccessLog(func(*middleware.Entry) {})(middleware.Recover(nil)(middleware.Compress{}.Wrap(
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
				t.Error(err)
			}
			if _, ok := w.(http.Flusher); !ok {
				t.Error("an old handler does not find the Flusher")
			}
		}))))
	get(t, h)
}

func TestSlog(t *testing.T) {
	var out bytes.Buffer
	log := middleware.Slog(slog.New(slog.NewJSONHandler(&out, nil)))
	mux := http.NewServeMux()
	mux.Handle("GET /items/{id}", write("hello"))
	h := middleware.RequestID(nil)(middleware.AccessLog(log)(middleware.BasicAuth{
		Check: func(context.Context, string, string) bool { return true },
	}.Wrap(mux)))
	r := request("GET", "/items/7", "User-Agent: a\"\nb")
	r.SetBasicAuth("ann", "x")
	ctx, cancel := context.WithCancel(r.Context())
	cancel()
	w, _ := run(h, r.WithContext(ctx))
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v in %s", err, &out)
	}
	for key, want := range map[string]any{
		"method": "GET", "uri": "/items/7", "status": 200.0, "bytes": 5.0, "user": "ann", "cut": true,
		"route": "GET /items/{id}", "agent": "a\"\nb", "id": w.Header().Get("X-Request-Id"),
	} {
		if got[key] != want {
			t.Errorf("%s is %v, want %v", key, got[key], want)
		}
	}
	if _, ok := got["referer"]; ok {
		t.Error("an empty attribute is there")
	}
}

// Lines of requests that end at once do not mix, whatever the writer does.
func TestCommon_LinesDoNotMix(t *testing.T) {
	var log bytes.Buffer // the race detector would complain
	h := middleware.AccessLog(middleware.Common(&log))(write("hello"))
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { run(h, request("GET", "/")) })
	}
	all.Wait()
	if n := strings.Count(log.String(), "\n"); n != 50 {
		t.Errorf("%d lines, want 50", n)
	}
}
