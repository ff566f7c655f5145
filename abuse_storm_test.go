package hythe_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

// bigAnswers answers a line that is no ping with 20 times 4 KB.
func bigAnswers() hythe.Service {
	answer := strings.Repeat("a", 4000)
	return pingService(func(c *lines, in string) error {
		for range 20 {
			if err := c.Send(answer); err != nil {
				return err
			}
		}
		return nil
	})
}

// Two thousand clients break their connections in the middle of their answers.
func TestAbuse_ResetStorm(t *testing.T) {
	const clients, atOnce = 2000, 32
	inWorlds(t, []world{tcpWorld, netWorld, tlsWorld}, func(t *testing.T, w world) {
		clients := clients
		if w.tls {
			clients /= 8 // handshakes are dear
		}
		h := w.start(t, &hythe.Server{Service: bigAnswers()})
		ns := h.neighbours(2)
		before := openDescriptors()
		began := time.Now()
		abusers(clients, atOnce, func(i int) {
			p, err := h.rawDial()
			if err != nil {
				t.Error(err)
				return
			}
			// From "says nothing" to "has read most of the answer".
			if i%8 > 0 {
				p.send("go\n")
				p.send("and once more\n")
			}
			if i%8 > 1 {
				io.CopyN(io.Discard, p.nc, int64(i%8)*9999)
			}
			p.reset()
		})
		t.Logf("%d connections broken in %v", clients, time.Since(began))
		ends := h.wantEnds(clients, hythe.PeerReset, hythe.PeerDone)
		t.Log(ends)
		if ends[hythe.PeerReset] < clients/2 {
			t.Errorf("ends: %v, want most to be resets", ends)
		}
		h.wantLiveConns(2)
		if now := openDescriptors(); now > before+8 {
			t.Errorf("%d descriptors are open, there were %d", now, before)
		}
		// A goroutine that was writing gives the queue back when it is told.
		eventually(t, w, func() bool { return h.srv.Stats().Memory <= 8<<10 }, "the account of two idle connections")
		ns.check(2 * w.neighbourBound()) // the clients take all the processors there are
	})
}

// A client may finish sending at any moment. What it asked for is answered, and
// its connection ends for the right reason.
func TestAbuse_HalfClose(t *testing.T) {
	strict := codec.Line{Final: codec.FinalError}.Strings()
	type phase struct {
		name  string
		hooks func(release chan bool) *hooks
		act   func(p *peer, release chan bool)
		bytes int // the client gets
		why   hythe.Reason
	}
	blocked := func(release chan bool) *hooks {
		return &hooks{input: withPing(func(c *lines, in string) error { <-release; return c.Send(in) })}
	}
	big := func(chan bool) *hooks {
		return &hooks{input: withPing(func(c *lines, in string) error {
			for range 1000 {
				if err := c.Send(strings.Repeat("b", 3999)); err != nil {
					return err
				}
			}
			return nil
		})}
	}
	phases := []phase{
		{"at once", nil, func(p *peer, _ chan bool) {}, 0, hythe.PeerDone},
		{"inside a frame", nil, func(p *peer, _ chan bool) { p.send("hal") }, 0, hythe.Truncated},
		{"behind a frame and a half", nil, func(p *peer, _ chan bool) { p.send("ping\nhal") }, 5, hythe.Truncated},
		{"behind a request", nil, func(p *peer, _ chan bool) { p.send("ping\n") }, 5, hythe.PeerDone},
		{"while Connected blocks", func(release chan bool) *hooks {
			return &hooks{connected: func(c *lines) error {
				if c.ID() > 1 {
					<-release
				}
				return nil
			}}
		}, func(p *peer, release chan bool) { p.send("ping\nping\n"); p.closeWrite(); close(release) }, 10, hythe.PeerDone},
		{"while a hook blocks", blocked, func(p *peer, release chan bool) {
			p.send("x\nping\n")
			p.closeWrite()
			close(release)
		}, 7, hythe.PeerDone},
		{"during a large answer", big, func(p *peer, _ chan bool) { p.send("x\n"); p.nc.Read(make([]byte, 1)) }, 4_000_000 - 1, hythe.PeerDone},
		{"before a large answer is read", big, func(p *peer, _ chan bool) { p.send("x\nping\n") }, 4_000_005, hythe.PeerDone},
		{"while input is paused", func(release chan bool) *hooks {
			return &hooks{input: withPing(func(c *lines, in string) error {
				c.PauseInput()
				go func() { <-release; c.ResumeInput() }()
				return c.Send(in)
			})}
		}, func(p *peer, release chan bool) {
			p.send("x\nping\n")
			p.closeWrite()
			close(release)
		}, 7, hythe.PeerDone},
		{"after the server's half-close", func(chan bool) *hooks {
			return &hooks{input: withPing(func(c *lines, in string) error { return c.CloseWrite() })}
		}, func(p *peer, _ chan bool) { p.send("x\n"); io.ReadAll(p.r) }, 0, hythe.PeerDone},
		{"after Shutdown", func(chan bool) *hooks {
			return &hooks{input: withPing(func(c *lines, in string) error { c.Send("bye"); c.Shutdown(); return nil })}
		}, func(p *peer, _ chan bool) { p.send("x\nping\n") }, 4, hythe.Finished},
	}
	for _, tt := range phases {
		t.Run(tt.name, func(t *testing.T) {
			inWorlds(t, allWorlds, func(t *testing.T, w world) {
				const clients = 5
				releases := make(chan chan bool, clients)
				h := w.start(t, &hythe.Server{Service: hythe.Sessions(strict, func(c *lines) *hooks {
					if tt.hooks == nil || c.ID() == 1 {
						return &hooks{}
					}
					return tt.hooks(<-releases)
				})})
				ns := h.neighbours(1)
				for range clients { // one after the other, so that each has its release
					release := make(chan bool)
					releases <- release
					p := h.dial()
					tt.act(p, release)
					p.nc.(interface{ CloseWrite() error }).CloseWrite() // the second one does no harm
					got, err := io.ReadAll(p.r)
					if err != nil || len(got) != tt.bytes {
						t.Errorf("client: got %d bytes, %v, want %d", len(got), err, tt.bytes)
					}
					h.wantEnd(tt.why)
					if tt.hooks == nil {
						<-releases
					}
				}
				ns.check(w.neighbourBound())
			})
		})
	}
}

// A client that finishes sending while the server drains and a hook works for
// it has its answers.
func TestAbuse_HalfCloseWhileDraining(t *testing.T) {
	const clients = 20
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		release, working := make(chan bool), make(chan bool, clients)
		h := w.start(t, &hythe.Server{Service: pingService(func(c *lines, in string) error {
			working <- true
			<-release
			return c.Send(in)
		})})
		var peers []*peer
		for range clients {
			p := h.dial()
			p.send("work\nping\n")
			get(t, w, working, "the hook")
			peers = append(peers, p)
		}
		idle := h.dial()
		idle.send("ping\n")
		idle.want("ping")
		var drained sync.WaitGroup
		drained.Go(func() {
			report, err := h.srv.Drain(context.Background())
			// The idle one may still have been about to end its turn.
			if n := len(report.Finished); err != nil || n < clients || n+len(report.Idle) != clients+1 {
				t.Errorf("Drain = %v, %v", &report, err)
			}
		})
		idle.wantEOF() // the drain comes to the youngest last
		idle.close()
		for _, p := range peers {
			p.closeWrite()
		}
		close(release)
		for _, p := range peers {
			p.want("work", "ping")
			p.wantEOF()
		}
		h.wantEnds(clients+1, hythe.Drained, hythe.PeerDone)
		drained.Wait()
	})
}

// Clients far beyond the limit are told so, and those inside it notice nothing.
func TestAbuse_FloodRefused(t *testing.T) {
	const limit, flood, farewell = 10, 400, "full, sorry\n"
	inWorlds(t, plainWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{
			Service:  echoService(),
			Limits:   hythe.Limits{Conns: limit},
			AtLimit:  hythe.Refuse,
			Farewell: []byte(farewell),
		})
		ns := h.neighbours(limit)
		var told, silent atomic.Int32
		refused := func() {
			p, err := h.rawDial()
			if err != nil {
				t.Error(err)
				return
			}
			defer p.close()
			p.nc.Write([]byte("hello\n"))
			switch got, _ := io.ReadAll(p.r); string(got) {
			case farewell:
				told.Add(1)
			case "":
				silent.Add(1)
			default:
				t.Errorf("a refused client got %q", got)
			}
		}
		for range 20 { // one by one all are told
			refused()
		}
		if told.Load() != 20 {
			t.Errorf("%d of 20 were told", told.Load())
		}
		abusers(flood, 100, func(int) { refused() }) // more at once than are told
		h.wantEnds(20+flood, hythe.Refused)
		t.Logf("%d were told, %d closed without a word", told.Load(), silent.Load())
		if told.Load() < 20+64 {
			t.Errorf("only %d were told", told.Load())
		}
		h.wantLiveConns(limit)
		ns.check(w.neighbourBound())
	})
}

// With ShedIdle every newcomer is served at once, at the cost of the one that
// has been idle for longest, and the limit holds. Busy ones stay.
func TestAbuse_FloodShed(t *testing.T) {
	const limit, flood, busy = 100, 500, 2
	inWorlds(t, plainWorlds, func(t *testing.T, w world) {
		release := make(chan bool)
		var now, peak atomic.Int32
		count := countingService(&now, &peak)
		hold := pingService(func(c *lines, in string) error { c.Send(in); <-release; return nil })
		h := w.start(t, &hythe.Server{
			Service: hythe.ServiceFunc(func(c *hythe.Stream) (hythe.Protocol, error) {
				if c.ID() <= busy {
					return hold.Open(c)
				}
				return count.Open(c)
			}),
			Limits:  hythe.Limits{Conns: limit},
			AtLimit: hythe.ShedIdle,
		})
		for range busy {
			p := h.dial()
			p.send("hold\n")
			p.want("hold")
		}
		for range flood {
			p := h.dial()
			p.wantLive()
		}
		h.wantEnds(flood+busy-limit, hythe.Shed)
		if peak.Load() > limit-busy {
			t.Errorf("there were %d at once, want at most %d", peak.Load(), limit-busy)
		}
		h.wantLiveConns(limit)
		var old []uint64 // they live, though others have been idle for longer
		for c := range h.srv.Conns() {
			if id := c.ID(); id > busy && id <= flood+2*busy-limit {
				old = append(old, id)
			}
		}
		// Who was about to end its turn when the next one came is not idle.
		if len(old) > limit/10 {
			t.Errorf("connections %v are live, the oldest were to be shed", old)
		}
		close(release)
	})
}

// Sixty-four clients come and go at a limit of ten: it is never passed by one,
// and everybody is served in the end.
func TestAbuse_DialersAtLimit(t *testing.T) {
	const limit, dialers, each = 10, 64, 10
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		each := each
		if w.tls {
			each = 3
		}
		var now, peak atomic.Int32
		var live gauge
		h := w.start(t, &hythe.Server{
			Service: countingService(&now, &peak),
			Limits:  hythe.Limits{Conns: limit},
		})
		var served atomic.Int32
		abusers(dialers*each, dialers, func(i int) {
			p, err := h.rawDial()
			if err != nil {
				t.Error(err)
				return
			}
			defer p.close()
			if err := (&neighbours{h: h}).ping(p, fmt.Sprintf("ping %d", i)); err != nil {
				t.Errorf("client %d: %v", i, err)
				return
			}
			live.show(int64(h.srv.Stats().Live))
			served.Add(1)
		})
		t.Logf("%d served, %d live at once", served.Load(), peak.Load())
		if peak.Load() > limit || live.peak.Load() > limit {
			t.Errorf("there were %d sessions and %d connections at once, the limit is %d", peak.Load(), live.peak.Load(), limit)
		}
		h.wantEnds(dialers*each, hythe.PeerDone)
		h.wantLiveConns(0)
	})
}

// Two thousand idle connections end at once when the server drains, while a
// busy one finishes.
func TestAbuse_DrainIdle(t *testing.T) {
	const idle, bound = 2000, time.Second
	inWorlds(t, []world{tcpWorld, unixW, netWorld}, func(t *testing.T, w world) {
		release, working := make(chan bool), make(chan bool, 1)
		var opened atomic.Int32
		h := w.serve(t, func(*lines) *hooks {
			return &hooks{
				connected: func(*lines) error { opened.Add(1); return nil },
				input:     func(c *lines, in string) error { working <- true; <-release; return c.Send(in) },
			}
		})
		var conns []net.Conn
		for range idle {
			conns = append(conns, h.dialOnly())
		}
		busy := h.dial()
		busy.send("work\n")
		get(t, w, working, "the busy one to work")
		eventually(t, w, func() bool { return opened.Load() == idle+1 }, "all connections")
		began := time.Now()
		var drained sync.WaitGroup
		drained.Go(func() {
			report, err := h.srv.Drain(context.Background())
			// One or two may still have been about to end their first turn.
			if n := len(report.Finished); err != nil || len(report.Idle)+n != idle+1 || n < 1 || n > 3 || len(report.Cut) != 0 {
				t.Errorf("Drain = %v, %v", &report, err)
			}
		})
		h.wantEnds(idle, hythe.Drained)
		within(t, fmt.Sprintf("the end of %d idle connections", idle), time.Since(began), bound)
		h.checkSum()
		b := make([]byte, 1)
		for _, nc := range conns {
			nc.SetReadDeadline(time.Now().Add(w.patience()))
			if n, err := nc.Read(b); n != 0 || err != io.EOF {
				t.Fatalf("an idle client got %d bytes, %v, want EOF", n, err)
			}
		}
		answered := time.Now()
		close(release)
		busy.want("work")
		busy.wantEOF()
		busy.close()
		drained.Wait()
		within(t, "return after the last answer", time.Since(answered), 45*time.Millisecond)
		if st := h.srv.Stats(); st.Opened != idle+1 || st.Live != 0 || st.Ended[hythe.Drained] != idle+1 {
			t.Errorf("Stats = %+v", st)
		}
		h.wait()
	})
}
