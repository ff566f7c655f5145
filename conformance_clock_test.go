package hythe_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/memnet"
)

// endsAfter waits for the connection's end, which must come d after start, or
// up to 0.2 s later.
func endsAfter(t *testing.T, h *host, start time.Time, d time.Duration, why hythe.Reason) {
	t.Helper()
	h.wantEnd(why)
	if got := time.Since(start); got < d || got > d+200*time.Millisecond {
		t.Errorf("%v after %v, want %v", why, got, d)
	}
}

// drip writes piece every so often, until that fails; wait waits for it.
func (p *peer) drip(piece string, every time.Duration) (wait func()) {
	var dripping sync.WaitGroup
	dripping.Go(func() {
		for {
			if _, err := io.WriteString(p.nc, piece); err != nil {
				return
			}
			time.Sleep(every)
		}
	})
	return dripping.Wait
}

func TestClock_FirstInput(t *testing.T) {
	for _, sends := range []string{"", "half a line"} {
		t.Run(sends, func(t *testing.T) {
			inMem(t, func(t *testing.T) {
				h := memWorld.start(t, &hythe.Server{
					Service:  echoService(),
					Timeouts: hythe.Timeouts{FirstInput: 20 * time.Second, Frame: time.Minute},
				})
				start := time.Now()
				p := h.dial()
				p.send(sends)
				endsAfter(t, h, start, 20*time.Second, hythe.InputTimeout)
			})
		})
	}
}

func TestClock_FirstInputIsMet(t *testing.T) {
	inMem(t, func(t *testing.T) {
		h := memWorld.start(t, &hythe.Server{Service: echoService()})
		p := h.dial()
		time.Sleep(29 * time.Second)
		p.wantLive()
		start := time.Now()
		endsAfter(t, h, start, 5*time.Minute, hythe.Idle) // and not before
	})
}

// The clock of a frame starts with its first byte and is not put back by the
// others.
func TestClock_Frame(t *testing.T) {
	for name, first := range map[string]string{"first frame": "", "second frame": "one\n"} {
		t.Run(name, func(t *testing.T) {
			inMem(t, func(t *testing.T) {
				h := memWorld.start(t, &hythe.Server{
					Service:  echoService(),
					Timeouts: hythe.Timeouts{Frame: 10 * time.Second, FirstInput: -1},
				})
				p := h.dial()
				p.send(first)
				time.Sleep(time.Second)
				start := time.Now()
				defer p.drip("x", time.Second)()
				endsAfter(t, h, start, 10*time.Second, hythe.InputTimeout)
			})
		})
	}
}

// The same for a frame that is too large for the shared read buffer.
func TestClock_FrameLarge(t *testing.T) {
	inMem(t, func(t *testing.T) {
		h := memWorld.start(t, &hythe.Server{
			Service:  echoService(),
			Timeouts: hythe.Timeouts{Frame: 10 * time.Second},
		})
		p := h.dial()
		start := time.Now()
		defer p.drip(strings.Repeat("x", 3000), time.Second)()
		endsAfter(t, h, start, 10*time.Second, hythe.InputTimeout)
	})
}

// Frames that are complete in time do not end a connection, however many.
func TestClock_FrameAgainAndAgain(t *testing.T) {
	inMem(t, func(t *testing.T) {
		h := memWorld.start(t, &hythe.Server{
			Service:  echoService(),
			Timeouts: hythe.Timeouts{Frame: 10 * time.Second},
		})
		p := h.dial()
		p.send("be")
		for range 50 { // there is always an unfinished frame
			time.Sleep(6 * time.Second)
			p.send("gun\nbe")
			p.want("begun")
		}
		start := time.Now()
		endsAfter(t, h, start, 10*time.Second, hythe.InputTimeout)
	})
}

// A frame waits for no clock while input is paused.
func TestClock_Paused(t *testing.T) {
	inMem(t, func(t *testing.T) {
		conns := make(chan *lines, 1)
		h := memWorld.start(t, &hythe.Server{
			Timeouts: hythe.Timeouts{Frame: 10 * time.Second, Idle: time.Hour},
			Service: sessions(func(c *lines) *hooks {
				return &hooks{input: func(c *lines, in string) error { c.PauseInput(); conns <- c; return c.Send(in) }}
			}),
		})
		p := h.dial()
		p.send("a\nb\n")
		p.want("a")
		c := <-conns
		time.Sleep(10 * time.Minute)
		c.ResumeInput()
		p.want("b")
	})
}

func TestClock_Idle(t *testing.T) {
	set := hythe.Timeouts{Idle: 3 * time.Minute, FirstInput: -1, Frame: -1}
	t.Run("input", func(t *testing.T) {
		inMem(t, func(t *testing.T) {
			h := memWorld.start(t, &hythe.Server{
				Service:  sessions(func(*lines) *hooks { return &hooks{input: func(*lines, string) error { return nil }} }),
				Timeouts: set,
			})
			p := h.dial()
			for range 20 {
				time.Sleep(2 * time.Minute)
				p.send("x") // part of a frame counts as well
			}
			endsAfter(t, h, time.Now(), 3*time.Minute, hythe.Idle)
		})
	})
	t.Run("output", func(t *testing.T) {
		inMem(t, func(t *testing.T) {
			conns := make(chan *lines, 1)
			h := memWorld.start(t, &hythe.Server{
				Service:  sessions(func(*lines) *hooks { return &hooks{connected: func(c *lines) error { conns <- c; return nil }} }),
				Timeouts: set,
			})
			p := h.dial()
			c := <-conns
			for range 20 {
				time.Sleep(2 * time.Minute)
				c.Send("x")
				p.want("x")
			}
			endsAfter(t, h, time.Now(), 3*time.Minute, hythe.Idle)
		})
	})
	t.Run("events are none", func(t *testing.T) {
		inMem(t, func(t *testing.T) {
			conns := make(chan *lines, 1)
			h := memWorld.start(t, &hythe.Server{
				Service:  sessions(func(*lines) *hooks { return &hooks{connected: func(c *lines) error { conns <- c; return nil }} }),
				Timeouts: set,
			})
			start := time.Now()
			h.dial()
			c := <-conns
			var posting sync.WaitGroup
			defer posting.Wait()
			posting.Go(func() {
				for c.Post(1) == nil {
					time.Sleep(time.Second)
				}
			})
			endsAfter(t, h, start, 3*time.Minute, hythe.Idle)
		})
	})
	t.Run("held", func(t *testing.T) {
		inMem(t, func(t *testing.T) {
			held := make(chan func(), 1)
			h := memWorld.start(t, &hythe.Server{
				Service: sessions(func(*lines) *hooks {
					return &hooks{input: func(c *lines, in string) error { held <- c.Hold(); return c.Send(in) }}
				}),
				Timeouts: set,
			})
			p := h.dial()
			p.send("x\n")
			p.want("x")
			release := <-held
			time.Sleep(time.Hour)
			release()
			endsAfter(t, h, time.Now(), 3*time.Minute, hythe.Idle)
		})
	})
}

// A connection whose hook is running is not idle, nor is it the moment after.
func TestClock_IdleBlockedHook(t *testing.T) {
	for name, answers := range map[string]bool{"answers": true, "silent": false} {
		t.Run(name, func(t *testing.T) {
			inMem(t, func(t *testing.T) {
				h := memWorld.start(t, &hythe.Server{
					Timeouts: hythe.Timeouts{Idle: time.Minute},
					Service: sessions(func(*lines) *hooks {
						return &hooks{input: func(c *lines, in string) error {
							if in == "quick" {
								return c.Send(in)
							}
							time.Sleep(10 * time.Minute)
							if answers {
								return c.Send(in)
							}
							return nil
						}}
					}),
				})
				p := h.dial()
				p.send("slow\n")
				if answers {
					p.want("slow")
				}
				time.Sleep(10*time.Minute + 30*time.Second - time.Since(bubbleStart))
				p.send("quick\n")
				p.want("quick")
				endsAfter(t, h, time.Now(), time.Minute, hythe.Idle)
			})
		})
	}
}

// bubbleStart is when every bubble begins.
var bubbleStart = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func TestClock_Lifetime(t *testing.T) {
	inMem(t, func(t *testing.T) {
		h := memWorld.start(t, &hythe.Server{
			Service:  echoService(),
			Timeouts: hythe.Timeouts{Lifetime: time.Hour},
		})
		start := time.Now()
		p := h.dial()
		wait := p.drip("x\n", time.Minute)
		got := p.readAll()
		h.wantEnd(hythe.Expired)
		// The linger clock runs after it, since the client does not stop.
		if d := time.Since(start); d < time.Hour || d > time.Hour+2300*time.Millisecond {
			t.Errorf("expired after %v", d)
		}
		p.close()
		<-got
		wait()
	})
}

func TestClock_Linger(t *testing.T) {
	inMem(t, func(t *testing.T) {
		h := memWorld.start(t, &hythe.Server{
			Service: sessions(func(*lines) *hooks {
				return &hooks{input: func(c *lines, in string) error { c.Send("bye"); c.Shutdown(); return nil }}
			}),
			Timeouts: hythe.Timeouts{Linger: 7 * time.Second},
		})
		p := h.dial()
		start := time.Now()
		p.send("x\n")
		p.want("bye")
		p.wantEOF() // and the client does not close
		endsAfter(t, h, start, 7*time.Second, hythe.Finished)
	})
}

func TestClock_Handshake(t *testing.T) {
	for name, srv := range map[string]*hythe.Server{
		"PreConnect": {PreConnect: func(ctx context.Context, nc net.Conn) (net.Conn, error) {
			_, err := nc.Read(make([]byte, 1)) // hears of ctx by the connection's end
			return nc, err
		}},
		"TLS": {TLS: serverTLS()},
	} {
		t.Run(name, func(t *testing.T) {
			inMem(t, func(t *testing.T) {
				srv.Service = echoService()
				srv.Timeouts.Handshake = 10 * time.Second
				h := memWorld.start(t, srv)
				start := time.Now()
				p := h.dial()
				endsAfter(t, h, start, 10*time.Second, hythe.HandshakeTimeout)
				p.wantGone()
			})
		})
	}
}

func TestClock_Off(t *testing.T) {
	inMem(t, func(t *testing.T) {
		h := memWorld.start(t, &hythe.Server{
			Service:  echoService(),
			Timeouts: hythe.Timeouts{FirstInput: -1, Frame: -1, Idle: -1, WriteStall: -1, Lifetime: -1},
		})
		p := h.dial()
		p.nc.SetDeadline(time.Time{})
		time.Sleep(1000 * time.Hour)
		p.send("be")
		time.Sleep(1000 * time.Hour)
		p.send("gun\n")
		p.want("begun")
	})
}

func TestClock_SetTimeouts(t *testing.T) {
	inMem(t, func(t *testing.T) {
		h := memWorld.start(t, &hythe.Server{Service: echoService(), Timeouts: hythe.Timeouts{Idle: time.Minute}})
		p := h.dial()
		p.wantLive()
		h.srv.SetTimeouts(hythe.Timeouts{Idle: time.Hour}) // raised: for existing ones too
		time.Sleep(30 * time.Minute)
		p.wantLive()
		start := time.Now()
		h.srv.SetTimeouts(hythe.Timeouts{Idle: 2 * time.Minute})
		q := h.dial()
		q.wantLive()
		for range 2 {
			ev := h.wantEnd(hythe.Idle)
			d := time.Since(start)
			if ev.Conn.ID() == 2 && (d < 2*time.Minute || d > 2*time.Minute+200*time.Millisecond) || d > time.Hour {
				t.Errorf("connection %d was idle for %v", ev.Conn.ID(), d) // 1 notices when its next clock is looked at
			}
		}
	})
}

// Many connections at once, each with its own clock.
func TestClock_Many(t *testing.T) {
	inMem(t, func(t *testing.T) {
		h := memWorld.startWith(t, t.Context(), &hythe.Server{
			Service:  echoService(),
			Timeouts: hythe.Timeouts{Idle: time.Minute},
		}, &memnet.Network{})
		const n = 50
		since := make(map[uint64]time.Time)
		for i := range n {
			p := h.dial()
			p.wantLive()
			since[uint64(i+1)] = time.Now()
			time.Sleep(500 * time.Millisecond)
		}
		for range n {
			ev := h.wantEnd(hythe.Idle)
			if d := time.Since(since[ev.Conn.ID()]); d < time.Minute || d > time.Minute+200*time.Millisecond {
				t.Errorf("connection %d was idle for %v", ev.Conn.ID(), d)
			}
		}
	})
}

// The clocks of the loops, in real time.
func TestClock_RealTime(t *testing.T) {
	tests := []struct {
		name string
		set  hythe.Timeouts
		send string
		why  hythe.Reason
	}{
		{"first input", hythe.Timeouts{FirstInput: 300 * time.Millisecond}, "", hythe.InputTimeout},
		{"frame", hythe.Timeouts{Frame: 300 * time.Millisecond}, "x\ny", hythe.InputTimeout},
		{"idle", hythe.Timeouts{Idle: 300 * time.Millisecond}, "x\n", hythe.Idle},
		{"lifetime", hythe.Timeouts{Lifetime: 300 * time.Millisecond, Linger: time.Millisecond}, "x\n", hythe.Expired},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorlds(t, []world{tcpWorld, unixW, netWorld, tlsWorld}, func(t *testing.T, w world) {
				h := w.start(t, &hythe.Server{Service: echoService(), Timeouts: tt.set})
				start := time.Now()
				p := h.dial()
				p.send(tt.send)
				h.wantEnd(tt.why)
				if d := time.Since(start); d < 300*time.Millisecond || d > 5*time.Second {
					t.Errorf("ended after %v, want 0.3 s", d)
				}
				p.wantGone()
			})
		})
	}
}
