package hythe_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

// A mine is a session that panics in the hook whose name is its first line, and
// serves neighbours.
type mine struct{ where string }

func (m *mine) at(hook string) error {
	switch m.where {
	case hook:
		panic("mine: " + hook)
	case "exit " + hook:
		runtime.Goexit()
	}
	return nil
}

func (m *mine) Input(c *lines, in string) error {
	if strings.HasPrefix(in, "ping") {
		return c.Send(in)
	}
	m.where = in
	if in == "OnClose" || in == "exit OnClose" {
		c.OnClose(func(error) { m.at("OnClose") })
	}
	m.at("Input")
	if err := c.Post("event"); err != nil {
		return err
	}
	return c.Send(strings.Repeat("m", 3000)) // passes both marks
}

func (m *mine) Posted(c *lines, ev any) error   { return m.at("Posted") }
func (m *mine) Flushed(c *lines)                { m.at("Flushed") }
func (m *mine) HighWater(c *lines)              { m.at("HighWater") }
func (m *mine) LowWater(c *lines)               { m.at("LowWater") }
func (m *mine) InputFailed(c *lines, err error) { m.at("InputFailed") }
func (m *mine) InputClosed(c *lines) error {
	m.at("InputClosed")
	c.Shutdown()
	return nil
}
func (m *mine) Disconnected(c *lines, why error) { m.at("Disconnected") }
func (m *mine) Connected(c *lines) error         { return nil }

// A panic in every hook, of twenty connections at once, while fifty neighbours
// work: nobody else notices, and each has its reason.
func TestAbuse_PanicEverywhere(t *testing.T) {
	const miners, workers = 20, 50
	inside := []string{"Input", "Posted", "Flushed", "HighWater", "LowWater", "InputFailed", "InputClosed"}
	after := []string{"Disconnected", "OnClose"} // the reason is another already
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		miners := miners
		if w.tls {
			miners /= 5 // handshakes are dear
		}
		var late atomic.Int32
		var open atomic.Int32 // panics in the function that opens sessions
		h := w.start(t, &hythe.Server{
			Service: hythe.Sessions(trapCodec{codec.Lines()}, func(c *lines) *mine {
				if open.Load() > 0 && open.Add(-1) >= 0 {
					panic("mine: open")
				}
				return &mine{}
			}),
			Limits: hythe.Limits{HighWater: 2000},
			Observer: func(ev hythe.Event) {
				if ev.Kind == hythe.HookPanicked {
					late.Add(1)
				}
			},
		})
		ns := h.neighbours(workers)
		mined := func(where string) {
			p, err := h.rawDial()
			if err != nil {
				t.Error(err)
				return
			}
			defer p.close()
			io.WriteString(p.nc, where)
			if strings.HasSuffix(where, "InputClosed\n") {
				p.closeWrite()
			}
			if strings.HasSuffix(where, "InputFailed\n") {
				io.WriteString(p.nc, strings.Repeat("f", codec.DefaultMax+2))
			}
			if !strings.HasSuffix(where, "Disconnected\n") && !strings.HasSuffix(where, "OnClose\n") {
				io.Copy(io.Discard, p.nc)
			} else {
				p.r.ReadString('\n')
			}
		}
		var spots []string
		for _, hook := range inside {
			spots = append(spots, hook+"\n", "exit "+hook+"\n")
		}
		spots = append(spots, "decode trap", "ping\ndecode trap")
		abusers(len(spots)*miners, 30, func(i int) { mined(spots[i%len(spots)]) })
		h.wantEnds(len(spots)*miners, hythe.Panicked)
		open.Store(int32(miners))
		abusers(miners, miners, func(int) { mined("ping\n") })
		h.wantEnds(miners, hythe.Panicked)
		abusers(len(after)*miners, 30, func(i int) { mined(after[i%len(after)] + "\n") })
		h.wantEnds(len(after)*miners, hythe.PeerDone, hythe.PeerReset, hythe.Finished)
		eventually(t, w, func() bool { return late.Load() == int32(len(after)*miners) }, "every HookPanicked")
		h.wantLiveConns(workers)
		ns.check(2 * w.neighbourBound()) // with 30 goroutines at work
	})
}

// A panic in PreConnect or in a callback of the TLS configuration, or an exit of
// the goroutine there, ends one connection.
func TestAbuse_PanicInHandshake(t *testing.T) {
	const miners = 20
	ways := map[string]func(){"panics": func() { panic("mine: handshake") }, "exits": runtime.Goexit}
	for how, explode := range ways {
		var armed atomic.Bool
		trap := func() {
			if armed.Load() {
				explode()
			}
		}
		preConnect := func(ctx context.Context, nc net.Conn) (net.Conn, error) { trap(); return nc, nil }
		withTLS := serverTLS().Clone()
		withTLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { trap(); return nil, nil }
		tests := []struct {
			name   string
			worlds []world
			arm    func(srv *hythe.Server)
		}{
			{"PreConnect", plainWorlds, func(srv *hythe.Server) { srv.PreConnect = preConnect }},
			{"TLS", []world{tlsWorld}, func(srv *hythe.Server) { srv.PreConnect = preConnect }},
			{"GetConfigForClient", []world{{name: "tls-callback", tls: true}}, func(srv *hythe.Server) {
				srv.PreConnect = func(ctx context.Context, nc net.Conn) (net.Conn, error) {
					return tls.Server(nc, withTLS), nil
				}
			}},
		}
		for _, tt := range tests {
			t.Run(tt.name+" "+how, func(t *testing.T) {
				inWorlds(t, tt.worlds, func(t *testing.T, w world) {
					armed.Store(false)
					callback := w.name == "tls-callback"
					w.tls = w.tls && !callback // the server's part is done by PreConnect
					srv := &hythe.Server{Service: echoService()}
					tt.arm(srv)
					h := w.start(t, srv)
					w.tls = w.tls || callback
					h.w = w
					ns := h.neighbours(5)
					armed.Store(true)
					for range miners {
						nc := h.dialOnly()
						if callback {
							nc.Write(helloBytes())
						}
					}
					h.wantEnds(miners, hythe.Panicked)
					h.wantLiveConns(5)
					armed.Store(false)
					h.dial().wantLive()
					ns.check(w.neighbourBound())
				})
			})
		}
	}
}

// blocking is a service whose hook blocks for a while when it is told to.
func blocking(d time.Duration) hythe.Service {
	return pingService(func(c *lines, in string) error {
		time.Sleep(d)
		return c.Send(in)
	})
}

// Eight handlers are blocked for a second each; the p99 of 64 others.
func TestAbuse_BlockedHandlers(t *testing.T) {
	const sleepers, others, nap = 8, 64, time.Second
	inWorlds(t, []world{tcpWorld, unixW, netWorld, tlsWorld}, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{Service: blocking(nap)})
		var peers []*peer
		for range sleepers {
			p := h.dial()
			p.wantLivePing()
			peers = append(peers, p)
		}
		bound := 50 * time.Millisecond
		if w.tls {
			bound *= 4 // two ciphers in one process
		}
		if p99 := inFive(t, "p99", bound, func() time.Duration {
			ns := h.neighbours(others)
			began := time.Now()
			for _, p := range peers {
				p.send("sleep\n")
			}
			for _, p := range peers {
				p.want("sleep")
			}
			within(t, fmt.Sprintf("%d naps of %v", sleepers, nap), time.Since(began), nap+500*time.Millisecond)
			ns.check(nap / 2)
			return ns.quantile(0.99)
		}); p99 > bound {
			t.Errorf("p99 of %d others is %v, want less than %v", others, p99, bound)
		}
	})
}

// wantLivePing is wantLive for a service that echoes pings.
func (p *peer) wantLivePing() {
	p.Helper()
	p.send("ping\n")
	p.want("ping")
}

// Five hundred handlers block at once for 100 ms: not one after the other.
func TestAbuse_ManyBlockedHandlers(t *testing.T) {
	const sleepers, nap, bound = 500, 100 * time.Millisecond, time.Second
	inWorlds(t, []world{tcpWorld, unixW, netWorld, memWorld}, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{Service: blocking(nap)})
		ns := h.neighbours(2)
		var peers []*peer
		for range sleepers {
			p := h.dial()
			p.wantLivePing()
			peers = append(peers, p)
		}
		goroutines := runtime.NumGoroutine()
		for round := range 2 {
			began := time.Now()
			for _, p := range peers {
				p.send("sleep\n")
			}
			if round == 0 {
				t.Logf("%d goroutines more", runtime.NumGoroutine()-goroutines)
			}
			for _, p := range peers {
				p.want("sleep")
			}
			if w.mem {
				within(t, "all naps", time.Since(began), nap)
			} else {
				within(t, fmt.Sprintf("%d naps of %v", sleepers, nap), time.Since(began), bound)
			}
		}
		ns.check(w.neighbourBound())
	})
}

// While loops are being woken now and then, the process's other goroutines get
// their network events as quickly as without loops.
func TestAbuse_OthersInProcess(t *testing.T) {
	inWorlds(t, abuseWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{Service: echoService()})
		p := h.dial()
		quit := make(chan bool)
		var poking sync.WaitGroup
		poking.Go(func() { // an event for a loop every 2 ms, which nobody waits for
			every := time.NewTicker(2 * time.Millisecond)
			defer every.Stop()
			for {
				p.nc.Write([]byte("x"))
				select {
				case <-every.C:
				case <-quit:
					return
				}
			}
		})
		// Two goroutines of the program's own, on a connection of its own.
		mine, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer mine.Close()
		poking.Go(func() {
			for nc, err := mine.Accept(); err == nil; nc, err = mine.Accept() {
				io.Copy(nc, nc)
				nc.Close()
			}
		})
		other := &host{TB: t, w: w, ln: mine}
		const bound = 50 * time.Millisecond
		if p99 := inFive(t, "p99", bound, func() time.Duration {
			ns := other.neighbours(1)
			for range 400 {
				time.Sleep(time.Millisecond) // while it is measured
			}
			ns.check(w.neighbourBound())
			return ns.quantile(0.99)
		}); p99 > bound {
			t.Errorf("p99 of goroutines that have nothing to do with the server is %v", p99)
		}
		close(quit)
		mine.Close()
		poking.Wait()
	})
}

// A hook that ignores that its connection was cut does not hold up a drain by
// more than 100 ms past the deadline, and is reported.
func TestAbuse_DrainStubborn(t *testing.T) {
	const stubborn, idle, deadline = 8, 50, 300 * time.Millisecond
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		slack := 100 * time.Millisecond
		if !w.mem {
			slack *= 2 // a shared machine
		}
		release := make(chan bool)
		var inside atomic.Int32
		h := w.start(t, &hythe.Server{Service: pingService(func(c *lines, in string) error {
			if in == "long" {
				<-c.Context().Done() // this one listens
				return context.Cause(c.Context())
			}
			inside.Add(1)
			<-release
			return nil
		})})
		h.stuck = true
		for range idle {
			h.dial().wantLivePing()
		}
		listens := h.dial()
		listens.send("long\n")
		for range stubborn {
			h.dial().send("stay\n")
		}
		eventually(t, w, func() bool { return inside.Load() == stubborn }, "the stubborn hooks")
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		report, err := h.srv.Drain(ctx)
		took := time.Since(began)
		within(t, "Drain", took, deadline+slack)
		if took < deadline {
			t.Errorf("Drain returned after %v, the deadline is %v", took, deadline)
		}
		var de *hythe.DrainError
		if !errors.As(err, &de) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Drain = %v (%T)", err, err)
		}
		if len(report.Idle)+len(report.Finished) != idle || len(report.Cut) != stubborn+1 || len(report.Finished) > 1 {
			t.Errorf("report: %v, want %d idle, %d cut", &report, idle, stubborn+1)
		}
		for _, info := range report.Cut {
			if info.Reason != hythe.DrainTimeout {
				t.Errorf("connection %d was cut: %v", info.ID, info.Reason)
			}
		}
		h.checkSum()
		close(release)
		h.wantLiveConns(0)
		if again, _ := h.srv.Drain(context.Background()); len(again.Cut) != stubborn+1 {
			t.Errorf("a second Drain reports %v", &again)
		}
		h.wait()
	})
}

// A connection whose first hook is running when the drain begins, and that has
// neither received nor sent anything, is closed like an idle one: there is
// nothing to linger for.
func TestAbuse_DrainWhileOpening(t *testing.T) {
	inWorlds(t, plainWorlds, func(t *testing.T, w world) {
		release, opening := make(chan bool), make(chan bool, 1)
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{connected: func(c *lines) error { opening <- true; <-release; return nil }}
		})
		p := h.dial()
		get(t, w, opening, "Connected")
		var drained sync.WaitGroup
		drained.Go(func() { h.srv.Drain(context.Background()) })
		h.awaitDrain()
		released := time.Now()
		close(release)
		p.wantEOF() // and it stays
		drained.Wait()
		within(t, "the end of the drain", time.Since(released), time.Second)
		h.wantEnd(hythe.Drained)
	})
}
