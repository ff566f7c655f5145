package middleware_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hythe-go/hythe/httpd/middleware"
)

var long = strings.Repeat("hello, compression! ", 200)

// get asks a handler as a client does that sent these header fields.
func get(t testing.TB, h http.Handler, fields ...string) (*http.Response, []byte) {
	t.Helper()
	return do(t, h, "GET", fields...)
}

func do(t testing.TB, h http.Handler, method string, fields ...string) (*http.Response, []byte) {
	t.Helper()
	srv := httptest.NewServer(h)
	defer srv.Close()
	defer srv.CloseClientConnections()
	req, err := http.NewRequest(method, srv.URL+"/file", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		req.Header.Add(name, value)
	}
	tr := &http.Transport{DisableCompression: true}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Logf("the body ends with %v", err)
		resp.Header.Set("X-Broken", "yes")
	}
	return resp, body
}

func gunzip(t testing.TB, b []byte) string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("%v in %q", err, b[:min(len(b), 40)])
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(plain)
}

func write(body string, fields ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, f := range fields {
			name, value, _ := strings.Cut(f, ": ")
			w.Header().Set(name, value)
		}
		io.WriteString(w, body)
	}
}

const gz = "Accept-Encoding: gzip"

func TestCompress(t *testing.T) {
	for _, test := range []struct {
		name       string
		h          http.HandlerFunc
		accept     string
		compressed bool
		vary       string
	}{
		{"long text", write(long, "Content-Type: text/plain"), gz, true, "Accept-Encoding"},
		{"sniffed text", write(long), gz, true, "Accept-Encoding"},
		{"with a length", write(long, "Content-Length: "+strconv.Itoa(len(long))), gz, true, "Accept-Encoding"},
		{"json", write(long, "Content-Type: Application/JSON; charset=utf-8"), gz, true, "Accept-Encoding"},
		{"problem+json", write(long, "Content-Type: application/problem+json"), gz, true, "Accept-Encoding"},
		{"among others", write(long), "Accept-Encoding: br;q=1.0, gzip;q=0.8, *;q=0.1", true, "Accept-Encoding"},
		{"any", write(long), "Accept-Encoding: *", true, "Accept-Encoding"},
		{"old name", write(long), "Accept-Encoding: x-gzip", true, "Accept-Encoding"},
		{"vary kept", write(long, "Vary: Cookie"), gz, true, "Cookie,Accept-Encoding"},
		{"vary there", write(long, "Vary: accept-encoding, Cookie"), gz, true, "accept-encoding, Cookie"},
		{"vary star", write(long, "Vary: *"), gz, true, "*"},
		{"not accepted", write(long), "Accept-Encoding: br", false, "Accept-Encoding"},
		{"no header", write(long), "X: y", false, "Accept-Encoding"},
		{"forbidden", write(long), "Accept-Encoding: gzip;q=0, *", false, "Accept-Encoding"},
		{"identity preferred", write(long), "Accept-Encoding: identity, gzip;q=0.5", false, "Accept-Encoding"},
		{"bad weight", write(long), "Accept-Encoding: gzip;q=NaN", false, "Accept-Encoding"},
		{"short", write("short"), gz, false, ""},
		{"short with length", write("short", "Content-Length: 5"), gz, false, ""},
		{"image", write(long, "Content-Type: image/png"), gz, false, ""},
		{"event stream", write(long, "Content-Type: text/event-stream"), gz, false, ""},
		{"encoded already", write(long, "Content-Encoding: br"), gz, false, ""},
		{"no-transform", write(long, "Cache-Control: public, No-Transform"), gz, false, ""},
		{"a type that is none", func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Content-Type"] = nil
			io.WriteString(w, long)
		}, gz, false, ""},
		{"in small pieces", func(w http.ResponseWriter, r *http.Request) {
			for i := range len(long) {
				io.WriteString(w, long[i:i+1])
			}
		}, gz, true, "Accept-Encoding"},
		{"read from", func(w http.ResponseWriter, r *http.Request) {
			io.Copy(w, strings.NewReader(long))
		}, gz, true, "Accept-Encoding"},
		{"read from, unasked", func(w http.ResponseWriter, r *http.Request) {
			io.Copy(w, strings.NewReader(long))
		}, "X: y", false, "Accept-Encoding"},
		{"an error page", func(w http.ResponseWriter, r *http.Request) { http.Error(w, long, 404) }, gz, true, "Accept-Encoding"},
		{"two headers", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			w.WriteHeader(500)
			io.WriteString(w, long)
		}, gz, true, "Accept-Encoding"},
	} {
		t.Run(test.name, func(t *testing.T) {
			resp, body := get(t, middleware.Compress{}.Wrap(test.h), test.accept)
			got := string(body)
			if enc := resp.Header.Get("Content-Encoding"); (enc == "gzip") != test.compressed {
				t.Fatalf("Content-Encoding: %q", enc)
			} else if test.compressed {
				got = gunzip(t, body)
				if resp.ContentLength > 0 && resp.ContentLength != int64(len(body)) {
					t.Errorf("Content-Length %d of %d", resp.ContentLength, len(body))
				}
			}
			if want := long; strings.TrimSuffix(got, "\n") != want && got != "short" {
				t.Errorf("got %d bytes, not those written", len(got))
			}
			if vary := strings.Join(resp.Header["Vary"], ","); vary != test.vary {
				t.Errorf("Vary: %q, want %q", vary, test.vary)
			}
			if test.compressed && strings.HasPrefix(resp.Header.Get("Content-Type"), "application/x-gzip") {
				t.Error("the type is that of the compressed bytes")
			}
		})
	}
}

func TestCompress_NoBody(t *testing.T) {
	for _, test := range []struct {
		method string
		status int
	}{{"GET", 204}, {"GET", 304}, {"HEAD", 200}, {"HEAD", 204}} {
		h := middleware.Compress{}.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(test.status)
		}))
		resp, body := do(t, h, test.method, gz)
		if resp.StatusCode != test.status || len(body) > 0 || resp.Header.Get("Content-Encoding") != "" {
			t.Errorf("%v: got %d, %q, %v", test, resp.StatusCode, body, resp.Header)
		}
	}
}

// HEAD has the header that GET has: RFC 9110, 9.3.2.
func TestCompress_Head(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"length":  write("", "Content-Type: text/plain", "Content-Length: 4000", `Etag: "x"`, "Accept-Ranges: bytes"),
		"written": write(long, `Etag: "x"`),
		"small":   write("small", `Etag: "x"`),
	} {
		head, _ := do(t, middleware.Compress{}.Wrap(h), "HEAD", gz)
		want := http.Header{"Etag": {`W/"x"`}, "Vary": {"Accept-Encoding"}, "Content-Encoding": {"gzip"}}
		if name == "small" {
			want = http.Header{"Etag": {`"x"`}, "Content-Length": {"5"}}
		}
		for _, field := range []string{"Etag", "Vary", "Content-Encoding", "Content-Length", "Accept-Ranges"} {
			if got := head.Header.Get(field); got != want.Get(field) {
				t.Errorf("%s: %s: %q, want %q", name, field, got, want.Get(field))
			}
		}
	}
}

func TestCompress_Files(t *testing.T) {
	h := middleware.Compress{}.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"v1"`)
		http.ServeContent(w, r, "a.txt", time.Time{}, strings.NewReader(long))
	}))
	resp, body := get(t, h, gz)
	if resp.Header.Get("Etag") != `W/"v1"` || resp.Header.Get("Accept-Ranges") != "" || gunzip(t, body) != long {
		t.Errorf("compressed: %v", resp.Header)
	}
	resp, body = get(t, h, gz, "Range: bytes=1-3000")
	if resp.StatusCode != 206 || string(body) != long[1:3001] || resp.Header.Get("Etag") != `"v1"` || resp.Header.Get("Content-Encoding") != "" {
		t.Errorf("a range: %d %q %v", resp.StatusCode, body, resp.Header)
	}
	// The client has the compressed form: a range of the other must not be mixed in.
	resp, body = get(t, h, gz, "Range: bytes=1-5", `If-Range: W/"v1"`)
	if resp.StatusCode != 200 || gunzip(t, body) != long {
		t.Errorf("If-Range with the weak tag: %d", resp.StatusCode)
	}
	resp, _ = get(t, h, gz, `If-None-Match: W/"v1"`)
	if resp.StatusCode != 304 || resp.Header.Get("Etag") != `W/"v1"` || resp.Header.Get("Vary") != "Accept-Encoding" {
		t.Errorf("If-None-Match with the weak tag: %d %v", resp.StatusCode, resp.Header)
	}
	resp, _ = get(t, h, `If-None-Match: "v1"`)
	if resp.StatusCode != 304 || resp.Header.Get("Etag") != `"v1"` {
		t.Errorf("If-None-Match with the strong tag: %d %v", resp.StatusCode, resp.Header)
	}
}

func TestCompress_FlushPassesThrough(t *testing.T) {
	w := &flushCounter{ResponseRecorder: httptest.NewRecorder()}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	h := middleware.Compress{}.Wrap(http.HandlerFunc(func(cw http.ResponseWriter, r *http.Request) {
		for i := range 3 {
			fmt.Fprintf(cw, "piece %d\n", i)
			if err := http.NewResponseController(cw).Flush(); err != nil {
				t.Error(err)
			}
			z, err := gzip.NewReader(bytes.NewReader(w.Body.Bytes()))
			if err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(z) // ends early
			if want := fmt.Sprintf("piece %d\n", i); !strings.HasSuffix(string(got), want) {
				t.Errorf("after the flush %q has come, want %q in the end", got, want)
			}
		}
	}))
	h.ServeHTTP(w, r)
	if w.flushes != 3 {
		t.Errorf("%d flushes passed through, want 3", w.flushes)
	}
}

type flushCounter struct {
	*httptest.ResponseRecorder
	flushes int
}

func (w *flushCounter) Flush() { w.flushes++ }

// An answer that its handler did not finish must not look whole because it was
// compressed.
func TestCompress_BrokenOff(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"panic": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, long)
			panic(http.ErrAbortHandler)
		},
		"short of its length": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Content-Length", "100000")
			io.WriteString(w, long)
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(middleware.Compress{}.Wrap(h))
			defer srv.Close()
			resp, err := srv.Client().Get(srv.URL)
			if err != nil {
				return // nothing came at all
			}
			defer resp.Body.Close()
			if _, err := io.ReadAll(resp.Body); err == nil {
				t.Error("the answer looks whole")
			}
		})
	}
}

func TestCompress_MoreThanItsLength(t *testing.T) {
	var got error
	get(t, middleware.Compress{MinSize: -1}.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Length", "3")
		io.WriteString(w, "abc")
		_, got = io.WriteString(w, "d")
	})), gz)
	if got != http.ErrContentLength {
		t.Errorf("Write = %v, want ErrContentLength", got)
	}
}

// An encoding from elsewhere, preferred to gzip.
func TestCompress_OtherEncodings(t *testing.T) {
	c := middleware.Compress{Encodings: []middleware.Encoding{
		{Name: "upper", New: func() middleware.Encoder { return new(upper) }},
		middleware.Gzip(gzip.BestSpeed),
	}}
	for accept, want := range map[string]string{
		"gzip, upper":             "upper",
		"upper;q=0.1, gzip;q=0.2": "gzip",
		"*":                       "upper",
		"upper;q=0, *":            "gzip",
		"identity;q=0":            "",
		"gzip;q=2":                "",
		"gzip;x=1":                "",
		",, ,gzip":                "gzip",
	} {
		resp, _ := get(t, c.Wrap(write(long)), "Accept-Encoding: "+accept)
		if got := resp.Header.Get("Content-Encoding"); got != want {
			t.Errorf("%s: %q, want %q", accept, got, want)
		}
	}
}

type upper struct{ io.Writer }

func (u *upper) Write(p []byte) (int, error) { return u.Writer.Write(bytes.ToUpper(p)) }
func (u *upper) Reset(w io.Writer)           { u.Writer = w }
func (u *upper) Flush() error                { return nil }
func (u *upper) Close() error                { return nil }
