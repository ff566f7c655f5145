package httpd_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
)

func TestHTTP2_BodyIdleEndsOnlyTheBodyThatStops(t *testing.T) {
	var errs chan error // made where its clock is
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			sink(errs)(w, r)
			return
		}
		path(w, r)
	})
	for _, idle := range []time.Duration{0, 7 * time.Second, 70 * time.Second} {
		inMemoryH2(t, &httpd.Server{Handler: h, BodyIdle: idle}, false, 1<<16, func(t *testing.T, c h2Client) {
			errs = make(chan error, 1)
			c.post(1, "/slow")
			for range 20 { // slow, but not too slow
				time.Sleep(5 * time.Second)
				c.frame(dataFrame, 0, 1, []byte("x"))
			}
			want := idle
			if want == 0 {
				want = 30 * time.Second
			}
			began := time.Now()
			if err := <-errs; !errors.Is(err, httpd.ErrSlow) {
				t.Errorf("the handler's Read: %v", err)
			}
			within(t, fmt.Sprint("BodyIdle ", idle), time.Since(began), want)
			c.get(3, "/other")
			c.wantAnswer(3, "/other")
		})
	}
}

// The client opens no window, or one that it never opens again.
func TestHTTP2_AnswerIdleResetsOnlyTheStreamThatIsNotTaken(t *testing.T) {
	var errs chan error // made where its clock is
	const large = 1 << 20
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/large":
			_, err := w.Write(make([]byte, large))
			errs <- err
		case "/copied":
			_, err := io.Copy(w, strings.NewReader(strings.Repeat("x", large)))
			errs <- err
		case "/stream":
			errs <- httpd.Stream(w, r, func(yield func([]byte, error) bool) {
				for yield([]byte("tick"), nil) {
					time.Sleep(time.Second)
				}
			})
		case "/detached":
			o, err := httpd.Detach(w, r)
			if err != nil {
				t.Error(err)
			}
			go func() {
				var err error
				for err == nil {
					_, err = o.Write(make([]byte, large))
				}
				errs <- err
			}()
		case "/small": // is sent when the handler has returned
			io.WriteString(w, "small")
			errs <- httpd.ErrSlow
		case "/late": // that as well
			time.Sleep(200 * time.Second)
			io.WriteString(w, "small")
			errs <- httpd.ErrSlow
		default:
			path(w, r)
		}
	})
	for _, window := range []int{0, 5000} {
		for _, test := range []struct {
			path     string
			min, max time.Duration
			window   int // in which it would fit
		}{
			{"/large", 30 * time.Second, 31 * time.Second, large},
			{"/copied", 30 * time.Second, 31 * time.Second, large},
			{"/stream", 30 * time.Second, 31*time.Second + 5000/4*time.Second, large},
			{"/detached", 30 * time.Second, 31 * time.Second, large},
			{"/small", 30 * time.Second, 61 * time.Second, 5},
			{"/late", 230 * time.Second, 261 * time.Second, 5},
		} {
			if test.window <= window {
				continue
			}
			for _, secure := range []bool{false, true} {
				t.Run(fmt.Sprint(test.path[1:], " ", window, " ", secure), func(t *testing.T) {
					s := &httpd.Server{Handler: h}
					if secure {
						s.Observer = func(httpd.Request) {}
					}
					inMemoryH2(t, s, secure, uint32(window), func(t *testing.T, c h2Client) {
						errs = make(chan error, 1)
						c.get(1, test.path)
						n, took := c.untilReset(1)
						if n != window && test.path != "/stream" || took < test.min || took > test.max {
							t.Errorf("reset after %d bytes and %v, want %d and %v to %v", n, took, window, test.min, test.max)
						}
						if err := <-errs; !errors.Is(err, httpd.ErrSlow) && !errors.Is(err, context.Canceled) {
							t.Errorf("the handler was told %v", err)
						}
						c.get(3, "/other")
						c.grow(3, 100)
						c.wantAnswer(3, "/other")
					})
				})
			}
		}
	}
}

func TestHTTP2_ClocksLeaveInPeaceWhoMakesProgress(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/thinks":
			time.Sleep(time.Hour)
		case "/trickles":
			for range 20 {
				time.Sleep(5 * time.Minute)
				io.WriteString(w, "x")
				http.NewResponseController(w).Flush()
			}
		case "/large":
			w.Write(make([]byte, 100<<10))
		case "/both":
			http.NewResponseController(w).Flush()
			io.Copy(w, r.Body)
		}
		io.WriteString(w, "end")
	})
	for _, test := range []struct {
		path string
		do   func(c h2Client)
		want string
	}{
		{"/thinks", func(c h2Client) { c.get(1, "/thinks") }, "end"},
		{"/trickles", func(c h2Client) { c.get(1, "/trickles") }, strings.Repeat("x", 20) + "end"},
		{"/large", func(c h2Client) { // 4 KiB each 3 s
			c.get(1, "/large")
			for range 25 {
				time.Sleep(3 * time.Second)
				c.grow(0, 4<<10)
				c.grow(1, 4<<10)
			}
		}, strings.Repeat("\x00", 100<<10) + "end"},
		{"/both", func(c h2Client) {
			c.post(1, "/both")
			for range 20 {
				time.Sleep(20 * time.Second)
				c.frame(dataFrame, 0, 1, []byte("x"))
			}
			c.frame(dataFrame, endStream, 1, nil)
		}, strings.Repeat("x", 20) + "end"},
	} {
		t.Run(test.path, func(t *testing.T) {
			inMemoryH2(t, &httpd.Server{Handler: h}, false, 1000, func(t *testing.T, c h2Client) {
				go test.do(c)
				c.wantAnswer(1, test.want)
			})
		})
	}
}

// A handler's own deadlines hold beside the server's.
func TestHTTP2_HandlersHaveDeadlinesOfTheirOwn(t *testing.T) {
	for _, idle := range []time.Duration{0, -1} {
		for _, d := range []time.Duration{time.Second, 50 * time.Second} {
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				rc := http.NewResponseController(w)
				if err := errors.Join(rc.EnableFullDuplex(), rc.SetReadDeadline(time.Now().Add(d)), rc.SetWriteDeadline(time.Now().Add(2*d))); err != nil {
					t.Error(err)
				}
				began := time.Now()
				if _, err := r.Body.Read(make([]byte, 1)); err == nil || time.Since(began) != d || errors.Is(err, httpd.ErrSlow) {
					t.Errorf("Read: %v after %v", err, time.Since(began))
				}
				<-r.Context().Done()
				if took := time.Since(began); took != 2*d {
					t.Errorf("the stream ended after %v, want %v", took, 2*d)
				}
			})
			inMemoryH2(t, &httpd.Server{Handler: h, AnswerIdle: idle, BodyIdle: -1}, false, 1<<16, func(t *testing.T, c h2Client) {
				c.post(1, "/")
				c.untilReset(1)
			})
		}
	}
}

func TestHTTP2_NegativeAnswerIdleWaitsForEver(t *testing.T) {
	inMemoryH2(t, &httpd.Server{Handler: path, AnswerIdle: -1}, false, 0, func(t *testing.T, c h2Client) {
		c.get(1, "/x")
		time.Sleep(10 * time.Hour)
		c.grow(1, 100)
		c.wantAnswer(1, "/x")
	})
}

func TestHTTP2_MinRateEndsWhoIsTooSlow(t *testing.T) {
	var errs chan error // made where its clock is
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			sink(errs)(w, r)
			return
		}
		_, err := w.Write(make([]byte, 10<<20))
		errs <- err
	})
	for _, method := range []string{"GET", "POST"} {
		for _, rate := range []int64{0, 8 << 10, 32 << 10} { // the client has 16 KiB/s
			t.Run(fmt.Sprint(method, " ", rate), func(t *testing.T) {
				inMemoryH2(t, &httpd.Server{Handler: h, MinRate: rate}, true, 0, func(t *testing.T, c h2Client) {
					errs = make(chan error, 1)
					go io.Copy(io.Discard, c.r)
					var step func()
					if method == "GET" {
						c.get(1, "/")
						step = func() { c.grow(0, 16<<10); c.grow(1, 16<<10) }
					} else {
						c.post(1, "/")
						step = func() { c.frame(dataFrame, 0, 1, make([]byte, 16<<10)) }
					}
					ended := error(nil)
					for s := range 60 {
						time.Sleep(time.Second)
						synctest.Wait()
						select {
						case ended = <-errs:
							if s < 10 {
								t.Errorf("ended in RateGrace, after %d s", s)
							}
						default:
							step()
							continue
						}
						break
					}
					if tooSlow := rate > 16<<10; errors.Is(ended, httpd.ErrSlow) != tooSlow {
						t.Errorf("MinRate %d: %v", rate, ended)
					}
					c.nc.Close()
					if ended == nil {
						<-errs
					}
				})
			})
		}
	}
}

// A client that takes nothing at all has no stream reset any more: its connection
// ends.
func TestHTTP2_AnswerIdleEndsAConnectionThatTakesNothing(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(map[bool]string{false: "clear", true: "TLS"}[secure], func(t *testing.T) {
			errs := make(chan error, 1)
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var err error
				for err == nil {
					_, err = w.Write(make([]byte, 1<<20))
				}
				errs <- err
			})
			srv := &hythe.Server{Service: &httpd.Server{Handler: h, AnswerIdle: 100 * time.Millisecond}, Timeouts: hythe.Timeouts{WriteStall: -1}}
			if secure {
				srv.TLS = httpd.TLSConfig(testTLS(t))
			}
			at := startServer(t, srv)
			var nc net.Conn
			if secure {
				nc = dialTLS(t, at, "h2")
			} else {
				nc = dial(t, at)
			}
			c := speakH2(talk(t, nc), 1<<31-1)
			c.grow(0, 1<<30)
			c.get(1, "/")
			if err := wait(t, errs, "the handler's Write"); err == nil {
				t.Error("Write returned no error")
			}
		})
	}
}

// What begins like HTTP/2 in clear may still be HTTP/1, which has no such clock.
func TestHTTP2_ClocksAreNotThoseOfHTTP1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Hour)
			io.WriteString(w, "end")
		})
		c := inMemory(t, &hythe.Server{Service: &httpd.Server{Handler: h}})()
		c.nc.SetDeadline(time.Time{})
		c.send("P")
		time.Sleep(time.Second)
		c.send("OST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
		c.want(200, "end")
		c.nc.Close()
	})
}
