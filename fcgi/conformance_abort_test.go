package fcgi_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/fcgi"
)

// ABORT_REQUEST, section 5.4: the application answers as soon as it can.

// wantAborted expects that a request ends without a word of output.
func (c *wire) wantAborted(id uint16) {
	c.Helper()
	if a := c.answer(id); a.out != "" || a.status != 0 {
		c.Errorf("got %q, protocol status %d, want an END_REQUEST", a.out, a.status)
	}
}

func TestSpec_5_4_AbortBeforeTheHandler(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.serve(t, func(w http.ResponseWriter, r *http.Request) { path(w, r) }).dial()
		c.send(begin(1, keep), mk(tAbort, 1, ""))
		c.wantAborted(1)
		c.send(begin(1, keep), mk(tParams, 1, env("GET", "/aborted")), mk(tAbort, 1, ""))
		c.wantAborted(1)
		c.send(mk(tParams, 1, ""), mk(tStdin, 1, "")) // of the aborted one
		c.wantOpen()
		c.send(getting(1, keep, "/next"))
		c.wantBody(1, "/next")
	})
}

// A handler that is at work has its context cancelled, its body and its writes
// fail, and what it writes after that goes nowhere.
func TestSpec_5_4_AbortWhileWorking(t *testing.T) {
	for _, ended := range []bool{false, true} { // STDIN: php-fpm and others only look while they read it
		inWorlds(t, func(t *testing.T, w world) {
			g := newGate(t)
			var writeErr, readErr error
			a := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/next" {
					path(w, r)
					return
				}
				io.WriteString(w, "unsent")
				g.wait(r)
				_, readErr = io.ReadAll(r.Body)
				w.Write(make([]byte, 100_000))
				writeErr = http.NewResponseController(w).Flush()
			})
			c := a.dial()
			c.send(begin(1, keep), params(1, env("POST", "/", "CONTENT_LENGTH", "4")))
			if ended {
				c.send(mk(tStdin, 1, "body"), mk(tStdin, 1, ""))
			} else {
				c.send(mk(tStdin, 1, "bo"))
			}
			get(t, w, g.entered, "the handler")
			c.send(mk(tAbort, 1, ""))
			c.wantAborted(1)
			if err := get(t, w, g.left, "the context to end"); !errors.Is(err, fcgi.ErrAborted) {
				t.Errorf("the context's cause is %v, want ErrAborted", err)
			}
			c.send(getting(1, keep, "/next"))
			c.wantBody(1, "/next")
			c.wantOpen()
			a.srv.Close()
			a.wantEnd(hythe.ServerClosed)
			if !errors.Is(readErr, fcgi.ErrAborted) || !errors.Is(writeErr, fcgi.ErrAborted) {
				t.Errorf("reading failed with %v, writing with %v", readErr, writeErr)
			}
			if n := a.fcgi.Stats().Aborted; n != 1 {
				t.Errorf("%d requests were counted as aborted", n)
			}
		})
	}
}

// The handler ignores it: the answer does not wait for that, and the id's next
// user gets nothing of the output.
func TestSpec_5_4_AbortedOutputReachesNobody(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		entered, open := make(chan bool, 1), make(chan bool)
		done := make(chan error, 1)
		a := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/deaf" {
				io.WriteString(w, "first ")
				http.NewResponseController(w).Flush()
				entered <- true
				<-open
				io.WriteString(w, "second")
				io.WriteString(fcgi.Stderr(r.Context()), "second")
				done <- http.NewResponseController(w).Flush()
				return
			}
			path(w, r)
		})
		c := a.dial()
		c.send(getting(1, keep, "/deaf"))
		get(t, w, entered, "the handler")
		c.send(mk(tAbort, 1, ""))
		if a := c.answer(1); a.body() != "first " {
			t.Errorf("got %q", a.out)
		}
		c.send(begin(1, keep), params(1, env("GET", "/next"))) // the id's next user is there
		open <- true
		if err := get(t, w, done, "the deaf handler"); !errors.Is(err, fcgi.ErrAborted) {
			t.Errorf("writing failed with %v", err)
		}
		c.send(mk(tStdin, 1, ""))
		c.wantBody(1, "/next")
		c.wantOpen()
	})
}

// One request's parameters are not another's.
func TestParametersDoNotStay(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, fcgi.ProcessEnv(r)["SECRET"]+r.Header.Get("X-Secret")+r.URL.Path)
		}).dial()
		c.send(getting(1, keep, "/1", "SECRET", "s", "HTTP_X_SECRET", "t"))
		c.wantBody(1, "st/1")
		c.send(getting(1, keep, "/2"))
		c.wantBody(1, "/2")
	})
}

func TestSpec_5_4_AbortKeepsTheConnectionAsAsked(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		g := newGate(t)
		c := w.serve(t, func(w http.ResponseWriter, r *http.Request) { g.wait(r) }).dial()
		c.send(begin(1, 0), params(1, env("POST", "/")))
		get(t, w, g.entered, "the handler")
		c.send(mk(tAbort, 1, ""))
		c.wantAborted(1)
		c.wantEOF()
	})
}

// ABORT_REQUEST for an id that is not active is ignored, and one for one request
// leaves the others alone.
func TestSpec_5_4_AbortLeavesOthersAlone(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		g := newGate(t)
		c := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
			g.wait(r)
			path(w, r)
		}).dial()
		c.send(getting(1, keep, "/1"), getting(2, keep, "/2"))
		get(t, w, g.entered, "a handler")
		get(t, w, g.entered, "a handler")
		c.send(mk(tAbort, 3, ""), mk(tAbort, 2, ""), mk(tAbort, 2, ""))
		c.wantAborted(2)
		g.pass()
		c.wantBody(1, "/1")
		c.wantOpen()
	})
}

// A body of ABORT_REQUEST, which has none, means nothing.
func TestSpec_5_4_AbortWithContent(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.serve(t, path).dial()
		c.send(begin(1, keep), mk(tAbort, 1, "12345678"))
		c.wantAborted(1)
		c.wantOpen()
	})
}

// Web servers do not abort requests, they close the connection.
func TestClosingTheConnectionCancels(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		g := newGate(t)
		a := w.serve(t, func(w http.ResponseWriter, r *http.Request) { g.wait(r) })
		for _, half := range []bool{false, true} {
			c := a.dial()
			c.send(getting(1, keep, "/1"), getting(2, keep, "/2"))
			get(t, w, g.entered, "a handler")
			get(t, w, g.entered, "a handler")
			if half {
				c.Conn.(interface{ CloseWrite() error }).CloseWrite()
			} else {
				c.Close()
			}
			for range 2 {
				if err := get(t, w, g.left, "the context to end"); err == nil {
					t.Error("the context has no cause")
				}
			}
			c.Close()
		}
	})
}

// A web server that reads nothing stalls the handler, and no memory grows; when
// it leaves, the write fails.
func TestWritingToWhoDoesNotRead(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		written := make(chan int64, 1)
		a := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
			n, _ := io.Copy(w, neverEnding{})
			written <- n
		})
		c := a.dial()
		c.send(getting(1, keep, "/"))
		if r := c.record(); r.kind != tStdout {
			t.Fatalf("got %+v", r)
		}
		if w.network == "" {
			synctest.Wait()
		} else {
			time.Sleep(50 * time.Millisecond) // a writer that is not stalled gets far in that time
		}
		c.Close()
		if n := get(t, w, written, "the handler"); n > 8<<20 {
			t.Errorf("%d bytes were written to nobody", n)
		}
	})
}

type neverEnding struct{}

func (neverEnding) Read(b []byte) (int, error) {
	return strings.NewReader(strings.Repeat("x", min(len(b), 32<<10))).Read(b)
}
