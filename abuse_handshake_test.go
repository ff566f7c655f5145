package hythe_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
)

// helloBytes is what a TLS client says first.
var helloBytes = sync.OnceValue(func() []byte {
	client, server := net.Pipe()
	go tls.Client(client, clientTLS()).Handshake()
	defer client.Close()
	b := make([]byte, 4096)
	n := 0
	for n < 5 || n < 5+int(b[3])<<8+int(b[4]) {
		k, err := server.Read(b[n:])
		if err != nil {
			panic(err)
		}
		n += k
	}
	return b[:n]
})

// Five hundred clients begin a TLS handshake and do not go on. There are never
// more than the limit, honest clients get through, and the handshake clock ends
// the rest.
func TestAbuse_HandshakeStallers(t *testing.T) {
	const stallers, limit, clock = 500, 50, 2 * time.Second
	tests := []struct {
		name  string
		speak func(nc net.Conn)
	}{
		{"silent", func(net.Conn) {}},
		{"half a hello", func(nc net.Conn) { nc.Write(helloBytes()[:100]) }},
		{"hello, and reads nothing", func(nc net.Conn) { nc.Write(helloBytes()) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := tlsWorld.start(t, &hythe.Server{
				Service:  echoService(),
				Limits:   hythe.Limits{Handshakes: limit},
				Timeouts: hythe.Timeouts{Handshake: clock},
			})
			ns := h.neighbours(4)
			goroutines := runtime.NumGoroutine()
			for range stallers {
				tt.speak(h.dialOnly())
			}
			// Each beyond the limit ends the oldest.
			h.wantEnds(stallers-limit, hythe.Shed)
			began := time.Now()
			for range 10 {
				p := h.peerOf(h.dialOnly())
				p.startTLS()
				p.wantLive()
			}
			h.wantEnds(1, hythe.Shed) // the first one's place; each leaves it to the next
			within(t, "10 honest clients", time.Since(began), clock)
			if live := h.srv.Stats().Live; live != limit-1+10+4 {
				t.Errorf("%d are live, want %d", live, limit-1+10+4)
			}
			t.Logf("%d goroutines more for %d handshakes", runtime.NumGoroutine()-goroutines, limit-1)
			h.wantEnds(limit-1, hythe.HandshakeTimeout)
			within(t, "the last staller's end", time.Since(began), clock+time.Second)
			h.wantLiveConns(4 + 10)
			ns.check(tlsWorld.neighbourBound())
		})
	}
}

// While stallers keep coming, honest clients get through: who shakes hands at
// once is not among the oldest.
func TestAbuse_HandshakeStorm(t *testing.T) {
	const stallers, limit, honest = 500, 100, 20
	h := tlsWorld.start(t, &hythe.Server{Service: echoService(), Limits: hythe.Limits{Handshakes: limit}})
	ns := h.neighbours(2)
	var storm, guests sync.WaitGroup
	var failed atomic.Int32
	storm.Go(func() {
		pace := time.NewTicker(time.Millisecond) // a thousand a second
		defer pace.Stop()
		for range stallers {
			h.dialOnly()
			<-pace.C
		}
	})
	guests.Go(func() {
		for range honest {
			p, err := h.rawDial()
			if err != nil {
				failed.Add(1)
				continue
			}
			p.send("hello\n")
			p.want("hello")
			p.close()
		}
	})
	guests.Wait()
	storm.Wait()
	t.Logf("%d of %d honest handshakes failed", failed.Load(), honest)
	if failed.Load() > 0 {
		t.Errorf("%d of %d honest clients did not get through", failed.Load(), honest)
	}
	// Those that were shed have yet to notice.
	eventually(t, h.w, func() bool { return h.srv.Stats().Live <= limit+2 }, "no more handshakes than the limit")
	ns.check(tlsWorld.neighbourBound())
}

// In fake time, every way to be slow ends exactly at the handshake clock.
func TestAbuse_HandshakeClock(t *testing.T) {
	const stallers, clock = 100, 10 * time.Second
	drip := func(nc net.Conn) {
		for i := range helloBytes() {
			if _, err := nc.Write(helloBytes()[i : i+1]); err != nil {
				return
			}
			time.Sleep(time.Second)
		}
	}
	tests := []struct {
		name  string
		pre   bool // the staller meets PreConnect, not TLS
		speak func(nc net.Conn)
	}{
		{"TLS, silent", false, func(net.Conn) {}},
		{"TLS, a byte a second", false, drip},
		{"TLS, hello and no more", false, func(nc net.Conn) { nc.Write(helloBytes()) }},
		{"PreConnect, silent", true, func(net.Conn) {}},
		{"PreConnect, a byte a second", true, drip},
	}
	helloBytes() // outside of every bubble
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inMem(t, func(t *testing.T) {
				srv := &hythe.Server{Service: echoService(), Timeouts: hythe.Timeouts{Handshake: clock}}
				if tt.pre {
					srv.PreConnect = preamble
				} else {
					srv.TLS = serverTLS()
				}
				h := memWorld.start(t, srv)
				var speaking sync.WaitGroup
				defer speaking.Wait()
				began := time.Now()
				for range stallers {
					nc := h.dialOnly()
					speaking.Go(func() { tt.speak(nc) })
				}
				synctest.Wait()
				h.wantEnds(stallers, hythe.HandshakeTimeout)
				if d := time.Since(began); d < clock || d > clock+200*time.Millisecond {
					t.Errorf("the last one ended after %v, want %v", d, clock)
				}
				h.wantLiveConns(0)
			})
		})
	}
}

// preamble is a PreConnect that wants 2,000 bytes first, or a line feed.
func preamble(ctx context.Context, nc net.Conn) (net.Conn, error) {
	b := make([]byte, 1)
	for range 2000 {
		if _, err := io.ReadFull(nc, b); err != nil {
			return nil, err
		}
		if b[0] == '\n' {
			break
		}
	}
	return nc, nil
}

// PreConnect stallers, over both drivers: the limit holds, honest clients get
// through and are then driven as others are.
func TestAbuse_PreConnectStallers(t *testing.T) {
	const stallers, limit, clock = 300, 30, 1500 * time.Millisecond
	inWorlds(t, []world{tcpWorld, unixW, netWorld, memWorld}, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{
			Service:    echoService(),
			Limits:     hythe.Limits{Handshakes: limit},
			Timeouts:   hythe.Timeouts{Handshake: clock},
			PreConnect: preamble,
		})
		guest := func() *peer {
			p := h.peerOf(h.dialOnly())
			p.send("\n")
			p.wantLive()
			return p
		}
		first := guest()
		for range stallers {
			h.dialOnly()
		}
		h.wantEnds(stallers-limit, hythe.Shed)
		if live := h.srv.Stats().Live; live != limit+1 {
			t.Errorf("%d are live, want %d", live, limit+1)
		}
		began := time.Now()
		guests := []*peer{first}
		for range 5 {
			guests = append(guests, guest())
		}
		within(t, "5 honest clients", time.Since(began), clock/2)
		got := h.wantEnds(limit, hythe.HandshakeTimeout, hythe.Shed)
		if got[hythe.Shed] != 1 {
			t.Errorf("ends: %v, want 1 shed, whose place the guests had one after the other", got)
		}
		h.wantLiveConns(len(guests))
		for _, p := range slices.Backward(guests) {
			p.wantLive()
		}
	})
}

// A PreConnect that ignores its context does not hold the place of others, nor
// the server's end.
func TestAbuse_PreConnectIgnoresContext(t *testing.T) {
	inWorlds(t, []world{tcpWorld, netWorld, memWorld}, func(t *testing.T, w world) {
		release := make(chan bool)
		var stuck atomic.Int32
		h := w.start(t, &hythe.Server{
			Service:  echoService(),
			Timeouts: hythe.Timeouts{Handshake: 300 * time.Millisecond},
			PreConnect: func(ctx context.Context, nc net.Conn) (net.Conn, error) {
				b := make([]byte, 1)
				if _, err := io.ReadFull(nc, b); err == nil && b[0] == 's' {
					stuck.Add(1)
					<-release
				}
				return nc, nil
			},
		})
		h.stuck = true // until it is released
		for range 20 {
			h.dialOnly().Write([]byte("s"))
		}
		eventually(t, w, func() bool { return stuck.Load() == 20 }, "all to be stuck")
		p := h.peerOf(h.dialOnly())
		p.send("x")
		p.wantLive()
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		report, err := h.srv.Drain(ctx)
		slack := 250 * time.Millisecond
		if w.mem {
			slack = 100 * time.Millisecond
		}
		within(t, "Drain", time.Since(began), 500*time.Millisecond+slack)
		t.Logf("%v, %v", &report, err)
		// The guest's turn may still have been about to end.
		if len(report.Cut) != 20 || len(report.Idle)+len(report.Finished) != 1 {
			t.Errorf("report: %v, want 20 cut and 1 idle", &report)
		}
		close(release)
		h.wantLiveConns(0)
		h.wait()
	})
}

// A client that finishes sending before it may be talked to.
func TestAbuse_HalfCloseInHandshake(t *testing.T) {
	tests := []struct {
		name   string
		worlds []world
		pre    bool
		say    func() []byte
		why    hythe.Reason
	}{
		{"TLS, silent", []world{tlsWorld}, false, func() []byte { return nil }, hythe.HandshakeFailed},
		{"TLS, half a hello", []world{tlsWorld}, false, func() []byte { return helloBytes()[:50] }, hythe.HandshakeFailed},
		{"TLS, hello", []world{tlsWorld}, false, helloBytes, hythe.HandshakeFailed},
		{"TLS, something else", []world{tlsWorld}, false, func() []byte { return []byte("GET / HTTP/1.0\r\n\r\n") }, hythe.HandshakeFailed},
		{"PreConnect, silent", plainWorlds, true, func() []byte { return nil }, hythe.Denied},
		{"PreConnect, unfinished", plainWorlds, true, func() []byte { return []byte("pre") }, hythe.Denied},
		{"PreConnect, finished", plainWorlds, true, func() []byte { return []byte("pre\nping") }, hythe.PeerDone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorlds(t, tt.worlds, func(t *testing.T, w world) {
				const clients = 20
				srv := &hythe.Server{Service: echoService()}
				if tt.pre {
					srv.PreConnect = preamble
				}
				h := w.start(t, srv)
				for range clients {
					nc := h.dialOnly()
					nc.Write(tt.say())
					nc.(interface{ CloseWrite() error }).CloseWrite()
					nc.SetReadDeadline(time.Now().Add(w.patience()))
					got, _ := io.ReadAll(nc) // an alert, or nothing
					if tt.why == hythe.PeerDone && string(got) != "ping\n" {
						t.Errorf("client: got %q", got)
					}
				}
				h.wantEnds(clients, tt.why)
				h.wantLiveConns(0)
			})
		})
	}
}
