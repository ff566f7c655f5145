package hythe_test

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

// POE's server discards the answers to a client that has half-closed.
func TestHalfClose_AllAnswers(t *testing.T) {
	tests := []struct {
		name     string
		requests int
		answer   int // bytes
		slow     bool
	}{
		{"small", 1000, 0, false},
		{"megabytes", 100, 50_000, false},
		{"slow reader", 60, 50_000, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorlds(t, allWorlds, func(t *testing.T, w world) {
				h := w.serve(t, func(c *lines) *hooks {
					return &hooks{input: func(c *lines, in string) error {
						return c.Send(in + strings.Repeat("x", tt.answer))
					}}
				})
				p := h.dial()
				var req strings.Builder
				for i := range tt.requests {
					fmt.Fprintf(&req, "%d\n", i)
				}
				p.send(strings.TrimSuffix(req.String(), "\n")) // the last one is not terminated
				p.closeWrite()
				for i := range tt.requests {
					if tt.slow && i%20 == 0 {
						time.Sleep(20 * time.Millisecond)
					}
					p.want(fmt.Sprint(i) + strings.Repeat("x", tt.answer))
				}
				p.wantEOF()
				h.wantEnd(hythe.PeerDone)
			})
		})
	}
}

// With InputClosed the connection stays, and what is sent later is delivered.
func TestHalfClose_InputClosed(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		closed := make(chan *lines, 1)
		h := w.start(t, &hythe.Server{Service: hythe.Sessions(codec.Lines(), func(c *lines) *halfOpen {
			s := &halfOpen{inputClosed: func(c *lines) error {
				c.Send("heard")
				closed <- c
				return nil
			}}
			s.posted = func(c *lines, ev any) error { return c.Send("posted") }
			return s
		})})
		p := h.dial()
		p.send("a")
		p.closeWrite()
		p.want("a", "heard")
		c := get(t, w, closed, "InputClosed")
		time.Sleep(20 * time.Millisecond)
		c.Send("later")
		p.want("later")
		c.Post(1)
		p.want("posted")
		c.Send("last")
		c.Shutdown()
		p.want("last")
		p.wantEOF()
		h.wantEnd(hythe.Finished)
		if len(closed) > 0 {
			t.Error("InputClosed was called twice")
		}
	})
}

func TestHalfClose_InputClosedError(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{Service: hythe.Sessions(codec.Lines(), func(c *lines) *halfOpen {
			return &halfOpen{inputClosed: func(c *lines) error { c.Send("no"); return errBoom }}
		})})
		p := h.dial()
		p.closeWrite()
		p.want("no")
		p.wantEOF()
		if ev := h.wantEnd(hythe.Failed); ev.Err != errBoom {
			t.Errorf("Err = %v", ev.Err)
		}
	})
}

func TestHalfClose_InsideFrame(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{Service: hythe.Sessions(codec.Line{Final: codec.FinalError}.Strings(), func(c *lines) *hooks {
			return &hooks{inputFailed: func(c *lines, err error) {
				if err != io.ErrUnexpectedEOF {
					t.Errorf("InputFailed got %v", err)
				}
				c.Send("half a line?")
			}}
		})})
		p := h.dial()
		p.send("a\nhalf")
		p.closeWrite()
		p.want("a", "half a line?")
		p.wantEOF()
		h.wantEnd(hythe.Truncated)
	})
}

// A held connection stays open after its peer has finished, and ends by itself
// when it is let go.
func TestHalfClose_Hold(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				release := c.Hold()
				go func() {
					time.Sleep(30 * time.Millisecond)
					c.Send("worked on " + in)
					release()
					release()
				}()
				return nil
			}}
		})
		p := h.dial()
		p.send("a\nb\n")
		p.closeWrite()
		got := strings.Fields(strings.ReplaceAll(get(t, w, p.readAll(), "EOF"), "worked on ", ""))
		if len(got) != 2 || got[0] == got[1] {
			t.Errorf("client got %q", got)
		}
		h.wantEnd(hythe.PeerDone)
	})
}

// The server's last word must not be destroyed by the reset that closing with
// unread input provokes.
func TestLinger_LastWordArrives(t *testing.T) {
	rounds := 200
	if testing.Short() {
		rounds = 20
	}
	inWorlds(t, plainWorlds, func(t *testing.T, w world) {
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				c.Send("enough")
				c.Shutdown()
				return nil
			}}
		})
		for range rounds {
			p := h.dial()
			var sending sync.WaitGroup
			sending.Go(func() {
				chunk := []byte(strings.Repeat("more and more\n", 1000))
				for range 20 {
					if _, err := p.nc.Write(chunk); err != nil {
						return // the server closes in the end, of course
					}
				}
				p.nc.(interface{ CloseWrite() error }).CloseWrite()
			})
			p.want("enough")
			p.wantEOF()
			sending.Wait()
			p.close()
			h.wantEnd(hythe.Finished)
		}
	})
}

// A client that resets after its request is an end, not a hang.
func TestReset(t *testing.T) {
	inWorlds(t, []world{tcpWorld, netWorld, memWorld, tlsWorld}, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{Service: echoService()})
		p := h.dial()
		p.wantLive()
		p.reset()
		h.wantEnd(hythe.PeerReset)
	})
}

// A client that closes with answers unread ends the connection as well.
func TestReset_Unread(t *testing.T) {
	inWorlds(t, plainWorlds, func(t *testing.T, w world) {
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				for {
					if err := c.Send(strings.Repeat("x", 10_000)); err != nil {
						return err
					}
				}
			}}
		})
		p := h.dial()
		p.send("go\n")
		io.ReadFull(p.r, make([]byte, 100))
		p.close()
		ev := h.wantEnd(hythe.PeerReset)
		if ev.Err == nil || !isReset(ev.Err) {
			t.Errorf("Err = %v, want the system's", ev.Err)
		}
	})
}

// Who goes on sending at full speed is not listened to for all of the time, of
// which none passes here.
func TestLinger_EndsForWhoDoesNotStop(t *testing.T) {
	inMem(t, func(t *testing.T) {
		h := memWorld.start(t, &hythe.Server{
			Service: sessions(func(*lines) *hooks { return &hooks{} }),
			Limits:  hythe.Limits{FrameBytes: 1000},
		})
		p := h.dial()
		sent, piece := 0, make([]byte, 1<<20)
		for sent < 200<<20 {
			n, err := p.nc.Write(piece)
			if sent += n; err != nil {
				break
			}
		}
		if sent < 50<<20 || sent > 70<<20 {
			t.Errorf("%d MiB were discarded, want some 64", sent>>20)
		}
		h.wantEnd(hythe.FrameTooLarge)
	})
}
