package hythe_test

import (
	"context"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
)

func TestPauseInput(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		var j journal
		paused := make(chan *lines, 1)
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				j.add("%s", in)
				if in == "pause" {
					c.PauseInput()
					paused <- c
				}
				return c.Send(in)
			}}
		})
		p := h.dial()
		p.send("a\npause\nb\nc\n") // b and c are buffered
		p.want("a", "pause")
		c := <-paused
		p.send("d\n") // comes during the pause
		time.Sleep(20 * time.Millisecond)
		j.want(t, "a", "pause")
		c.Send("output goes on")
		p.want("output goes on")
		c.ResumeInput()
		c.ResumeInput()
		p.want("b", "c", "d")
		p.send("pause\n") // nothing buffered behind it
		p.want("pause")
		<-paused
		p.send("e\n")
		time.Sleep(20 * time.Millisecond)
		c.ResumeInput()
		p.want("e")
	})
}

// A peer's end is noticed after a pause, behind the input in front of it.
func TestPauseInput_EOF(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		paused := make(chan *lines, 1)
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				if in == "pause" {
					c.PauseInput()
					paused <- c
				}
				return c.Send(in)
			}}
		})
		p := h.dial()
		p.send("pause\na\nb")
		p.closeWrite()
		p.want("pause")
		c := <-paused
		time.Sleep(20 * time.Millisecond)
		c.ResumeInput()
		p.want("a", "b")
		p.wantEOF()
		h.wantEnd(hythe.PeerDone)
	})
}

// Pausing and resuming from other goroutines loses no frame.
func TestPauseInput_Race(t *testing.T) {
	inWorlds(t, []world{tcpWorld, netWorld}, func(t *testing.T, w world) {
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				c.PauseInput()
				go c.ResumeInput()
				return c.Send(in)
			}}
		})
		p := h.dial()
		for range 300 {
			p.send("1\n2\n3\n4\n5\n")
			p.want("1", "2", "3", "4", "5")
		}
	})
}

// resumer is a Protocol of single bytes that pauses after each, and is resumed
// while it is still inside Input.
type resumer struct{ s *hythe.Stream }

func (p *resumer) Input(src []byte, eof bool) (int, error) {
	if len(src) == 0 {
		return 0, nil
	}
	p.s.PauseInput()
	done := make(chan bool)
	go func() { p.s.ResumeInput(); close(done) }()
	<-done
	_, err := p.s.Write(src[:1])
	return 1, err
}

func TestPauseInput_ResumedInsideInput(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{Service: hythe.ServiceFunc(func(s *hythe.Stream) (hythe.Protocol, error) {
			return &resumer{s}, nil
		})})
		p := h.dial()
		p.send("one\ntwo\n")
		p.want("one", "two")
	})
}

// Work goes on elsewhere for a connection whose input is paused: it hears of a
// reset.
func TestPauseInput_HeldHearsOfAReset(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		if w.unix {
			return // where a reset cannot be told from a half-close
		}
		gone := make(chan error, 1)
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				ctx, release := c.Context(), c.Hold()
				c.PauseInput()
				go func() {
					<-ctx.Done()
					gone <- context.Cause(ctx)
					release()
					c.Close()
				}()
				return c.Send("working")
			}}
		})
		p := h.dial()
		p.send("x\n")
		p.want("working")
		p.reset()
		wantClosed(t, "the context", get(t, w, gone, "the context's end"), hythe.PeerReset)
		h.nextEnd()
	})
}
