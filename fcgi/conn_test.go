package fcgi

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/hythetest"
)

// app answers by path: /hello, /echo, and /wait, which waits for a word.
type app struct {
	word    chan string
	waiting chan *http.Request
	left    chan error // how /wait ended
}

func newApp() *app {
	return &app{make(chan string), make(chan *http.Request, 100), make(chan error, 100)}
}

func (a *app) server() *Server { return &Server{Handler: a} }

func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	switch r.URL.Path {
	case "/hello":
		io.WriteString(w, "hello")
	case "/echo":
		io.Copy(w, r.Body)
	case "/unread":
		a.waiting <- r
		io.WriteString(w, <-a.word)
	case "/wait":
		a.waiting <- r
		select {
		case s := <-a.word:
			io.WriteString(w, s)
		case <-r.Context().Done():
			_, err := io.WriteString(w, strings.Repeat("late", 10_000))
			a.left <- err
		}
	default:
		http.NotFound(w, r)
	}
}

const helloOut = "Status: 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello"

// Keep-alive: the same id again and again, in pieces of any size, and the next
// request in one segment with the tail of one that was answered early.
func TestKeepConn_Spec3_5(t *testing.T) {
	onBoth(t, newApp().server, func(t *testing.T, _ *Server, p *peer) {
		one := get(1, "/hello")
		for step := 1; step <= len(one); step = step*2 + 1 {
			for i := 0; i < len(one); i += step {
				p.send(one[i:min(i+step, len(one))])
			}
			if a := p.reply(1); a.out != helloOut || a.outEnds != 1 || a.errEnds != 0 || a.app != 0 || a.status != 0 {
				t.Fatalf("%d bytes at a time: got %+v", step, *a)
			}
		}
		for range 50 {
			p.send(begin(1, flagKeepConn, "REQUEST_URI", "/hello", "CONTENT_LENGTH", "8") + rec(typeStdin, 1, "body"))
			p.wantBody(1, "hello")
			p.send(rec(typeStdin, 1, "tail") + rec(typeStdin, 1, "") + one)
			p.wantBody(1, "hello")
		}
	})
}

func TestWithoutKeepConnTheConnectionEnds_Spec3_5(t *testing.T) {
	onBoth(t, newApp().server, func(t *testing.T, _ *Server, p *peer) {
		p.send(ask(1, 0, "", "REQUEST_URI", "/hello"))
		p.wantBody(1, "hello")
		p.wantEOF()
	})
}

func TestTheLastRequestWithoutKeepConnEndsTheConnection(t *testing.T) {
	a := newApp()
	onBoth(t, a.server, func(t *testing.T, _ *Server, p *peer) {
		p.send(get(1, "/wait") + ask(2, 0, "", "REQUEST_URI", "/hello"))
		p.wantBody(2, "hello")
		p.send(get(3, "/hello"))
		p.wantBody(3, "hello")
		a.word <- "done"
		p.wantBody(1, "done")
		p.wantEOF()
	})
}

// No handler is called for a request that comes on a connection which its last
// answer has closed: nginx sends such, where it buffers no answers and has
// keepalive without fastcgi_keep_conn.
func TestNothingBeginsOnAClosedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp()
		s := a.server()
		p := newPeer(t, hythetest.Dial(t, &hythe.Server{Service: s}).Conn())
		p.send(ask(1, 0, "", "REQUEST_URI", "/hello") + get(2, "/hello"))
		p.wantBody(1, "hello")
		p.wantBody(2, "hello") // came before the answer
		p.send(get(3, "/wait"))
		p.wantEOF()
		synctest.Wait()
		if n := len(a.waiting); n > 0 {
			t.Error("a handler was called")
		}
	})
}

func TestAnEmptyAnswerHasItsStreamEnded(t *testing.T) {
	s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })}
	c := hythetest.Dial(t, &hythe.Server{Service: s})
	c.Write(get(1, "/"))
	c.Want(answer(1, "Status: 204 No Content\r\n\r\n"))
}

// Neither a slow handler nor a body that nobody reads stops the others.
func TestRequestsDoNotBlockOneAnother(t *testing.T) {
	a := newApp()
	onBoth(t, a.server, func(t *testing.T, s *Server, p *peer) {
		p.send(get(1, "/wait"))
		<-a.waiting
		p.send(begin(2, flagKeepConn, "REQUEST_METHOD", "POST", "REQUEST_URI", "/unread", "CONTENT_LENGTH", "1000000"))
		<-a.waiting
		piece := rec(typeStdin, 2, strings.Repeat("x", 50_000))
		p.send(strings.Repeat(piece, 20) + rec(typeStdin, 2, ""))
		p.send(get(3, "/hello"))
		p.wantBody(3, "hello")
		if m := s.Stats().Memory; m > 100_000 {
			t.Errorf("%d bytes of a body that nobody reads are in memory", m)
		}
		if s.Stats().Disk == 0 {
			t.Error("nothing of it is in a file")
		}
		p.send(rec(typeGetValues, 0, "\x0f\x00FCGI_MPXS_CONNS"))
		if r, err := p.next(); err != nil || r.kind != typeGetValuesResult {
			t.Errorf("got %+v, %v; want the answer to GET_VALUES", r, err)
		}
		a.word <- "one"
		a.word <- "other"
		got := []string{p.reply(1).body(), p.reply(2).body()}
		if got[0] == got[1] {
			t.Errorf("got %q", got)
		}
		if st := s.Stats(); st.Disk != 0 || st.Memory != 0 || st.Active != 0 {
			t.Errorf("after all: %+v", st)
		}
	})
}

// A body that is alone on its connection and has a slow reader holds the
// connection's input only for a moment: a second request gets through.
func TestAnUnreadBodyGivesWay(t *testing.T) {
	a := newApp()
	onBoth(t, a.server, func(t *testing.T, s *Server, p *peer) {
		p.send(begin(1, flagKeepConn, "REQUEST_METHOD", "POST", "REQUEST_URI", "/unread", "CONTENT_LENGTH", "1000000"))
		<-a.waiting
		go p.send(strings.Repeat(rec(typeStdin, 1, strings.Repeat("x", 50_000)), 20) + rec(typeStdin, 1, "") + get(2, "/hello"))
		p.wantBody(2, "hello")
		a.word <- "done"
		p.wantBody(1, "done")
	})
}

func TestABodyOfAnySizeComesBack(t *testing.T) {
	onBoth(t, newApp().server, func(t *testing.T, s *Server, p *peer) {
		for _, n := range []int{0, 1, 8, 4095, 4096, 4097, 16 << 10, 32 << 10, 65_535, 65_536, 1 << 20} {
			body := strings.Repeat("0123456789abcdef", n/16+1)[:n]
			go p.send(ask(1, flagKeepConn, body, "REQUEST_METHOD", "POST", "REQUEST_URI", "/echo", "CONTENT_LENGTH", fmt.Sprint(n)))
			if got := p.reply(1).body(); got != body {
				t.Fatalf("%d bytes: got %d others", n, len(got))
			}
		}
		if st := s.Stats(); st.Memory != 0 || st.Disk != 0 {
			t.Errorf("after all: %+v", st)
		}
	})
}

func TestAbort_Spec5_4(t *testing.T) {
	a := newApp()
	onBoth(t, a.server, func(t *testing.T, s *Server, p *peer) {
		for range 3 {
			p.send(get(1, "/wait"))
			r := <-a.waiting
			p.send(rec(typeAbort, 1, ""))
			if got := p.reply(1); got.out != "" || got.outEnds != 1 || got.status != statusComplete {
				t.Errorf("got %+v", *got)
			}
			<-r.Context().Done()
			if err := <-a.left; err != ErrAborted {
				t.Errorf("the handler's write: %v, want ErrAborted", err)
			}
			// The next request with that id gets its own answer and no other.
			p.send(get(1, "/hello"))
			p.wantBody(1, "hello")
		}
		p.send(rec(typeAbort, 1, "") + rec(typeAbort, 77, "") + get(1, "/hello"))
		p.wantBody(1, "hello")
		// Before the parameters are complete, and without KEEP_CONN.
		p.send(string(appendBegin(nil, 1, roleResponder, 0)) + rec(typeParams, 1, "\x01") + rec(typeAbort, 1, ""))
		if got := p.reply(1); got.out != "" || got.status != statusComplete {
			t.Errorf("got %+v", *got)
		}
		p.wantEOF()
	})
}

func TestUnknownRole_Spec5_5(t *testing.T) {
	onBoth(t, newApp().server, func(t *testing.T, _ *Server, p *peer) {
		for _, role := range []uint16{roleAuthorizer, roleFilter, 4, 0xffff} {
			p.send(string(appendBegin(nil, 1, role, flagKeepConn)) + environ(1, "REQUEST_URI", "/hello") + rec(typeStdin, 1, ""))
			p.wantEnd(1, statusUnknownRole)
		}
		p.send(get(1, "/hello"))
		p.wantBody(1, "hello")
		p.send(string(appendBegin(nil, 1, 9, 0)))
		p.wantEnd(1, statusUnknownRole)
		p.wantEOF()
	})
}

func TestUnknownRoleBytes_Spec5_5(t *testing.T) {
	c := hythetest.Dial(t, &hythe.Server{Service: newApp().server()})
	c.Write(string(appendBegin(nil, 7, 9, flagKeepConn)))
	c.Want("\x01\x03\x00\x07\x00\x08\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00")
}

func TestNoMultiplex_Spec5_5(t *testing.T) {
	a := newApp()
	onBoth(t, func() *Server { return &Server{Handler: a, NoMultiplex: true} }, func(t *testing.T, s *Server, p *peer) {
		p.send(get(1, "/wait"))
		<-a.waiting
		p.send(get(2, "/hello") + ask(3, 0, "", "REQUEST_URI", "/hello"))
		p.wantEnd(2, statusCantMultiplex)
		p.wantEnd(3, statusCantMultiplex)
		a.word <- "done"
		p.wantBody(1, "done")
		p.wantEOF() // since 3 was without KEEP_CONN
		if n := s.Stats().Refused; n != 2 {
			t.Errorf("%d refused, want 2", n)
		}
	})
}

func TestOverloaded_Spec5_5(t *testing.T) {
	a := newApp()
	onBoth(t, func() *Server {
		return &Server{Handler: a, Limits: Limits{Requests: 3, RequestsPerConn: 2}}
	}, func(t *testing.T, s *Server, p *peer) {
		p.send(get(1, "/wait") + get(2, "/wait") + get(3, "/hello"))
		p.wantEnd(3, statusCantMultiplex)
		s.active.Add(1) // as another connection's
		a.word <- "done"
		a.word <- "done"
		p.wantBody(1, "done")
		p.wantBody(2, "done")
		s.active.Add(2)
		p.send(get(1, "/hello"))
		p.wantEnd(1, statusOverloaded)
		s.active.Add(-3)
		p.send(get(1, "/hello"))
		p.wantBody(1, "hello")
	})
}

// Requests that were aborted take their place until their handler returns.
func TestAbortedRequestsCountUntilTheirHandlerReturns(t *testing.T) {
	a := newApp()
	onBoth(t, func() *Server { return &Server{Handler: a, Limits: Limits{RequestsPerConn: 1}} }, func(t *testing.T, s *Server, p *peer) {
		p.send(get(1, "/unread"))
		<-a.waiting
		p.send(rec(typeAbort, 1, ""))
		p.reply(1)
		p.send(get(1, "/hello"))
		p.wantEnd(1, statusCantMultiplex)
		a.word <- ""
		for s.Stats().Active > 0 {
			time.Sleep(time.Millisecond)
		}
		p.send(get(1, "/hello"))
		p.wantBody(1, "hello")
	})
}

func TestGetValues_Spec4_1(t *testing.T) {
	c := hythetest.Dial(t, &hythe.Server{Service: &Server{Handler: newApp(), Limits: Limits{Requests: 500}}})
	ask := func(names ...string) {
		var p []byte
		for _, n := range names {
			p = appendPair(p, n, "")
		}
		c.Write(rec(typeGetValues, 0, string(p)))
	}
	ask("FCGI_MPXS_CONNS")
	c.Want("\x01\x0a\x00\x00\x00\x12\x06\x00\x0f\x01FCGI_MPXS_CONNS1\x00\x00\x00\x00\x00\x00")
	ask("FCGI_MAX_REQS", "NO_SUCH", "FCGI_MAX_CONNS", "FCGI_MAX_REQS")
	c.Want(rec(typeGetValuesResult, 0, "\x0d\x03FCGI_MAX_REQS500\x0e\x03FCGI_MAX_CONNS500"))
	ask()
	c.Want(rec(typeGetValuesResult, 0, ""))
	c.Write(rec(typeGetValues, 0, "\x0f\x00FCGI_MPXS_CONNS\xff\xff"))
	c.Want(rec(typeGetValuesResult, 0, "\x0f\x01FCGI_MPXS_CONNS1"))
	c.WantNothing(10 * time.Millisecond)
}

func TestUnknownType_Spec4_2(t *testing.T) {
	c := hythetest.Dial(t, &hythe.Server{Service: newApp().server()})
	c.Write(rec(99, 0, "") + rec(99, 0, "some content"))
	c.Want(strings.Repeat("\x01\x0b\x00\x00\x00\x08\x00\x00\x63\x00\x00\x00\x00\x00\x00\x00", 2))
	// A request's types do not belong under id 0, one record, one answer.
	c.Write(string(appendBegin(nil, 0, roleResponder, 0)))
	c.Want(string(appendUnknownType(nil, typeBegin)))
	params := rec(typeParams, 0, strings.Repeat("x", 100))
	c.Write(params[:50])
	c.Want(string(appendUnknownType(nil, typeParams)))
	c.Write(params[50:])
	c.WantNothing(10 * time.Millisecond)
	c.Write(get(1, "/hello"))
	c.Want(answer(1, helloOut))
}

func TestRecordsForInactiveIdsAreIgnored_Spec3_3(t *testing.T) {
	onBoth(t, newApp().server, func(t *testing.T, _ *Server, p *peer) {
		p.send(rec(typeParams, 5, "junk") + rec(typeStdin, 5, "junk") + rec(typeData, 5, "") + rec(typeAbort, 5, "") +
			rec(typeEnd, 5, "12345678") + rec(typeGetValues, 5, "x") + rec(200, 5, "x"))
		p.send(get(1, "/hello"))
		p.wantBody(1, "hello")
		// and so are records that do not belong to an active one
		p.send(begin(2, flagKeepConn, "REQUEST_URI", "/hello") + rec(typeData, 2, "x") + rec(99, 2, "y") + rec(typeStdout, 2, "z") +
			rec(typeParams, 2, "\x00") + rec(typeStdin, 2, "") + rec(typeStdin, 2, "late") + rec(typeStdin, 2, ""))
		p.wantBody(2, "hello")
		p.send(get(2, "/hello"))
		p.wantBody(2, "hello")
	})
}

func TestProtocolErrorsEndTheirConnection(t *testing.T) {
	for _, test := range []struct{ name, bytes string }{
		{"another version", "\x02\x01\x00\x01\x00\x08\x00\x00"},
		{"HTTP", "GET / HTTP/1.1\r\n\r\n"},
		{"BEGIN too short", rec(typeBegin, 2, "\x00\x01\x00")},
		{"BEGIN too long", rec(typeBegin, 2, "\x00\x01\x00\x00\x00\x00\x00\x00\x00")},
		{"BEGIN for an active id", string(appendBegin(nil, 1, roleResponder, flagKeepConn))},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newApp()
			c := hythetest.Dial(t, &hythe.Server{Service: a.server()})
			c.Write(get(1, "/wait"))
			<-a.waiting
			c.Write(test.bytes)
			if err := <-a.left; err == nil {
				t.Error("the other request's output was taken")
			}
			c.WantEOF()
			c.WantClosed(hythe.BadFrame)
		})
	}
}

func TestInputEnds(t *testing.T) {
	for _, test := range []struct {
		name, bytes, want string
		reason            hythe.Reason
	}{
		{"nowhere", "", "", hythe.PeerDone},
		{"between two requests", get(1, "/hello"), answer(1, helloOut), hythe.PeerDone},
		{"in a header", "\x01\x01\x00", "", hythe.Truncated},
		{"in a record", get(1, "/hello") + rec(typeStdin, 1, "body")[:10], answer(1, helloOut), hythe.Truncated},
		{"in PARAMS", string(appendBegin(nil, 1, roleResponder, flagKeepConn)) + rec(typeParams, 1, "\x01"), "", hythe.PeerDone},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := hythetest.Dial(t, &hythe.Server{Service: newApp().server()})
			c.Write(test.bytes)
			c.CloseWrite()
			c.Want(test.want)
			c.WantEOF()
			c.WantClosed(test.reason)
		})
	}
}
