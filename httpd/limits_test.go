package httpd_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
)

func TestMaxRequests_TheLastAnswerSaysClose(t *testing.T) {
	at := startSite(t, path, func(s *httpd.Server) { s.MaxRequests, s.MoorAfter = 3, time.Millisecond })
	c := dialRaw(t, at)
	for i := range 3 {
		c.send(fmt.Sprintf(get, i))
		if resp := c.want(200, fmt.Sprint("/", i)); resp.Close != (i == 2) {
			t.Errorf("answer %d: close %v", i, resp.Close)
		}
		time.Sleep(4 * time.Millisecond) // moored between
	}
	c.wantEOF()
}

func TestMaxAge_TheFirstAnswerAfterItSaysClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := inMemory(t, &hythe.Server{Service: &httpd.Server{Handler: path, MaxAge: time.Minute}})()
		c.nc.SetDeadline(time.Time{})
		for i := range 3 {
			c.send(fmt.Sprintf(get, i))
			if resp := c.want(200, fmt.Sprint("/", i)); resp.Close != (i == 2) {
				t.Errorf("answer %d: close %v", i, resp.Close)
			}
			time.Sleep(31 * time.Second)
		}
		c.wantEOF()
		c.nc.Close()
	})
}

func TestMaxBodyBytes_AnnouncedIsAnsweredWith413(t *testing.T) {
	called := false
	at := startSite(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true }), func(s *httpd.Server) { s.MaxBodyBytes = 10 })
	for _, rest := range []string{"\r\n0123456789a", "Expect: 100-continue\r\n\r\n"} {
		c := dialRaw(t, at)
		c.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n" + rest)
		if resp := c.want(413, "413 Request Entity Too Large\n"); !resp.Close {
			t.Error("the answer does not say Connection: close")
		}
		if !strings.Contains(rest, "Expect") { // then net/http waits for the body
			c.wantEOF()
		}
		c.nc.Close()
	}
	if called {
		t.Error("the handler was called")
	}
}

func TestMaxBodyBytes_UnannouncedEndsInAnError(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
			http.Error(w, fmt.Sprint(len(b), " of more than ", large.Limit), http.StatusRequestEntityTooLarge)
		}
	})
	at := startSite(t, h, func(s *httpd.Server) { s.MaxBodyBytes = 10 })
	c := dialRaw(t, at)
	c.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n6\r\nghijkl\r\n0\r\n\r\n")
	if resp := c.want(413, "10 of more than 10\n"); !resp.Close {
		t.Error("the answer does not say Connection: close")
	}
}

func TestMaxBodyBytes_OfExactlyThatSizePasses(t *testing.T) {
	at := startSite(t, echo, func(s *httpd.Server) { s.MaxBodyBytes = 10 })
	c := dialRaw(t, at)
	for range 2 {
		c.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789")
		c.want(200, "/a 0123456789")
	}
}

func TestMaxHeaderBytes_MoreIsAnsweredWith431(t *testing.T) {
	for _, limit := range []int{0, 8 << 10} {
		at := startSite(t, path, func(s *httpd.Server) { s.MaxHeaderBytes = limit })
		if limit == 0 {
			limit = 64 << 10
		}
		head := func(n int) string {
			const rest = "GET /x HTTP/1.1\r\nHost: x\r\nX: \r\n\r\n"
			return strings.Replace(rest, "X: ", "X: "+strings.Repeat("y", n-len(rest)), 1)
		}
		c := dialRaw(t, at)
		c.send(head(limit - 5<<10))
		c.want(200, "/x")
		c.send(head(limit + 5<<10))
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil || resp.StatusCode != 431 {
			t.Errorf("limit %d: %v, %v", limit, resp, err)
		}
	}
}

// net/http removes what a form has left on disk when its request has ended.
func TestMultipartFiles_AreRemoved(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	files := func() []string {
		found, _ := filepath.Glob(filepath.Join(dir, "multipart-*"))
		return found
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseMultipartForm(1); err != nil {
			t.Error(err)
		}
		fmt.Fprint(w, len(files()))
	})
	if os.TempDir() != dir {
		t.Skip("TMPDIR does not say where temporary files are")
	}
	at := startSite(t, h, nil)
	c := dialRaw(t, at)
	body := "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n" + strings.Repeat("x", 1<<20) + "\r\n--b--\r\n"
	c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	c.want(200, "1")
	c.wantEOF()
	if left := files(); len(left) > 0 {
		t.Errorf("files are left: %v", left)
	}
}

func protocols(http1, http2, clear bool) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(http1)
	p.SetHTTP2(http2)
	p.SetUnencryptedHTTP2(clear)
	return p
}

func TestTLSConfig_OffersWhatProtocolsHas(t *testing.T) {
	for _, c := range []struct {
		protocols *http.Protocols
		had, want string
	}{
		{nil, "", "h2 http/1.1"},
		{nil, "mine", "h2 http/1.1 mine"},
		{nil, "http/1.1 h2", "http/1.1 h2"},
		{protocols(true, true, false), "mine", "h2 http/1.1 mine"},
		{protocols(true, false, true), "mine", "http/1.1 mine"},
		{protocols(true, false, false), "h2 mine", "http/1.1 mine"},
		{protocols(false, true, false), "http/1.1 mine", "h2 mine"},
		{protocols(false, false, true), "", ""},
	} {
		given := &tls.Config{NextProtos: strings.Fields(c.had), ServerName: "kept"}
		s := &httpd.Server{Protocols: c.protocols}
		if got := s.TLSConfig(given); strings.Join(got.NextProtos, " ") != c.want || got.ServerName != "kept" {
			t.Errorf("Protocols %v, NextProtos %q: %q, want %q", c.protocols, c.had, got.NextProtos, c.want)
		}
		if had := strings.Join(given.NextProtos, " "); had != c.had {
			t.Errorf("the given NextProtos %q are %q now", c.had, had)
		}
	}
	if got := httpd.TLSConfig(nil).NextProtos; strings.Join(got, " ") != "h2 http/1.1" {
		t.Errorf("TLSConfig(nil) offers %q", got)
	}
}

func TestProtocols_WithoutHTTP2HaveHTTP1Spoken(t *testing.T) {
	ended := make(chan hythe.Event, 4)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) })
	s := &httpd.Server{Handler: h, Protocols: protocols(true, false, false)}
	srv := &hythe.Server{Service: s, TLS: s.TLSConfig(testTLS(t)), Observer: func(e hythe.Event) {
		if e.Kind == hythe.ConnEnded {
			ended <- e
		}
	}}
	c := talk(t, dialTLS(t, startServer(t, srv), "h2", "http/1.1"))
	c.send(fmt.Sprintf(get, "x"))
	c.want(200, "HTTP/1.1")
	c.nc.Close()
	<-ended
	// offered by mistake
	srv = &hythe.Server{Service: s, TLS: httpd.TLSConfig(testTLS(t)), Observer: srv.Observer}
	c = talk(t, dialTLS(t, startServer(t, srv), "h2", "http/1.1"))
	if b, _ := io.ReadAll(c.r); len(b) > 0 {
		t.Errorf("the client of HTTP/2 was answered %q", b)
	}
	c.nc.Close()
	if e := wait(t, ended, "the end"); e.Err == nil || !strings.Contains(e.Err.Error(), "Protocols") {
		t.Errorf("ended with %v, %v", e.Reason, e.Err)
	}
}
