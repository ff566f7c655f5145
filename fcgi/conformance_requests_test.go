package fcgi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/fcgi"
)

// The life of a request: sections 5 and 6 of the specification.

// A role that nobody has is refused at its BEGIN_REQUEST, and the rest of the
// request is ignored: section 5.5.
func TestSpec_5_5_UnknownRole(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.serve(t, path).dial()
		for _, role := range []uint16{0, 2, 3, 4, 0x0100, 0xffff} { // 2 and 3: this one has no Authorizer and no Filter
			c.send(beginRole(9, role, keep))
			c.want("\x01\x03\x00\x09\x00\x08\x00\x00" + "\x00\x00\x00\x00" + "\x03" + "\x00\x00\x00")
			c.send(params(9, env("GET", "/")), mk(tStdin, 9, "body"), mk(tStdin, 9, ""))
		}
		c.wantOpen()
		c.send(getting(9, keep, "/9"))
		c.wantBody(9, "/9")
	})
}

func TestSpec_5_5_UnknownRoleWithoutKeepConn(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.serve(t, path).dial()
		c.send(beginRole(9, 7, 0), params(9, env("GET", "/")), mk(tStdin, 9, ""))
		c.want("\x01\x03\x00\x09\x00\x08\x00\x00" + "\x00\x00\x00\x00" + "\x03" + "\x00\x00\x00")
		c.wantEOF()
	})
}

// An application that does not multiplex refuses what comes beside a request,
// which goes on unharmed.
func TestSpec_5_5_CantMultiplex(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		g := newGate(t)
		c := w.start(t, &fcgi.Server{NoMultiplex: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			g.wait(r)
			echo(w, r)
		})}).dial()
		c.send(mk(tGetValues, 0, nv("FCGI_MPXS_CONNS", "")))
		c.want("\x01\x0a\x00\x00\x00\x12\x06\x00" + "\x0f\x01FCGI_MPXS_CONNS0" + "\x00\x00\x00\x00\x00\x00")
		c.send(begin(1, keep), params(1, env("POST", "/", "CONTENT_LENGTH", "4")), mk(tStdin, 1, "bo"))
		get(t, w, g.entered, "the handler")
		c.send(posting(2, keep, "/", "no"))
		c.wantRefused(2, 1)
		c.send(mk(tStdin, 1, "dy"), mk(tStdin, 1, ""))
		g.pass()
		c.wantBody(1, "body")
		c.send(posting(2, keep, "/", "yes"))
		c.wantBody(2, "yes")
	})
}

// A request whose parameters have not come whole is there as well.
func TestSpec_5_5_CantMultiplexBesideParams(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.start(t, &fcgi.Server{NoMultiplex: true, Handler: http.HandlerFunc(path)}).dial()
		c.send(begin(1, keep), begin(2, 0))
		c.wantRefused(2, 1)
		c.send(params(1, env("GET", "/1")), mk(tStdin, 1, ""))
		c.wantBody(1, "/1")
		c.wantEOF() // request 2 asked for that
	})
}

// Out of places, the application says so at once: with an Overloaded when the
// whole application is full, and otherwise that this connection is.
func TestSpec_5_5_Overloaded(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		g := newGate(t)
		a := w.start(t, &fcgi.Server{Limits: fcgi.Limits{Requests: 3, RequestsPerConn: 2}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			g.wait(r)
			path(w, r)
		})})
		c1, c2 := a.dial(), a.dial()
		c1.send(getting(1, keep, "/1"), getting(2, keep, "/2"), begin(3, keep))
		c1.wantRefused(3, 1)
		get(t, w, g.entered, "the first handler")
		get(t, w, g.entered, "the second handler")
		c2.send(getting(1, keep, "/3"), begin(2, keep))
		c2.wantRefused(2, 2)
		c2.wantOpen()
		if st := a.fcgi.Stats(); st.Active != 3 || st.Refused != 2 {
			t.Errorf("%+v", st)
		}
		g.pass()
		c1.answers(2)
		c2.wantBody(1, "/3")
		c2.send(getting(2, 0, "/4"))
		c2.wantBody(2, "/4")
		c2.wantEOF()
	})
}

// There is a STDOUT stream also when there is nothing to say in it.
func TestSpec_5_3_Stdout(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/nothing":
			case "/flush":
				http.NewResponseController(w).Flush()
			case "/big":
				w.Write(bytes.Repeat([]byte("0123456789abcdef"), 20000))
			case "/many":
				for range 1000 {
					io.WriteString(w, "0123456789abcdef")
				}
			}
		}).dial()
		for path, want := range map[string]int{"/nothing": 0, "/flush": 0, "/big": 320000, "/many": 16000} {
			c.send(getting(1, keep, path))
			a := c.answer(1) // checks that there is one end and nothing behind it
			if len(a.body()) != want || !strings.HasPrefix(a.out, "Status: 200 OK\r\n") {
				t.Errorf("%s: %.60q, a body of %d bytes, want %d", path, a.out, len(a.body()), want)
			}
		}
		c.wantOpen()
	})
}

// HEAD is answered with headers only.
func TestSpec_6_2_Head(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.serve(t, path).dial()
		c.send(begin(1, keep), params(1, env("HEAD", "/")), mk(tStdin, 1, ""))
		if a := c.answer(1); a.body() != "" || a.httpStatus() != "Status: 200 OK" {
			t.Errorf("got %q", a.out)
		}
		c.wantOpen()
	})
}

// What is written to STDERR comes as such, between the pieces of STDOUT, and
// ends before the request does.
func TestSpec_5_3_Stderr(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
			stderr := fcgi.Stderr(r.Context())
			fmt.Fprint(stderr, "one\n")
			io.WriteString(w, "two ")
			http.NewResponseController(w).Flush()
			slog.New(fcgi.LogHandler(func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) })).WarnContext(r.Context(), "three")
			stderr.Write(nil)
			stderr.Write(bytes.Repeat([]byte("4"), 100_000))
			io.WriteString(w, "five")
		}).dial()
		c.send(getting(1, keep, "/"))
		c.want("\x01\x07\x00\x01\x00\x04\x04\x00" + "one\n" + "\x00\x00\x00\x00")
		a := c.answer(1)
		if a.body() != "two five" || !strings.Contains(a.err, `"msg":"three"}`+"\n444") || strings.Count(a.err, "4") < 100_000 {
			t.Errorf("STDOUT %q, STDERR %.200q", a.out, a.err)
		}
	})
}

// Nobody is called before the parameters are complete.
func TestSpec_6_1_ParamsComeFirst(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		called := make(chan string, 1)
		a := w.serve(t, func(w http.ResponseWriter, r *http.Request) { called <- r.URL.Path })
		c := a.dial()
		c.send(begin(1, keep), mk(tParams, 1, env("GET", "/1")), mk(tStdin, 1, "body"), mk(tStdin, 1, ""))
		c.wantOpen()
		if len(called) > 0 {
			t.Error("the handler was called while PARAMS was open")
		}
		c.send(mk(tParams, 1, nv("MORE", "1")), mk(tParams, 1, ""))
		c.answer(1)
		get(t, w, called, "the handler")
		c.send(begin(2, keep), mk(tParams, 2, env("GET", "/2"))) // and then the web server leaves
		c.Close()
		a.wantEnd(hythe.PeerDone)
		if len(called) > 0 {
			t.Error("the handler was called with half the parameters")
		}
	})
}

// Input and output flow at the same time.
func TestSpec_6_2_FullDuplex(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
			rc := http.NewResponseController(w)
			rc.Flush()
			b := make([]byte, 4)
			for {
				if _, err := io.ReadFull(r.Body, b); err != nil {
					return
				}
				w.Write(bytes.ToUpper(b))
				rc.Flush()
			}
		}).dial()
		c.send(begin(1, keep), params(1, env("POST", "/")))
		if r := c.record(); r.kind != tStdout || !strings.HasSuffix(r.content, "\r\n\r\n") {
			t.Fatalf("got %+v, want the headers", r)
		}
		for _, word := range []string{"ping", "pong", "four"} {
			c.send(mk(tStdin, 1, word))
			if r := c.record(); r.kind != tStdout || r.content != strings.ToUpper(word) {
				t.Fatalf("got %+v, want %s", r, strings.ToUpper(word))
			}
		}
		c.send(mk(tStdin, 1, ""))
		if a := c.answer(1); a.out != "" {
			t.Errorf("got %q as well", a.out)
		}
	})
}

// The answer may be complete before the body is: the rest of it is dropped.
func TestSpec_6_2_EarlyAnswer(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.serve(t, path).dial()
		c.send(begin(1, keep), params(1, env("POST", "/early", "CONTENT_LENGTH", "1000000")))
		c.wantBody(1, "/early")
		for range 20 {
			c.send(mk(tStdin, 1, strings.Repeat("x", 50_000)))
		}
		c.send(mk(tStdin, 1, ""))
		c.wantOpen()
	})
}

// Fewer bytes than CONTENT_LENGTH says mean that the client has died; more of
// them do not exist: section 6.2. Without one, STDIN is what there is.
func TestSpec_6_2_ContentLength(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%d %v %q %v", r.ContentLength, r.TransferEncoding, b, err)
		}).dial()
		for _, test := range []struct{ length, body, want string }{
			{"4", "body", `4 [] "body" <nil>`},
			{"5", "body", `5 [] "body" unexpected EOF`},
			{"5", "", `5 [] "" unexpected EOF`},
			{"3", "body", `3 [] "bod" <nil>`},
			{"0", "body", `0 [] "" <nil>`},
			{"0", "", `0 [] "" <nil>`},
			{"", "body", `-1 [chunked] "body" <nil>`},
			{"-1", "body", `-1 [chunked] "body" <nil>`},
			{"none", "body", `-1 [chunked] "body" <nil>`},
			{"none", "", `0 [] "" <nil>`},
		} {
			pairs := env("POST", "/")
			if test.length != "none" {
				pairs += nv("CONTENT_LENGTH", test.length)
			}
			c.send(begin(1, keep), params(1, pairs))
			if test.body != "" {
				c.send(mk(tStdin, 1, test.body))
			}
			c.send(mk(tStdin, 1, ""))
			got := c.answer(1)
			want := test.want
			if test.length == "none" && test.body == "" && got.body() == `-1 [chunked] "" <nil>` {
				want = got.body() // the handler was there before the end of STDIN
			}
			if test.length == "3" && got.httpStatus() == "Status: 400 Bad Request" {
				continue // the whole body had come: it says that the length is not true
			}
			if got.body() != want {
				t.Errorf("CONTENT_LENGTH %s, body %q: got %q, want %q", test.length, test.body, got.out, want)
			}
		}
		for _, length := range []string{"x", "1x", "+1", "-2", "0x10", "99999999999999999999", " 1"} {
			c.send(begin(1, keep), params(1, env("POST", "/", "CONTENT_LENGTH", length)), mk(tStdin, 1, ""))
			if a := c.answer(1); !strings.HasPrefix(a.httpStatus(), "Status: 4") {
				t.Errorf("CONTENT_LENGTH %q: %q", length, a.out)
			}
		}
		c.wantOpen()
	})
}

// A connection that ends in the middle of a body ends that body with an error.
func TestSpec_6_2_ConnectionEndsInsideTheBody(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		got := make(chan error, 1)
		a := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(io.Discard, r.Body)
			got <- err
		})
		for _, length := range []string{"10", ""} {
			c := a.dial()
			c.send(begin(1, keep), params(1, env("POST", "/", "CONTENT_LENGTH", length)), mk(tStdin, 1, "abc"))
			c.Close()
			if err := get(t, w, got, "the handler"); err == nil || errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("CONTENT_LENGTH %q: the body ended with %v", length, err)
			}
		}
	})
}

// The web server half-closes and waits: it gets its answer.
func TestAnswerAfterHalfClose(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		g := newGate(t)
		a := w.start(t, &fcgi.Server{IgnoreEOF: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			g.wait(r)
			path(w, r)
		})})
		c := a.dial()
		c.send(getting(1, keep, "/half"))
		get(t, w, g.entered, "the handler")
		c.Conn.(interface{ CloseWrite() error }).CloseWrite()
		if w.network == "" {
			synctest.Wait()
		}
		g.pass()
		c.wantBody(1, "/half")
		c.wantEOF()
		if err := get(t, w, g.left, "the handler to leave"); err != nil {
			t.Errorf("the context ended: %v", err)
		}
	})
}

// A panic ends its own request and nothing else.
func TestPanicEndsItsRequest(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		var log bytes.Buffer
		g := newGate(t)
		a := w.start(t, &fcgi.Server{Logger: slog.New(slog.NewTextHandler(&log, nil)), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/panic":
				panic("alas")
			case "/late":
				io.WriteString(w, "some")
				http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			case "/wait":
				g.wait(r)
			}
			path(w, r)
		})})
		c := a.dial()
		c.send(getting(1, keep, "/wait"))
		get(t, w, g.entered, "the handler")
		c.send(getting(2, keep, "/panic"))
		if a := c.answer(2); a.httpStatus() != "Status: 500 Internal Server Error" || a.app == 0 {
			t.Errorf("got %q, application status %d", a.out, a.app)
		}
		c.send(getting(2, keep, "/late"))
		if a := c.answer(2); a.body() != "some" || a.app == 0 {
			t.Errorf("got %q, application status %d", a.out, a.app)
		}
		g.pass()
		c.wantBody(1, "/wait")
		c.wantOpen()
		if st := a.fcgi.Stats(); st.Panicked != 1 && st.Panicked != 2 { // ErrAbortHandler may count or not
			t.Errorf("%+v", st)
		}
		a.srv.Close()
		if s := log.String(); !strings.Contains(s, "alas") || !strings.Contains(s, "conformance_requests_test.go") || strings.Contains(s, "abort") {
			t.Errorf("the log says %s", s)
		}
	})
}

// A handler that takes longer than it may is cut off.
func TestHandlerTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := make(chan error, 2)
		c := memWorld.start(t, &fcgi.Server{HandlerTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/begun" {
				io.WriteString(w, "some")
				http.NewResponseController(w).Flush()
			}
			<-r.Context().Done()
			time.Sleep(time.Second)
			_, err := io.WriteString(w, "never to be seen")
			if err == nil {
				err = http.NewResponseController(w).Flush()
			}
			left <- errors.Join(context.Cause(r.Context()), err)
		})}).dial()
		c.send(getting(1, keep, "/"))
		if a := c.answer(1); a.httpStatus() != "Status: 503 Service Unavailable" {
			t.Errorf("got %q", a.out)
		}
		if err := <-left; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the handler got %v", err)
		}
		c.send(getting(1, keep, "/begun"))
		if a := c.answer(1); a.body() != "some" {
			t.Errorf("got %q", a.out)
		}
		<-left
		c.wantOpen()
	})
}

// Parameters that do not come are not waited for for ever.
func TestParamsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := memWorld.start(t, &fcgi.Server{ParamsTimeout: time.Minute, Handler: http.HandlerFunc(path)}).dial()
		began := time.Now()
		c.send(begin(1, keep), mk(tParams, 1, env("GET", "/")))
		if a := c.answer(1); !strings.HasPrefix(a.httpStatus(), "Status: 408") || time.Since(began) != time.Minute {
			t.Errorf("got %q after %v", a.out, time.Since(began))
		}
		c.send(mk(tParams, 1, ""), mk(tStdin, 1, ""))
		c.wantOpen()
	})
}

// A body that does not come is not waited for for ever either, nor longer than
// the handler wants to.
func TestBodyTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := memWorld.start(t, &fcgi.Server{BodyTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			began := time.Now()
			if r.URL.Path == "/deadline" {
				http.NewResponseController(w).SetReadDeadline(began.Add(time.Second))
			}
			b, err := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%q %v %v", b, err, time.Since(began))
		})}).dial()
		c.send(begin(1, keep), params(1, env("POST", "/", "CONTENT_LENGTH", "4")), mk(tStdin, 1, "bo"))
		c.wantBody(1, `"bo" i/o timeout 1m0s`)
		c.send(begin(1, keep), params(1, env("POST", "/deadline", "CONTENT_LENGTH", "4")), mk(tStdin, 1, "bo"))
		c.wantBody(1, `"bo" i/o timeout 1s`)
		c.wantOpen()
	})
}
