package httpd_test

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hythe-go/hythe/httpd"
)

// observe returns a server's Observer, and where it tells of requests.
func observe() (func(httpd.Request), <-chan httpd.Request) {
	told := make(chan httpd.Request, 10)
	return func(r httpd.Request) { told <- r }, told
}

func next(t *testing.T, told <-chan httpd.Request) httpd.Request {
	t.Helper()
	select {
	case r := <-told:
		return r
	case <-time.After(10 * time.Second):
		t.Fatal("the Observer was not told")
		return httpd.Request{}
	}
}

func TestObserver_IsToldOfHijackedRequests(t *testing.T) {
	f, told := observe()
	at := startSite(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		nc, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		go func() {
			io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
			io.Copy(io.Discard, nc)
			nc.Close()
		}()
	}), func(s *httpd.Server) { s.Observer = f })
	nc := dial(t, at)
	io.WriteString(nc, "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
	if resp, err := http.ReadResponse(bufio.NewReader(nc), nil); err != nil || resp.StatusCode != 101 {
		t.Fatal(resp, err)
	}
	select {
	case r := <-told:
		t.Fatalf("told before the end: %+v", r)
	case <-time.After(50 * time.Millisecond):
	}
	nc.Close()
	if r := next(t, told); r.Status != 101 || r.Cut {
		t.Errorf("%+v", r)
	}
}

func TestObserver_AStreamWhoseClientHasLeftIsCut(t *testing.T) {
	f, told := observe()
	at := startSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		httpd.Stream(w, r, func(yield func([]byte, error) bool) {
			if yield([]byte("one\n"), nil) {
				<-r.Context().Done()
				yield([]byte("two\n"), nil)
			}
		})
	}), func(s *httpd.Server) { s.Observer = f })
	nc := dial(t, at)
	io.WriteString(nc, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	br := bufio.NewReader(nc)
	for line := ""; !strings.Contains(line, "one"); {
		var err error
		if line, err = br.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	nc.Close()
	if r := next(t, told); !r.Cut {
		t.Errorf("%+v", r)
	}
}

func TestObserver_KeepsTheErrorOfFlush(t *testing.T) {
	f, told := observe()
	failed := make(chan error, 1)
	at := startSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		for {
			if err := rc.Flush(); err != nil {
				failed <- err
				return
			}
			if _, err := w.Write([]byte("x")); err != nil {
				failed <- err
				return
			}
			time.Sleep(time.Millisecond)
		}
	}), func(s *httpd.Server) { s.Observer = f })
	nc := dial(t, at)
	io.WriteString(nc, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	nc.Read(make([]byte, 1))
	nc.Close()
	if err := <-failed; err == nil {
		t.Error("no error")
	}
	if r := next(t, told); !r.Cut {
		t.Errorf("%+v", r)
	}
}

// A detached answer over HTTP/1 has a date, RFC 9110 section 6.6.1.
func TestDetach_HasADate(t *testing.T) {
	at := startSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out, err := httpd.Detach(w, r)
		if err != nil {
			t.Error(err)
			return
		}
		out.Write([]byte("x"))
		out.Close(nil)
	}), nil)
	resp, err := http.Get("http://" + at.String() + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := http.ParseTime(resp.Header.Get("Date")); err != nil {
		t.Errorf("Date: %q", resp.Header.Get("Date"))
	}
	http.DefaultClient.CloseIdleConnections()
}
