package httpd_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
	"github.com/hythe-go/hythe/httpd/middleware"
)

// overAll runs a test of a handler over all protocols, with a clock that is not
// real. The client has asked for "/"; body is the answer's, its head has been read.
func overAll(t *testing.T, h http.HandlerFunc, test func(t *testing.T, proto string, body io.Reader, nc net.Conn)) {
	for _, proto := range []string{"HTTP/1.0", "HTTP/1.1", "HTTP/1.1 TLS", "HTTP/2", "HTTP/2 TLS"} {
		t.Run(proto, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &httpd.Server{Handler: h}
				switch c := askOver(t, &hythe.Server{Service: s}, s, proto).(type) {
				case h2Client:
					defer c.nc.Close()
					if kind, flags, _, _ := c.next(); kind != headersFrame || flags&endStream != 0 {
						t.Fatalf("the answer begins with a frame of kind %d, flags %x", kind, flags)
					}
					test(t, proto, &h2Body{h2Client: c, stream: 1}, c.nc)
				case *rawClient:
					defer c.nc.Close()
					resp, err := http.ReadResponse(c.r, nil)
					if err != nil {
						t.Fatal(err)
					}
					test(t, proto, resp.Body, c.nc)
				}
			})
		})
	}
}

// counted yields n texts, a second apart, whatever becomes of the request.
func counted(n int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for i := range n {
			if !yield(fmt.Appendf(nil, "%d ", i), nil) {
				return
			}
			time.Sleep(time.Second)
		}
	}
}

// net/http cancels the context of a request whose client has only finished
// sending, which the likes of netcat do. It still gets all.
func TestStream_AClientThatHasFinishedSendingGetsAllOfIt(t *testing.T) {
	for _, version := range []string{"1.0", "1.1"} {
		for _, after := range []time.Duration{0, 1500 * time.Millisecond} {
			for _, moored := range []bool{false, true} {
				if moored && version == "1.0" {
					continue
				}
				t.Run(fmt.Sprint(version, " after ", after, " moored ", moored), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						returned := make(chan error, 2)
						c := inMemory(t, &hythe.Server{Service: &httpd.Server{Handler: streamed(counted(5), returned)}})()
						c.nc.SetDeadline(time.Time{})
						if moored {
							c.send(getHello)
							c.want(200, "0 1 2 3 4 ")
							if err := <-returned; err != nil {
								t.Errorf("Stream = %v", err)
							}
							time.Sleep(time.Minute)
						}
						c.send("GET / HTTP/" + version + "\r\nHost: x\r\n\r\n")
						time.Sleep(after)
						c.nc.(interface{ CloseWrite() error }).CloseWrite()
						c.want(200, "0 1 2 3 4 ")
						if err := <-returned; !errors.Is(err, context.Canceled) {
							t.Errorf("Stream = %v, want context.Canceled", err)
						}
						c.wantEOF()
						c.nc.Close()
					})
				})
			}
		}
	}
}

// Chunks that give up because of the context say so, and the client sees it.
func TestStream_GivingUpBecauseOfTheContextIsSeen(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		httpd.Stream(w, r, func(yield func([]byte, error) bool) {
			if yield([]byte("one "), nil) {
				<-r.Context().Done()
				yield(nil, r.Context().Err())
			}
		})
		t.Error("Stream returned")
	})
	at := startSite(t, h, nil)
	for _, version := range []string{"1.0", "1.1"} {
		nc := dial(t, at)
		io.WriteString(nc, "GET / HTTP/"+version+"\r\nHost: x\r\n\r\n")
		nc.(*net.TCPConn).CloseWrite()
		resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil {
			if version == "1.0" {
				continue // cut off so hard that nothing came
			}
			t.Fatal(err)
		}
		if got, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("HTTP/%s: the client takes %q for the whole", version, got)
		}
	}
}

// What chunks has open is closed however the answer ends.
func TestStream_WhatChunksDefersIsDone(t *testing.T) {
	for _, how := range []string{"whole", "error", "panic", "the client leaves", "the client does not read", "abort"} {
		t.Run(how, func(t *testing.T) {
			var ended chan bool // made where its clock is
			overAll(t, func(w http.ResponseWriter, r *http.Request) {
				ended = make(chan bool)
				begun := false
				defer func() {
					if !begun && how == "the client leaves" { // even before the first chunk
						close(ended)
					}
				}()
				httpd.Stream(w, r, func(yield func([]byte, error) bool) {
					begun = true
					defer close(ended)
					more := yield([]byte("one"), nil)
					switch how {
					case "whole":
						more = false
					case "error":
						time.Sleep(time.Second)
						more = yield(nil, errors.New("failed"))
					case "panic":
						panic(http.ErrAbortHandler)
					case "abort":
						time.Sleep(time.Second)
						httpd.ConnOf(r.Context()).Abort()
					}
					for more {
						if more = yield(make([]byte, 8<<10), nil); more && how != "the client does not read" {
							time.Sleep(time.Second)
						}
					}
				})
			}, func(t *testing.T, proto string, body io.Reader, nc net.Conn) {
				if how == "the client leaves" {
					nc.Close()
				}
				select {
				case <-ended:
				case <-time.After(2 * time.Minute):
					t.Error("it was not done")
				}
			})
		})
	}
}

// No more than one chunk is made that the client has not room for.
func TestStream_MakesOneChunkAhead(t *testing.T) {
	const size = 200_000
	var asked atomic.Int64
	overAll(t, func(w http.ResponseWriter, r *http.Request) {
		httpd.Stream(w, r, func(yield func([]byte, error) bool) {
			b := make([]byte, size)
			for i := range 4 {
				asked.Store(int64(i) + 1)
				for k := range b {
					b[k] = byte('a' + i) // the chunk before is not used any more
				}
				if !yield(b, nil) {
					return
				}
			}
		})
	}, func(t *testing.T, proto string, body io.Reader, nc net.Conn) {
		got := make([]byte, size)
		for i := range 4 {
			synctest.Wait()
			if n := asked.Load(); n > int64(i)+1 {
				t.Errorf("%d chunks were made when the client had read %d", n, i)
			}
			if _, err := io.ReadFull(body, got); err != nil || len(bytes.Trim(got, string(rune('a'+i)))) > 0 {
				t.Fatalf("chunk %d: %v, or it is another's", i, err)
			}
		}
		if rest, err := io.ReadAll(body); len(rest) > 0 || err != nil {
			t.Errorf("behind the last chunk: %q, %v", rest, err)
		}
	})
}

func TestStream_EmptyChunksAreNotSent(t *testing.T) {
	overAll(t, func(w http.ResponseWriter, r *http.Request) {
		err := httpd.Stream(w, r, func(yield func([]byte, error) bool) {
			for _, b := range [][]byte{nil, {}, []byte("one"), {}, nil, []byte("two"), nil} {
				if !yield(b, nil) {
					t.Error("the stream has ended")
					return
				}
				time.Sleep(time.Second)
			}
		})
		if err != nil {
			t.Errorf("Stream = %v", err)
		}
	}, func(t *testing.T, proto string, body io.Reader, nc net.Conn) {
		if got, err := io.ReadAll(body); string(got) != "onetwo" || err != nil {
			t.Errorf("the client got %q, %v", got, err)
		}
	})
}

func TestStream_OfNothingIsAnEmptyAnswer(t *testing.T) {
	overAll(t, func(w http.ResponseWriter, r *http.Request) {
		if err := httpd.Stream(w, r, func(func([]byte, error) bool) {}); err != nil {
			t.Errorf("Stream = %v", err)
		}
	}, func(t *testing.T, proto string, body io.Reader, nc net.Conn) {
		if got, err := io.ReadAll(body); len(got) > 0 || err != nil {
			t.Errorf("the client got %q, %v", got, err)
		}
	})
}

// The handler's status, header, length and what it has written already stay.
func TestStream_GoesOnFromWhatTheHandlerHasBegun(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Mine", "yes")
		w.Header().Set("Content-Length", "16")
		w.WriteHeader(http.StatusAccepted)
		io.WriteString(w, "before ")
		if err := httpd.Stream(w, r, func(yield func([]byte, error) bool) {
			_ = yield([]byte("chunk"), nil) && yield([]byte("s"), nil)
		}); err != nil {
			t.Errorf("Stream = %v", err)
		}
		io.WriteString(w, "end")
	}
	overBoth(t, h, nil, func(t *testing.T, resp *http.Response, body string, err error) {
		if err != nil || resp.StatusCode != http.StatusAccepted || resp.Header.Get("X-Mine") != "yes" || resp.ContentLength != 16 || body != "before chunksend" {
			t.Errorf("the client got %+v with %q, %v", resp, body, err)
		}
	})
}

// HEAD has the header and no chunk.
func TestStream_HEAD(t *testing.T) {
	returned := make(chan error, 1)
	h := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Mine", "yes")
		returned <- httpd.Stream(w, r, func(yield func([]byte, error) bool) { yield([]byte("one"), nil) })
	}
	overBoth(t, h, func(req *http.Request) { req.Method = "HEAD" }, func(t *testing.T, resp *http.Response, body string, err error) {
		if err != nil || resp.StatusCode != 200 || resp.Header.Get("X-Mine") != "yes" || body != "" {
			t.Errorf("the client got %+v with %q, %v", resp, body, err)
		}
		<-returned
	})
}

// Behind a writer that cannot flush, which a chunk would not get through, nothing
// is sent.
func TestStream_NeedsAFlusher(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		err := httpd.Stream(silent{w}, r, func(yield func([]byte, error) bool) { t.Error("a chunk was asked for") })
		if !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("Stream = %v", err)
		}
		http.Error(w, "sorry", http.StatusInternalServerError)
	}
	overBoth(t, h, nil, func(t *testing.T, resp *http.Response, body string, err error) {
		if err != nil || resp.StatusCode != http.StatusInternalServerError || body != "sorry\n" {
			t.Errorf("the client got %+v with %q, %v", resp, body, err)
		}
	})
}

func TestEvents_AnErrorCutsThemOff(t *testing.T) {
	overAll(t, func(w http.ResponseWriter, r *http.Request) {
		httpd.Events(w, r, func(yield func(httpd.Event, error) bool) {
			_ = yield(httpd.Event{ID: "1", Data: "one"}, nil) && yield(httpd.Event{}, nil)
			time.Sleep(time.Second)
			yield(httpd.Event{Data: "never"}, errors.New("failed"))
		})
		t.Error("Events returned")
	}, func(t *testing.T, proto string, body io.Reader, nc net.Conn) {
		got, err := io.ReadAll(body)
		if string(got) != "id: 1\ndata: one\n\n:\n\n" || err == nil {
			t.Errorf("the client got %q, %v", got, err)
		}
	})
}

// Events pass compression as they come, and are not compressed; other streams are,
// and pass as they come too.
func TestEvents_PassMiddlewareAsTheyCome(t *testing.T) {
	events := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		httpd.Events(w, r, func(yield func(httpd.Event, error) bool) {
			for i := range 3 {
				if !yield(httpd.Event{Data: fmt.Sprint(i)}, nil) {
					return
				}
				time.Sleep(time.Hour)
			}
		})
	})
	overAll(t, acceptGzip(allMiddleware(func(*middleware.Entry) {}, events)).ServeHTTP, func(t *testing.T, proto string, body io.Reader, nc net.Conn) {
		began := time.Now()
		for i := range 3 {
			want := fmt.Sprintf("data: %d\n\n", i)
			got := make([]byte, len(want))
			if _, err := io.ReadFull(body, got); err != nil || string(got) != want || time.Since(began) != time.Duration(i)*time.Hour {
				t.Fatalf("got %q, %v after %v", got, err, time.Since(began))
			}
		}
		if rest, err := io.ReadAll(body); len(rest) > 0 || err != nil {
			t.Errorf("behind the last: %q, %v", rest, err)
		}
	})
	words := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		httpd.Stream(w, r, func(yield func([]byte, error) bool) {
			for i := range 3 {
				if !yield([]byte(strings.Repeat(fmt.Sprint(i), 1000)), nil) {
					return
				}
				time.Sleep(time.Hour)
			}
		})
	})
	overAll(t, acceptGzip(middleware.Compress{MinSize: -1}.Wrap(words)).ServeHTTP, func(t *testing.T, proto string, body io.Reader, nc net.Conn) {
		began := time.Now()
		text := gunzip(t, body)
		for i := range 3 {
			got := make([]byte, 1000)
			if _, err := io.ReadFull(text, got); err != nil || string(got) != strings.Repeat(fmt.Sprint(i), 1000) || time.Since(began) != time.Duration(i)*time.Hour {
				t.Fatalf("got %.20q, %v after %v", got, err, time.Since(began))
			}
		}
		if rest, err := io.ReadAll(text); len(rest) > 0 || err != nil {
			t.Errorf("behind the last: %q, %v", rest, err)
		}
	})
}

// acceptGzip has requests say that they accept it.
func acceptGzip(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Accept-Encoding", "gzip")
		h.ServeHTTP(w, r)
	})
}

// Who streams when the routes are replaced goes on with those there were.
func TestTable_ASwapLeavesStreamsAlone(t *testing.T) {
	var table *httpd.Table // made where its clock is
	routes := func(name string) []httpd.Route {
		return []httpd.Route{
			{Pattern: "GET /", Name: name, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				httpd.Stream(w, r, func(yield func([]byte, error) bool) {
					for range 3 {
						route, _ := httpd.RouteOf(r)
						if !yield([]byte(name+route.Name+" "), nil) {
							return
						}
						time.Sleep(time.Minute)
					}
				})
			})},
		}
	}
	overAll(t, func(w http.ResponseWriter, r *http.Request) {
		table = new(httpd.Table)
		if _, err := table.Swap(routes("old")); err != nil {
			t.Error(err)
		}
		table.ServeHTTP(w, r)
	}, func(t *testing.T, proto string, body io.Reader, nc net.Conn) {
		time.Sleep(time.Second)
		if _, err := table.Swap(routes("new")); err != nil {
			t.Error(err)
		}
		if got, err := io.ReadAll(body); string(got) != "oldold oldold oldold " || err != nil {
			t.Errorf("the client got %q, %v", got, err)
		}
	})
}
