package fcgi_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/fcgi"
)

// What peers do who mean no good, or have gone wrong. Each of them may lose its
// own connection. A neighbour is served all the while, and memory stays bounded.

// beside has f do its worst while a neighbour asks again and again.
func (a *app) beside(f func()) {
	a.Helper()
	c := a.dial()
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			if _, err := io.WriteString(c.Conn, getting(1, keep, "/neighbour")); err != nil {
				done <- err
				return
			}
			for {
				r, err := c.tryRecord()
				if err == nil && r.kind == tEnd && r.content != "\x00\x00\x00\x00\x00\x00\x00\x00" {
					err = fmt.Errorf("END_REQUEST says %q", r.content)
				}
				if err != nil {
					done <- err
					return
				}
				if r.kind == tEnd {
					break
				}
			}
			select {
			case <-stop:
				done <- nil
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	f()
	close(stop)
	if err := get(a.TB, a.w, done, "the neighbour's answer"); err != nil {
		a.Errorf("the neighbour was not served: %v", err)
	}
}

// heap returns how many bytes are live.
func heap() int64 {
	runtime.GC()
	runtime.GC() // pools are emptied by the second one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// wantHeap expects that no more than max bytes came to be live since before, and
// stayed: what a neighbour has in hand for a moment does not count.
func wantHeap(t testing.TB, before, max int64, what string) {
	t.Helper()
	var grown int64
	for range 20 {
		if grown = heap() - before; grown <= max {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%s: %d KiB of memory, want at most %d KiB", what, grown>>10, max>>10)
}

// push sends s again and again until n bytes are sent, or the server takes no
// more for a while, or has closed the connection. It tells how much it took.
func (c *wire) push(s string, n int) (sent int) {
	s = strings.Repeat(s, max(1, 32768/len(s)))
	for sent < n {
		c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		k, err := io.WriteString(c.Conn, s)
		sent += k
		if err != nil {
			return sent
		}
	}
	return sent
}

// A flood of requests that are begun and never go on: golang/go#81548.
func TestBeginFlood(t *testing.T) {
	for _, reads := range []bool{true, false} {
		a := tcpWorld.start(t, &fcgi.Server{Handler: http.HandlerFunc(path), Limits: fcgi.Limits{RequestsPerConn: 10}})
		a.beside(func() {
			var flood strings.Builder
			for id := 1; id <= 65535; id++ {
				flood.WriteString(begin(uint16(id), keep))
			}
			before := heap()
			for range 5 {
				c := a.dial()
				if reads {
					go io.Copy(io.Discard, c.Conn)
				}
				c.push(flood.String(), flood.Len())
			}
			if n := a.fcgi.Stats().Active; n > 5*10+1 {
				t.Errorf("%d requests are active", n)
			}
			wantHeap(t, before, 8<<20, "330,000 requests begun")
		})
	}
}

// Parameters without end, in one request and in many.
func TestParamsFlood(t *testing.T) {
	a := tcpWorld.serve(t, path)
	a.beside(func() {
		before := heap()
		for range 4 {
			c := a.dial()
			go io.Copy(io.Discard, c.Conn)
			c.send(begin(1, keep))
			c.push(mk(tParams, 1, strings.Repeat("\x01\x01Ab", 8000)), 16<<20)
		}
		wantHeap(t, before, 8<<20, "64 MiB of parameters")
	})
}

// Memory is bounded in all as well: requests that use it up are refused, not
// stored, also when they have begun before.
func TestParamsFloodOfManyRequests(t *testing.T) {
	a := tcpWorld.start(t, &fcgi.Server{Handler: http.HandlerFunc(path), Limits: fcgi.Limits{Memory: 4 << 20, RequestsPerConn: 1000}})
	before := heap()
	c := a.dial()
	most := make(chan error, 1)
	go func() {
		for {
			r, err := c.tryRecord()
			if err != nil || r.kind == tEnd && r.content[4] == 2 {
				most <- err
				return
			}
		}
	}()
	for id := uint16(1); id <= 50; id++ {
		c.send(begin(id, keep)) // there is room for all of them, so far
	}
	for id := uint16(1); id <= 50; id++ {
		for range 15 {
			c.send(mk(tParams, id, strings.Repeat("x", 65000)))
		}
	}
	if err := get(t, a.w, most, "OVERLOADED"); err != nil {
		t.Error(err)
	}
	wantHeap(t, before, 16<<20, "50 requests of 1 MB of parameters each")
	c.Close()
	get(t, a.w, a.ends, "the end of the connection")
	c = a.dial()
	c.send(getting(1, keep, "/again"))
	c.wantBody(1, "/again")
}

// Too much of it is answered with what HTTP has for that.
func TestTooManyParams(t *testing.T) {
	c := unixWorld.start(t, &fcgi.Server{Handler: http.HandlerFunc(path), Limits: fcgi.Limits{ParamBytes: 10_000, ParamCount: 100}}).dial()
	for name, pairs := range map[string]string{
		"bytes": nv("HTTP_X", strings.Repeat("x", 10_000)),
		"count": strings.Repeat("\x00\x00", 101),
	} {
		c.send(begin(1, keep), mk(tParams, 1, pairs), mk(tParams, 1, ""), mk(tStdin, 1, "")) // the last ones are late
		if a := c.answer(1); a.httpStatus() != "Status: 431 Request Header Fields Too Large" {
			t.Errorf("%s: got %q", name, a.out)
		}
	}
	c.send(begin(1, keep), params(1, strings.Repeat("\x00\x00", 98)+nv("REQUEST_URI", "/fits")), mk(tStdin, 1, ""))
	c.wantBody(1, "/fits")
}

// Questions without end from somebody who does not read the answers.
func TestManagementFlood(t *testing.T) {
	for name, question := range map[string]string{
		"GET_VALUES":     mk(tGetValues, 0, "\x0f\x00FCGI_MPXS_CONNS"),
		"a large one":    mk(tGetValues, 0, strings.Repeat("\x0f\x00FCGI_MPXS_CONNS", 3800)),
		"of many names":  mk(tGetValues, 0, strings.Repeat("\x01\x00A", 21000)),
		"of empty names": mk(tGetValues, 0, strings.Repeat("\x00\x00", 32000)),
		"a damaged one":  mk(tGetValues, 0, "\xff\xff\xff\xff\xff\xff\xff\xff"),
		"UNKNOWN_TYPE":   mk(99, 0, ""),
		"refusals":       beginRole(1, 9, keep),
	} {
		t.Run(name, func(t *testing.T) {
			a := tcpWorld.serve(t, path)
			a.beside(func() {
				before := heap()
				a.dial().push(question, 8<<20)
				wantHeap(t, before, 4<<20, "unread answers")
			})
		})
	}
}

// Its connection ends when nothing of the answers has been taken for a while.
func TestAnswersThatNobodyTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := memWorld.serve(t, path)
		go a.dial().push(mk(tGetValues, 0, "\x0f\x00FCGI_MPXS_CONNS"), 16<<20)
		a.wantEnd(hythe.WriteStalled)
	})
}

// Answers that nobody reads wait at the handlers, not in memory.
func TestNeverReadingPeers(t *testing.T) {
	a := tcpWorld.serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/neighbour" {
			path(w, r)
			return
		}
		io.Copy(w, neverEnding{})
	})
	a.beside(func() {
		before := heap()
		var conns []*wire
		for range 20 {
			c := a.dial()
			conns = append(conns, c)
			for id := uint16(1); id <= 10; id++ {
				c.send(getting(id, keep, "/endless"))
			}
		}
		for a.fcgi.Stats().Active < 200 {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(50 * time.Millisecond) // they write as much as they can
		// 20 queues of 256 KiB, and a batch and a copy buffer for each handler.
		wantHeap(t, before, 20*(256<<10)+200*(100<<10), "200 answers that nobody reads")
		for _, c := range conns {
			c.Close()
		}
	})
}

// Bodies that nobody reads wait on disk, within bounds, and not in memory.
func TestStalledBodies(t *testing.T) {
	g := newGate(t)
	a := tcpWorld.start(t, &fcgi.Server{Limits: fcgi.Limits{BodyDisk: 16 << 20}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stalled" {
			g.wait(r)
		}
		path(w, r)
	})})
	a.beside(func() {
		before := heap()
		c := a.dial()
		go io.Copy(io.Discard, c.Conn)
		const ids, each = 50, 1 << 20
		for id := uint16(1); id <= ids; id++ {
			c.send(begin(id, keep), params(id, env("POST", "/stalled", "CONTENT_LENGTH", fmt.Sprint(each))))
		}
		for range each / 65000 {
			for id := uint16(1); id <= ids; id++ {
				c.send(mk(tStdin, id, strings.Repeat("x", 65000)))
			}
			if st := a.fcgi.Stats(); st.Disk > 16<<20+65536 || st.Memory > 16<<20 {
				t.Fatalf("%+v", st)
			}
		}
		wantHeap(t, before, 12<<20, "50 MB of bodies that nobody reads")
		g.pass()
	})
}

// A body may not be larger than is allowed, whether it says so or not.
func TestTooLargeBodies(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.start(t, &fcgi.Server{Limits: fcgi.Limits{BodyBytes: 1000}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, err := io.Copy(io.Discard, r.Body)
			_, tooLarge := errors.AsType[*http.MaxBytesError](err)
			fmt.Fprint(w, n, tooLarge)
		})}).dial()
		c.send(begin(1, keep), params(1, env("POST", "/", "CONTENT_LENGTH", "1001")))
		if a := c.answer(1); a.httpStatus() != "Status: 413 Request Entity Too Large" {
			t.Errorf("got %q", a.out)
		}
		for range 50 {
			c.send(mk(tStdin, 1, strings.Repeat("x", 10_000))) // it is on its way already
		}
		c.send(begin(1, keep), params(1, env("POST", "/")), mk(tStdin, 1, strings.Repeat("x", 1001)), mk(tStdin, 1, ""))
		c.wantBody(1, "1000 true")
		c.send(begin(1, keep), params(1, env("POST", "/")), mk(tStdin, 1, strings.Repeat("x", 1000)), mk(tStdin, 1, ""))
		c.wantBody(1, "1000 false")
	})
}

// More connections than select(2) has bits: CVE-2012-6687.
func TestManyConnections(t *testing.T) {
	a := unixWorld.serve(t, path)
	before := heap()
	var conns []net.Conn
	defer func() {
		for _, nc := range conns {
			nc.Close()
		}
	}()
	for range 1500 {
		nc, err := a.netDial(t.Context())
		if errors.Is(err, os.ErrDeadlineExceeded) || err != nil {
			t.Skipf("%d connections: %v", len(conns), err) // the descriptor limit
		}
		conns = append(conns, nc)
		io.WriteString(nc, begin(1, keep)+mk(tParams, 1, "\x01"))
	}
	c := a.dial()
	c.send(getting(1, keep, "/last"))
	a2 := c.answers(1)[0]
	if a2.body() != "/last" && a2.status != 2 {
		t.Errorf("got %+v", a2)
	}
	wantHeap(t, before, 1500*(8<<10), "1,500 connections with a request each")
}

// Neither half a header, nor half a record, nor silence holds a connection for
// ever.
func TestSlowPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := memWorld.start(t, &fcgi.Server{Handler: http.HandlerFunc(path), ParamsTimeout: time.Minute})
		for name, bytes := range map[string]string{
			"silence":                "",
			"half a header":          begin(1, keep)[:5],
			"half a BEGIN_REQUEST":   begin(1, keep)[:12],
			"half a GET_VALUES":      mk(tGetValues, 0, "\x0f\x00FCGI_MPXS_CONNS")[:20],
			"a padding that is cut":  "\x01\x09\x00\x00\x00\x00\xff\x00abc",
			"half an unknown record": mk(99, 0, "abcdefgh")[:12],
		} {
			c := a.dial()
			c.send(bytes)
			began := time.Now()
			io.Copy(io.Discard, c.Conn)
			if d := time.Since(began); d > 10*time.Minute {
				t.Errorf("%s: the connection was there for %v", name, d)
			}
			c.Close()
			<-a.ends
		}
	})
}
