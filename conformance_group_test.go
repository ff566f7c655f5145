package hythe_test

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

// chat is a service whose connections all join a group and broadcast what they
// are told.
func chat(g *hythe.Group[string]) hythe.Service {
	return sessions(func(c *lines) *hooks {
		return &hooks{
			connected: func(c *lines) error { g.Join(c); return nil },
			input:     func(c *lines, in string) error { _, err := g.Broadcast(in); return err },
		}
	})
}

// join dials n connections and waits until all are members.
func join(h *host, g *hythe.Group[string], n int) (peers []*peer) {
	h.Helper()
	before := g.Len()
	for range n {
		peers = append(peers, h.dial())
	}
	eventually(h, h.w, func() bool { return g.Len() == before+n }, "all to join")
	return peers
}

// Everybody hears everything in the same order, also from inside hooks.
func TestGroup_Order(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		const members, each = 5, 40
		var g hythe.Group[string]
		h := w.start(t, &hythe.Server{Service: chat(&g)})
		peers := join(h, &g, members)
		for i, p := range peers {
			go func() {
				for n := range each {
					fmt.Fprintf(p.nc, "%d %d\n", i, n)
				}
			}()
		}
		heard := make([]chan string, members)
		for i, p := range peers {
			heard[i] = make(chan string, 1)
			go func() {
				var all strings.Builder
				for range members * each {
					line, err := p.r.ReadString('\n')
					if err != nil {
						t.Error(err)
						break
					}
					all.WriteString(line)
				}
				heard[i] <- all.String()
			}()
		}
		first := get(t, w, heard[0], "all messages")
		for _, ch := range heard[1:] {
			if other := get(t, w, ch, "all messages"); other != first {
				t.Error("two members have heard different orders")
			}
		}
		for i := range members {
			n := 0
			for _, line := range strings.Split(first, "\n") {
				if strings.HasPrefix(line, fmt.Sprint(i, " ")) {
					if line != fmt.Sprintf("%d %d", i, n) {
						t.Fatalf("member %d: %q, want message %d", i, line, n)
					}
					n++
				}
			}
		}
	})
}

// appendCounter counts how often a codec encodes.
type appendCounter struct {
	codec.Codec[string, string]
	n atomic.Int32
}

func (c *appendCounter) Append(dst []byte, msg string) ([]byte, error) {
	c.n.Add(1)
	return c.Codec.Append(dst, msg)
}

func TestGroup_EncodesOnce(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		var g hythe.Group[string]
		count := &appendCounter{Codec: codec.Lines()}
		h := w.start(t, &hythe.Server{Service: hythe.Sessions[string, string](count, func(c *lines) *hooks {
			return &hooks{connected: func(c *lines) error { g.Join(c); g.Join(c); return nil }}
		})})
		peers := join(h, &g, 10)
		for _, msg := range []string{"a", strings.Repeat("b", 5000)} { // copied, shared
			if n, err := g.Broadcast(msg); n != 10 || err != nil {
				t.Errorf("Broadcast = %d, %v", n, err)
			}
			for _, p := range peers {
				p.want(msg)
			}
		}
		if n := count.n.Load(); n != 2 {
			t.Errorf("2 messages were encoded %d times", n)
		}
		if n, err := g.Broadcast("not\na line"); n != 0 || err == nil {
			t.Errorf("Broadcast of what cannot be encoded = %d, %v", n, err)
		}
	})
}

func TestGroup_LeaveAndExcept(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		var g hythe.Group[string]
		members := make(chan *lines, 3)
		leaves := make(chan func(), 3)
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{connected: func(c *lines) error { leaves <- g.Join(c); members <- c; return nil }}
		})
		a := h.dial()
		ca, leaveA := <-members, <-leaves
		b := h.dial()
		<-members
		if n, err := g.Broadcast("not for a", ca); n != 1 || err != nil {
			t.Errorf("Broadcast = %d, %v", n, err)
		}
		g.Broadcast("for both")
		leaveA()
		leaveA()
		g.Broadcast("for b")
		a.wantLiveAfter("for both")
		b.want("not for a", "for both", "for b")
		b.close()
		h.nextEnd()
		if g.Len() != 0 {
			t.Errorf("Len = %d after all have left or ended", g.Len())
		}
		a.close()
		h.nextEnd()
		g.Join(ca) // harmless
		if g.Len() != 0 {
			t.Errorf("Len = %d after the end", g.Len())
		}
	})
}

// wantLiveAfter reads these lines, and then checks that the next is an answer.
func (p *peer) wantLiveAfter(lines ...string) {
	p.Helper()
	p.want(lines...)
	p.wantLive()
}

// A member that does not read is cut, or misses messages; the others hear all.
func TestGroup_SlowMember(t *testing.T) {
	for name, policy := range map[string]hythe.SlowPolicy{"cut": hythe.SlowCut, "drop": hythe.SlowDrop} {
		t.Run(name, func(t *testing.T) {
			inWorlds(t, allWorlds, func(t *testing.T, w world) {
				const n = 300
				var g hythe.Group[string]
				h := w.start(t, &hythe.Server{
					Service: chat(&g),
					Slow:    policy,
					Limits:  hythe.Limits{HighWater: 300_000},
				})
				peers := join(h, &g, 3)
				slow := join(h, &g, 1)[0]
				big := strings.Repeat("x", 60_000)
				start := time.Now()
				for i := range n {
					msg := fmt.Sprintf("%d %s", i, big)
					g.Broadcast(msg)
					for _, p := range peers {
						p.want(msg)
					}
				}
				if d := time.Since(start); d > 10*time.Second {
					t.Errorf("the broadcasts took %v", d)
				}
				if policy == hythe.SlowCut {
					h.wantEnd(hythe.Slow)
					if g.Len() != 3 || g.Dropped() != 0 {
						t.Errorf("Len = %d, Dropped = %d", g.Len(), g.Dropped())
					}
					return
				}
				if g.Len() != 4 || g.Dropped() == 0 {
					t.Errorf("Len = %d, Dropped = %d", g.Len(), g.Dropped())
				}
				got := 0
				last := -1
				for got+int(g.Dropped()) < n {
					line, err := slow.r.ReadString('\n')
					if err != nil {
						t.Fatal(err)
					}
					var i int
					fmt.Sscanf(line, "%d", &i)
					if i <= last || len(line) != len(fmt.Sprint(i))+2+len(big) {
						t.Fatalf("message %d of %d bytes after %d", i, len(line), last)
					}
					last = i
					got++
				}
				eventually(t, w, func() bool {
					for c := range h.srv.Conns() {
						if c.Stats().Queued > 0 {
							return false
						}
					}
					return true
				}, "empty queues")
				g.Broadcast("room again")
				slow.want("room again")
			})
		})
	}
}

// A codec with state sees the messages in the order in which they leave.
func TestGroup_StatefulCodec(t *testing.T) {
	inWorlds(t, []world{tcpWorld, netWorld}, func(t *testing.T, w world) {
		const n = 300
		var g hythe.Group[string]
		conns := make(chan *lines, 1)
		h := w.start(t, &hythe.Server{Service: hythe.Sessions[string, string](newCounting(), func(c *lines) *hooks {
			return &hooks{connected: func(c *lines) error { g.Join(c); conns <- c; return nil }}
		}), Limits: hythe.Limits{HighWater: 32 << 20}})
		p := h.dial()
		c := <-conns
		var sending sync.WaitGroup
		for range 2 {
			sending.Go(func() {
				for range n {
					g.Broadcast("broadcast")
				}
			})
			sending.Go(func() {
				for range n {
					c.Send("own")
				}
			})
		}
		sending.Wait()
		c.Shutdown()
		got, err := io.ReadAll(p.r)
		if err != nil {
			t.Fatal(err)
		}
		all := strings.Split(strings.TrimSuffix(string(got), "\n"), "\n")
		if len(all) != 4*n {
			t.Errorf("%d messages arrived of %d; %d were dropped", len(all), 4*n, g.Dropped())
		}
		for i, line := range all {
			if !strings.HasPrefix(line, fmt.Sprint(i+1, ">")) {
				t.Fatalf("line %d is %q", i+1, line)
			}
		}
	})
}

// Broadcasts, joins, leaves and ends, all at once.
func TestGroup_Stress(t *testing.T) {
	inWorlds(t, []world{tcpWorld, netWorld, tlsWorld}, func(t *testing.T, w world) {
		var g hythe.Group[string]
		h := w.start(t, &hythe.Server{Limits: hythe.Limits{HighWater: 20_000}, Service: sessions(func(c *lines) *hooks {
			return &hooks{
				connected: func(c *lines) error {
					leave := g.Join(c)
					if c.ID()%3 == 0 {
						go func() { leave(); g.Join(c) }()
					}
					return nil
				},
				input: func(c *lines, in string) error {
					g.Broadcast(in, c)
					if in == "7" {
						c.Close()
					}
					return nil
				},
				posted:       func(c *lines, ev any) error { g.Broadcast("posted"); return nil },
				disconnected: func(c *lines, why error) { g.Broadcast("somebody left", c) },
				high:         func(c *lines) { g.Broadcast("high", c) },
			}
		})})
		var clients sync.WaitGroup
		for i := range 20 {
			p := h.dial()
			clients.Go(func() {
				go io.Copy(io.Discard, p.nc)
				for n := range 20 {
					if _, err := fmt.Fprintf(p.nc, "%d\n", (n+i)%11); err != nil {
						break
					}
				}
				p.close()
			})
		}
		for range 20 {
			for c := range h.srv.Conns() {
				c.Post(1)
			}
			g.Broadcast(strings.Repeat("x", 3000))
		}
		clients.Wait()
		for range 20 {
			h.nextEnd()
		}
		if g.Len() != 0 {
			t.Errorf("Len = %d after the last has ended", g.Len())
		}
	})
}

// Many clients that never read, and a stream of broadcasts: the budget holds.
func TestBudget_Broadcast(t *testing.T) {
	// Not over TCP, whose buffers would have to be filled first.
	inWorlds(t, []world{unixW, memWorld}, func(t *testing.T, w world) {
		const members, budget = 40, 1 << 20
		var g hythe.Group[string]
		h := w.start(t, &hythe.Server{
			Service: chat(&g),
			Slow:    hythe.SlowDrop,
			Limits:  hythe.Limits{Memory: budget},
		})
		join(h, &g, members)
		msg := strings.Repeat("x", 900) // copied into each queue
		var worst int64
		for range 3000 {
			g.Broadcast(msg)
			worst = max(worst, h.srv.Stats().Memory)
			if g.Dropped() > 20*members {
				break
			}
		}
		if g.Dropped() == 0 {
			t.Error("nothing was ever dropped")
		}
		bound := int64(budget + members*(4<<10) + 32<<10) // and one large chunk
		if worst > bound {
			t.Errorf("%d bytes were held, the bound is %d", worst, bound)
		}
		for c := range h.srv.Conns() {
			c.Close()
		}
		for range members {
			h.wantEnd(hythe.Closed)
		}
		eventually(t, w, func() bool { return h.srv.Stats().Memory == 0 }, "the budget to be given back")
	})
}

// The same for answers to requests.
func TestBudget_NeverReading(t *testing.T) {
	inWorlds(t, []world{unixW, memWorld, tcpWorld}, func(t *testing.T, w world) {
		const members, budget = 20, 1 << 20
		h := w.start(t, &hythe.Server{
			Service: sessions(func(c *lines) *hooks {
				return &hooks{input: func(c *lines, in string) error {
					for {
						if err := c.Send(strings.Repeat("x", 2000)); err != nil {
							return err
						}
					}
				}}
			}),
			Limits: hythe.Limits{Memory: budget},
		})
		for range members {
			h.dial().send("go\n")
		}
		var worst, last int64
		quiet := 0
		for quiet < 50 {
			time.Sleep(2 * time.Millisecond)
			m := h.srv.Stats().Memory
			worst = max(worst, m)
			if m == last {
				quiet++
			} else {
				quiet = 0
			}
			last = m
		}
		// Those that pass it together may have a large chunk each.
		if bound := int64(budget + members*(4<<10) + 4*32<<10); worst > bound {
			t.Errorf("%d bytes were held, the bound is %d\n%s", worst, bound, allStacks())
		}
		p := h.dial() // there is still enough for who comes new
		p.send("go\n")
		if _, err := io.ReadFull(p.r, make([]byte, 20_000)); err != nil {
			t.Error(err)
		}
	})
}
