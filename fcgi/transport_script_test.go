package fcgi_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe/fcgi"
	"github.com/hythe-go/hythe/memnet"
)

// Applications that keep to a script of raw bytes, other than this package's
// Server: strange ones, and broken ones.

// scripted returns a Transport to an application that is app. Each connection is
// closed when app returns, and n says which one it is.
func scripted(t testing.TB, app func(c net.Conn, n int)) *fcgi.Transport {
	t.Helper()
	network := new(memnet.Network)
	ln, err := network.Listen("")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for n := 1; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer c.Close()
				app(c, n)
			})
		}
	})
	tr := &fcgi.Transport{Address: "app", Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return network.Dial(ctx, ln.Addr().String())
	}}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		ln.Close()
		work.Wait()
	})
	return tr
}

// takeRequest reads a request to the end of its STDIN, and tells which record
// types came.
func takeRequest(r io.Reader) (types string, err error) {
	c := &wire{r: bufio.NewReader(r)}
	for {
		rec, err := c.tryRecord()
		if err != nil {
			return types, err
		}
		types += fmt.Sprint(rec.kind, " ")
		if rec.kind == tStdin && rec.content == "" {
			return types, nil
		}
	}
}

// takeHead reads as takeRequest does, from a connection of which more is read.
func takeHead(c net.Conn) error {
	var h [8]byte
	for {
		if _, err := io.ReadFull(c, h[:]); err != nil {
			return err
		}
		n := int64(h[4])<<8 + int64(h[5])
		if _, err := io.CopyN(io.Discard, c, n+int64(h[6])); err != nil {
			return err
		}
		if h[1] == tStdin && n == 0 {
			return nil
		}
	}
}

// outcome describes how a request went.
func outcome(tr *fcgi.Transport, method string) string {
	r, _ := http.NewRequest(method, "http://h/", nil)
	resp, err := tr.RoundTrip(r)
	kind := func(err error) string {
		for name, is := range map[string]error{
			"bad response": fcgi.ErrBadResponse, "overloaded": fcgi.ErrOverloaded, "cannot multiplex": fcgi.ErrCantMultiplex, "unknown role": fcgi.ErrUnknownRole,
			"timeout": os.ErrDeadlineExceeded, "cut off": io.ErrUnexpectedEOF,
		} {
			if errors.Is(err, is) {
				return name
			}
		}
		return err.Error()
	}
	if err != nil {
		return "error: " + kind(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	s := fmt.Sprintf("%s, length %d, %q", resp.Status, resp.ContentLength, b)
	if err != nil {
		s += ", error: " + kind(err)
	}
	return s
}

const ok = "\x01\x03\x00\x01\x00\x08\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" // END_REQUEST

var responses = []struct{ name, wire, want string }{
	{"hello", mk(6, 1, "Content-Type: text/plain\r\n\r\nhello") + mk(6, 1, "") + ok, `200 OK, length -1, "hello"`},
	{"LF", mk(6, 1, "Status: 404\nA: b\n\nhello") + mk(6, 1, "") + ok, `404 Not Found, length -1, "hello"`},
	{"mixed line ends", mk(6, 1, "Status: 404 Gone Fishing\nA: b\r\n\nhello") + mk(6, 1, "") + ok, `404 Gone Fishing, length -1, "hello"`},
	{"mixed the other way", mk(6, 1, "Status: 404\r\nA: b\n\r\nhello") + mk(6, 1, "") + ok, `404 Not Found, length -1, "hello"`},
	{"a record for each byte", strings.Join(each("Status: 201 Created\r\n\r\nhello", func(s string) string { return mk(6, 1, s) }), "") + ok, `201 Created, length -1, "hello"`},
	{"as PHP ends: no end of STDOUT", mk(6, 1, "X: y\r\n\r\nhello") + ok, `200 OK, length -1, "hello"`},
	{"padded", "\x01\x06\x00\x01\x00\x0b\x05\x00" + "X: y\r\n\r\nabc" + "\x01\x01\x01\x01\x01" + ok, `200 OK, length -1, "abc"`},
	{"STDERR between", mk(7, 1, "oh") + mk(6, 1, "X: y\r\n") + mk(7, 1, "no") + mk(6, 1, "\r\nabc") + mk(7, 1, "") + ok, `200 OK, length -1, "abc"`},
	{"no fields", mk(6, 1, "\r\nabc") + ok, `200 OK, length -1, "abc"`},
	{"Location", mk(6, 1, "Location: /x\r\n\r\n") + ok, `302 Found, length -1, ""`},
	{"Location and Status", mk(6, 1, "Location: /x\r\nStatus: 307 Temporary Redirect\r\n\r\n") + ok, `307 Temporary Redirect, length -1, ""`},
	{"no body by status", mk(6, 1, "Status: 304\r\n\r\njunk") + ok, `304 Not Modified, length 0, ""`},
	{"a length", mk(6, 1, "Content-Length: 5\r\n\r\nhello") + mk(6, 1, "") + ok, `200 OK, length 5, "hello"`},
	{"too long for its length", mk(6, 1, "Content-Length: 4\r\n\r\nhello") + mk(6, 1, "more") + ok, `200 OK, length 4, "hell"`},
	{"too short for it", mk(6, 1, "Content-Length: 6\r\n\r\nhello") + mk(6, 1, "") + ok, `200 OK, length 6, "hello", error: cut off`},
	{"closed behind STDOUT", mk(6, 1, "X: y\r\n\r\nhello") + mk(6, 1, ""), `200 OK, length -1, "hello"`},
	{"closed inside STDOUT", mk(6, 1, "X: y\r\n\r\nhello"), `200 OK, length -1, "hello", error: cut off`},
	{"closed inside a record", mk(6, 1, "X: y\r\n\r\nhello")[:20], `200 OK, length -1, "hell", error: cut off`},
	{"closed inside the header", mk(6, 1, "X: y\r\n"), `error: cut off`},
	{"closed at once", "", `error: cut off`},
	{"ended at once", ok, `error: bad response`},
	{"ended inside the header", mk(6, 1, "X: y\r\n") + ok, `error: bad response`},
	{"output behind the end", mk(6, 1, "X: y\r\n\r\nhello") + mk(6, 1, "") + mk(6, 1, "more") + ok, `200 OK, length -1, "hello", error: bad response`},
	{"overloaded", ok[:12] + "\x02\x00\x00\x00", `error: overloaded`},
	{"cannot multiplex", ok[:12] + "\x01\x00\x00\x00", `error: cannot multiplex`},
	{"unknown role", ok[:12] + "\x03\x00\x00\x00", `error: unknown role`},
	{"an unknown status", ok[:12] + "\x04\x00\x00\x00", `error: bad response`},
	{"overloaded, later", mk(6, 1, "X: y\r\n\r\nhello") + ok[:12] + "\x02\x00\x00\x00", `200 OK, length -1, "hello", error: overloaded`},
	{"a short END_REQUEST", "\x01\x03\x00\x01\x00\x01\x00\x00\x00", `error: bad response`},
	{"another's", mk(6, 2, "X: y\r\n\r\nhello") + ok, `error: bad response`},
	{"another version", "\x02" + ok[1:], `error: bad response`},
	{"HTTP", "HTTP/1.1 200 OK\r\n\r\n", `error: bad response`},
	{"HTTP in STDOUT", mk(6, 1, "HTTP/1.1 200 OK\r\n\r\n") + ok, `error: bad response`},
	{"a request", begin(1, 1), `error: bad response`},
	{"a management record", mk(10, 0, "") + ok, `error: bad response`},
	{"a line without a colon", mk(6, 1, "hello\r\n\r\n") + ok, `error: bad response`},
	{"a field without a name", mk(6, 1, ": hello\r\n\r\n") + ok, `error: bad response`},
	{"a NUL", mk(6, 1, "X: a\x00b\r\n\r\n") + ok, `error: bad response`},
	{"status 0", mk(6, 1, "Status: 0\r\n\r\n") + ok, `error: bad response`},
	{"status 100", mk(6, 1, "Status: 100 Continue\r\n\r\n") + ok, `error: bad response`},
	{"status abc", mk(6, 1, "Status: abc\r\n\r\n") + ok, `error: bad response`},
	{"status 2000", mk(6, 1, "Status: 2000\r\n\r\n") + ok, `error: bad response`},
	{"a length below zero", mk(6, 1, "Content-Length: -1\r\n\r\n") + ok, `error: bad response`},
	{"a length that is none", mk(6, 1, "Content-Length: 1e3\r\n\r\n") + ok, `error: bad response`},
	{"two lengths", mk(6, 1, "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab") + ok, `error: bad response`},
	{"a header without end", strings.Repeat(mk(6, 1, strings.Repeat("X: y\r\n", 10000)), 5), `error: bad response`},
	{"a line without end", strings.Repeat(mk(6, 1, strings.Repeat("X", 60000)), 5), `error: bad response`},
	{"an endless control record", mk(3, 1, strings.Repeat("x", 65535)), `error: bad response`},
}

func each(s string, f func(string) string) (all []string) {
	for _, c := range strings.Split(s, "") {
		all = append(all, f(c))
	}
	return all
}

func TestTransportResponses(t *testing.T) {
	for _, test := range responses {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for _, step := range []int{1 << 20, 1, 7} { // bytes at a time
					if step < 1000 && len(test.wire) > 10_000 {
						continue
					}
					tr := scripted(t, func(c net.Conn, _ int) {
						takeHead(c)
						for rest := []byte(test.wire); len(rest) > 0; {
							n := min(step, len(rest))
							c.Write(rest[:n])
							if rest = rest[n:]; step < 1000 {
								time.Sleep(time.Millisecond) // until it is read
							}
						}
					})
					if got := outcome(tr, "GET"); got != test.want {
						t.Errorf("%d bytes at a time:\ngot  %s\nwant %s", step, got, test.want)
					}
				}
			})
		})
	}
}

// HEAD has no body, whatever the application sends.
func TestTransportHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := scripted(t, func(c net.Conn, _ int) {
			takeHead(c)
			io.WriteString(c, mk(6, 1, "Content-Length: 5\r\n\r\nhello")+mk(6, 1, "")+ok)
		})
		if got := outcome(tr, "HEAD"); got != `200 OK, length 5, ""` {
			t.Errorf("got %s", got)
		}
	})
}

// What comes behind END_REQUEST belongs to nobody: the connection is not used
// again, and nobody gets it for an answer.
func TestTransportLeftovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := scripted(t, func(c net.Conn, n int) {
			for takeHead(c) == nil {
				io.WriteString(c, mk(6, 1, fmt.Sprintf("X: y\r\n\r\n%d", n))+ok+mk(6, 1, "X: y\r\n\r\nsomebody else's")+ok)
			}
		})
		for n := 1; n <= 3; n++ {
			if got, want := outcome(tr, "GET"), fmt.Sprintf(`200 OK, length -1, "%d"`, n); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	})
}

// The request, byte by byte.
func TestTransportRequestBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make(chan []byte, 1)
		tr := scripted(t, func(c net.Conn, _ int) {
			var b bytes.Buffer
			takeRequest(io.TeeReader(c, &b))
			got <- b.Bytes()
			io.WriteString(c, mk(6, 1, "X: y\r\n\r\n")+ok)
		})
		tr.Params = func(_ *http.Request, p map[string]string) {
			clear(p)
			p["B"], p["A"] = strings.Repeat("b", 128), "a"
		}
		r, _ := http.NewRequest("POST", "http://h/", strings.NewReader("body"))
		resp, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		want := "\x01\x01\x00\x01\x00\x08\x00\x00" + "\x00\x01\x01\x00\x00\x00\x00\x00" + // BEGIN_REQUEST, KEEP_CONN
			"\x01\x04\x00\x01\x00\x8a\x06\x00" + "\x01\x01Aa" + "\x01\x80\x00\x00\x80B" + strings.Repeat("b", 128) + "\x00\x00\x00\x00\x00\x00" +
			"\x01\x04\x00\x01\x00\x00\x00\x00" +
			"\x01\x05\x00\x01\x00\x04\x04\x00" + "body" + "\x00\x00\x00\x00" +
			"\x01\x05\x00\x01\x00\x00\x00\x00"
		if b := <-got; string(b) != want {
			t.Errorf("got  %q\nwant %q", b, want)
		}
	})
}

// A connection that was kept and that the application has closed since is the
// Transport's own affair, if the request may be made twice.
func TestTransportStaleConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := make(chan int, 100)
		tr := scripted(t, func(c net.Conn, n int) {
			if takeHead(c) != nil {
				return
			}
			asked <- n
			io.WriteString(c, mk(6, 1, fmt.Sprintf("X: y\r\n\r\n%d", n))+ok)
			if n < 100 {
				takeHead(c) // the next request dies with its connection
			}
		})
		for n := 1; n <= 3; n++ {
			if got, want := outcome(tr, "GET"), fmt.Sprintf(`200 OK, length -1, "%d"`, n); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		if got := outcome(tr, "POST"); got != "error: cut off" {
			t.Errorf("a POST was made twice: %s", got)
		}
		if got := outcome(tr, "POST"); got != `200 OK, length -1, "4"` {
			t.Errorf("and the next POST: %s", got)
		}
		r, _ := http.NewRequest("PUT", "http://h/", strings.NewReader("body"))
		r.Header.Set("Idempotency-Key", "1")
		resp, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(resp.Body); string(b) != "5" {
			t.Errorf("got %q", b)
		}
		resp.Body.Close()
	})
}

// On a fresh connection there is no second try.
func TestTransportNoSecondTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conns := make(chan int, 10)
		tr := scripted(t, func(c net.Conn, n int) {
			takeHead(c)
			conns <- n
		})
		if got := outcome(tr, "GET"); got != "error: cut off" || len(conns) != 1 {
			t.Errorf("got %s after %d connections", got, len(conns))
		}
	})
}

// The application takes its time: in no stage for ever.
func TestTransportTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := scripted(t, func(c net.Conn, n int) {
			switch n {
			case 1: // takes nothing
				time.Sleep(time.Hour)
			case 2: // says nothing
				takeHead(c)
				io.Copy(io.Discard, c)
			case 3: // stops in the middle of the body
				takeHead(c)
				io.WriteString(c, mk(6, 1, "X: y\r\n\r\nhello"))
				io.Copy(io.Discard, c)
			case 4: // is slow, but alive
				takeHead(c)
				io.WriteString(c, mk(6, 1, "X: y\r\n\r\n"))
				for range 10 {
					time.Sleep(50 * time.Second)
					io.WriteString(c, mk(6, 1, "x"))
				}
				io.WriteString(c, ok)
			}
		})
		began := time.Now()
		r, _ := http.NewRequest("POST", "http://h/", neverEnding{})
		r.ContentLength = 1 << 30
		if _, err := tr.RoundTrip(r); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != time.Minute {
			t.Errorf("an application that takes nothing: %v after %v", err, time.Since(began))
		}
		for n, want := range []string{2: "error: timeout", 3: `200 OK, length -1, "hello", error: timeout`, 4: `200 OK, length -1, "xxxxxxxxxx"`} {
			if n < 2 {
				continue
			}
			if got := outcome(tr, "GET"); got != want {
				t.Errorf("%d: got %s, want %s", n, got, want)
			}
		}
	})
}

// An application that is deaf to ABORT_REQUEST has its connection closed soon,
// and nobody waits for that.
func TestTransportAbortsTheDeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last rec
		closed := make(chan time.Duration, 1)
		tr := scripted(t, func(c net.Conn, _ int) {
			takeHead(c)
			began := time.Now()
			w := &wire{r: bufio.NewReader(c)}
			for {
				r, err := w.tryRecord()
				if err != nil {
					break
				}
				last = r
			}
			closed <- time.Since(began)
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute/2)
		defer cancel()
		r, _ := http.NewRequestWithContext(ctx, "GET", "http://h/", nil)
		began := time.Now()
		if _, err := tr.RoundTrip(r); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Minute/2 {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		if d := <-closed; d != time.Minute/2+time.Second || last != (rec{tAbort, 1, ""}) {
			t.Errorf("the connection was closed after %v, and the last record on it was %+v", d, last)
		}
	})
}

// A response whose body nobody has read to the very end, though it is complete,
// does not cost the connection.
func TestTransportKeepsWhatIsComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := scripted(t, func(c net.Conn, n int) {
			for takeHead(c) == nil {
				io.WriteString(c, mk(6, 1, fmt.Sprintf("Content-Length: 1\r\n\r\n%d", n)))
				time.Sleep(time.Millisecond)
				io.WriteString(c, mk(6, 1, "")+ok)
			}
		})
		for range 3 {
			r, _ := http.NewRequest("GET", "http://h/", nil)
			resp, err := tr.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 1)
			if _, err := resp.Body.Read(b); err != nil || b[0] != '1' {
				t.Fatalf("got %q, %v", b, err)
			}
			resp.Body.Close()
			time.Sleep(time.Second)
		}
	})
}

func TestTransportStderr(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := scripted(t, func(c net.Conn, _ int) {
			takeHead(c)
			io.WriteString(c, mk(7, 1, "PHP Warning: ")+mk(6, 1, "X: y\r\n\r\n")+mk(7, 1, "oh no\n")+mk(7, 1, "")+ok)
		})
		var got strings.Builder
		tr.Stderr = func(r *http.Request, p []byte) { fmt.Fprintf(&got, "%s %s;", r.URL.Path, p) }
		outcome(tr, "GET")
		if got.String() != "/ PHP Warning: ;/ oh no\n;" {
			t.Errorf("got %q", got.String())
		}
	})
}

// An early answer to an upload that is not over: it is delivered, the rest of
// the body is not sent, and the connection is not used again.
func TestTransportEarlyAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := scripted(t, func(c net.Conn, _ int) {
			io.ReadFull(c, make([]byte, 100))
			io.WriteString(c, mk(6, 1, "Status: 413\r\n\r\ntoo much")+mk(6, 1, "")+ok)
			time.Sleep(time.Second)
		})
		closed := &closeCounter{}
		for range 2 {
			r, _ := http.NewRequest("POST", "http://h/", closed.of(neverEnding{}))
			r.ContentLength = 1 << 40
			resp, err := tr.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(resp.Body); string(b) != "too much" || err != nil || resp.StatusCode != 413 {
				t.Errorf("got %s %q, %v", resp.Status, b, err)
			}
		}
		synctest.Wait()
		if n := closed.n.Load(); n != 2 {
			t.Errorf("%d bodies of 2 were closed", n)
		}
	})
}

// An early answer that meets the last record of the body half sent: what follows
// on that connection would be taken for the rest of it.
func TestTransportEarlyAnswerInsideTheLastRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := scripted(t, func(c net.Conn, n int) {
			io.ReadFull(c, make([]byte, 100))
			io.WriteString(c, mk(6, 1, fmt.Sprintf("X: y\r\n\r\n%d", n))+ok)
			time.Sleep(time.Second)
			io.Copy(io.Discard, c)
		})
		for n := 1; n <= 2; n++ {
			r, _ := http.NewRequest("POST", "http://h/", strings.NewReader(strings.Repeat("x", 2*32752))) // two records; the pipe holds 64 KiB
			resp, err := tr.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(resp.Body); string(b) != fmt.Sprint(n) || err != nil {
				t.Errorf("request %d was answered %q, %v", n, b, err)
			}
			resp.Body.Close()
			time.Sleep(2 * time.Second)
		}
	})
}

// An early answer while the body waits for its source: applications differ in
// what they make of a request that follows one whose body was not sent whole.
func TestTransportEarlyAnswerToAStalledBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := scripted(t, func(c net.Conn, n int) {
			io.ReadFull(c, make([]byte, 100))
			io.WriteString(c, mk(6, 1, fmt.Sprintf("X: y\r\n\r\n%d", n))+ok)
			io.Copy(io.Discard, c)
		})
		for n := 1; n <= 2; n++ {
			pr, pw := io.Pipe()
			defer pw.Close()
			r, _ := http.NewRequest("POST", "http://h/", pr)
			r.ContentLength = 10
			resp, err := tr.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(resp.Body); string(b) != fmt.Sprint(n) || err != nil {
				t.Errorf("request %d was answered %q, %v", n, b, err)
			}
			resp.Body.Close()
		}
	})
}

// Whatever an application says, a Transport makes a response or an error of it,
// the same for any cutting of the bytes, within its bounds.
func FuzzTransport(f *testing.F) {
	for _, test := range responses {
		if len(test.wire) < 1000 {
			f.Add([]byte(test.wire), uint16(5))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		if len(b) > 64<<10 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			ask := func(pieces ...[]byte) string {
				tr := scripted(t, func(c net.Conn, _ int) {
					takeHead(c)
					for _, p := range pieces {
						c.Write(p)
						time.Sleep(time.Millisecond) // until it is read
					}
				})
				return outcome(tr, "GET")
			}
			i := min(int(cut), len(b))
			whole, parts := ask(b), ask(b[:i], b[i:])
			if whole != parts {
				t.Errorf("%q: %s\ncut at %d: %s", b, whole, i, parts)
			}
		})
	})
}
