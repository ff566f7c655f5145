package httpd_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
)

// endOf serves in memory, has a client do something, and returns how long after
// that the connection ended, and why.
func endOf(t *testing.T, srv *hythe.Server, client func(c *rawClient)) (took time.Duration, why error) {
	reasons := make(chan error, 1)
	srv.Observer = func(ev hythe.Event) {
		if ev.Kind == hythe.ConnEnded {
			reasons <- &hythe.CloseError{Reason: ev.Reason, Err: ev.Err}
		}
	}
	c := inMemory(t, srv)()
	client(c)
	began := time.Now()
	why = <-reasons
	took = time.Since(began)
	c.nc.Close()
	return took, why
}

// untilEOF waits until the server has nothing more to say.
func (c *rawClient) untilEOF() time.Duration {
	began := time.Now()
	io.Copy(io.Discard, c.r) // net/http may say 400
	c.nc.Close()
	return time.Since(began)
}

func within(t *testing.T, what string, took, want time.Duration) {
	t.Helper()
	if took < want || took > want+want/8+time.Second {
		t.Errorf("%s: after %v, want %v", what, took, want)
	}
}

func TestHeaderTimeout_EndsAHeadThatDoesNotEnd(t *testing.T) {
	for _, moored := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var took time.Duration
			_, why := endOf(t, &hythe.Server{Service: &httpd.Server{Handler: path}}, func(c *rawClient) {
				if moored {
					c.send(fmt.Sprintf(get, "x"))
					c.want(200, "/x")
					time.Sleep(10 * time.Second)
				}
				c.send("GET / HT")
				for range 3 {
					time.Sleep(2 * time.Second)
					c.send("T")
				}
				took = c.untilEOF()
			})
			within(t, "from the last byte", took, 4*time.Second)
			if !errors.Is(why, hythe.InputTimeout) {
				t.Errorf("ended with %v", why)
			}
		})
	}
}

func TestHeaderTimeout_EndsAHeadBehindAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var took time.Duration
		_, why := endOf(t, &hythe.Server{Service: &httpd.Server{Handler: path, HeaderTimeout: 3 * time.Second}}, func(c *rawClient) {
			c.send(fmt.Sprintf(get, "x") + "GET /2 HTTP/1.1\r\n")
			c.want(200, "/x")
			took = c.untilEOF()
		})
		within(t, "a second head", took, 3*time.Second)
		if !errors.Is(why, hythe.InputTimeout) {
			t.Errorf("ended with %v", why)
		}
	})
}

const upload = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"

// sink reads a body, and tells why it ended.
func sink(errs chan error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		errs <- err
	}
}

func TestBodyIdle_EndsABodyThatStops(t *testing.T) {
	for _, idle := range []time.Duration{0, 7 * time.Second, 70 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			errs := make(chan error, 1)
			took, why := endOf(t, &hythe.Server{Service: &httpd.Server{Handler: sink(errs), BodyIdle: idle}}, func(c *rawClient) {
				c.send(upload)
				for range 20 { // slow, but not too slow
					time.Sleep(5 * time.Second)
					c.send("x")
				}
			})
			want := idle
			if want == 0 {
				want = 30 * time.Second
			}
			within(t, fmt.Sprint("BodyIdle ", idle), took, want)
			if err := <-errs; !errors.Is(err, httpd.ErrSlow) {
				t.Errorf("the handler's Read: %v", err)
			}
			if !errors.Is(why, hythe.InputTimeout) || !errors.Is(why, httpd.ErrSlow) {
				t.Errorf("ended with %v", why)
			}
		})
	}
}

func TestBodyIdle_NegativeWaitsForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &httpd.Server{Handler: echo, BodyIdle: -1}
		c := inMemory(t, &hythe.Server{Service: s})()
		c.send("POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")
		time.Sleep(10 * time.Hour)
		c.nc.SetDeadline(time.Time{})
		c.send("b")
		c.want(200, "/1 ab")
		c.nc.Close()
	})
}

func TestMinRate_EndsABodyThatTrickles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		errs := make(chan error, 1)
		s := &httpd.Server{Handler: sink(errs), MinRate: 10, RateGrace: 20 * time.Second}
		began := time.Now()
		_, why := endOf(t, &hythe.Server{Service: s}, func(c *rawClient) {
			c.send(upload)
			for {
				time.Sleep(time.Second)
				if _, err := io.WriteString(c.nc, "xxxxx"); err != nil || time.Since(began) > time.Minute {
					return
				}
			}
		})
		within(t, "5 bytes a second where 10 are asked for", time.Since(began), 20*time.Second)
		if err := <-errs; !errors.Is(err, httpd.ErrSlow) || !errors.Is(why, hythe.InputTimeout) {
			t.Errorf("%v, %v", err, why)
		}
	})
}

func TestMinRate_LetsABodyPassThatKeepsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &httpd.Server{Handler: echo, MinRate: 10, RateGrace: 5 * time.Second}
		c := inMemory(t, &hythe.Server{Service: s})()
		c.send("POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1200\r\n\r\n")
		for range 100 {
			time.Sleep(time.Second)
			c.send(strings.Repeat("x", 12))
		}
		c.nc.SetDeadline(time.Time{})
		c.want(200, "/1 "+strings.Repeat("x", 1200))
		c.nc.Close()
	})
}

// trickle reads n bytes each second until the connection ends.
func trickle(c *rawClient, n int) {
	b := make([]byte, n)
	for {
		time.Sleep(time.Second)
		if _, err := io.ReadFull(c.nc, b); err != nil {
			return
		}
	}
}

func TestMinRate_EndsAnAnswerThatIsReadTooSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := make(chan error, 1)
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 32<<10)); err != nil {
					left <- err
					return
				}
			}
		})
		began := time.Now()
		_, why := endOf(t, &hythe.Server{Service: &httpd.Server{Handler: h, MinRate: 1 << 20}}, func(c *rawClient) {
			c.nc.SetDeadline(time.Time{})
			c.send(fmt.Sprintf(get, "x"))
			trickle(c, 16<<10)
		})
		if took := time.Since(began); took > 40*time.Second {
			t.Errorf("16 KiB a second where a MiB is asked for: ended after %v", took)
		}
		if !errors.Is(why, hythe.WriteStalled) || !errors.Is(why, httpd.ErrSlow) {
			t.Errorf("ended with %v", why)
		}
		<-left
	})
}

func TestMinRate_DoesNotMindAnAnswerThatIsMadeSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for range 60 {
				time.Sleep(time.Second)
				io.WriteString(w, "x")
				http.NewResponseController(w).Flush()
			}
		})
		c := inMemory(t, &hythe.Server{Service: &httpd.Server{Handler: h, MinRate: 1000}})()
		c.nc.SetDeadline(time.Time{})
		c.send(fmt.Sprintf(get, "x"))
		c.want(200, strings.Repeat("x", 60))
		c.nc.Close()
	})
}

func TestWriteStall_EndsAnAnswerThatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := make(chan error, 1)
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 32<<10)); err != nil {
					left <- err
					return
				}
			}
		})
		took, why := endOf(t, &hythe.Server{Service: &httpd.Server{Handler: h}}, func(c *rawClient) { c.send(fmt.Sprintf(get, "x")) })
		within(t, "WriteStall", took, 30*time.Second)
		if !errors.Is(why, hythe.WriteStalled) {
			t.Errorf("ended with %v", why)
		}
		<-left
	})
}

// A handler's deadlines are its own, and end with its request.
func TestDeadlines_OfHandlersWorkAndBreakNoLaterRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type result struct {
			err  error
			took time.Duration
		}
		results := make(chan result, 1)
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rc := http.NewResponseController(w)
			began := time.Now()
			switch r.URL.Path {
			case "/read":
				rc.SetReadDeadline(time.Now().Add(2 * time.Second))
				_, err := io.ReadAll(r.Body)
				results <- result{err, time.Since(began)}
			case "/later":
				rc.SetReadDeadline(time.Now().Add(time.Hour))
				io.ReadAll(r.Body)
			case "/unused":
				rc.SetReadDeadline(time.Now().Add(3 * time.Second))
				rc.SetWriteDeadline(time.Now().Add(3 * time.Second))
			case "/write":
				rc.SetWriteDeadline(time.Now().Add(2 * time.Second))
				for {
					if _, err := w.Write(make([]byte, 64<<10)); err != nil {
						results <- result{err, time.Since(began)}
						return
					}
				}
			}
			io.WriteString(w, "ok")
		})
		dial := inMemory(t, &hythe.Server{Service: &httpd.Server{Handler: h}})
		post := func(c *rawClient, path string, n int) {
			c.nc.SetDeadline(time.Now().Add(time.Hour))
			c.send(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", path, n))
		}
		c := dial()
		for range 2 {
			post(c, "/unused", 0)
			c.want(200, "ok")
			time.Sleep(500 * time.Millisecond) // not yet moored
			post(c, "/later", 1)
			time.Sleep(15 * time.Second) // longer than HeaderTimeout
			c.send("x")
			c.want(200, "ok")
			time.Sleep(20 * time.Second) // moored
		}
		post(c, "/read", 10)
		if r := <-results; !errors.Is(r.err, os.ErrDeadlineExceeded) || r.took != 2*time.Second {
			t.Errorf("a read deadline of 2 s: %v after %v", r.err, r.took)
		}
		c.nc.Close()
		c = dial()
		post(c, "/write", 0)
		if r := <-results; !errors.Is(r.err, os.ErrDeadlineExceeded) || r.took != 2*time.Second {
			t.Errorf("a write deadline of 2 s: %v after %v", r.err, r.took)
		}
		c.nc.Close()
	})
}

func TestContext_EndsWhenTheClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := make(chan error, 1)
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			why <- context.Cause(r.Context())
		})
		c := inMemory(t, &hythe.Server{Service: &httpd.Server{Handler: h}})()
		c.send(fmt.Sprintf(get, "x"))
		time.Sleep(time.Minute)
		c.nc.Close()
		if err := <-why; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
