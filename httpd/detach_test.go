package httpd_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
)

// detached is an answer that a handler has detached, seen from both ends.
type detached struct {
	proto string
	srv   *hythe.Server
	told  chan httpd.Request // what the Observer was told
	conns chan *httpd.Conn   // of the request
	out   *httpd.Out
	body  io.Reader // of the answer, as the client reads it; an error if it is cut off
	leave func()    // the client leaves: the stream over HTTP/2, else the connection
}

func (d *detached) http2() bool { return strings.HasPrefix(d.proto, "HTTP/2") }

// whenDetached has a test look at an answer that has just been detached, over all
// protocols, with a clock that is not real. edit may be nil.
func whenDetached(t *testing.T, edit func(*hythe.Server, *httpd.Server), test func(t *testing.T, d *detached)) {
	for _, proto := range []string{"HTTP/1.0", "HTTP/1.1", "HTTP/1.1 TLS", "HTTP/2", "HTTP/2 TLS"} {
		t.Run(proto, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &detached{proto: proto, told: make(chan httpd.Request, 4), conns: make(chan *httpd.Conn, 1)}
				outs := make(chan *httpd.Out, 1)
				s := &httpd.Server{
					Observer: func(r httpd.Request) { d.told <- r },
					Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						d.conns <- httpd.ConnOf(r.Context())
						out, err := httpd.Detach(w, r)
						if err != nil {
							t.Error(err)
						}
						outs <- out
					}),
				}
				d.srv = &hythe.Server{Service: s, Timeouts: hythe.Timeouts{Lifetime: -1}}
				if edit != nil {
					edit(d.srv, s)
				}
				c := askOver(t, d.srv, s, proto)
				d.out = <-outs
				if h, ok := c.(h2Client); ok {
					if kind, _, _, _ := h.next(); kind != headersFrame {
						t.Fatalf("the answer begins with a frame of kind %d", kind)
					}
					d.body = &h2Body{h2Client: h, stream: 1}
					d.leave = func() { h.frame(resetFrame, 0, 1, []byte{0, 0, 0, 8}) }
					defer h.nc.Close()
				} else {
					h := c.(*rawClient)
					resp, err := http.ReadResponse(h.r, nil)
					if err != nil {
						t.Fatal(err)
					}
					d.body = resp.Body
					d.leave = func() { h.nc.Close() }
					defer d.leave()
				}
				test(t, d)
			})
		})
	}
}

// askOver serves in memory and asks for "/" over a protocol. It returns a
// *rawClient or an h2Client.
func askOver(t *testing.T, srv *hythe.Server, s *httpd.Server, proto string) any {
	version, secure := strings.CutSuffix(proto, " TLS")
	if secure {
		srv.TLS = s.TLSConfig(testTLS(t))
	}
	c := inMemory(t, srv)()
	c.nc.SetDeadline(time.Time{})
	alpn := map[bool]string{false: "http/1.1", true: "h2"}[version == "HTTP/2"]
	if secure {
		c = talk(t, tls.Client(c.nc, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{alpn}}))
	}
	if alpn == "h2" {
		h := speakH2(c, 30_000) // less than what the connection has room for
		h.get(1, "/")
		return h
	}
	c.send("GET / " + version + "\r\nHost: x\r\n\r\n")
	return c
}

// h2Body reads the body of an answer over HTTP/2, and opens the windows as it does.
type h2Body struct {
	h2Client
	stream uint32
	rest   string
	end    error
}

func (b *h2Body) Read(p []byte) (int, error) {
	for b.rest == "" && b.end == nil {
		kind, flags, stream, payload := b.next()
		switch {
		case stream != b.stream:
			continue
		case kind == resetFrame:
			b.end = errReset
		case kind == dataFrame:
			if b.rest = payload; flags&endStream != 0 {
				b.end = io.EOF
			} else if len(payload) > 0 {
				b.grow(0, uint32(len(payload)))
				b.grow(stream, uint32(len(payload)))
			}
		}
	}
	n := copy(p, b.rest)
	if b.rest = b.rest[n:]; b.rest == "" {
		return n, b.end
	}
	return n, nil
}

var errReset = errors.New("the stream was reset")

// want reads what the client gets next.
func (d *detached) want(t *testing.T, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(d.body, got); err != nil || string(got) != want {
		t.Fatalf("the client got %.100q, %v, want %.100q", got[:n], err, want)
	}
}

// wantEnd reads the rest, which must be so and whole, or cut off.
func (d *detached) wantEnd(t *testing.T, want string, whole bool) {
	t.Helper()
	got, err := io.ReadAll(d.body)
	if string(got) != want || (err == nil) != whole {
		t.Errorf("the client got %.100q, %v, want %.100q, whole: %v", got, err, want, whole)
	}
	synctest.Wait() // else the client may leave before the server has
}

// wantOver waits for the answer's end, for a reason.
func (d *detached) wantOver(t *testing.T, why error) {
	t.Helper()
	<-d.out.Done()
	if err := d.out.Err(); !errors.Is(err, why) {
		t.Errorf("Err = %v, want %v", err, why)
	}
	if n, err := d.out.Write([]byte("late")); n != 0 || !errors.Is(err, why) {
		t.Errorf("Write after the end: %d, %v, want %v", n, err, why)
	}
	if n, err := d.out.Write(nil); n != 0 || !errors.Is(err, why) {
		t.Errorf("Write of nothing after the end: %d, %v, want %v", n, err, why)
	}
	if d.out.TryWrite([]byte("late")) {
		t.Error("TryWrite after the end says true")
	}
}

// wantTold checks what the Observer was told, once.
func (d *detached) wantTold(t *testing.T, bytes int64, cut bool, took time.Duration) {
	t.Helper()
	r := <-d.told
	if r.Status != 200 || r.Bytes != bytes || r.Cut != cut || r.Took != took || r.Refused != "" || r.Request == nil || r.Conn.ID() != 1 {
		t.Errorf("the Observer was told of status %d, %d bytes, cut %v, took %v, want 200, %d, %v, %v", r.Status, r.Bytes, r.Cut, r.Took, bytes, cut, took)
	}
	synctest.Wait()
	if len(d.told) > 0 {
		t.Errorf("the Observer was told again: %+v", <-d.told)
	}
}

func TestDetach_WhatIsSentArrivesWithoutWaiting(t *testing.T) {
	whenDetached(t, nil, func(t *testing.T, d *detached) {
		for i := range 3 {
			text := strings.Repeat(fmt.Sprint(i), i*20_000+1) // larger ones are sent otherwise
			if n, err := d.out.Write([]byte(text)); n != len(text) || err != nil {
				t.Fatalf("Write = %d, %v", n, err)
			}
			d.want(t, text)
			if !d.out.TryWrite([]byte("tried")) {
				t.Error("TryWrite says false though all has left")
			}
			d.want(t, "tried")
			time.Sleep(time.Minute)
		}
		if n, err := d.out.Write(nil); n != 0 || err != nil || !d.out.TryWrite(nil) {
			t.Errorf("Write of nothing: %d, %v", n, err)
		}
		if n := d.out.Pending(); n != 0 {
			t.Errorf("Pending = %d though all has left", n)
		}
		if err := d.out.Err(); err != nil {
			t.Errorf("Err = %v while the answer goes on", err)
		}
	})
}

// One loop has thousands of answers; one client may not hold it up.
func TestDetach_WriteWaitsAndTryWriteRefusesWhileTheClientDoesNotRead(t *testing.T) {
	const piece, pieces = 8 << 10, 200
	whenDetached(t, nil, func(t *testing.T, d *detached) {
		most := 256<<10 + 2*piece // HighWater, and one that goes past it
		if d.http2() {
			most = 64 << 10
		}
		var sent atomic.Int64
		written := make(chan error, 1)
		go func() {
			var err error
			for i := 0; i < pieces && err == nil; i++ {
				_, err = d.out.Write(bytes.Repeat([]byte{'a' + byte(i%26)}, piece))
				sent.Add(piece)
			}
			written <- err
		}()
		synctest.Wait()
		if n := d.out.Pending(); n < most/4 || n > most {
			t.Errorf("Pending = %d, want at most %d", n, most)
		}
		if n := sent.Load(); n > int64(most)+256<<10 {
			t.Errorf("%d bytes were taken for a client that reads none", n)
		}
		before := d.out.Pending()
		if d.out.TryWrite(make([]byte, piece)) || d.out.Pending() != before {
			t.Error("TryWrite says true, or has sent something, while Write waits")
		}
		var want strings.Builder
		for i := range pieces {
			want.Write(bytes.Repeat([]byte{'a' + byte(i%26)}, piece))
		}
		d.want(t, want.String())
		if err := <-written; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if !d.out.TryWrite([]byte("end")) {
			t.Error("TryWrite says false though all has left")
		}
		d.out.Close(nil)
		d.wantEnd(t, "end", true)
	})
}

func TestDetach_PendingIsWhatHasNotLeft(t *testing.T) {
	const size = 130_000 // more than there is room for on the way
	whenDetached(t, nil, func(t *testing.T, d *detached) {
		d.out.Write(make([]byte, size))
		synctest.Wait()
		if n := d.out.Pending(); n == 0 || n > size+100 {
			t.Errorf("Pending = %d of %d bytes that nobody has read", n, size)
		}
		d.want(t, string(make([]byte, size)))
		synctest.Wait()
		if n := d.out.Pending(); n != 0 {
			t.Errorf("Pending = %d when all was read", n)
		}
	})
}

// What does not fit is refused whole, though nobody waits.
func TestDetach_TryWriteSendsAllOrNothing(t *testing.T) {
	const piece = 10_000
	whenDetached(t, nil, func(t *testing.T, d *detached) {
		n := 0
		for ; n < 1000 && d.out.TryWrite(bytes.Repeat([]byte{'a' + byte(n%26)}, piece)); n++ {
			synctest.Wait()
		}
		if n == 0 || n == 1000 {
			t.Fatalf("TryWrite said true %d times for a client that does not read", n)
		}
		for i := range n {
			d.want(t, strings.Repeat(string(rune('a'+i%26)), piece))
		}
		d.out.Close(nil)
		d.wantEnd(t, "", true)
		d.leave() // else the server lingers
		d.wantTold(t, int64(n*piece), false, 0)
	})
}

// That others send at the same moment is no want of room.
func TestDetach_TryWriteIsNotRefusedForCompany(t *testing.T) {
	const senders, rounds = 3, 300
	whenDetached(t, func(s *hythe.Server, _ *httpd.Server) { s.Limits.HighWater = 1 << 20 }, func(t *testing.T, d *detached) {
		var all sync.WaitGroup
		for i := range senders {
			all.Go(func() {
				for range rounds {
					if i == 0 {
						d.out.Write([]byte("x"))
					} else if !d.out.TryWrite([]byte("x")) {
						t.Error("TryWrite says false")
						return
					}
				}
			})
		}
		all.Wait()
		d.want(t, strings.Repeat("x", senders*rounds))
		d.out.Close(nil)
		d.wantEnd(t, "", true)
	})
}

func TestDetach_OnFlushedIsCalledOnceForEachTimeThatEverythingHasLeft(t *testing.T) {
	whenDetached(t, nil, func(t *testing.T, d *detached) {
		var calls, replaced atomic.Int64
		wantCalls := func(what string, want int64) {
			t.Helper()
			time.Sleep(time.Second)
			synctest.Wait()
			if n := calls.Swap(0); n != want {
				t.Errorf("%s: f was called %d times, want %d", what, n, want)
			}
		}
		d.out.OnFlushed(func(*httpd.Out) { replaced.Add(1) })
		synctest.Wait()
		d.out.OnFlushed(func(o *httpd.Out) {
			if o != d.out || o.Pending() > 0 {
				t.Errorf("f was called with %d bytes left", o.Pending())
			}
			calls.Add(1)
		})
		wantCalls("set", 1)
		wantCalls("nothing sent", 0)
		for range 3 {
			d.out.Write([]byte("x"))
			wantCalls("one Write", 1)
			d.out.TryWrite([]byte("y"))
			wantCalls("one TryWrite", 1)
		}
		d.want(t, "xyxyxy")
		wantCalls("nothing sent since", 0)
		for d.out.TryWrite(make([]byte, 8<<10)) {
			synctest.Wait()
		}
		calls.Store(0)
		d.out.Write([]byte{})
		wantCalls("the client does not read", 0)
		read := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, d.body)
			read <- err
		}()
		synctest.Wait()
		if n := calls.Load(); n == 0 {
			t.Error("the client has read everything, and f was not called")
		}
		if n := replaced.Load(); n != 1 {
			t.Errorf("the f that was replaced was called %d times, want 1", n)
		}
		d.out.OnFlushed(nil) // no more
		calls.Store(0)
		d.out.Write([]byte("z"))
		wantCalls("taken back", 0)
		d.out.Close(nil)
		if err := <-read; err != nil {
			t.Error(err)
		}
	})
}

// What f sends has it called again, and nothing else has.
func TestDetach_OnFlushedIsCalledAgainForWhatItSends(t *testing.T) {
	whenDetached(t, nil, func(t *testing.T, d *detached) {
		var calls atomic.Int64
		d.out.OnFlushed(func(o *httpd.Out) {
			if calls.Add(1) == 1 {
				o.Write([]byte("one"))
				o.TryWrite([]byte("two"))
			}
		})
		d.want(t, "onetwo")
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := calls.Load(); n != 2 {
			t.Errorf("f was called %d times, want 2", n)
		}
	})
}

// The form that examples/http-stream has: each call sends the next piece.
func TestDetach_OnFlushedMayWriteAndClose(t *testing.T) {
	whenDetached(t, nil, func(t *testing.T, d *detached) {
		var at, n int
		d.out.OnFlushed(func(o *httpd.Out) {
			if at++; at != 1 {
				t.Errorf("%d calls at a time", at)
			}
			if n++; n <= 100 {
				fmt.Fprintf(o, "%d ", n)
			} else {
				o.Close(nil)
			}
			at--
		})
		var want strings.Builder
		for i := range 100 {
			fmt.Fprintf(&want, "%d ", i+1)
		}
		d.wantEnd(t, want.String(), true)
		<-d.out.Done()
		if n != 101 {
			t.Errorf("f was called %d times, want 101", n)
		}
	})
}

// The same over sockets, where the kernel says when there is room.
func TestDetach_OnFlushedPacesALargeAnswer(t *testing.T) {
	const piece, pieces = 256 << 10, 50
	for _, secure := range []bool{false, true} {
		t.Run(map[bool]string{false: "clear", true: "TLS"}[secure], func(t *testing.T) {
			var calls, most atomic.Int64
			srv := &hythe.Server{Service: &httpd.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				out, err := httpd.Detach(w, r)
				if err != nil {
					t.Error(err)
					return
				}
				out.OnFlushed(func(o *httpd.Out) {
					most.Store(max(most.Load(), int64(o.Pending())))
					if n := calls.Add(1); n <= pieces {
						o.Write(bytes.Repeat([]byte{byte(n)}, piece))
					} else {
						o.Close(nil)
					}
				})
			})}}
			if secure {
				srv.TLS = httpd.TLSConfig(testTLS(t))
			}
			at := startServer(t, srv)
			nc := dial(t, at)
			if secure {
				nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
			}
			c := talk(t, nc)
			c.send(getHello)
			time.Sleep(20 * time.Millisecond) // its buffers are full
			resp, err := http.ReadResponse(c.r, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, piece)
			for i := range pieces {
				if _, err := io.ReadFull(resp.Body, got); err != nil || got[0] != byte(i+1) || got[piece-1] != byte(i+1) {
					t.Fatalf("piece %d: %v, or it is another", i+1, err)
				}
			}
			if rest, err := io.ReadAll(resp.Body); len(rest) > 0 || err != nil {
				t.Errorf("behind the last: %.20q, %v", rest, err)
			}
			if n := calls.Load(); n != pieces+1 || most.Load() != 0 {
				t.Errorf("f was called %d times, want %d, and with up to %d bytes left", n, pieces+1, most.Load())
			}
		})
	}
}

func TestDetach_WritesOfSeveralDoNotMix(t *testing.T) {
	const writers, rounds = 5, 20
	whenDetached(t, nil, func(t *testing.T, d *detached) {
		var all sync.WaitGroup
		for i := range writers {
			all.Go(func() {
				for k := range rounds {
					size := 1 + (k%4)*9_000 // larger ones are sent in parts
					b := append(bytes.Repeat([]byte{'a' + byte(i)}, size), '\n')
					for k%5 == 4 && !d.out.TryWrite(b) {
						time.Sleep(time.Millisecond)
					}
					if k%5 != 4 {
						d.out.Write(b)
					}
				}
			})
		}
		go func() {
			all.Wait()
			d.out.Close(nil)
		}()
		got, err := io.ReadAll(d.body)
		if err != nil {
			t.Error(err)
		}
		lines := bytes.Split(got, []byte{'\n'})
		for _, line := range lines[:len(lines)-1] {
			if len(line)%9_000 != 1 || len(bytes.Trim(line, string(line[:1]))) > 0 {
				t.Fatalf("a line of %d bytes that begins with %.20q is mixed", len(line), line)
			}
		}
		if n := len(lines) - 1; n != writers*rounds {
			t.Errorf("%d lines, want %d", n, writers*rounds)
		}
	})
}
