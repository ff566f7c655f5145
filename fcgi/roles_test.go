package fcgi

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/hythetest"
)

func TestAuthorizer_Spec6_3(t *testing.T) {
	s := &Server{Authorizer: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "let me in" {
			SetVariable(w, "AUTH_METHOD", "by word")
			return
		}
		w.Header().Set("WWW-Authenticate", "Basic")
		w.WriteHeader(http.StatusUnauthorized)
	})}
	p := newPeer(t, hythetest.Dial(t, &hythe.Server{Service: s}).Conn())
	// Web servers send an end of STDIN, or do not.
	for _, stdin := range []string{"", rec(typeStdin, 1, "")} {
		p.send(string(appendBegin(nil, 1, roleAuthorizer, flagKeepConn)) + environ(1, "HTTP_AUTHORIZATION", "let me in") + stdin)
		if a := p.reply(1); a.out != "Status: 200 OK\r\nContent-Length: 0\r\nVariable-AUTH_METHOD: by word\r\n\r\n" {
			t.Errorf("got %q", a.out)
		}
		p.send(string(appendBegin(nil, 1, roleAuthorizer, flagKeepConn)) + environ(1) + stdin)
		if a := p.reply(1); a.head("Status") != "401 Unauthorized" {
			t.Errorf("got %q", a.out)
		}
	}
}

func TestFilter_Spec6_4(t *testing.T) {
	s := func() *Server {
		return &Server{Filter: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			file := Data(r)
			data, err := io.ReadAll(file)
			body, bodyErr := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%d %d %q %v %q %v", file.Length, file.ModTime.Unix(), data, err, body, bodyErr)
		})}
	}
	for _, test := range []struct{ name, sent, want string }{
		{"all", rec(typeStdin, 1, "body") + rec(typeStdin, 1, "") + rec(typeData, 1, "the ") + rec(typeData, 1, "file") + rec(typeData, 1, ""),
			`8 1000000000 "the file" <nil> "body" <nil>`},
		{"half the file", rec(typeStdin, 1, "") + rec(typeData, 1, "the ") + rec(typeData, 1, ""), `8 1000000000 "the " unexpected EOF "" <nil>`},
	} {
		t.Run(test.name, func(t *testing.T) {
			onBoth(t, s, func(t *testing.T, _ *Server, p *peer) {
				p.send(string(appendBegin(nil, 1, roleFilter, flagKeepConn)) + environ(1, "FCGI_DATA_LENGTH", "8", "FCGI_DATA_LAST_MOD", "1000000000"))
				p.send(test.sent)
				p.wantBody(1, test.want)
			})
		})
	}
}

func TestDataIsOfFiltersOnly_Spec6_4(t *testing.T) {
	p := dial(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, Data(r) == nil) })
	p.send(get(1, "/"))
	p.wantBody(1, "true")
}

// unwrapped is a ResponseWriter as middleware makes them.
type unwrapped struct{ http.ResponseWriter }

func (u unwrapped) Unwrap() http.ResponseWriter { return u.ResponseWriter }

func TestAppStatus_Spec5_5(t *testing.T) {
	c := hythetest.Dial(t, &hythe.Server{Service: &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(204)
		SetAppStatus(unwrapped{w}, 0x01020304)
	})}})
	c.Write(get(1, "/"))
	c.Want(rec(typeStdout, 1, "Status: 204 No Content\r\n\r\n") + rec(typeStdout, 1, "") + "\x01\x03\x00\x01\x00\x08\x00\x00\x01\x02\x03\x04\x00\x00\x00\x00")
}

func TestStderr_Spec5_3(t *testing.T) {
	c := hythetest.Dial(t, &hythe.Server{Service: &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(204)
		io.WriteString(Stderr(r.Context()), "oops\n")
	})}})
	c.Write(get(1, "/"))
	c.Want(rec(typeStderr, 1, "oops\n") + rec(typeStdout, 1, "Status: 204 No Content\r\n\r\n") + rec(typeStdout, 1, "") + rec(typeStderr, 1, "") +
		string(appendEnd(nil, 1, 0, statusComplete)))
	if Stderr(context.Background()) != io.Writer(os.Stderr) {
		t.Error("outside of a request it is not os.Stderr")
	}
}

func TestStderrOfAnySize(t *testing.T) {
	long := strings.Repeat("0123456789", 10_000)
	p := dial(t, func(w http.ResponseWriter, r *http.Request) {
		if n, err := io.WriteString(Stderr(r.Context()), long); n != len(long) || err != nil {
			t.Errorf("wrote %d bytes, %v", n, err)
		}
	})
	p.send(get(1, "/"))
	if a := p.reply(1); a.err != long || a.errEnds != 1 {
		t.Errorf("%d bytes came, and %d ends", len(a.err), a.errEnds)
	}
}

func TestLogHandler(t *testing.T) {
	log := slog.New(LogHandler(func(w io.Writer) slog.Handler {
		return slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})
	})).With("app", "x").WithGroup("g")
	p := dial(t, func(w http.ResponseWriter, r *http.Request) {
		log.InfoContext(r.Context(), "too low")
		log.WarnContext(r.Context(), "two\nlines", "path", r.URL.Path)
	})
	p.send(get(1, "/x"))
	if got, want := p.reply(1).err, "level=WARN msg=\"two\\nlines\" app=x g.path=/x\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestStream(t *testing.T) {
	next := make(chan bool)
	var got error
	p := dial(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "x")
		got = Stream(w, func(yield func([]byte, error) bool) {
			for _, s := range []string{"one", "two"} {
				<-next
				if !yield([]byte(s), nil) {
					return
				}
			}
			<-next
			if r.URL.Path == "/fails" {
				yield(nil, io.ErrNoProgress)
			}
		})
	})
	for path, want := range map[string]error{"/": nil, "/fails": io.ErrNoProgress} {
		p.send(get(1, path))
		for _, s := range []string{"one", "two"} {
			next <- true
			p.wantOut(1, s)
		}
		next <- true
		p.wantBody(1, "onetwo")
		if got != want {
			t.Errorf("Stream = %v, want %v", got, want)
		}
	}
}

// The iterator is not asked for more than the web server takes.
func TestStreamStopsWithTheRequest(t *testing.T) {
	chunks := 0
	left := make(chan error, 1)
	c := hythetest.Dial(t, &hythe.Server{Service: &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		left <- Stream(w, func(yield func([]byte, error) bool) {
			for yield(slices.Repeat([]byte("x"), 10_000), nil) {
				chunks++
			}
		})
	})}})
	c.Write(get(1, "/"))
	time.Sleep(50 * time.Millisecond)
	c.Reset()
	if err := <-left; err == nil || chunks > 200 {
		t.Errorf("%d chunks, %v", chunks, err)
	}
}
