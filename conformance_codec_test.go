package hythe_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

type bytesConn = hythe.Conn[[]byte, []byte]

// onBytes is a session of byte messages with Input and Posted.
type onBytes struct {
	input  func(c *bytesConn, in []byte) error
	posted func(c *bytesConn, ev any) error
}

func (s *onBytes) Input(c *bytesConn, in []byte) error { return s.input(c, in) }
func (s *onBytes) Posted(c *bytesConn, ev any) error   { return s.posted(c, ev) }

// Bytes that have been read and not decoded go to the new codec; what was sent
// before stays as it was.
func TestSetCodec_RestPending(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{Service: hythe.Sessions(codec.LineBytes(), func(c *bytesConn) *onBytes {
			return &onBytes{input: func(c *bytesConn, in []byte) error {
				c.Send(in)
				switch string(in) {
				case "netstrings":
					if err := c.SetCodec(codec.Netstrings()); err != nil {
						return err
					}
					c.Send([]byte("ok"))
				case "lines":
					if err := c.SetCodec(codec.LineBytes()); err != nil {
						return err
					}
				case "bad":
					if err := c.SetCodec(codec.Netstring{Max: -1}.Bytes()); err == nil {
						t.Error("SetCodec took a codec with bad settings")
					}
				}
				return nil
			}}
		})})
		p := h.dial()
		p.send("a\nbad\nnetstrings\n1:b,5:lines,c\nd\n") // in one read
		p.send("e\n")
		p.closeWrite()
		if got, want := get(t, w, p.readAll(), "EOF"), "a\nbad\nnetstrings\n2:ok,1:b,5:lines,c\nd\ne\n"; got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	})
}

// The codec can be changed in another hook, and what has come so far is decoded
// without another byte from the peer, whatever the old codec was waiting for.
func TestSetCodec_InPosted(t *testing.T) {
	for name, first := range map[string]codec.Codec[[]byte, []byte]{
		"fixed": codec.Fixed(100),                   // says how much it needs
		"delim": codec.Delimited([]byte("never\t")), // does not
	} {
		t.Run(name, func(t *testing.T) {
			inWorlds(t, allWorlds, func(t *testing.T, w world) {
				h := w.start(t, &hythe.Server{Service: hythe.Sessions(first, func(c *bytesConn) *onBytes {
					return &onBytes{
						input:  func(c *bytesConn, in []byte) error { return c.Send(in) },
						posted: func(c *bytesConn, ev any) error { return c.SetCodec(codec.LineBytes()) },
					}
				})})
				p := h.dial()
				p.send("a\nb\n")
				awaitBytesIn(t, h, 4)
				time.Sleep(10 * time.Millisecond)
				for c := range h.srv.Conns() {
					c.Post(1)
				}
				p.want("a", "b")
				p.wantLive()
			})
		})
	}
}

// counting is a codec with state: it numbers the lines in each direction.
type counting struct {
	codec.Codec[string, string]
	in, out int
}

func newCounting() *counting { return &counting{Codec: codec.Lines()} }

func (c *counting) PerConn() codec.Codec[string, string] { return newCounting() }

func (c *counting) Decode(src []byte, eof bool) (int, string, error) {
	n, msg, err := c.Codec.Decode(src, eof)
	if err == nil {
		c.in++
		msg = fmt.Sprintf("%d:%s", c.in, msg)
	}
	return n, msg, err
}

func (c *counting) Append(dst []byte, msg string) ([]byte, error) {
	c.out++
	return fmt.Appendf(dst, "%d>%s\n", c.out, msg), nil
}

func TestStatefulCodec_PerConnection(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{Service: hythe.Sessions[string, string](newCounting(), func(*lines) onInput { return echo })})
		for range 3 {
			p := h.dial()
			p.send("a\nb\n")
			p.want("1>1:a", "2>2:b")
		}
		h = w.start(t, &hythe.Server{Service: hythe.Conversation[string, string](newCounting(), talk(func(c *lines) error {
			for in := range c.Messages() {
				c.Send(in)
			}
			return c.Err()
		}))})
		for range 3 {
			p := h.dial()
			p.send("a\nb\n")
			p.want("1>1:a", "2>2:b")
		}
	})
}

// The order of messages in a stateful codec is their order on the wire.
func TestStatefulCodec_ConcurrentSends(t *testing.T) {
	inWorlds(t, []world{tcpWorld, netWorld, tlsWorld}, func(t *testing.T, w world) {
		conns := make(chan *lines, 1)
		h := w.start(t, &hythe.Server{Service: hythe.Sessions[string, string](newCounting(), func(*lines) *hooks {
			return &hooks{connected: func(c *lines) error { conns <- c; return nil }}
		})})
		p := h.dial()
		c := <-conns
		const senders, each = 4, 200
		for range senders {
			go func() {
				for range each {
					c.Send(strings.Repeat("x", 500))
				}
			}()
		}
		for i := range senders * each {
			p.want(fmt.Sprintf("%d>%s", i+1, strings.Repeat("x", 500)))
		}
	})
}

// A message that is refused for lack of room has not been encoded either.
func TestStatefulCodec_TrySendFull(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		conns := make(chan *lines, 1)
		h := w.start(t, &hythe.Server{Service: hythe.Sessions[string, string](newCounting(), func(*lines) *hooks {
			return &hooks{connected: func(c *lines) error { conns <- c; return nil }}
		})})
		p := h.dial()
		c := <-conns
		big := strings.Repeat("x", 50_000)
		n := 0
		for c.TrySend(big) == nil {
			n++
		}
		if err := c.TrySend(big); err != hythe.ErrFull {
			t.Fatalf("TrySend = %v", err)
		}
		for i := range n {
			p.want(fmt.Sprintf("%d>%s", i+1, big))
		}
		if err := c.Send("next"); err != nil {
			t.Error(err)
		}
		p.want(fmt.Sprintf("%d>next", n+1))
	})
}

func TestSend_CodecError(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				if err := c.Send("not\none line"); err == nil {
					t.Error("Send took a line with a break in it")
				}
				return c.Send(in)
			}}
		})
		p := h.dial()
		p.wantLive() // the connection goes on, and nothing of it was sent
	})
}

// Frames larger than any buffer of ours.
func TestFrames_Large(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{Service: hythe.Sessions(codec.Netstring{Max: 1 << 20}.Bytes(), func(c *bytesConn) *onBytes {
			return &onBytes{input: func(c *bytesConn, in []byte) error { return c.Send(in) }}
		})})
		p := h.dial()
		var all strings.Builder
		for _, n := range []int{0, 1, 700_000, 4096, 65535, 65536, 65537, 1_000_000} {
			fmt.Fprintf(&all, "%d:%s,", n, strings.Repeat("x", n))
		}
		go func() {
			p.send(all.String())
			p.closeWrite()
		}()
		if got := get(t, w, p.readAll(), "EOF"); got != all.String() {
			t.Errorf("got %d bytes, want %d", len(got), all.Len())
		}
	})
}
