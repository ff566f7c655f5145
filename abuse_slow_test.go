//go:build unix

package hythe_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/memnet"
)

// smallBuffers has the connections that are still to come get small kernel
// buffers at the server's side, so that it takes little to fill them.
func (h *host) smallBuffers() {
	h.Helper()
	h.smallSegments()
	h.setListener(syscall.SOL_SOCKET, syscall.SO_SNDBUF, 16<<10)
	h.setListener(syscall.SOL_SOCKET, syscall.SO_RCVBUF, 16<<10)
}

// smallSegments has the server send small ones. Segments larger than a window, as
// the loopback interface has them, wait for the kernel's probe timer.
func (h *host) smallSegments() {
	h.Helper()
	h.setListener(syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 1400)
}

// setListener sets what accepted connections inherit, where that can be set.
func (h *host) setListener(level, option, value int) {
	h.Helper()
	ln, ok := h.ln.(syscall.Conn)
	if !ok {
		return // memnet: its buffers are small
	}
	raw, err := ln.SyscallConn()
	if err != nil {
		h.Fatal(err)
	}
	raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), level, option, value) })
}

// dialSmall is dial with a small receive buffer at the client's side.
func (h *host) dialSmall() *peer {
	h.Helper()
	p := h.dial()
	if nc, ok := p.raw.(interface{ SetReadBuffer(int) error }); ok {
		nc.SetReadBuffer(16 << 10)
	}
	return p
}

// A client that sends all it can and never reads holds a bounded amount of
// memory, and the write stall clock ends it.
func TestAbuse_NeverReads(t *testing.T) {
	const stall, room = 1500 * time.Millisecond, 2 << 20
	line := strings.Repeat("x", 4000) + "\n"
	flood := []byte(strings.Repeat(line, 16))
	inWorlds(t, []world{tcpWorld, unixW, netWorld, tlsWorld}, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{Service: echoService(), Timeouts: hythe.Timeouts{WriteStall: stall}})
		ns := h.neighbours(1)
		before := liveHeap()
		peak := h.watchMemory()
		p := h.dial()
		var sent int
		for {
			p.nc.SetWriteDeadline(time.Now().Add(stall / 4)) // longer than that without room: the server reads no more
			n, err := p.nc.Write(flood)
			if sent += n; errors.Is(err, os.ErrDeadlineExceeded) {
				break
			} else if err != nil {
				t.Fatalf("after %d bytes: %v", sent, err)
			}
			if sent > 256<<20 {
				t.Fatalf("the server has read %d bytes from a client that does not read", sent)
			}
		}
		held := liveHeap() - before
		began := time.Now()
		h.wantEnd(hythe.WriteStalled)
		within(t, "end after the client stood still", time.Since(began), stall+time.Second)
		t.Logf("sent %d KiB; heap %d KiB, account %d KiB at most", sent>>10, held>>10, peak()>>10)
		if held > room || peak() > room {
			t.Errorf("held %d bytes of heap, %d on the account, want at most %d", held, peak(), room)
		}
		ns.check(w.neighbourBound())
	})
}

// drips writes s, piece by piece, until that fails.
func (p *peer) drips(s string, every time.Duration) {
	for {
		if _, err := io.WriteString(p.nc, s); err != nil {
			return
		}
		time.Sleep(every) // the abuser's pace
	}
}

// One byte at a time does not keep a connection alive: the clock of the first
// frame, or of any, goes on. In fake time with seconds, and with the loops.
func TestAbuse_DripIn(t *testing.T) {
	tests := []struct {
		name  string
		first string // sent before, complete
		clock func(set *hythe.Timeouts, d time.Duration)
	}{
		{"first input", "", func(set *hythe.Timeouts, d time.Duration) { set.FirstInput, set.Frame = d, -1 }},
		{"frame", "hello\n", func(set *hythe.Timeouts, d time.Duration) { set.Frame = d }},
		{"frame is first", "", func(set *hythe.Timeouts, d time.Duration) { set.Frame, set.FirstInput = d, -1 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorlds(t, []world{memWorld, tcpWorld, unixW, netWorld, tlsWorld}, func(t *testing.T, w world) {
				const drippers = 20
				every, clock, slack := time.Second, 20*time.Second, 200*time.Millisecond
				if !w.mem {
					every, clock, slack = 20*time.Millisecond, 600*time.Millisecond, 900*time.Millisecond
				}
				srv := &hythe.Server{Service: echoService()}
				tt.clock(&srv.Timeouts, clock)
				h := w.start(t, srv)
				ns := h.neighbours(1)
				var dripping sync.WaitGroup
				defer dripping.Wait()
				first := time.Now()
				for i := range drippers {
					p := h.dial()
					if tt.first != "" {
						p.send(tt.first)
						p.want(strings.TrimSuffix(tt.first, "\n"))
					}
					if i == 0 && srv.Timeouts.FirstInput <= 0 {
						first = time.Now() // with TLS, dialling takes a while
					}
					dripping.Go(func() { p.drips("x", every) })
				}
				last := time.Now()
				for range drippers {
					h.wantEnd(hythe.InputTimeout)
					if d := time.Since(first); d < clock {
						t.Errorf("ended after %v, the clock is %v", d, clock)
					}
				}
				within(t, "last end", time.Since(last), clock+slack)
				ns.check(w.neighbourBound())
			})
		})
	}
}

// A client that reads a byte a second lives, and one that reads none dies at
// the write stall clock: in fake time.
func TestAbuse_DripOut(t *testing.T) {
	const stall = 30 * time.Second
	for _, buffer := range []int{1, 100, 4 << 10} {
		t.Run(fmt.Sprintf("window %d", buffer), func(t *testing.T) {
			inMem(t, func(t *testing.T) {
				mem := &memnet.Network{OnConnect: func(dialled, accepted *memnet.Conn) { dialled.SetReadBuffer(buffer) }}
				h := memWorld.startWith(t, t.Context(), &hythe.Server{
					Service:  pourService(),
					Timeouts: hythe.Timeouts{WriteStall: stall, Idle: time.Minute},
				}, mem)
				ns := h.neighbours(1)
				slow, dead := h.dial(), h.dial()
				slow.send("pour\n")
				dead.send("pour\n")
				began := time.Now()
				// 20 minutes of one byte a second.
				one := make([]byte, 1)
				for i := range 1200 {
					if _, err := slow.nc.Read(one); err != nil {
						t.Fatalf("the slow reader's byte %d: %v", i, err)
					}
					time.Sleep(time.Second)
				}
				ev := h.wantEnd(hythe.WriteStalled)
				if ev.Conn.ID() != 3 {
					t.Errorf("connection %d ended, want 3, who reads nothing", ev.Conn.ID())
				}
				if age := time.Since(began); age < 1200*time.Second {
					t.Errorf("the slow reader was served for %v", age)
				}
				stopped := time.Now()
				h.wantEnd(hythe.WriteStalled)
				if d := time.Since(stopped); d < stall-2*time.Second || d > stall+200*time.Millisecond {
					t.Errorf("once it read nothing it lived for %v, want %v", d, stall)
				}
				ns.check(0)
			})
		})
	}
}

// pourService answers "pour" with all the output that the peer takes.
func pourService() hythe.Service {
	line := strings.Repeat("y", 1000)
	return pingService(func(c *lines, in string) error {
		for {
			if err := c.Send(line); err != nil {
				return err
			}
		}
	})
}

// The same with real sockets, which show room only when there is much of it: a
// reader that takes 8 KiB every 20 ms lives for many times the clock.
func TestAbuse_SlowReaderRealTime(t *testing.T) {
	slowReader(t, 500*time.Millisecond, 20*time.Millisecond, (*host).smallBuffers)
}

// And one whose kernel needs longer than the clock to make so much room.
func TestAbuse_SlowReaderLargeBuffers(t *testing.T) {
	slowReader(t, time.Second, 50*time.Millisecond, (*host).smallSegments)
}

// slowReader has a client read 8 KiB at every pace, for longer than the clock, and
// then no more. One that was late itself, on a busy machine, tries again.
func slowReader(t *testing.T, stall, pace time.Duration, setBuffers func(*host)) {
	inWorlds(t, []world{tcpWorld, unixW, netWorld, tlsWorld}, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{
			Service:  pourService(),
			Limits:   hythe.Limits{HighWater: 64 << 10},
			Timeouts: hythe.Timeouts{WriteStall: stall},
		})
		setBuffers(h)
		ns := h.neighbours(1)
		buf := make([]byte, 8<<10)
		read := func() (late time.Duration, err error) { // late: the reader, at most
			p := h.dialSmall()
			p.send("pour\n")
			p.nc.SetDeadline(time.Time{})
			for began := time.Now(); time.Since(began) < 3*stall; {
				if _, err := io.ReadFull(p.nc, buf); err != nil {
					return late, err
				}
				if st := h.srv.Stats(); st.Live < 2 {
					return late, fmt.Errorf("%v after it began: %+v", time.Since(began), st)
				}
				asleep := time.Now()
				time.Sleep(pace)
				late = max(late, time.Since(asleep)-pace)
			}
			return late, nil
		}
		late, err := read()
		for range 10 {
			if err == nil || late < stall/5 {
				break
			}
			t.Logf("a reader that was late by %v was cut", late)
			h.wantEnd(hythe.WriteStalled)
			late, err = read()
		}
		if err != nil {
			t.Fatalf("a slow reader was cut, late by %v: %v", late, err)
		}
		stopped := time.Now()
		h.wantEnd(hythe.WriteStalled)
		within(t, "end of a reader that stopped", time.Since(stopped), stall+time.Second)
		ns.check(w.neighbourBound())
	})
}

// Sixteen goroutines send to one slow reader: the queue is bounded, each one's
// messages keep their order, and none is lost.
func TestAbuse_SendFlood(t *testing.T) {
	const senders, each, size, high = 16, 400, 500, 32 << 10
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		conns := make(chan *lines, 1)
		h := w.start(t, &hythe.Server{
			Service: pingService(func(c *lines, in string) error { conns <- c; return nil }),
			Limits:  hythe.Limits{HighWater: high},
		})
		h.smallBuffers()
		ns := h.neighbours(1)
		p := h.dialSmall()
		p.send("here\n")
		c := get(t, w, conns, "the connection")
		var queued gauge
		var sending sync.WaitGroup
		var refused atomic.Int64
		for g := range senders {
			sending.Go(func() {
				for i := range each {
					line := fmt.Sprintf("%d %d %s", g, i, strings.Repeat("z", size))
					send := c.Send
					if g%2 == 1 {
						send = func(s string) (err error) {
							if err = c.TrySend(s); errors.Is(err, hythe.ErrFull) {
								refused.Add(1)
								err = c.Send(s)
							}
							return err
						}
					}
					if err := send(line); err != nil {
						t.Errorf("sender %d, message %d: %v", g, i, err)
						return
					}
					queued.show(int64(c.Stats().Queued))
				}
			})
		}
		next := make([]int, senders)
		for n := range senders * each {
			if n%50 == 0 {
				time.Sleep(time.Millisecond) // the reader's pace
			}
			got, err := p.r.ReadString('\n')
			if err != nil {
				t.Fatalf("message %d: %v", n, err)
			}
			var g, i int
			fmt.Sscanf(got, "%d %d ", &g, &i)
			if next[g] != i || len(got) < size {
				t.Fatalf("sender %d: got message %d, want %d", g, i, next[g])
			}
			next[g]++
		}
		sending.Wait()
		t.Logf("queue %d bytes at most, TrySend refused %d times", queued.peak.Load(), refused.Load())
		if q := queued.peak.Load(); q > high+size+16 {
			t.Errorf("%d bytes were queued, the mark is %d and a message %d", q, high, size)
		}
		ns.check(w.neighbourBound())
	})
}

// Goroutines that post faster than the session looks: Post never blocks, the
// queue has its bound, and what was accepted comes in each one's order.
func TestAbuse_PostFlood(t *testing.T) {
	const posters, each, events = 16, 2000, 64
	type post struct{ who, n int }
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		conns := make(chan *lines, 1)
		release := make(chan bool)
		var last [posters]int // the turns'
		var delivered int
		done := make(chan int, 1)
		h := w.start(t, &hythe.Server{
			Limits: hythe.Limits{Events: events},
			Service: sessions(func(*lines) *hooks {
				return &hooks{
					input: withPing(func(c *lines, in string) error { conns <- c; return nil }),
					posted: func(c *lines, ev any) error {
						switch ev := ev.(type) {
						case string:
							if ev == "block" {
								<-release
							} else {
								done <- delivered
							}
						case post:
							if ev.n <= last[ev.who] {
								t.Errorf("poster %d: %d after %d", ev.who, ev.n, last[ev.who])
							}
							last[ev.who] = ev.n
							delivered++
						}
						return nil
					},
				}
			}),
		})
		ns := h.neighbours(1)
		p := h.dial()
		p.send("here\n")
		c := get(t, w, conns, "the connection")
		if err := c.Post("block"); err != nil {
			t.Fatal(err)
		}
		var accepted atomic.Int64
		flood := func(from int) {
			var posting sync.WaitGroup
			for g := range posters {
				posting.Go(func() {
					for i := range each {
						switch err := c.Post(post{g, from + i}); {
						case err == nil:
							accepted.Add(1)
						case !errors.Is(err, hythe.ErrFull):
							t.Errorf("Post = %v", err)
							return
						}
					}
				})
			}
			posting.Wait()
		}
		flood(1) // while the session looks at nothing
		// The hook may not have taken "block" before the first of the others.
		if n := accepted.Load(); n < events-1 || n > 2*events {
			t.Errorf("%d events were accepted by a session that is blocked, the limit is %d", n, events)
		}
		close(release)
		flood(1 + each) // while it works
		eventually(t, w, func() bool { return c.Post("end") == nil }, "room for one more event")
		if n := get(t, w, done, "the last event"); int64(n) != accepted.Load() {
			t.Errorf("%d events were accepted and %d delivered", accepted.Load(), n)
		}
		t.Logf("%d of %d events accepted", accepted.Load(), 2*posters*each)
		ns.check(w.neighbourBound())
	})
}
