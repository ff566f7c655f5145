package hythe_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

// talk drops the context from a conversation.
func talk(f func(c *lines) error) func(context.Context, *lines) error {
	return func(_ context.Context, c *lines) error { return f(c) }
}

func (w world) converse(t testing.TB, f func(c *lines) error) *host {
	t.Helper()
	return w.start(t, &hythe.Server{Service: hythe.Conversation(codec.Lines(), talk(f))})
}

func TestTalk_Echo(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		errs := make(chan error, 1)
		h := w.converse(t, func(c *lines) error {
			if err := c.Send("hello"); err != nil {
				return err
			}
			for line := range c.Messages() {
				if err := c.Send(line); err != nil {
					return err
				}
			}
			errs <- c.Err()
			return c.Err()
		})
		p := h.dial()
		p.want("hello")
		p.send("a\nb\n")
		p.want("a", "b")
		p.send("half")
		p.closeWrite()
		p.want("half") // the last line needs no terminator
		p.wantEOF()
		p.close()
		h.wantEnd(hythe.PeerDone)
		if err := get(t, w, errs, "Err"); err != nil {
			t.Errorf("Err after the peer has finished = %v, want nil", err)
		}
	})
}

func TestTalk_Receive(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		errs := make(chan error, 2)
		h := w.converse(t, func(c *lines) error {
			for {
				line, err := c.Receive()
				if err != nil {
					_, again := c.Receive()
					errs <- err
					errs <- again
					return err
				}
				c.Send(line)
			}
		})
		p := h.dial()
		p.send("a\n")
		p.want("a")
		p.closeWrite()
		p.wantEOF()
		for range 2 {
			if err := get(t, w, errs, "Receive's error"); err != io.EOF {
				t.Errorf("Receive at the end = %v, want io.EOF", err)
			}
		}
		h.wantEnd(hythe.PeerDone)
	})
}

// Messages can be left and entered again.
func TestTalk_MessagesTwice(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.converse(t, func(c *lines) error {
			for line := range c.Messages() {
				c.Send("first " + line)
				if line == "next" {
					break
				}
			}
			for line := range c.Messages() {
				c.Send("second " + line)
			}
			return c.Err()
		})
		p := h.dial()
		p.send("a\nnext\nb\nc\n")
		p.want("first a", "first next", "second b", "second c")
	})
}

func TestTalk_Return(t *testing.T) {
	boom := errors.New("boom")
	big := strings.Repeat("x", 50_000)
	tests := []struct {
		name   string
		result error
		why    hythe.Reason
	}{
		{"nil", nil, hythe.Finished},
		{"error", boom, hythe.Failed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorlds(t, allWorlds, func(t *testing.T, w world) {
				h := w.converse(t, func(c *lines) error {
					c.Receive()
					for range 40 { // 2 MB, which do not fit anywhere at once
						if err := c.Send(big); err != nil {
							return err
						}
					}
					return tt.result
				})
				p := h.dial()
				p.send("one\ntwo\nthree\n") // two are never read
				for range 40 {
					p.want(big)
				}
				p.wantEOF()
				p.close()
				if ev := h.wantEnd(tt.why); ev.Err != tt.result {
					t.Errorf("Err = %v, want %v", ev.Err, tt.result)
				}
			})
		})
	}
}

// What ended the input is the reason, also when the function returns it.
func TestTalk_BadInput(t *testing.T) {
	tests := []struct {
		name, input string
		codec       codec.Codec[[]byte, []byte]
		why         hythe.Reason
	}{
		{"malformed", "x:", codec.Netstrings(), hythe.BadFrame},
		{"too large", "999:", codec.Netstring{Max: 100}.Bytes(), hythe.FrameTooLarge},
		{"truncated", "5:ab", codec.Netstrings(), hythe.Truncated},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorlds(t, allWorlds, func(t *testing.T, w world) {
				h := w.start(t, &hythe.Server{Service: hythe.Conversation(tt.codec,
					func(ctx context.Context, c *hythe.Conn[[]byte, []byte]) error {
						for range c.Messages() {
							c.Send([]byte("ok"))
						}
						if c.Err() == nil {
							t.Error("Err = nil")
						}
						return c.Err()
					})})
				p := h.dial()
				p.send("1:a," + tt.input)
				p.closeWrite()
				if got := get(t, w, p.readAll(), "EOF"); got != "2:ok," {
					t.Errorf("client got %q", got)
				}
				h.wantEnd(tt.why)
			})
		})
	}
}

func TestTalk_Drain(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		errs := make(chan error, 1)
		h := w.converse(t, func(c *lines) error {
			for {
				line, err := c.Receive()
				if err != nil {
					errs <- err
					if c.Err() != nil {
						t.Errorf("Err while draining = %v", c.Err())
					}
					c.Send("goodbye")
					return err
				}
				c.Send(line)
			}
		})
		p := h.dial()
		p.wantLive()
		h.cancel()
		p.want("goodbye")
		p.wantEOF()
		p.close()
		if err := get(t, w, errs, "Receive's error"); err != hythe.ErrDraining {
			t.Errorf("Receive while draining = %v, want ErrDraining", err)
		}
		if err := h.wait(); err != nil {
			t.Errorf("Serve = %v", err)
		}
		h.wantEnd(hythe.Drained)
	})
}

// A message of which a part has come is still received.
func TestTalk_DrainAtFrameBorder(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		errs := make(chan error, 1)
		h := w.converse(t, func(c *lines) error {
			for {
				line, err := c.Receive()
				if err != nil {
					errs <- err
					return err
				}
				c.Send(line)
			}
		})
		p := h.dial()
		p.send("a\nbe")
		p.want("a")
		awaitBytesIn(t, h, 4)
		h.cancel()
		h.awaitDrain()
		p.send("gun\n")
		p.want("begun")
		p.wantEOF()
		p.close()
		if err := get(t, w, errs, "Receive's error"); err != hythe.ErrDraining {
			t.Errorf("Receive while draining = %v, want ErrDraining", err)
		}
		h.wantEnd(hythe.Drained)
	})
}

// awaitBytesIn waits until the only connection has received n bytes.
func awaitBytesIn(t testing.TB, h *host, n uint64) {
	t.Helper()
	eventually(t, h.w, func() bool {
		for c := range h.srv.Conns() {
			return c.Stats().BytesIn >= n
		}
		return false
	}, "input to arrive")
}

// Messages that came before the drain are received before ErrDraining.
func TestTalk_DrainAfterInput(t *testing.T) {
	inWorlds(t, plainWorlds, func(t *testing.T, w world) {
		busy, release := make(chan struct{}), make(chan struct{})
		h := w.converse(t, func(c *lines) error {
			for line := range c.Messages() {
				if line == "1" {
					close(busy)
					<-release
				}
				c.Send(line)
			}
			c.Send("goodbye")
			return c.Err()
		})
		p := h.dial()
		p.send("1\n")
		<-busy
		p.send("2\n") // came before the drain, and waits
		time.Sleep(20 * time.Millisecond)
		h.cancel()
		h.awaitDrain()
		close(release)
		p.want("1", "2", "goodbye")
		p.wantEOF()
		p.close()
		if err := h.wait(); err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
}

// A conversation that blocks elsewhere holds nobody up.
func TestTalk_Blocked(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		release := make(chan struct{})
		h := w.converse(t, func(c *lines) error {
			for line := range c.Messages() {
				if line == "block" {
					c.Send("blocking")
					<-release
				}
				c.Send(line)
			}
			return c.Err()
		})
		a, b := h.dial(), h.dial()
		a.send("block\n")
		a.want("blocking")
		b.wantLive()
		close(release)
		a.want("block")
	})
}

// A conversation that is ended from outside comes to its end.
func TestTalk_Close(t *testing.T) {
	tests := []struct {
		name string
		end  func(c *hythe.Stream)
		why  hythe.Reason
	}{
		{"Close", func(c *hythe.Stream) { c.Close() }, hythe.Closed},
		{"Shutdown", func(c *hythe.Stream) { c.Shutdown() }, hythe.Finished},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorlds(t, allWorlds, func(t *testing.T, w world) {
				errs := make(chan error, 1)
				h := w.converse(t, func(c *lines) error {
					for line := range c.Messages() {
						c.Send(line)
					}
					wantClosed(t, "Send", c.Send("too late"), tt.why)
					errs <- c.Err()
					return nil
				})
				p := h.dial()
				p.wantLive()
				for c := range h.srv.Conns() {
					tt.end(c)
				}
				p.wantGone()
				p.close()
				wantClosed(t, "Err", get(t, w, errs, "the function's return"), tt.why)
				h.wantEnd(tt.why)
			})
		})
	}
}

// The context of a conversation ends with its connection, and says why.
func TestTalk_Context(t *testing.T) {
	inWorlds(t, []world{tcpWorld, netWorld, memWorld}, func(t *testing.T, w world) {
		causes := make(chan error, 1)
		h := w.start(t, &hythe.Server{Service: hythe.Conversation(codec.Lines(),
			func(ctx context.Context, c *lines) error {
				c.Receive()
				c.Send("waiting")
				<-ctx.Done()
				causes <- context.Cause(ctx)
				return ctx.Err()
			})})
		p := h.dial()
		p.send("x\n")
		p.want("waiting")
		p.reset()
		wantClosed(t, "the context's cause", get(t, w, causes, "the context"), hythe.PeerReset)
		h.wantEnd(hythe.PeerReset)
	})
}

// Send in a conversation waits for a slow reader, and everything arrives.
func TestTalk_SlowReader(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		const n, size = 200, 20_000
		h := w.converse(t, func(c *lines) error {
			for range n {
				if err := c.Send(strings.Repeat("x", size)); err != nil {
					return err
				}
			}
			return nil
		})
		p := h.dial()
		time.Sleep(30 * time.Millisecond) // let it fill all buffers
		for range n {
			p.want(strings.Repeat("x", size))
		}
		p.wantEOF()
		p.close()
		h.wantEnd(hythe.Finished)
	})
}
