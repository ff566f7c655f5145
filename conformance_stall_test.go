package hythe_test

import (
	"strings"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/memnet"
)

// Write stall is measured by progress: who reads a byte now and then lives.
func TestWriteStall_ByProgress(t *testing.T) {
	inMem(t, func(t *testing.T) {
		conns := make(chan *lines, 2)
		w := memWorld
		h := w.startWith(t, t.Context(), &hythe.Server{
			Timeouts: hythe.Timeouts{WriteStall: 30 * time.Second, FirstInput: -1},
			Service: sessions(func(c *lines) *hooks {
				return &hooks{connected: func(c *lines) error { conns <- c; return c.Send(strings.Repeat("x", 60_000)) }}
			}),
		}, &memnet.Network{Buffer: 100})
		slow := h.dial()
		<-conns
		one := make([]byte, 1)
		for range 600 { // 10 minutes
			time.Sleep(time.Second)
			if _, err := slow.nc.Read(one); err != nil {
				t.Fatalf("slow reader: %v", err)
			}
		}
		start := time.Now()
		h.wantEnd(hythe.WriteStalled)
		if d := time.Since(start); d < 30*time.Second || d > 30200*time.Millisecond {
			t.Errorf("a reader that stops dies after %v, want 30 s", d)
		}
	})
}

// The clock also ends a Send that waits, and an end that cannot flush.
func TestWriteStall_EndsWaits(t *testing.T) {
	for _, how := range []string{"send", "shutdown", "conversation"} {
		t.Run(how, func(t *testing.T) {
			inMem(t, func(t *testing.T) {
				errs := make(chan error, 1)
				piece := strings.Repeat("x", 50_000)
				srv := &hythe.Server{Timeouts: hythe.Timeouts{WriteStall: 5 * time.Second}}
				fill := func(c *lines) error {
					for {
						if err := c.Send(piece); err != nil {
							errs <- err
							return err
						}
					}
				}
				switch how {
				case "send":
					srv.Service = sessions(func(c *lines) *hooks {
						return &hooks{input: func(c *lines, in string) error { return fill(c) }}
					})
				case "shutdown":
					srv.Service = sessions(func(c *lines) *hooks {
						return &hooks{input: func(c *lines, in string) error {
							c.Send(piece)
							c.Send(piece)
							c.Shutdown()
							errs <- &hythe.CloseError{Reason: hythe.WriteStalled}
							return nil
						}}
					})
				case "conversation":
					srv.Service = hythe.Conversation(codec.Lines(), talk(func(c *lines) error {
						c.Receive()
						return fill(c)
					}))
				}
				h := memWorld.start(t, srv)
				p := h.dial()
				p.send("go\n")
				start := time.Now()
				h.wantEnd(hythe.WriteStalled)
				if d := time.Since(start); d < 5*time.Second || d > 5200*time.Millisecond {
					t.Errorf("stalled after %v, want 5 s", d)
				}
				wantClosed(t, "Send", <-errs, hythe.WriteStalled)
			})
		})
	}
}

func TestWriteStall_RealTime(t *testing.T) {
	inWorlds(t, []world{tcpWorld, unixW, netWorld, tlsWorld}, func(t *testing.T, w world) {
		errs := make(chan error, 1)
		h := w.start(t, &hythe.Server{
			Timeouts: hythe.Timeouts{WriteStall: 300 * time.Millisecond},
			Service: sessions(func(c *lines) *hooks {
				return &hooks{input: func(c *lines, in string) error {
					for {
						if err := c.Send(strings.Repeat("x", 60_000)); err != nil {
							errs <- err
							return err
						}
					}
				}}
			}),
		})
		p := h.dial()
		p.send("go\n")
		wantClosed(t, "Send", get(t, w, errs, "Send's end"), hythe.WriteStalled)
		h.wantEnd(hythe.WriteStalled)
	})
}
