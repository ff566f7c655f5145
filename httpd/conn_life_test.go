package httpd_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
)

var allProtocols = []string{"HTTP/1.1", "HTTP/1.1 TLS", "HTTP/2", "HTTP/2 TLS"}

// A visitor asks one connection for paths, over any protocol.
type visitor struct {
	t      *testing.T
	c      any
	stream uint32
}

// visit serves in memory and has a visitor ask for "/" first.
func visit(t *testing.T, srv *hythe.Server, s *httpd.Server, proto string) *visitor {
	srv.Timeouts.Lifetime = -1
	return &visitor{t, askOver(t, srv, s, proto), 1}
}

func (v *visitor) want(body string) {
	v.t.Helper()
	switch c := v.c.(type) {
	case *rawClient:
		c.want(200, body)
	case h2Client:
		c.wantAnswer(v.stream, body)
	}
}

// ask asks for another path, and returns how many bytes that took over HTTP/1.
func (v *visitor) ask(path string) int {
	switch c := v.c.(type) {
	case *rawClient:
		req := "GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n"
		c.send(req)
		return len(req)
	case h2Client:
		v.stream += 2
		c.get(v.stream, path)
	}
	return 0
}

func (v *visitor) leave() {
	switch c := v.c.(type) {
	case *rawClient:
		c.nc.Close()
	case h2Client:
		c.nc.Close()
	}
}

// wantEOF reads until the server has closed the connection, over HTTP/2 whatever
// it still says. It has no clock to wait for, but net/http's second for GOAWAY.
func (v *visitor) wantEOF() {
	v.t.Helper()
	began := time.Now()
	defer func() {
		if took := time.Since(began); took > 2*time.Second {
			v.t.Errorf("the connection ended after %v", took)
		}
	}()
	switch c := v.c.(type) {
	case *rawClient:
		c.wantEOF()
	case h2Client:
		if _, err := io.Copy(io.Discard, c.r); err != nil {
			v.t.Errorf("the connection does not end in peace: %v", err)
		}
	}
}

// overConns runs a test with a visitor over all protocols that keep connections.
// Each request is answered with its path, and its *Conn handed on.
func overConns(t *testing.T, edit func(*httpd.Server), test func(t *testing.T, proto string, srv *hythe.Server, v *visitor, conns chan *httpd.Conn)) {
	for _, proto := range allProtocols {
		t.Run(proto, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conns := make(chan *httpd.Conn, 10)
				s := &httpd.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					conns <- httpd.ConnOf(r.Context())
					io.WriteString(w, r.URL.Path)
				})}
				if edit != nil {
					edit(s)
				}
				srv := &hythe.Server{Service: s}
				v := visit(t, srv, s, proto)
				v.want("/")
				test(t, proto, srv, v, conns)
				v.leave()
			})
		})
	}
}

func TestDraining_IsClosedWhenTheConnectionHasEnded(t *testing.T) {
	overConns(t, nil, func(t *testing.T, proto string, srv *hythe.Server, v *visitor, conns chan *httpd.Conn) {
		c := <-conns
		draining := c.Draining()
		time.Sleep(time.Minute) // HTTP/1 is moored
		select {
		case <-draining:
			t.Error("it is closed while the connection lives")
		default:
		}
		v.leave()
		<-draining
	})
}

func TestDraining_MayBeAskedForWhenItIsTooLate(t *testing.T) {
	overConns(t, nil, func(t *testing.T, proto string, srv *hythe.Server, v *visitor, conns chan *httpd.Conn) {
		c, ended := <-conns, make(chan bool)
		c.OnClose(func(error) { close(ended) })
		v.leave()
		<-ended
		<-c.Draining()
	})
}

func TestDraining_IsClosedWhenTheServerDrains(t *testing.T) {
	overConns(t, nil, func(t *testing.T, proto string, srv *hythe.Server, v *visitor, conns chan *httpd.Conn) {
		c := <-conns
		began := time.Now()
		go srv.Drain(context.Background())
		<-c.Draining()
		if took := time.Since(began); took > time.Second {
			t.Errorf("it is closed %v after the drain began", took)
		}
		v.wantEOF()
	})
}

func TestOnClose_IsCalledAtOnceIfItIsTooLate(t *testing.T) {
	overConns(t, nil, func(t *testing.T, proto string, srv *hythe.Server, v *visitor, conns chan *httpd.Conn) {
		c := <-conns
		calls := make(chan error, 10)
		early := c.OnClose(func(why error) { calls <- why })
		c.OnClose(func(why error) { panic("a hook's") })() // taken back
		v.leave()
		first := <-calls
		if early() {
			t.Error("remove says that it was in time when f has been called")
		}
		late := c.OnClose(func(why error) { calls <- why })
		var end *hythe.CloseError
		if why := <-calls; !errors.As(why, &end) || why != first {
			t.Errorf("called with %v, want %v", why, first)
		}
		if late() {
			t.Error("remove says that it was in time when f has been called")
		}
		synctest.Wait()
		if len(calls) > 0 {
			t.Error("f was called again")
		}
	})
}

func TestInfo_CountsWhatCameAndWent(t *testing.T) {
	overConns(t, nil, func(t *testing.T, proto string, srv *hythe.Server, v *visitor, conns chan *httpd.Conn) {
		c := <-conns
		began := c.Info().Opened
		in := uint64(len("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
		for i := range uint64(4) {
			time.Sleep(time.Minute * time.Duration(i%2)) // HTTP/1 is moored each second time
			synctest.Wait()                              // what was written is counted a moment later
			info := c.Info()
			if info.Requests != i+1 || info.ID != c.ID() || !info.Opened.Equal(began) || info.Remote == nil {
				t.Errorf("after %d requests: %+v", i+1, info)
			}
			switch {
			case proto == "HTTP/2 TLS":
				if info.In != 0 || info.Out != 0 {
					t.Errorf("%+v: HTTP/2 over TLS is not counted", info)
				}
			case proto == "HTTP/2":
				if info.In < 15*(i+1) || info.Out < 20*(i+1) {
					t.Errorf("after %d requests: %+v", i+1, info)
				}
			case info.In != in || info.Out < 100*(i+1) || info.Out > 200*(i+1): // without TLS
				t.Errorf("after %d requests of %d bytes: %+v", i+1, in, info)
			}
			in += uint64(v.ask("/next"))
			v.want("/next")
			if other := <-conns; other.ID() != c.ID() {
				t.Errorf("another connection, %d, after %d", other.ID(), c.ID())
			}
		}
		v.leave()
		<-c.Draining()
		if n := c.Info().Requests; n != 5 {
			t.Errorf("%d requests when it has ended, want 5", n)
		}
	})
}

func TestAbort_OfAnotherGoroutine(t *testing.T) {
	for _, when := range []string{"idle", "moored", "answering"} {
		t.Run(when, func(t *testing.T) {
			for _, proto := range allProtocols {
				t.Run(proto, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						conns, left := make(chan *httpd.Conn, 10), make(chan error, 1)
						s := &httpd.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
							conns <- httpd.ConnOf(r.Context())
							if r.URL.Path == "/slow" {
								<-r.Context().Done()
								_, err := io.Copy(w, strings.NewReader(strings.Repeat("x", 1<<20)))
								left <- err
							}
						})}
						if when == "idle" {
							s.MoorAfter = -1
						}
						v := visit(t, &hythe.Server{Service: s}, s, proto)
						v.want("")
						c := <-conns
						switch when {
						case "moored":
							time.Sleep(time.Minute)
						case "answering":
							v.ask("/slow")
							<-conns
						}
						began, reasons := time.Now(), make(chan error, 1)
						c.OnClose(func(why error) { reasons <- why })
						var all sync.WaitGroup
						for range 3 { // more than one does no harm
							all.Go(c.Abort)
						}
						all.Wait()
						if why := <-reasons; !errors.Is(why, hythe.Closed) {
							t.Errorf("ended with %v", why)
						}
						if when == "answering" {
							if err := <-left; err == nil {
								t.Error("Write works on")
							}
						}
						if took := time.Since(began); took > 6*time.Second { // crypto/tls waits to say goodbye
							t.Errorf("it took %v", took)
						}
						c.Abort()
						v.leave()
					})
				})
			}
		})
	}
}

// The answer that is under way is not the next one.
func TestCloseAfter_InAHandlerIsForTheNextRequest(t *testing.T) {
	for _, proto := range allProtocols {
		t.Run(proto, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &httpd.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					httpd.ConnOf(r.Context()).CloseAfter()
					io.WriteString(w, r.URL.Path)
				})}
				v := visit(t, &hythe.Server{Service: s}, s, proto)
				v.want("/")
				time.Sleep(time.Minute)
				v.ask("/next")
				v.want("/next")
				v.wantEOF()
				v.leave()
			})
		})
	}
}

func TestMaxAge_AcrossMooring(t *testing.T) {
	overConns(t, func(s *httpd.Server) { s.MaxAge = time.Hour }, func(t *testing.T, proto string, srv *hythe.Server, v *visitor, conns chan *httpd.Conn) {
		for range 3 {
			time.Sleep(time.Minute)
			v.ask("/young")
			v.want("/young")
		}
		for range 15 { // it idles at most for three minutes
			time.Sleep(2 * time.Minute)
			v.ask("/young")
			v.want("/young")
			<-conns
		}
		for range 14 {
			time.Sleep(2 * time.Minute)
			v.ask("/old")
			v.want("/old")
			<-conns
		}
		v.wantEOF()
	})
}

func TestMaxRequests_AcrossMooring(t *testing.T) {
	for _, most := range []uint64{1, 2, 5} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			overConns(t, func(s *httpd.Server) { s.MaxRequests = most }, func(t *testing.T, proto string, srv *hythe.Server, v *visitor, conns chan *httpd.Conn) {
				for i := range most - 1 {
					time.Sleep(time.Duration(i%2) * time.Minute)
					v.ask("/next")
					v.want("/next")
				}
				v.wantEOF()
			})
		})
	}
}

// A handler that hears of the drain and answers at once may be quicker than what
// has net/http say goodbye. With HYTHE_SOAK set it has more occasions to be.
func TestDrain_WhoHearsOfItSaysGoodbye(t *testing.T) {
	rounds := 60
	if soaking() {
		rounds = 2000
	}
	for _, proto := range allProtocols {
		t.Run(proto, func(t *testing.T) {
			for range rounds {
				synctest.Test(t, func(t *testing.T) {
					entered := make(chan bool)
					s := &httpd.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						close(entered)
						<-httpd.ConnOf(r.Context()).Draining()
						io.WriteString(w, "bye")
					})}
					srv := &hythe.Server{Service: s}
					v := visit(t, srv, s, proto)
					<-entered
					drained := make(chan error, 1)
					go func() {
						_, err := srv.Drain(context.Background())
						drained <- err
					}()
					if c, ok := v.c.(*rawClient); ok {
						if resp := c.want(200, "bye"); !resp.Close {
							t.Error("the answer does not say Connection: close")
						}
						v.wantEOF()
					} else {
						wantGoodbye(t, v.c.(h2Client), "bye")
					}
					v.leave()
					if err := <-drained; err != nil {
						t.Errorf("Drain = %v", err)
					}
				})
				if t.Failed() {
					return
				}
			}
		})
	}
}

// wantGoodbye reads an answer, and until the connection ends, which is to be
// announced.
func wantGoodbye(t *testing.T, c h2Client, want string) {
	t.Helper()
	const goAway = 7
	said, got := false, ""
	for {
		var head [9]byte
		if _, err := io.ReadFull(c.r, head[:]); err != nil {
			if !said || got != want || err != io.EOF {
				t.Errorf("got %q, want %q; the connection ended with %v, GOAWAY: %v", got, want, err, said)
			}
			return
		}
		b := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(c.r, b); err != nil {
			t.Error(err)
			return
		}
		switch head[3] {
		case goAway:
			said = true
		case dataFrame:
			got += string(b)
		}
	}
}
