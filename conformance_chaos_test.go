package hythe_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/memnet"
)

// Everybody does at random what they may, and in the end everything adds up.
func TestChaos(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		const clients = 120
		var g hythe.Group[string]
		var opened, closed, onClose atomic.Int32
		service := sessions(func(c *lines) *hooks {
			c.OnClose(func(error) { onClose.Add(1) })
			var inside atomic.Int32
			serial := func() func() {
				if inside.Add(1) != 1 {
					t.Error("two hooks at once")
				}
				return func() { inside.Add(-1) }
			}
			return &hooks{
				connected:    func(c *lines) error { defer serial()(); opened.Add(1); g.Join(c); return nil },
				disconnected: func(c *lines, why error) { defer serial()(); closed.Add(1) },
				flushed:      func(c *lines) { defer serial()() },
				high:         func(c *lines) { defer serial()() },
				low:          func(c *lines) { defer serial()() },
				posted: func(c *lines, ev any) error {
					defer serial()()
					return c.TrySend(fmt.Sprint(ev))
				},
				input: func(c *lines, in string) error {
					defer serial()()
					switch rand.IntN(40) {
					case 0:
						return errBoom
					case 1:
						panic(errBoom)
					case 2:
						c.Shutdown()
					case 3:
						c.Close()
					case 4:
						c.CloseWrite()
					case 5:
						time.Sleep(3 * time.Millisecond)
					case 6:
						c.PauseInput()
						go c.ResumeInput()
					case 7:
						go c.Post("posted")
					case 8:
						g.Broadcast("broadcast")
					case 9:
						release := c.Hold()
						go func() { c.TrySend("held"); release() }()
					case 10:
						return c.Detach(func(nc net.Conn) { nc.Close() })
					case 11:
						runtime.Goexit()
					case 12:
						c.SetCodec(codec.Line{Max: 100_000}.Strings())
					case 13:
						return c.Send(strings.Repeat("x", 50_000))
					case 14:
						return c.Flush()
					}
					return c.Send(in)
				},
			}
		})
		h := w.start(t, &hythe.Server{
			Service:  service,
			Limits:   hythe.Limits{HighWater: 40_000, Conns: 30},
			Timeouts: hythe.Timeouts{WriteStall: 300 * time.Millisecond, Linger: 200 * time.Millisecond, Idle: 500 * time.Millisecond},
		})
		var running sync.WaitGroup
		slots := make(chan bool, 40)
		for range clients {
			running.Go(func() {
				slots <- true
				defer func() { <-slots }()
				p, err := h.rawDial()
				if err != nil {
					return
				}
				if rand.IntN(3) > 0 {
					running.Go(func() { io.Copy(io.Discard, p.nc) })
				}
				for range rand.IntN(30) {
					if _, err := io.WriteString(p.nc, strings.Repeat("y\n", 1+rand.IntN(5))); err != nil {
						break
					}
				}
				switch rand.IntN(3) {
				case 0:
					p.reset()
				case 1:
					p.nc.(interface{ CloseWrite() error }).CloseWrite()
					time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
				}
				p.raw.Close()
			})
		}
		running.Wait()
		eventually(t, w, func() bool { st := h.srv.Stats(); return st.Live == 0 && len(h.ends) == int(st.Opened) }, "all to end")
		h.checkSum()
		if opened.Load() != closed.Load() || onClose.Load() < opened.Load() {
			t.Errorf("Connected %d, Disconnected %d, OnClose %d times", opened.Load(), closed.Load(), onClose.Load())
		}
		if n := g.Len(); n != 0 {
			t.Errorf("%d members are left in the group", n)
		}
		if m := h.srv.Stats().Memory; m != 0 {
			t.Errorf("%d bytes are charged", m)
		}
	})
}

// The same answers come over networks that cut everything into pieces.
func TestAdverseNetwork(t *testing.T) {
	networks := map[string]*memnet.Network{
		"one byte reads":   {MaxRead: 1},
		"one byte writes":  {MaxWrite: 1},
		"tiny buffers":     {Buffer: 7},
		"latency":          {Latency: 150 * time.Millisecond},
		"all at once":      {MaxRead: 3, MaxWrite: 2, Buffer: 5, Latency: 10 * time.Millisecond},
		"waiting to dial":  {Backlog: -1},
		"odd reads, 1 KiB": {MaxRead: 13, Buffer: 1024},
	}
	services := map[string]hythe.Service{
		"event": echoService(),
		"conversation": hythe.Conversation(codec.Lines(), talk(func(c *lines) error {
			for in := range c.Messages() {
				if err := c.Send(in); err != nil {
					return err
				}
			}
			return c.Err()
		})),
		"net.Conn": hythe.NetConns(func(ctx context.Context, nc net.Conn) error {
			_, err := io.Copy(nc, nc)
			return err
		}),
	}
	for name, network := range networks {
		for form, service := range services {
			t.Run(name+"/"+form, func(t *testing.T) {
				inMem(t, func(t *testing.T) {
					mem := &memnet.Network{Buffer: network.Buffer, Latency: network.Latency, MaxRead: network.MaxRead,
						MaxWrite: network.MaxWrite, Backlog: network.Backlog}
					h := memWorld.startWith(t, t.Context(), &hythe.Server{Service: service}, mem)
					p := h.dial()
					var req strings.Builder
					for i := range 100 {
						fmt.Fprintf(&req, "%d %s\n", i, strings.Repeat("x", i))
					}
					go func() {
						p.send(req.String())
						p.closeWrite()
					}()
					if got := get(t, memWorld, p.readAll(), "EOF"); got != req.String() {
						t.Errorf("got %d bytes, want %d", len(got), req.Len())
					}
					if ev := h.nextEnd(); ev.Reason != hythe.PeerDone && ev.Reason != hythe.Finished {
						t.Errorf("ended: %v", ev.Reason)
					}
				})
			})
		}
	}
}

// Connections that come and go in numbers leave nothing behind.
func TestChurn(t *testing.T) {
	inWorlds(t, plainWorlds, func(t *testing.T, w world) {
		const n = 600
		h := w.start(t, &hythe.Server{Service: echoService()})
		var clients sync.WaitGroup
		for range 8 {
			clients.Go(func() {
				for range n / 8 {
					p, err := h.rawDial()
					if err != nil {
						t.Error(err)
						return
					}
					io.WriteString(p.nc, "x\n")
					if got, err := p.r.ReadString('\n'); got != "x\n" {
						t.Errorf("got %q, %v", got, err)
					}
					p.close()
				}
			})
		}
		clients.Wait()
		for range n {
			h.wantEnd(hythe.PeerDone)
		}
	})
}
