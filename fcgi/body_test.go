package fcgi

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/hythetest"
)

// readAll is a handler that hands the body and the error it ended with on.
type readAll struct {
	body chan string
	err  chan error
}

func newReadAll() *readAll { return &readAll{make(chan string, 10), make(chan error, 10)} }

func (h *readAll) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	h.body <- string(b)
	h.err <- err
}

func post(id uint16, length, body string) string {
	return begin(id, flagKeepConn, "REQUEST_METHOD", "POST", "REQUEST_URI", "/", "CONTENT_LENGTH", length) + string(appendStream(nil, typeStdin, id, []byte(body)))
}

func TestBodies(t *testing.T) {
	for _, test := range []struct {
		name, sent, body string
		err              error
	}{
		{"as announced", post(1, "4", "body") + rec(typeStdin, 1, ""), "body", nil},
		{"its end need not be marked", post(1, "4", "body"), "body", nil},
		{"too much is dropped", post(1, "4", "bodyguard") + rec(typeStdin, 1, "s") + rec(typeStdin, 1, ""), "body", nil},
		{"too little is an error", post(1, "9", "body") + rec(typeStdin, 1, ""), "body", io.ErrUnexpectedEOF},
		{"of unknown length", post(1, "", "body") + rec(typeStdin, 1, ""), "body", nil},
		{"before the parameters are complete", string(appendBegin(nil, 1, roleResponder, flagKeepConn)) + rec(typeStdin, 1, "body") +
			environ(1, "CONTENT_LENGTH", "4") + rec(typeStdin, 1, ""), "body", nil},
		{"in many records", post(1, "12", "body") + rec(typeStdin, 1, "body") + rec(typeStdin, 1, "body") + rec(typeStdin, 1, ""), "bodybodybody", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newReadAll()
			onBoth(t, func() *Server { return &Server{Handler: h} }, func(t *testing.T, _ *Server, p *peer) {
				p.send(test.sent)
				if body, err := <-h.body, <-h.err; body != test.body || err != test.err {
					t.Errorf("got %q, %v; want %q, %v", body, err, test.body, test.err)
				}
				p.reply(1)
			})
		})
	}
}

func TestBodyTooLarge(t *testing.T) {
	h := newReadAll()
	onBoth(t, func() *Server { return &Server{Handler: h, Limits: Limits{BodyBytes: 100}} }, func(t *testing.T, _ *Server, p *peer) {
		p.send(post(1, "101", ""))
		if got := p.reply(1).head("Status"); got != "413 Request Entity Too Large" {
			t.Errorf("announced: status %q", got)
		}
		for _, n := range []int{100, 101} {
			p.send(post(1, "", strings.Repeat("x", n)) + rec(typeStdin, 1, ""))
			body, err := <-h.body, <-h.err
			tooLarge, is := errors.AsType[*http.MaxBytesError](err)
			if len(body) != 100 || is != (n > 100) || is && tooLarge.Limit != 100 {
				t.Errorf("%d bytes: got %d, %v", n, len(body), err)
			}
			p.reply(1)
		}
	})
}

func TestBodyTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newReadAll()
		p := newPeer(t, hythetest.Dial(t, &hythe.Server{Service: &Server{Handler: h}}).Conn())
		began := time.Now()
		p.send(post(1, "100", "one"))
		time.Sleep(40 * time.Second)
		p.send(rec(typeStdin, 1, "two"))
		if body, err := <-h.body, <-h.err; body != "onetwo" || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %q, %v", body, err)
		}
		if d := time.Since(began); d != 100*time.Second {
			t.Errorf("after %v, want 40 s and a minute", d)
		}
		p.reply(1)
	})
}

func TestReadDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := dial(t, func(w http.ResponseWriter, r *http.Request) {
			c := http.NewResponseController(w)
			c.SetReadDeadline(time.Now().Add(time.Second))
			if _, err := r.Body.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Read = %v, want os.ErrDeadlineExceeded", err)
			}
			c.SetReadDeadline(time.Time{})
			if _, err := io.ReadFull(r.Body, make([]byte, 3)); err != nil {
				t.Errorf("without a deadline: %v", err)
			}
		})
		p.send(post(1, "100", ""))
		time.Sleep(5 * time.Second)
		p.send(rec(typeStdin, 1, "one"))
		p.reply(1)
	})
}

// A reader that is slow, but reads, holds up the web server instead of filling
// a disk.
func TestASlowReaderOfTheOnlyBodyHoldsTheInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 2 << 20
		s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			buf := make([]byte, 40<<10)
			n := 0
			for {
				k, err := io.ReadFull(r.Body, buf)
				n += k
				if err != nil {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			if n != size {
				t.Errorf("read %d bytes, want %d", n, size)
			}
		})}
		p := newPeer(t, hythetest.Dial(t, &hythe.Server{Service: s}).Conn())
		go p.send(ask(1, flagKeepConn, strings.Repeat("x", size), "REQUEST_METHOD", "POST", "REQUEST_URI", "/"))
		for {
			time.Sleep(5 * time.Millisecond)
			st := s.Stats()
			if st.Disk > 0 || st.Memory > 200<<10 {
				t.Fatalf("waiting: %+v", st)
			}
			if st.Served > 0 {
				break
			}
		}
		p.reply(1)
	})
}

// When there is no room on disk either, a body that nobody reads waits in front
// of the server if it is alone, and ends otherwise.
func TestNoRoomForUnreadBodies(t *testing.T) {
	a := newApp()
	synctest.Test(t, func(t *testing.T) {
		a = newApp()
		s := &Server{Handler: a, Limits: Limits{BodyDisk: 100_000}}
		p := newPeer(t, hythetest.Dial(t, &hythe.Server{Service: s, Timeouts: hythe.Timeouts{Idle: -1}}).Conn())
		p.send(begin(1, flagKeepConn, "REQUEST_METHOD", "POST", "REQUEST_URI", "/unread"))
		<-a.waiting
		go p.send(strings.Repeat(rec(typeStdin, 1, strings.Repeat("x", 50_000)), 20) + rec(typeStdin, 1, ""))
		time.Sleep(10 * time.Second)
		if st := s.Stats(); st.Disk > 200_000 || st.Memory > 200_000 || st.Disk < 100_000 {
			t.Errorf("alone: %+v", st)
		}
		a.word <- "done"
		p.wantBody(1, "done")

		p.send(get(2, "/wait") + begin(1, flagKeepConn, "REQUEST_METHOD", "POST", "REQUEST_URI", "/unread"))
		<-a.waiting
		r := <-a.waiting
		var sending sync.WaitGroup
		defer sending.Wait()
		sending.Go(func() {
			p.send(strings.Repeat(rec(typeStdin, 1, strings.Repeat("x", 50_000)), 20) + rec(typeStdin, 1, ""))
		})
		if got := p.reply(1); got.head("Status") != "413 Request Entity Too Large" {
			t.Errorf("beside another: got %+v", *got)
		}
		if r.URL.Path == "/unread" {
			<-r.Context().Done()
		}
		a.word <- "done"
		a.word <- "done"
		p.wantBody(2, "done")
	})
}

// io.Copy from a body needs no buffer, and gets everything from memory and file.
func TestWriteTo(t *testing.T) {
	a := newApp()
	got, read := make(chan string, 1), make(chan bool)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			a.ServeHTTP(w, r)
			return
		}
		<-read
		var b strings.Builder
		n, err := io.Copy(&b, r.Body)
		if err != nil || n != int64(b.Len()) {
			t.Errorf("copied %d of %d bytes, %v", n, b.Len(), err)
		}
		got <- b.String()
	})
	onBoth(t, func() *Server { return &Server{Handler: h} }, func(t *testing.T, s *Server, p *peer) {
		var body strings.Builder
		for i := range 50_000 {
			body.WriteString("line ")
			body.WriteByte(byte('a' + i%26))
		}
		p.send(get(2, "/wait"))
		<-a.waiting
		p.send(ask(1, flagKeepConn, body.String(), "REQUEST_METHOD", "POST", "REQUEST_URI", "/") + get(3, "/hello"))
		p.wantBody(3, "hello")
		read <- true
		if b := <-got; b != body.String() {
			t.Errorf("got %d other bytes, want %d", len(b), body.Len())
		}
		a.word <- "done"
		p.reply(1)
		p.reply(2)
	})
}
