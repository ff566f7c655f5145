package httpd_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
	"github.com/hythe-go/hythe/hythetest"
)

// echo answers with the path and the body.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	fmt.Fprintf(w, "%s %s", r.URL.Path, b)
})

// dialTLS connects to a server that has testTLS's certificate.
func dialTLS(t testing.TB, at net.Addr, protos ...string) net.Conn {
	t.Helper()
	nc := tls.Client(dial(t, at), &tls.Config{InsecureSkipVerify: true, NextProtos: protos})
	if err := nc.Handshake(); err != nil {
		t.Fatal(err)
	}
	return nc
}

func talk(t testing.TB, nc net.Conn) *rawClient { return &rawClient{t, nc, bufio.NewReader(nc)} }

// inMemory serves in memory until the test ends.
func inMemory(t *testing.T, srv *hythe.Server) (dial func() *rawClient) {
	s := hythetest.Serve(t, srv)
	return func() *rawClient { return talk(t, s.Dial().Conn()) }
}

// whatComes is what a client may send and what it is answered, piece by piece,
// with time to be moored between them.
var whatComes = []struct {
	name   string
	pieces []string
	want   []string
}{
	{"one", []string{"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n"}, []string{"/1 "}},
	{"pipelined", []string{"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n"}, []string{"/1 ", "/2 "}},
	{"split head", []string{"GET /1 HT", "TP/1.1\r\nHost: x\r", "\n\r", "\n"}, []string{"/1 "}},
	{"pipelined and split", []string{"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nG", "ET /2 HTTP/1.1\r\nHost: x\r\n\r\n"}, []string{"/1 ", "/2 "}},
	{"body", []string{"POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n", "\r\n\r\n", "xyGET /2 HTTP/1.1\r\n", "Host: x\r\n\r\n"}, []string{"/1 \r\n\r\nxy", "/2 "}},
	{"chunked", []string{"POST /1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r", "\nab", "c\r\n2;x=y\r\n\r\n\r\n0\r\nTrail: er\r\n", "\r\n"}, []string{"/1 abc\r\n"}},
	{"CRLF behind a body", []string{"POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na\r\n", "GET /2 HTTP/1.1\r\nHost: x\r\n\r\n"}, []string{"/1 a", "/2 "}},
	{"late CRLF behind a body", []string{"POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na", "\r\n", "GET /2 HTTP/1.1\r\nHost: x\r\n\r\n"}, []string{"/1 a", "/2 "}},
	{"CRLF in front of a request", []string{"POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na", "\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n"}, []string{"/1 a", "/2 "}},
}

// sendPieces has everything sent, each case on a connection of its own, and then
// all of them on one, and checks the answers.
func sendPieces(dial func() *rawClient, pause time.Duration) {
	all := dial()
	for _, what := range whatComes {
		c := dial()
		sendCase(c, what.name, what.pieces, what.want, pause)
		c.nc.Close()
		sendCase(all, what.name+" behind others", what.pieces, what.want, pause)
	}
	all.nc.Close()
}

func sendCase(c *rawClient, name string, pieces, answers []string, pause time.Duration) {
	c.Helper()
	for _, piece := range pieces {
		c.send(piece)
		time.Sleep(pause)
	}
	for _, want := range answers {
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			c.Fatalf("%s: no answer: %v", name, err)
		}
		if got, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || string(got) != want {
			c.Fatalf("%s: got %d %q, %v, want %q", name, resp.StatusCode, got, err, want)
		}
	}
	time.Sleep(pause)
}

func TestMooring_LosesNothingHoweverItComes(t *testing.T) {
	service := func() *httpd.Server { return &httpd.Server{Handler: echo, MoorAfter: time.Millisecond} }
	t.Run("clear", func(t *testing.T) {
		at := startServer(t, &hythe.Server{Service: service()})
		sendPieces(func() *rawClient { return dialRaw(t, at) }, 4*time.Millisecond)
	})
	t.Run("TLS", func(t *testing.T) {
		at := startServer(t, &hythe.Server{Service: service(), TLS: httpd.TLSConfig(testTLS(t))})
		sendPieces(func() *rawClient { return talk(t, dialTLS(t, at, "http/1.1")) }, 4*time.Millisecond)
	})
	t.Run("goroutines", func(t *testing.T) {
		at := startServer(t, &hythe.Server{Service: service(), Goroutines: true})
		sendPieces(func() *rawClient { return dialRaw(t, at) }, 4*time.Millisecond)
	})
	for _, moor := range []time.Duration{0, -1} {
		t.Run(fmt.Sprint("memory, MoorAfter ", moor), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &httpd.Server{Handler: echo, MoorAfter: moor}
				sendPieces(inMemory(t, &hythe.Server{Service: s}), 2*time.Second)
			})
		})
	}
}

// idleConns opens n connections, has a request answered on each, and returns when
// the server has moored them, or, if it is not to, after a while.
func idleConns(t *testing.T, at net.Addr, secure, moored bool, n, goroutines int) {
	t.Helper()
	answer := make([]byte, 1024)
	for range n {
		var nc net.Conn
		if secure {
			nc = dialTLS(t, at, "http/1.1")
		} else {
			nc = dial(t, at)
		}
		io.WriteString(nc, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if k, err := nc.Read(answer); err != nil || !strings.HasPrefix(string(answer[:k]), "HTTP/1.1 200") {
			t.Fatalf("%q, %v", answer[:k], err)
		}
	}
	if !moored {
		time.Sleep(50 * time.Millisecond)
		return
	}
	for end := time.Now().Add(patience); runtime.NumGoroutine() > goroutines; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines are left, want at most %d", runtime.NumGoroutine(), goroutines)
		}
	}
}

func memoryInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

func TestMooring_FreesGoroutinesAndMemory(t *testing.T) {
	const n = 200
	for _, secure := range []bool{false, true} {
		t.Run(map[bool]string{false: "clear", true: "TLS"}[secure], func(t *testing.T) {
			cost := func(moor time.Duration) (bytes int64, goroutines int) {
				srv := &hythe.Server{Service: &httpd.Server{Handler: path, MoorAfter: moor}}
				if secure {
					srv.TLS = httpd.TLSConfig(testTLS(t))
				}
				at := startServer(t, srv)
				idleConns(t, at, secure, false, 1, 0)
				before, had := memoryInUse(), runtime.NumGoroutine()
				idleConns(t, at, secure, moor > 0, n, had+5)
				return int64(memoryInUse()-before) / n, runtime.NumGoroutine() - had
			}
			off, all := cost(-1)
			if all < n {
				t.Errorf("MoorAfter -1: %d goroutines for %d connections: they are moored", all, n)
			}
			on, _ := cost(5 * time.Millisecond)
			for range 4 { // other tests' memory may come or go meanwhile
				if on <= off-8<<10 {
					break
				}
				t.Logf("%d bytes moored, %d not: again", on, off)
				on, _ = cost(5 * time.Millisecond)
			}
			t.Logf("both ends of a connection: %d bytes moored, %d not", on, off)
			if on > off-8<<10 {
				t.Errorf("a moored connection has %d bytes, one that is not %d", on, off)
			}
		})
	}
}

// The clocks show which connections are moored.
func TestIdle_MooredByTheServersClockOthersByIdleTimeout(t *testing.T) {
	for _, c := range []struct {
		moorAfter, idleTimeout time.Duration
		idle                   time.Duration // of hythe.Timeouts
		want                   time.Duration
	}{
		{0, 0, 0, 5*time.Minute + 100*time.Millisecond},
		{-1, 0, 0, 3 * time.Minute},
		{-1, 10 * time.Second, 0, 10 * time.Second},
		{time.Minute, 10 * time.Second, 0, 10 * time.Second},
		{20 * time.Second, 30 * time.Second, time.Minute, 80 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &httpd.Server{Handler: path, MoorAfter: c.moorAfter, IdleTimeout: c.idleTimeout}
			client := inMemory(t, &hythe.Server{Service: s, Timeouts: hythe.Timeouts{Idle: c.idle, Lifetime: -1}})()
			client.send(fmt.Sprintf(get, "x"))
			client.want(200, "/x")
			began := time.Now()
			client.wantEOF()
			if took := time.Since(began); took < c.want || took > c.want*23/20+time.Second {
				t.Errorf("MoorAfter %v, IdleTimeout %v, Idle %v: ended after %v, want %v", c.moorAfter, c.idleTimeout, c.idle, took, c.want)
			}
			client.nc.Close()
		})
	}
}

// wakes counts how often a connection was woken by its client.
type wakes struct {
	hythe.Protocol
	n *atomic.Int64
}

func countWakes(s hythe.Service, n *atomic.Int64) hythe.Service {
	return hythe.ServiceFunc(func(st *hythe.Stream) (hythe.Protocol, error) {
		p, err := s.Open(st)
		return wakes{p, n}, err
	})
}

func (w wakes) Input(src []byte, eof bool) (int, error) {
	if len(src) > 0 {
		w.n.Add(1)
	}
	return w.Protocol.Input(src, eof)
}

func (w wakes) Draining()           { w.Protocol.(interface{ Draining() }).Draining() }
func (w wakes) Closed(reason error) { w.Protocol.(interface{ Closed(error) }).Closed(reason) }

// Each client lets its connection be moored before most of its requests. With
// HYTHE_SOAK set they are woken 100,000 times.
func TestMooring_SoakLosesNoAnswer(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(map[bool]string{false: "clear", true: "TLS"}[secure], func(t *testing.T) {
			enough, end := int64(1)<<62, time.Now().Add(1500*time.Millisecond)
			if os.Getenv("HYTHE_SOAK") != "" {
				enough, end = 50_000, time.Now().Add(time.Hour)
			}
			var woken, asked atomic.Int64
			srv := &hythe.Server{Service: countWakes(&httpd.Server{Handler: echo, MoorAfter: 300 * time.Microsecond}, &woken)}
			if secure {
				srv.TLS = httpd.TLSConfig(testTLS(t))
			}
			at := startServer(t, srv)
			var clients sync.WaitGroup
			for i := range 50 {
				clients.Go(func() {
					nc, err := net.Dial("tcp", at.String())
					if err != nil {
						t.Error(err)
						return
					}
					defer nc.Close()
					if secure {
						nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
					}
					r := bufio.NewReader(nc)
					for n := 0; time.Now().Before(end) && woken.Load() < enough; n++ {
						asked.Add(1)
						nc.SetDeadline(time.Now().Add(patience))
						body := strings.Repeat("\r\n", n%3)
						req := fmt.Sprintf("POST /%d/%d HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", i, n, len(body), body)
						cut := rand.IntN(2 * len(req)) // half of them in one piece
						if cut < len(req) {
							io.WriteString(nc, req[:cut])
							time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
							req = req[cut:]
						}
						io.WriteString(nc, req)
						resp, err := http.ReadResponse(r, nil)
						if err != nil {
							t.Errorf("request %d of client %d was not answered: %v", n, i, err)
							return
						}
						if got, err := io.ReadAll(resp.Body); err != nil || string(got) != fmt.Sprintf("/%d/%d %s", i, n, body) {
							t.Errorf("request %d of client %d was answered %q, %v", n, i, got, err)
							return
						}
						time.Sleep(time.Duration(500+rand.IntN(3000)) * time.Microsecond) // about the time to be moored
					}
				})
			}
			clients.Wait()
			t.Logf("%d requests, %d of them woke a connection", asked.Load(), woken.Load())
			if woken.Load() < asked.Load()/4 {
				t.Error("hardly any connection was moored")
			}
		})
	}
}

// A body that was waited for leaves no deadline behind that would keep the
// connection from being moored.
func TestMooring_BehindABodyThatCameLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var woken atomic.Int64
		c := inMemory(t, &hythe.Server{Service: countWakes(&httpd.Server{Handler: echo}, &woken)})()
		for n := range int64(3) {
			c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			c.want(200, "/ ")
			c.send("POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n")
			time.Sleep(time.Second)
			c.send("ab")
			c.want(200, "/1 ab")
			time.Sleep(time.Second)
			if got := woken.Load(); got != n+1 {
				t.Fatalf("a connection that was silent for a second %d times was woken %d times", n+1, got)
			}
		}
		c.nc.Close()
	})
}
