package fcgi

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/hythetest"
)

func TestResponses(t *testing.T) {
	big := strings.Repeat("0123456789", 10_000)
	for _, test := range []struct {
		name    string
		method  string
		handler http.HandlerFunc
		want    string
	}{
		{"nothing", "GET", func(w http.ResponseWriter, r *http.Request) {}, "Status: 200 OK\r\nContent-Length: 0\r\n\r\n"},
		{"sniffed", "GET", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<html>") },
			"Status: 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 6\r\n\r\n<html>"},
		{"not sniffed", "GET", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			io.WriteString(w, "<html>")
		}, "Status: 200 OK\r\nContent-Length: 6\r\nContent-Encoding: gzip\r\n\r\n<html>"},
		{"large", "GET", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, big) },
			"Status: 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + big},
		{"many small ones", "GET", func(w http.ResponseWriter, r *http.Request) {
			for s := big; s != ""; s = s[10:] {
				w.Write([]byte(s[:10]))
			}
		}, "Status: 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + big},
		{"read from a reader", "GET", func(w http.ResponseWriter, r *http.Request) {
			io.Copy(w, io.LimitReader(strings.NewReader(big), 1<<20))
		},
			"Status: 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + big},
		{"a status without a name", "GET", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(799) }, "Status: 799\r\nContent-Length: 0\r\n\r\n"},
		{"the first status counts", "GET", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusNotFound)
			w.WriteHeader(http.StatusOK)
		}, "Status: 404 Not Found\r\nContent-Length: 0\r\n\r\n"},
		{"several values", "GET", func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Set-Cookie"] = []string{"a=1", " b=2 "}
			w.Header().Set("Content-Length", "0")
		}, "Status: 200 OK\r\nContent-Length: 0\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n"},
		{"redirected", "GET", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "/there")
			w.WriteHeader(http.StatusSeeOther)
		}, "Content-Length: 0\r\nLocation: /there\r\nStatus: 303 See Other\r\n\r\n"},
		{"HEAD", "HEAD", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") },
			"Status: 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n\r\n"},
		{"HEAD of something large", "HEAD", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, big) },
			"Status: 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"},
		{"HEAD, with a length", "HEAD", func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Length", "123") },
			"Status: 200 OK\r\nContent-Length: 123\r\n\r\n"},
		{"no body", "GET", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusNotModified)
			if _, err := io.WriteString(w, "x"); err != http.ErrBodyNotAllowed {
				t.Errorf("Write = %v, want ErrBodyNotAllowed", err)
			}
		}, "Status: 304 Not Modified\r\n\r\n"},
		{"too much", "GET", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "3")
			w.Header().Set("Content-Type", "x")
			io.WriteString(w, "abc")
			if _, err := io.WriteString(w, "d"); err != http.ErrContentLength {
				t.Errorf("Write = %v, want ErrContentLength", err)
			}
		}, "Status: 200 OK\r\nContent-Length: 3\r\nContent-Type: x\r\n\r\nabc"},
		{"headers after the status are lost", "GET", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			w.Header().Set("X-Late", "1")
		}, "Status: 200 OK\r\n\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := dial(t, test.handler)
			p.send(ask(1, flagKeepConn, "", "REQUEST_METHOD", test.method))
			if got := p.reply(1).out; got != test.want {
				t.Errorf("got  %.300q\nwant %.300q", got, test.want)
			}
		})
	}
}

func TestHeaderInjectionIsRefused(t *testing.T) {
	var log strings.Builder
	s := &Server{Logger: slog.New(slog.NewTextHandler(&log, nil)), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["X-Value"] = []string{"a\r\nSet-Cookie: evil=1", "fine"}
		h["X-Zero"] = []string{"\x00"}
		h["X-Name\r\nEvil"] = []string{"1"}
		h["X Space"] = []string{"1"}
		h["Status"] = []string{"500"}
		h["Connection"] = []string{"close"}
		h["Transfer-Encoding"] = []string{"chunked"}
		w.WriteHeader(http.StatusNoContent)
	})}
	p := newPeer(t, hythetest.Dial(t, &hythe.Server{Service: s}).Conn())
	p.send(get(1, "/"))
	if got, want := p.reply(1).out, "Status: 204 No Content\r\nX-Value: fine\r\n\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if n := strings.Count(log.String(), "refused"); n != 4 {
		t.Errorf("%d refusals were logged, want 4:\n%s", n, &log)
	}
}

func TestFlushSendsTheHeadersAndWhatWasWritten(t *testing.T) {
	next := make(chan bool)
	p := dial(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "x")
		f := http.NewResponseController(w)
		if err := f.Flush(); err != nil {
			t.Error(err)
		}
		for _, s := range []string{"one", "two"} {
			<-next
			io.WriteString(w, s)
			f.Flush()
		}
		<-next
	})
	p.send(get(1, "/"))
	p.wantOut(1, "Status: 200 OK\r\nContent-Type: x\r\n\r\n")
	for _, s := range []string{"one", "two"} {
		next <- true
		p.wantOut(1, s)
	}
	next <- true
	p.wantBody(1, "onetwo")
}

// A response that is written after its handler has returned reaches nobody.
func TestWritesAfterTheHandlerFail(t *testing.T) {
	var late http.ResponseWriter
	var ctx context.Context
	p := dial(t, func(w http.ResponseWriter, r *http.Request) {
		late, ctx = w, r.Context()
		io.WriteString(w, "x")
	})
	p.send(get(1, "/"))
	p.wantBody(1, "x")
	<-ctx.Done()
	if _, err := late.Write([]byte("late")); err == nil {
		t.Error("Write succeeds")
	}
	if _, err := io.WriteString(late, strings.Repeat("late", 5000)); err == nil {
		t.Error("WriteString succeeds")
	}
	if err := http.NewResponseController(late).Flush(); err == nil {
		t.Error("Flush succeeds")
	}
	if _, err := io.WriteString(Stderr(ctx), "late"); err == nil {
		t.Error("writing to STDERR succeeds")
	}
	p.send(get(1, "/"))
	p.wantBody(1, "x")
}

func TestWriteDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		took := make(chan time.Duration, 1)
		p := dial(t, func(w http.ResponseWriter, r *http.Request) {
			began := time.Now()
			http.NewResponseController(w).SetWriteDeadline(began.Add(5 * time.Second))
			var err error
			for err == nil {
				_, err = w.Write(make([]byte, 100_000))
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Write = %v, want os.ErrDeadlineExceeded", err)
			}
			took <- time.Since(began)
		})
		p.send(get(1, "/"))
		if d := <-took; d != 5*time.Second {
			t.Errorf("it took %v, want 5 s", d)
		}
		p.Close()
	})
}

// Two large responses on one connection come in turns.
func TestWritesAreFair(t *testing.T) {
	const pieces = 100
	p := dial(t, func(w http.ResponseWriter, r *http.Request) {
		for range pieces {
			w.Write([]byte(strings.Repeat("x", pieceContent)))
		}
	})
	p.send(get(1, "/") + get(2, "/") + get(3, "/"))
	first := p.reply(1)
	if len(first.body()) != pieces*pieceContent {
		t.Fatalf("%d bytes", len(first.body()))
	}
	for _, id := range []uint16{2, 3} {
		if n := len(p.replies[id].out) / pieceContent; n < pieces/4 {
			t.Errorf("when request 1 was done, request %d had sent %d of %d pieces", id, n, pieces)
		}
		p.reply(id)
	}
}

// Waiting for room does not keep an abort from being noticed.
func TestAbortEndsAWaitForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		p := dial(t, func(w http.ResponseWriter, r *http.Request) {
			var err error
			for err == nil {
				_, err = w.Write(make([]byte, 100_000))
			}
			ended <- err
		})
		p.send(get(1, "/"))
		synctest.Wait()
		p.send(rec(typeAbort, 1, ""))
		if err := <-ended; err != ErrAborted {
			t.Errorf("Write = %v, want ErrAborted", err)
		}
		if got := p.reply(1); got.status != statusComplete || got.outEnds != 1 {
			t.Errorf("got %d bytes, %+v", len(got.out), got.status)
		}
	})
}
