package httpd_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
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
	"github.com/hythe-go/hythe/memnet"
)

// soaking reports whether tests that look for rare things shall do so for long.
func soaking() bool { return os.Getenv("HYTHE_SOAK") != "" }

// A request that is being served has net/http's goroutines and no other.
func TestGoroutines_ARequestHasThoseOfNetHTTP(t *testing.T) {
	const n = 100
	for _, secure := range []bool{false, true} {
		t.Run(map[bool]string{false: "clear", true: "TLS"}[secure], func(t *testing.T) {
			inHandlers := func(serve func(h http.Handler) net.Addr) int {
				entered, release := make(chan bool), make(chan bool)
				at := serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					entered <- true
					<-release
				}))
				ask := func() {
					var nc net.Conn
					if secure {
						nc = dialTLS(t, at, "http/1.1")
					} else {
						nc = dial(t, at)
					}
					io.WriteString(nc, getHelloLast)
					wait(t, entered, "a request")
				}
				ask() // starts what there is for all
				before := settled()
				for range n {
					ask()
				}
				had := settled() - before
				close(release)
				return had
			}
			theirs := inHandlers(func(h http.Handler) net.Addr {
				ln, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				srv := &http.Server{Handler: h}
				if secure {
					ln = tls.NewListener(ln, testTLS(t))
				}
				served := make(chan error, 1)
				go func() { served <- srv.Serve(ln) }()
				t.Cleanup(func() {
					srv.Shutdown(context.Background())
					<-served
				})
				return ln.Addr()
			})
			ours := inHandlers(func(h http.Handler) net.Addr {
				srv := &hythe.Server{Service: &httpd.Server{Handler: h}}
				if secure {
					srv.TLS = httpd.TLSConfig(testTLS(t))
				}
				return startServer(t, srv)
			})
			if ours > theirs+n/10 {
				t.Errorf("%d goroutines for %d requests, and %d with net/http alone", ours, n, theirs)
			}
			t.Logf("%d goroutines for %d requests, and %d with net/http alone", ours, n, theirs)
		})
	}
}

// settled returns how many goroutines there are once that does not change.
func settled() int {
	n := runtime.NumGoroutine()
	for same, end := 0, time.Now().Add(patience); same < 20 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		if k := runtime.NumGoroutine(); k == n {
			same++
		} else {
			n, same = k, 0
		}
	}
	return n
}

// Serve does not return before handlers that heed the end of their request do,
// though no goroutine of the server's waits for them.
func TestClose_WaitsForHandlers(t *testing.T) {
	for _, proto := range allProtocols {
		for _, how := range []string{"Close", "Drain"} {
			t.Run(how+" "+proto, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					entered, left := make(chan bool), false
					s := &httpd.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						close(entered)
						<-r.Context().Done()
						time.Sleep(20 * time.Millisecond) // it need not be at once
						left = true
					})}
					version, secure := strings.CutSuffix(proto, " TLS")
					srv := &hythe.Server{Service: s}
					if secure {
						srv.TLS = s.TLSConfig(testTLS(t))
					}
					var network memnet.Network
					ln, err := network.Listen("server")
					if err != nil {
						t.Fatal(err)
					}
					served := make(chan error, 1)
					go func() { served <- srv.Serve(context.Background(), ln) }()
					mem, err := network.Dial(context.Background(), "server")
					if err != nil {
						t.Fatal(err)
					}
					nc := net.Conn(mem)
					defer nc.Close()
					if secure {
						nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{map[string]string{"HTTP/1.1": "http/1.1", "HTTP/2": "h2"}[version]}})
					}
					if version == "HTTP/2" {
						speakH2(talk(t, nc), 1000).get(1, "/")
					} else {
						io.WriteString(nc, getHello)
					}
					<-entered
					if how == "Close" {
						srv.Close()
					} else {
						ctx, cancel := context.WithTimeout(context.Background(), time.Second)
						defer cancel()
						srv.Drain(ctx)
					}
					<-served
					if !left {
						t.Error("Serve has returned, and the handler has not")
					}
					if st := srv.Stats(); st.Live != 0 || st.Opened != 1 || sumOf(st) != 1 {
						t.Errorf("%+v", st)
					}
				})
			})
		}
	}
}

func sumOf(st hythe.ServerStats) (n uint64) {
	for _, k := range st.Ended {
		n += k
	}
	return n
}

// Connections are moored, woken, hijacked, aborted and left in all ways, and the
// server ends amid that. Whatever happens each is counted once, the Observer is told
// of each request, and nothing is left of it. With HYTHE_SOAK set there are more.
func TestStorm_EachConnectionIsCountedOnce(t *testing.T) {
	rounds, clients := 8, 50
	if soaking() {
		rounds = 60
	}
	var hijacked, detached int64
	for round := range rounds {
		h, d := storm(t, uint64(round), clients, round%4 == 3)
		hijacked, detached = hijacked+h, detached+d
	}
	if hijacked == 0 || detached == 0 {
		t.Error("hardly anything has happened")
	}
}

// storm returns how many connections were hijacked and detached.
func storm(t *testing.T, seed uint64, clients int, secure bool) (int64, int64) {
	var late sync.WaitGroup // hijackers
	var hijacked, detached, handled, told atomic.Int64
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handled.Add(1)
		io.Copy(io.Discard, r.Body)
		switch r.URL.Path {
		case "/abort":
			httpd.ConnOf(r.Context()).Abort()
		case "/close":
			httpd.ConnOf(r.Context()).CloseAfter()
		case "/panic":
			panic(http.ErrAbortHandler)
		case "/detach":
			if out, err := httpd.Detach(w, r); err == nil {
				detached.Add(1)
				out.Write([]byte("x"))
				late.Go(func() {
					time.Sleep(time.Millisecond)
					if len(r.URL.RawQuery) == 0 {
						out.Close(nil)
					} else {
						out.Close(errors.New("failed"))
					}
				})
			}
		case "/hijack":
			nc, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			hijacked.Add(1)
			late.Go(func() {
				time.Sleep(5 * time.Millisecond)
				nc.Close()
			})
		default:
			io.WriteString(w, r.URL.Path)
		}
	})
	srv := &hythe.Server{
		Service: &httpd.Server{Handler: h, MoorAfter: 300 * time.Microsecond, Observer: func(r httpd.Request) {
			if r.Request != nil {
				told.Add(1)
			}
		}},
		Timeouts: hythe.Timeouts{Linger: 10 * time.Millisecond, Drain: 20 * time.Millisecond},
	}
	if secure {
		srv.TLS = httpd.TLSConfig(testTLS(t))
	}
	at, stop := serveUntil(t, srv)
	over := make(chan struct{})
	var all sync.WaitGroup
	for i := range clients {
		rnd := rand.New(rand.NewPCG(seed, uint64(i)))
		all.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				if stormOnce(at, rnd, secure) != nil {
					time.Sleep(time.Millisecond) // nobody listens any more
				}
			}
		})
	}
	all.Go(func() { // at any moment
		for {
			select {
			case <-over:
				return
			default:
			}
			if st := srv.Stats(); st.Opened != uint64(st.Live)+sumOf(st) {
				t.Errorf("%+v", st)
			}
			time.Sleep(100 * time.Microsecond)
		}
	})
	time.Sleep(time.Duration(50+rand.IntN(100)) * time.Millisecond)
	if seed%2 == 0 {
		srv.Close()
	}
	stop() // else drains, and cuts
	close(over)
	all.Wait()
	for end := time.Now().Add(patience); handled.Load() != told.Load() && time.Now().Before(end); time.Sleep(time.Millisecond) {
		// a handler may be behind Serve, which waits for it only for a while
	}
	late.Wait()
	st := srv.Stats()
	if st.Live != 0 || st.Opened != sumOf(st) || st.Memory != 0 {
		t.Errorf("%+v", st)
	}
	if handled.Load() != told.Load() {
		t.Errorf("%d requests, and the Observer was told of %d", handled.Load(), told.Load())
	}
	t.Logf("%d connections, %d hijacked, %d detached, %d requests: %v", st.Opened, hijacked.Load(), detached.Load(), told.Load(), st.Ended)
	return hijacked.Load(), detached.Load()
}

// stormOnce has a connection do some of what connections do.
func stormOnce(at net.Addr, rnd *rand.Rand, secure bool) error {
	nc, err := net.Dial("tcp", at.String())
	if err != nil {
		return err
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(patience))
	raw := nc.(*net.TCPConn)
	if secure {
		nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	}
	br := bufio.NewReader(nc)
	paths := []string{"/", "/", "/", "/", "/abort", "/close", "/panic", "/detach", "/detach?failed", "/hijack"}
	for range 1 + rnd.IntN(8) {
		path := paths[rnd.IntN(len(paths))]
		body := strings.Repeat("y", rnd.IntN(3))
		req := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
		switch rnd.IntN(12) {
		case 0:
			req = req[:rnd.IntN(len(req))] // and no more
			io.WriteString(nc, req)
			return nil
		case 1:
			raw.SetLinger(0) // leaves with a reset
			io.WriteString(nc, req)
			return nil
		case 2:
			io.WriteString(nc, req)
			raw.CloseWrite()
		case 3:
			req += req // pipelined
			fallthrough
		default:
			io.WriteString(nc, req)
		}
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			return nil
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.Close {
			return nil
		}
		time.Sleep(time.Duration(rnd.IntN(1000)) * time.Microsecond) // about the time to be moored
	}
	return nil
}
