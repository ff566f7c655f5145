package httpd_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
)

// sum answers with the path and a checksum of the body.
var sum = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
	}
	fmt.Fprintf(w, "%s %d %08x", r.URL.Path, len(body), crc32.ChecksumIEEE(body))
})

// anyRequest is a good request for path of some shape, and its answer's body.
func anyRequest(rnd *rand.Rand, path string) (raw, method, want string) {
	method = "POST"
	body := ""
	switch rnd.IntN(5) {
	case 0:
		body = strings.Repeat("\r\n", rnd.IntN(20)) // looks like the end of a head
	case 1:
		body = smuggled
	case 2:
		body = strings.Repeat("x", rnd.IntN(9000))
	}
	want = fmt.Sprintf("%s %d %08x", path, len(body), crc32.ChecksumIEEE([]byte(body)))
	fields := "Host: a\r\nX-Filler: " + strings.Repeat("y", rnd.IntN(100)) + "\r\n"
	switch {
	case body == "" && rnd.IntN(2) == 0:
		return "GET " + path + " HTTP/1.1\r\n" + fields + "\r\n", "GET", want
	case body == "" && rnd.IntN(2) == 0:
		return "HEAD " + path + " HTTP/1.1\r\n" + fields + "\r\n", "HEAD", ""
	case rnd.IntN(2) == 0:
		return fmt.Sprintf("POST %s HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s", path, fields, len(body), body), method, want
	}
	chunks := ""
	for rest := body; rest != ""; {
		n := 1 + rnd.IntN(len(rest))
		chunks += fmt.Sprintf("%x\r\n%s\r\n", n, rest[:n])
		rest = rest[n:]
	}
	trailer := ""
	if rnd.IntN(2) == 0 {
		trailer = "X-Trailer: z\r\n"
	}
	return "POST " + path + " HTTP/1.1\r\n" + fields + "Transfer-Encoding: chunked\r\n\r\n" + chunks + "0\r\n" + trailer + "\r\n", method, want
}

// Clients send requests of all shapes, several behind each other, in segments that
// end anywhere, with gaps about as long as it takes to be moored. Every request is
// answered once, in order, with what it asked for.
func TestSoak_NothingIsLost(t *testing.T) {
	t.Run("clear", func(t *testing.T) { soak(t, nil) })
	t.Run("TLS", func(t *testing.T) { soak(t, httpd.TLSConfig(testTLS(t))) })
}

func soak(t *testing.T, config *tls.Config) {
	at := startServer(t, &hythe.Server{Service: &httpd.Server{Handler: sum, MoorAfter: moorAfter}, TLS: config})
	var answers atomic.Int64
	var all sync.WaitGroup
	end := time.Now().Add(time.Second)
	for i := range 32 {
		nc := dial(t, at)
		if config != nil {
			nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
		}
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 7))
			br := bufio.NewReader(nc)
			for n := 0; time.Now().Before(end); n++ {
				var raw strings.Builder
				var methods, wants []string
				for k := range 1 + rnd.IntN(4) {
					r, m, want := anyRequest(rnd, fmt.Sprintf("/%d/%d/%d", i, n, k))
					raw.WriteString(r)
					methods, wants = append(methods, m), append(wants, want)
				}
				var sending sync.WaitGroup
				sending.Go(func() {
					for rest := raw.String(); rest != ""; {
						k := len(rest)
						if rnd.IntN(3) > 0 {
							k = 1 + rnd.IntN(len(rest))
						}
						if _, err := io.WriteString(nc, rest[:k]); err != nil {
							t.Error(err)
							return
						}
						if rest = rest[k:]; rnd.IntN(2) == 0 {
							time.Sleep(time.Duration(rnd.Int64N(int64(2 * moorAfter))))
						}
					}
				})
				for k, want := range wants {
					resp, err := http.ReadResponse(br, &http.Request{Method: methods[k]})
					if err != nil {
						t.Errorf("client %d, batch %d: %v in place of %q", i, n, err, want)
						sending.Wait()
						return
					}
					body, err := io.ReadAll(resp.Body)
					if err != nil || resp.StatusCode != 200 || string(body) != want {
						t.Errorf("client %d, batch %d: %d %q, %v in place of %q", i, n, resp.StatusCode, body, err, want)
						sending.Wait()
						return
					}
					answers.Add(1)
				}
				sending.Wait()
			}
		})
	}
	all.Wait()
	t.Logf("%d answers", answers.Load())
}

// A server drains under clients that go on asking. What a client gets is whole, and
// a connection ends between two answers: after one that says so, or before the
// request was looked at, as RFC 9112, 9.5, lets a client try again.
func TestDrainUnderLoad(t *testing.T) {
	for round := range 5 {
		var handled atomic.Int64
		srv := &hythe.Server{Service: &httpd.Server{MoorAfter: moorAfter, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			handled.Add(1)
			sum(w, r)
		})}}
		at, stop := serveUntil(t, srv)
		var answered, lost atomic.Int64
		var all sync.WaitGroup
		for i := range 16 {
			nc, err := net.Dial("tcp", at.String())
			if err != nil {
				t.Fatal(err)
			}
			nc.SetDeadline(time.Now().Add(patience))
			all.Go(func() {
				defer nc.Close()
				rnd := rand.New(rand.NewPCG(uint64(i), uint64(round)))
				br := bufio.NewReader(nc)
				for n := 0; ; n++ {
					raw, method, want := anyRequest(rnd, fmt.Sprintf("/%d/%d", i, n))
					io.WriteString(nc, raw) // an error is seen in the answer
					if _, err := br.Peek(1); err != nil {
						lost.Add(1)
						return
					}
					resp, err := http.ReadResponse(br, &http.Request{Method: method})
					if err != nil {
						t.Errorf("half an answer: %v", err)
						return
					}
					body, err := io.ReadAll(resp.Body)
					if err != nil || resp.StatusCode != 200 || string(body) != want {
						t.Errorf("%d %q, %v in place of %q", resp.StatusCode, body, err, want)
						return
					}
					answered.Add(1)
					if resp.Close {
						return
					}
					if rnd.IntN(10) == 0 {
						time.Sleep(2 * moorAfter)
					}
				}
			})
		}
		time.Sleep(50 * time.Millisecond)
		if _, err := srv.Drain(context.Background()); err != nil {
			t.Errorf("Drain = %v", err)
		}
		all.Wait()
		if err := stop(); err != nil {
			t.Errorf("Serve = %v", err)
		}
		if handled.Load() != answered.Load() {
			t.Errorf("%d requests were handled and %d answered", handled.Load(), answered.Load())
		}
		t.Logf("%d answers, %d requests met a closed connection", answered.Load(), lost.Load())
	}
}
