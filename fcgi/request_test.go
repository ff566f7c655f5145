package fcgi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/hythetest"
)

func TestParamsLimits(t *testing.T) {
	onBoth(t, func() *Server {
		return &Server{Handler: newApp(), Limits: Limits{ParamBytes: 1000, ParamCount: 10}}
	}, func(t *testing.T, s *Server, p *peer) {
		const tooLarge = "431 Request Header Fields Too Large"
		p.send(ask(1, flagKeepConn, "", "REQUEST_URI", "/hello", "X", strings.Repeat("x", 900)))
		p.wantBody(1, "hello")
		// Answered as soon as it is known, and not only at the end.
		p.send(string(appendBegin(nil, 1, roleResponder, flagKeepConn)) + rec(typeParams, 1, strings.Repeat("x", 500)) + rec(typeParams, 1, strings.Repeat("x", 501)))
		if a := p.reply(1); a.head("Status") != tooLarge {
			t.Errorf("too many bytes: %+v", *a)
		}
		p.send(rec(typeParams, 1, strings.Repeat("x", 501)) + rec(typeParams, 1, "") + rec(typeStdin, 1, ""))
		var many []string
		for i := range 11 {
			many = append(many, fmt.Sprint("P", i), "")
		}
		p.send(ask(1, flagKeepConn, "", many...))
		if a := p.reply(1); a.head("Status") != tooLarge {
			t.Errorf("too many: %+v", *a)
		}
		p.send(ask(1, flagKeepConn, "", many[2:]...))
		p.reply(1)
		if st := s.Stats(); st.Memory != 0 || st.Active != 0 {
			t.Errorf("after all: %+v", st)
		}
	})
}

// Parameters that come while memory is used up are not stored.
func TestNoMemoryForParams(t *testing.T) {
	onBoth(t, func() *Server {
		return &Server{Handler: newApp(), Limits: Limits{Memory: 10_000}}
	}, func(t *testing.T, s *Server, p *peer) {
		for id := uint16(1); id <= 3; id++ {
			p.send(string(appendBegin(nil, id, roleResponder, flagKeepConn)) + rec(typeParams, id, strings.Repeat("x", 4000)))
		}
		p.wantEnd(3, statusOverloaded)
		p.send(rec(typeAbort, 1, "") + get(4, "/hello"))
		p.wantBody(4, "hello")
	})
}

func TestDamagedParams(t *testing.T) {
	for _, params := range []string{"\x01", "\x05\x00abc", "\xff\xff\xff\xff\xff\xff\xff\xffAB"} {
		p := newPeer(t, hythetest.Dial(t, &hythe.Server{Service: newApp().server()}).Conn())
		p.send(string(appendBegin(nil, 1, roleResponder, flagKeepConn)) + rec(typeParams, 1, params) + rec(typeParams, 1, "") + rec(typeStdin, 1, ""))
		if a := p.reply(1); a.head("Status") != "400 Bad Request" {
			t.Errorf("%q: %+v", params, *a)
		}
		p.send(get(1, "/hello"))
		p.wantBody(1, "hello")
	}
}

func TestParamsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, hythetest.Dial(t, &hythe.Server{Service: newApp().server()}).Conn())
		began := time.Now()
		p.send(string(appendBegin(nil, 1, roleResponder, flagKeepConn)) + rec(typeParams, 1, "\x01"))
		if a := p.reply(1); a.head("Status") != "408 Request Timeout" || time.Since(began) != 30*time.Second {
			t.Errorf("after %v: %+v", time.Since(began), *a)
		}
		p.send(rec(typeParams, 1, "\x00A") + rec(typeParams, 1, "") + get(1, "/hello"))
		p.wantBody(1, "hello")
	})
}

func TestHandlerTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := make(chan error, 1)
		s := &Server{HandlerTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/sent" {
				w.(http.Flusher).Flush()
			}
			<-r.Context().Done()
			io.WriteString(w, "late")
			left <- context.Cause(r.Context())
		})}
		p := newPeer(t, hythetest.Dial(t, &hythe.Server{Service: s}).Conn())
		p.send(get(1, "/"))
		if a := p.reply(1); a.head("Status") != "503 Service Unavailable" {
			t.Errorf("got %+v", *a)
		}
		if err := <-left; err != context.DeadlineExceeded {
			t.Errorf("the context's cause is %v", err)
		}
		p.send(get(1, "/sent"))
		if a := p.reply(1); a.out != "Status: 200 OK\r\n\r\n" {
			t.Errorf("after a flush: got %+v", *a)
		}
		<-left
	})
}

// The context ends with the connection, however it ends.
func TestContextEndsWithTheConnection(t *testing.T) {
	a := newApp()
	onBoth(t, a.server, func(t *testing.T, s *Server, p *peer) {
		p.send(get(1, "/wait"))
		r := <-a.waiting
		p.Close()
		<-r.Context().Done()
		if cause := context.Cause(r.Context()); !errors.Is(cause, hythe.PeerDone) && !errors.Is(cause, hythe.PeerReset) {
			t.Errorf("its cause is %v", cause)
		}
		<-a.left
	})
}

func TestHalfClose(t *testing.T) {
	a := newApp()
	onBoth(t, a.server, func(t *testing.T, s *Server, p *peer) {
		p.send(get(1, "/unread"))
		r := <-a.waiting
		p.Conn.(interface{ CloseWrite() error }).CloseWrite()
		<-r.Context().Done() // but who does not mind can still answer
		a.word <- "done"
		p.wantBody(1, "done")
		p.wantEOF()
	})
	onBoth(t, func() *Server { return &Server{Handler: a, IgnoreEOF: true} }, func(t *testing.T, s *Server, p *peer) {
		p.send(get(1, "/wait") + post(2, "10", "some") + get(3, "/hello"))
		r := <-a.waiting
		p.Conn.(interface{ CloseWrite() error }).CloseWrite()
		p.wantBody(3, "hello")
		if err := r.Context().Err(); err != nil {
			t.Errorf("the context ended: %v", context.Cause(r.Context()))
		}
		a.word <- "done"
		p.wantBody(1, "done")
		p.reply(2)
		p.wantEOF()
	})
}

func TestPanic(t *testing.T) {
	var log strings.Builder
	handlers := map[string]http.HandlerFunc{
		"/before": func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "not sent"); panic("alas") },
		"/after":  func(w http.ResponseWriter, r *http.Request) { w.(http.Flusher).Flush(); panic("alas") },
		"/quiet":  func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) },
		"/exit":   func(w http.ResponseWriter, r *http.Request) { runtime.Goexit() },
		"/hello":  newApp().ServeHTTP,
	}
	s := &Server{
		Logger:  slog.New(slog.NewTextHandler(&log, nil)),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handlers[r.URL.Path](w, r) }),
	}
	c := hythetest.Dial(t, &hythe.Server{Service: s})
	p := newPeer(t, c.Conn())
	for _, test := range []struct{ path, want string }{
		{"/before", "Status: 500 Internal Server Error\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nInternal Server Error\n"},
		{"/after", "Status: 200 OK\r\n\r\n"},
		{"/quiet", "Status: 500 Internal Server Error\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nInternal Server Error\n"},
	} {
		p.send(get(1, test.path))
		if a := p.reply(1); a.out != test.want || a.app != 1 || a.outEnds != 1 || a.status != statusComplete {
			t.Errorf("%s: %+v", test.path, *a)
		}
		p.send(get(1, "/hello"))
		p.wantBody(1, "hello")
	}
	if n := strings.Count(log.String(), "alas"); n != 2 || !strings.Contains(log.String(), "TestPanic") {
		t.Errorf("%d panics were logged, want 2 with their stacks:\n%s", n, &log)
	}
	if n := s.Stats().Panicked; n != 3 {
		t.Errorf("%d panics were counted, want 3", n)
	}
	// A handler that ends its goroutine is no other case, whoever's that is.
	p.send(get(1, "/exit"))
	if a := p.reply(1); a.head("Status") != "500 Internal Server Error" {
		t.Errorf("Goexit: %+v", *a)
	}
}

func TestObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := make(chan *Served, 10)
		a := newApp()
		s := &Server{Handler: a, Observer: func(s *Served) { seen <- s }}
		c := hythetest.Dial(t, &hythe.Server{Service: s})
		p := newPeer(t, c.Conn())
		p.send(ask(1, flagKeepConn, "some body", "REQUEST_METHOD", "POST", "REQUEST_URI", "/echo", "CONTENT_LENGTH", "9"))
		p.reply(1)
		if s := <-seen; s.Status != 200 || s.BytesIn != 9 || s.BytesOut != 9 || s.Err != nil || s.Request.URL.Path != "/echo" || s.Duration < 0 || s.Began.IsZero() {
			t.Errorf("an answer: %+v", *s)
		}
		p.send(get(1, "/wait"))
		<-a.waiting
		p.send(rec(typeAbort, 1, ""))
		p.reply(1)
		if s := <-seen; s.Err != ErrAborted || s.Status != 0 || s.Request.URL.Path != "/wait" {
			t.Errorf("an aborted one: %+v", *s)
		}
		p.send(ask(1, flagKeepConn, "", "CONTENT_LENGTH", "x"))
		p.reply(1)
		if s := <-seen; s.Err != nil || s.Status != 400 || s.Request != nil {
			t.Errorf("a refused one: %+v", *s)
		}
		p.send(get(1, "/unread"))
		<-a.waiting
		c.Reset()
		time.Sleep(time.Second)
		a.word <- "late"
		if s := <-seen; s.Err == nil || s.Status != 0 {
			t.Errorf("one whose connection was reset: %+v", *s)
		}
		if st := s.Stats(); st.Served != 4 || st.Aborted != 2 || st.Active != 0 {
			t.Errorf("stats: %+v", st)
		}
	})
}

// A drain lets requests finish, and new ones on their connection too only if
// there is no other to wait for.
func TestDrain(t *testing.T) {
	a := newApp()
	synctest.Test(t, func(t *testing.T) {
		a = newApp()
		srv := hythetest.Serve(t, &hythe.Server{Service: a.server()})
		busy, idle := newPeer(t, srv.Dial().Conn()), newPeer(t, srv.Dial().Conn())
		idle.send(get(1, "/hello"))
		idle.wantBody(1, "hello")
		busy.send(get(1, "/wait"))
		<-a.waiting
		synctest.Wait()
		report := srv.Drain(time.Minute)
		synctest.Wait()
		idle.wantEOF()
		busy.send(get(2, "/hello"))
		busy.wantEnd(2, statusOverloaded)
		a.word <- "done"
		busy.wantBody(1, "done")
		busy.wantEOF()
		if r := report(); len(r.Idle) != 1 || len(r.Finished) != 1 || len(r.Cut) != 0 {
			t.Errorf("%v", r)
		}
	})
}
