package httpd_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
)

// overBoth has a handler asked over HTTP/1 and HTTP/2, by a request of the test's,
// and checks what the client is answered. The server is hythe's, and may be drained.
func overBoth(t *testing.T, h http.HandlerFunc, send func(req *http.Request), check func(t *testing.T, resp *http.Response, body string, err error)) {
	overHTTP2(t, func(t *testing.T, start func(*httpd.Server) (*http.Client, string, func() (hythe.Report, error))) {
		client, at, stop := start(&httpd.Server{Handler: h})
		askBoth(t, client, at, send, check)
		client.CloseIdleConnections()
		stop()
	})
	t.Run("HTTP/1", func(t *testing.T) {
		tr := &http.Transport{}
		defer tr.CloseIdleConnections()
		askBoth(t, &http.Client{Transport: tr}, "http://"+startSite(t, h, nil).String(), send, check)
	})
}

func askBoth(t *testing.T, client *http.Client, at string, send func(req *http.Request), check func(t *testing.T, resp *http.Response, body string, err error)) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", at+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if send != nil {
		send(req)
	}
	resp, err := client.Do(req)
	if err != nil {
		check(t, nil, "", err)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	check(t, resp, string(body), err)
}

// answerDetached answers with a text, detached.
func answerDetached(t *testing.T, w http.ResponseWriter, r *http.Request, text string) {
	out, err := httpd.Detach(w, r)
	if err != nil {
		t.Error(err)
		return
	}
	out.Write([]byte(text))
	out.Close(nil)
}

// wantRefused checks that an answer cannot be detached.
func wantRefused(t *testing.T, out *httpd.Out, err error) {
	t.Helper()
	if !errors.Is(err, httpd.ErrDetached) {
		t.Errorf("Detach = %v, want ErrDetached", err)
		if err == nil {
			out.Close(nil)
		}
	}
}

func TestDetach_IsNotForOtherServers(t *testing.T) {
	w := httptest.NewRecorder()
	_, err := httpd.Detach(w, httptest.NewRequest("GET", "/", nil))
	wantRefused(t, nil, err)
	if w.Body.Len() > 0 || w.Flushed {
		t.Error("something was written")
	}
}

func TestDetach_IsNotForHEAD(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		out, err := httpd.Detach(w, r)
		wantRefused(t, out, err)
		w.Header().Set("X-After", "yes") // the answer is the handler's still
	}
	overBoth(t, h, func(req *http.Request) { req.Method = "HEAD" }, func(t *testing.T, resp *http.Response, body string, err error) {
		if err != nil || resp.StatusCode != 200 || resp.Header.Get("X-After") != "yes" {
			t.Errorf("%v, %v", resp, err)
		}
	})
}

// Over HTTP/2 what was written stays the answer, over HTTP/1 it is cut off.
func TestDetach_IsNotPossibleOnceSomethingWasWritten(t *testing.T) {
	for name, write := range map[string]func(http.ResponseWriter){
		"header": func(w http.ResponseWriter) { w.WriteHeader(http.StatusAccepted) },
		"body":   func(w http.ResponseWriter) { io.WriteString(w, "mine") },
		"flushed": func(w http.ResponseWriter) {
			http.NewResponseController(w).Flush()
		},
		"large": func(w http.ResponseWriter) { w.Write(make([]byte, 100_000)) },
	} {
		t.Run(name, func(t *testing.T) {
			h := func(w http.ResponseWriter, r *http.Request) {
				write(w)
				out, err := httpd.Detach(w, r)
				wantRefused(t, out, err)
				if r.ProtoMajor == 2 {
					io.WriteString(w, " rest")
				}
			}
			overBoth(t, h, nil, func(t *testing.T, resp *http.Response, body string, err error) {
				if resp == nil || resp.ProtoMajor == 1 {
					if err == nil {
						t.Errorf("the client takes %.100q for the whole", body)
					}
				} else if err != nil || !strings.HasSuffix(body, " rest") {
					t.Errorf("the client got %+v with %.100q, %v", resp, body, err)
				}
			})
		})
	}
}

// What was said before the answer, such as 103 Early Hints, is not of it.
func TestDetach_IsPossibleAfterEarlyHints(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		answerDetached(t, w, r, "one")
	}
	overBoth(t, h, nil, func(t *testing.T, resp *http.Response, body string, err error) {
		if err != nil || resp.StatusCode != 200 || body != "one" {
			t.Errorf("the client got %+v with %q, %v", resp, body, err)
		}
	})
}

// An answer that was before, on the same connection, is another.
func TestDetach_IsPossibleBehindOtherAnswers(t *testing.T) {
	for _, moor := range []time.Duration{-1, time.Millisecond} {
		at := startSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/detach" {
				io.WriteString(w, r.URL.Path)
				return
			}
			answerDetached(t, w, r, "one")
		}), func(s *httpd.Server) { s.MoorAfter = moor })
		c := dialRaw(t, at)
		c.send(fmt.Sprintf(get, "x"))
		c.want(200, "/x")
		time.Sleep(5 * time.Millisecond)
		c.send(fmt.Sprintf(get, "y") + fmt.Sprintf(get, "detach"))
		c.want(200, "/y")
		c.want(200, "one")
		c.wantEOF()
	}
}

func TestDetach_ASecondTimeChangesNothing(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		out, err := httpd.Detach(w, r)
		if err != nil {
			t.Error(err)
			return
		}
		if _, err = httpd.Detach(w, r); !errors.Is(err, httpd.ErrDetached) {
			t.Errorf("Detach = %v the second time, want ErrDetached", err)
		}
		out.Write([]byte("first"))
		out.Close(nil)
	}
	overBoth(t, h, nil, func(t *testing.T, resp *http.Response, body string, err error) {
		if err != nil || body != "first" {
			t.Errorf("the client got %q, %v", body, err)
		}
	})
}

// wrapped is a ResponseWriter as middleware has it, silent one that hides what is
// below.
type wrapped struct {
	http.ResponseWriter
	wrote bool
}

func (w *wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }
func (w *wrapped) Write(b []byte) (int, error) { w.wrote = true; return w.ResponseWriter.Write(b) }
func (w *wrapped) WriteHeader(status int)      { w.wrote = true; w.ResponseWriter.WriteHeader(status) }

type silent struct{ http.ResponseWriter }

// What stands in front of the handler has returned when the answer goes on: it
// must not be used any more.
func TestDetach_GoesPastMiddleware(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		m := &wrapped{ResponseWriter: &wrapped{ResponseWriter: w}}
		w.Header().Set("X-Mine", "yes")
		w.Header().Set("Content-Length", "5") // it would be wrong
		out, err := httpd.Detach(m, r)
		if err != nil {
			t.Error(err)
			return
		}
		out.Write([]byte("detached"))
		out.Close(nil)
		if m.wrote || m.ResponseWriter.(*wrapped).wrote {
			t.Error("the middleware's writer was used")
		}
	}
	overBoth(t, h, nil, func(t *testing.T, resp *http.Response, body string, err error) {
		if err != nil || body != "detached" || resp.Header.Get("X-Mine") != "yes" {
			t.Errorf("the client got %+v, %q, %v", resp, body, err)
		}
	})
}

func TestDetach_IsRefusedBehindMiddlewareThatHidesTheWriter(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		out, err := httpd.Detach(silent{w}, r)
		wantRefused(t, out, err)
		io.WriteString(w, "mine")
	}
	overBoth(t, h, nil, func(t *testing.T, resp *http.Response, body string, err error) {
		if err != nil || body != "mine" || resp.StatusCode != 200 {
			t.Errorf("the client got %+v, %q, %v", resp, body, err)
		}
	})
}

// The request's body is lost, and does no harm.
func TestDetach_WithABodyThatWasNotRead(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		out, err := httpd.Detach(w, r)
		if err != nil {
			t.Error(err)
			return
		}
		go func() {
			for range 10 {
				out.Write([]byte("x"))
				time.Sleep(time.Millisecond)
			}
			out.Close(nil)
		}()
	}
	for _, size := range []int{10, 100_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			overBoth(t, h, func(req *http.Request) {
				req.Method, req.ContentLength = "POST", int64(size)
				req.Body = io.NopCloser(strings.NewReader(strings.Repeat("y", size)))
			}, func(t *testing.T, resp *http.Response, body string, err error) {
				if err != nil || body != strings.Repeat("x", 10) {
					t.Errorf("the client got %q, %v", body, err)
				}
			})
		})
	}
}

// What comes after the request, which the answer is the last for, is nobody's.
func TestDetach_WhatTheClientSendsIsNotARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outs := make(chan *httpd.Out, 4)
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			out, err := httpd.Detach(w, r)
			if err != nil {
				t.Error(err)
			}
			outs <- out
		})
		c := inMemory(t, &hythe.Server{Service: &httpd.Server{Handler: h}})()
		c.send(getHello + getHello)
		out := <-outs
		for range 3 {
			c.send(getHello)
			out.Write([]byte("x"))
			time.Sleep(time.Second)
		}
		out.Close(nil)
		if resp := c.want(200, "xxx"); !resp.Close {
			t.Error("the answer does not say Connection: close")
		}
		if len(outs) > 0 {
			t.Error("another request was served")
		}
		c.wantEOF()
		c.nc.Close()
	})
}

// The length is not known, whatever the handler has thought before.
func TestDetach_HasChunksInHTTP11Only(t *testing.T) {
	at := startSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "5")
		out, err := httpd.Detach(w, r)
		if err != nil {
			t.Error(err)
			return
		}
		out.Write([]byte("one "))
		out.TryWrite([]byte("two"))
		out.Close(nil)
	}), nil)
	for version, want := range map[string]string{"1.0": "one two", "1.1": "4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n"} {
		head, body, _ := strings.Cut(ask1(t, at, "GET / HTTP/"+version+"\r\nHost: x\r\n\r\n"), "\r\n\r\n")
		if body != want || strings.Contains(head, "chunked") != (version == "1.1") || strings.Contains(head, "Length") || !strings.Contains(head, "Connection: close") {
			t.Errorf("HTTP/%s: the client got %q and %q", version, head, body)
		}
	}
}

// A request that comes just before a drain may be detached after it has begun.
func TestDetach_InADrainEndsAtOnce(t *testing.T) {
	for _, proto := range []string{"HTTP/1.0", "HTTP/1.1", "HTTP/1.1 TLS", "HTTP/2", "HTTP/2 TLS"} {
		t.Run(proto, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				entered, release, outs := make(chan bool), make(chan bool), make(chan *httpd.Out, 1)
				s := &httpd.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					close(entered)
					<-release
					out, err := httpd.Detach(w, r)
					if err != nil {
						t.Error(err)
					}
					outs <- out
				})}
				srv := &hythe.Server{Service: s}
				c := askOver(t, srv, s, proto)
				<-entered
				drained := make(chan error, 1)
				go func() {
					_, err := srv.Drain(context.Background())
					drained <- err
				}()
				time.Sleep(time.Second)
				close(release)
				out := <-outs
				var body io.Reader
				leave := func() {}
				switch c := c.(type) {
				case h2Client:
					body, leave = &h2Body{h2Client: c, stream: 1}, func() { c.nc.Close() }
				case *rawClient:
					resp, err := http.ReadResponse(c.r, nil)
					if err != nil {
						t.Fatal(err)
					}
					body, leave = resp.Body, func() { c.nc.Close() }
				}
				if got, err := io.ReadAll(body); len(got) > 0 || err != nil {
					t.Errorf("the client got %q, %v", got, err)
				}
				leave()
				<-out.Done()
				if err := <-drained; err != nil {
					t.Errorf("Drain = %v", err)
				}
			})
		})
	}
}

// The Observer is told of every request, also if what was to become of it did not.
func TestDetach_OnAConnectionThatHasEnded(t *testing.T) {
	for _, proto := range allProtocols {
		t.Run(proto, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				told := make(chan httpd.Request, 4)
				s := &httpd.Server{Observer: func(r httpd.Request) { told <- r }, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					c := httpd.ConnOf(r.Context())
					ended := make(chan bool)
					c.OnClose(func(error) { close(ended) })
					c.Abort()
					<-ended
					time.Sleep(10 * time.Second) // crypto/tls waits to say goodbye
					if out, err := httpd.Detach(w, r); err == nil {
						select {
						case <-out.Done():
						default:
							go func() {
								time.Sleep(time.Minute)
								out.Close(nil)
							}()
						}
					}
				})}
				v := visit(t, &hythe.Server{Service: s}, s, proto)
				select {
				case r := <-told:
					if !r.Cut && r.Request.ProtoMajor == 1 { // over HTTP/2 nothing was begun
						t.Errorf("%+v", r)
					}
				case <-time.After(time.Hour):
					t.Error("the Observer was not told")
				}
				v.leave()
				synctest.Wait()
				if len(told) > 0 {
					t.Error("the Observer was told again")
				}
			})
		})
	}
}
