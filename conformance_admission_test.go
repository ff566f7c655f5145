package hythe_test

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
)

// countingService echoes and counts how many sessions there are.
func countingService(now, peak *atomic.Int32) hythe.Service {
	return sessions(func(c *lines) *hooks {
		return &hooks{
			connected: func(c *lines) error {
				n := now.Add(1)
				for p := peak.Load(); n > p && !peak.CompareAndSwap(p, n); p = peak.Load() {
				}
				return nil
			},
			disconnected: func(c *lines, why error) { now.Add(-1) },
		}
	})
}

// The limit is exact: racing clients reach it and do not pass it.
func TestAdmission_Exact(t *testing.T) {
	for name, at := range map[string]hythe.AtLimit{"backlog": hythe.Backlog, "refuse": hythe.Refuse} {
		t.Run(name, func(t *testing.T) {
			inWorlds(t, allWorlds, func(t *testing.T, w world) {
				const limit, dialers = 10, 64
				var now, peak atomic.Int32
				h := w.start(t, &hythe.Server{
					Service: countingService(&now, &peak),
					Limits:  hythe.Limits{Conns: limit},
					AtLimit: at,
				})
				full := make(chan bool)
				var clients sync.WaitGroup
				var served atomic.Int32
				for range dialers {
					clients.Go(func() {
						p, err := h.rawDial()
						if err != nil {
							return
						}
						if _, err := io.WriteString(p.nc, "x\n"); err == nil {
							if _, err := p.r.ReadString('\n'); err == nil {
								served.Add(1)
								<-full // stay
							}
						}
						p.close()
					})
				}
				eventually(t, w, func() bool { return served.Load() == limit }, "the limit")
				time.Sleep(20 * time.Millisecond)
				if n := h.srv.Stats().Live; n < limit {
					t.Errorf("%d are live", n)
				}
				close(full)
				clients.Wait()
				if peak.Load() != limit {
					t.Errorf("there were %d at once, the limit is %d", peak.Load(), limit)
				}
				if at == hythe.Backlog && served.Load() != dialers {
					t.Errorf("%d of %d were served in the end", served.Load(), dialers)
				}
				eventually(t, w, func() bool { return h.srv.Stats().Live == 0 }, "all ends")
				h.checkSum()
			})
		})
	}
}

// rawDial dials, and shakes hands in TLS, and may fail.
func (h *host) rawDial() (*peer, error) { return h.rawDialTo(h.ln) }

func (h *host) rawDialTo(ln net.Listener) (*peer, error) {
	if h.w.mem {
		nc, err := h.mem.Dial(context.Background(), ln.Addr().String())
		if err != nil {
			return nil, err
		}
		return h.peerOf(nc), nil
	}
	p, err := h.tryDial(ln.Addr())
	if err == nil && h.w.tls {
		err = p.tryTLS()
	}
	return p, err
}

func tcpAddr(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 1234} }

// One more connection from one address is refused, whatever the policy, and
// others are not.
func TestAdmission_PerIP(t *testing.T) {
	for name, at := range map[string]hythe.AtLimit{"backlog": hythe.Backlog, "refuse": hythe.Refuse, "shed": hythe.ShedIdle} {
		t.Run(name, func(t *testing.T) {
			inMem(t, func(t *testing.T) {
				h := memWorld.start(t, &hythe.Server{
					Service:  echoService(),
					Limits:   hythe.Limits{ConnsPerIP: 2},
					AtLimit:  at,
					Farewell: []byte("too many\n"),
				})
				groups := [][]string{
					{"10.0.0.1", "10.0.0.1", "::ffff:10.0.0.1"},
					{"10.0.0.2", "10.0.0.2", "10.0.0.2"},
					{"2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:1:ffff:ffff:ffff:ffff"}, // one /64
					{"2001:db8:0:2::1", "2001:db8:0:2::2", "2001:db8:0:2::3"},
				}
				for _, ips := range groups {
					first := h.dialFrom(tcpAddr(ips[0]))
					first.wantLive()
					h.dialFrom(tcpAddr(ips[1])).wantLive()
					third := h.dialFrom(tcpAddr(ips[2]))
					third.want("too many")
					third.wantEOF()
					third.close()
					h.wantEnd(hythe.Refused)
					first.close()
					h.wantEnd(hythe.PeerDone)
					h.dialFrom(tcpAddr(ips[2])).wantLive() // a place was given back
				}
				h.srv.SetMaxConnsPerIP(3)
				h.dialFrom(tcpAddr("10.0.0.2")).wantLive()
			})
		})
	}
}

func TestAdmission_SetMaxConns(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{Service: echoService()})
		a, b := h.dial(), h.dial()
		a.wantLive()
		b.wantLive()
		h.srv.SetMaxConns(1) // lowering cuts nobody
		a.wantLive()
		b.wantLive()
		h.srv.SetMaxConns(0)
		waiting := make(chan *peer, 1)
		go func() {
			p, err := h.rawDial()
			if err != nil {
				t.Error(err)
			}
			waiting <- p
		}()
		time.Sleep(20 * time.Millisecond)
		if n := h.srv.Stats().Opened; n != 2 {
			t.Errorf("%d were opened", n)
		}
		a.close()
		b.close()
		h.nextEnd()
		h.nextEnd()
		time.Sleep(20 * time.Millisecond)
		if n := h.srv.Stats().Opened; n != 2 {
			t.Errorf("with no connection allowed %d were opened", n)
		}
		h.srv.SetMaxConns(1)
		get(t, w, waiting, "the dialler").wantLive()
		h.srv.SetMaxConns(-1)
		h.dial().wantLive()
		if err := h.srv.SetLimits(hythe.Limits{HighWater: 1, LowWater: 2}); err == nil {
			t.Error("SetLimits took marks the wrong way round")
		}
		if err := h.srv.SetLimits(hythe.Limits{Conns: 3}); err != nil {
			t.Error(err)
		}
		h.dial().wantLive()
	})
}

// A client that waits in the queue is served when there is room, with what it
// has sent meanwhile.
func TestAdmission_Backlog(t *testing.T) {
	inWorlds(t, plainWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{Service: echoService(), Limits: hythe.Limits{Conns: 1}})
		first := h.dial()
		first.wantLive()
		var waiting []*peer
		for range 5 {
			p := h.dial()
			p.send("hello\n")
			waiting = append(waiting, p)
		}
		time.Sleep(20 * time.Millisecond)
		if st := h.srv.Stats(); st.Live != 1 || st.Opened != 1 {
			t.Errorf("Stats = %+v", st)
		}
		first.close()
		for _, p := range waiting {
			p.want("hello")
			p.close()
		}
	})
}

// Those that wait for room do not hold up the server's end.
func TestAdmission_BacklogEnd(t *testing.T) {
	inWorlds(t, plainWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{Service: echoService(), Limits: hythe.Limits{Conns: 1}})
		h.dial().wantLive()
		h.dial()
		h.dial()
		time.Sleep(20 * time.Millisecond)
		h.cancel()
		if err := h.wait(); err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
}

func TestAdmission_Refuse(t *testing.T) {
	inWorlds(t, plainWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{
			Service:  echoService(),
			Limits:   hythe.Limits{Conns: 1},
			AtLimit:  hythe.Refuse,
			Farewell: []byte("try later\n"),
		})
		first := h.dial()
		first.wantLive()
		for range 20 {
			p := h.dial()
			p.send("hello\n") // must not destroy the farewell
			p.want("try later")
			p.wantEOF()
			p.close()
			h.wantEnd(hythe.Refused)
		}
		first.close()
		h.wantEnd(hythe.PeerDone)
		h.dial().wantLive()
	})
}

func TestAdmission_ShedIdle(t *testing.T) {
	inWorlds(t, plainWorlds, func(t *testing.T, w world) {
		release := make(chan bool)
		h := w.start(t, &hythe.Server{
			Service: sessions(func(*lines) *hooks {
				return &hooks{input: func(c *lines, in string) error {
					if in == "busy" {
						c.Send(in)
						<-release
					}
					return c.Send(in)
				}}
			}),
			Limits:  hythe.Limits{Conns: 3},
			AtLimit: hythe.ShedIdle,
		})
		a, b, c := h.dial(), h.dial(), h.dial()
		for _, p := range []*peer{a, b, c} { // a is idle for longest, in the end
			p.wantLive()
			time.Sleep(5 * time.Millisecond)
		}
		b.wantLive()
		d := h.dial()
		d.wantLive()
		a.wantGone()
		if ev := h.wantEnd(hythe.Shed); ev.Conn.ID() != 1 {
			t.Errorf("connection %d was shed, want 1", ev.Conn.ID())
		}
		for _, p := range []*peer{b, c, d} {
			p.send("busy\n")
			p.want("busy")
		}
		p := h.dial() // all are busy
		p.wantGone()
		h.wantEnd(hythe.Refused)
		close(release)
	})
}

// One handshake too many ends the oldest.
func TestAdmission_Handshakes(t *testing.T) {
	inWorlds(t, []world{tlsWorld, memWorld}, func(t *testing.T, w world) {
		srv := &hythe.Server{Service: echoService(), Limits: hythe.Limits{Handshakes: 3}}
		if w.mem {
			srv.TLS = serverTLS()
		}
		h := w.start(t, srv)
		var stuck []net.Conn
		for range 10 {
			nc := h.dialOnly()
			stuck = append(stuck, nc)
			if w.mem {
				synctest.Wait()
			} else {
				time.Sleep(5 * time.Millisecond)
			}
		}
		for range 7 {
			h.wantEnd(hythe.Shed)
		}
		if n := h.srv.Stats().Live; n != 3 {
			t.Errorf("%d handshakes at once, the limit is 3", n)
		}
		p := h.peerOf(h.dialOnly()) // an honest client gets through
		p.startTLS()
		p.wantLive()
		for _, nc := range stuck {
			nc.Close()
		}
	})
}

// A burst of handshakes does not pass the limit either.
func TestAdmission_HandshakeBurst(t *testing.T) {
	inMem(t, func(t *testing.T) {
		var now, peak atomic.Int32
		h := memWorld.start(t, &hythe.Server{
			Service: echoService(),
			Limits:  hythe.Limits{Handshakes: 3},
			PreConnect: func(ctx context.Context, nc net.Conn) (net.Conn, error) {
				peak.Store(max(peak.Load(), now.Add(1)))
				defer now.Add(-1)
				<-ctx.Done()
				return nil, ctx.Err()
			},
		})
		for range 30 {
			h.dialOnly()
		}
		synctest.Wait()
		if n := now.Load(); n != 3 {
			t.Errorf("after a burst there are %d handshakes, the limit is 3", n)
		}
	})
}

// dialOnly dials and does nothing else.
func (h *host) dialOnly() net.Conn {
	h.Helper()
	var nc net.Conn
	var err error
	if h.w.mem {
		nc, err = h.mem.Dial(context.Background(), h.ln.Addr().String())
	} else {
		nc, err = net.Dial(h.ln.Addr().Network(), h.ln.Addr().String())
	}
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { nc.Close() })
	return nc
}
