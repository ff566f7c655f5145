package hythe_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

// firstIsPing makes a Service whose first connection is a neighbour on lines
// and whose others belong to s.
func firstIsPing(s hythe.Service) hythe.Service {
	ping := echoService()
	return hythe.ServiceFunc(func(c *hythe.Stream) (hythe.Protocol, error) {
		if c.ID() == 1 {
			return ping.Open(c)
		}
		return s.Open(c)
	})
}

// swallow is a session that drops what it gets.
type swallow[T any] struct{}

func (swallow[T]) Input(*hythe.Conn[T, T], T) error { return nil }

func swallowing[T any](c codec.Codec[T, T]) hythe.Service {
	return hythe.Sessions(c, func(*hythe.Conn[T, T]) swallow[T] { return swallow[T]{} })
}

// A frame that says it has 4 GiB is refused before a byte is set aside for it.
func TestAbuse_GiantFrame(t *testing.T) {
	const giants = 50
	be := func(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }
	tests := []struct {
		name    string
		service hythe.Service
		prefix  string
	}{
		{"uint32", swallowing(codec.LengthPrefixed()), be(1<<32 - 1)},
		{"uint32 signed", swallowing(codec.LengthPrefixed()), be(1 << 31)},
		{"uint64", swallowing(codec.LengthPrefix{Width: codec.Uint64}.Bytes()), be(1) + be(0)},
		{"uint64 negative", swallowing(codec.LengthPrefix{Width: codec.Uint64}.Bytes()), be(1<<32-1) + be(1<<32-1)},
		{"inclusive", swallowing(codec.LengthPrefix{Inclusive: true}.Bytes()), be(1<<32 - 1)},
		{"uvarint", swallowing(codec.LengthPrefix{Width: codec.Uvarint}.Bytes()), string(binary.AppendUvarint(nil, 1<<32))},
		{"netstring", swallowing(codec.Netstrings()), "4294967296:"},
		{"block", swallowing(codec.Blocks()), "4294967296\x00"},
		{"JSON", swallowing(codec.JSON[map[string]any]()), be(1<<32 - 1)},
		{"gob", swallowing(codec.Gob[string]()), be(1<<32 - 1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorlds(t, abuseWorlds, func(t *testing.T, w world) {
				h := w.start(t, &hythe.Server{Service: firstIsPing(tt.service)})
				ns := h.neighbours(1)
				peak := h.watchMemory()
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				for range giants {
					p := h.dial()
					p.send(tt.prefix)
					p.wantEOF()
					p.close()
					if ev := h.wantEnd(hythe.FrameTooLarge); ev.Conn.Stats().BytesIn > uint64(len(tt.prefix)) {
						t.Errorf("%d bytes were read", ev.Conn.Stats().BytesIn)
					}
				}
				runtime.ReadMemStats(&after)
				each := (after.TotalAlloc - before.TotalAlloc) / giants
				t.Logf("%d bytes were allocated for each, the clients' included; account %d at most", each, peak())
				if each > 64<<10 || peak() > 64<<10 {
					t.Errorf("%d bytes were allocated for each giant, account %d", each, peak())
				}
				ns.check(w.neighbourBound())
			})
		})
	}
}

// plain decodes nothing and has no limit of its own.
type plain struct{}

func (plain) Decode(src []byte, eof bool) (int, string, error) { return 0, "", codec.ErrShort }
func (plain) Append(dst []byte, msg string) ([]byte, error)    { return append(dst, msg...), nil }

// A line without an end is bounded: by the codec, or where that has no limit,
// by the server. At full speed and trickled.
func TestAbuse_EndlessLine(t *testing.T) {
	const talkers = 5
	tests := []struct {
		name    string
		service hythe.Service
		limits  hythe.Limits
		bound   int // bytes kept for one
	}{
		{"Lines", echoService(), hythe.Limits{}, 128 << 10}, // 64 KiB, and what was read behind them
		{"long Lines", swallowing(codec.Line{Max: 500_000}.Strings()), hythe.Limits{}, 1 << 20},
		{"delimiter", swallowing(codec.Delimited([]byte("\r\n.\r\n"))), hythe.Limits{}, 128 << 10},
		{"JSON lines", swallowing(codec.JSONLines[any]()), hythe.Limits{}, 128 << 10},
		{"no codec limit", swallowing[string](plain{}), hythe.Limits{FrameBytes: 200_000}, 512 << 10},
		{"FrameBytes below the codec's limit", swallowing(codec.Line{Max: 500_000}.Strings()), hythe.Limits{FrameBytes: 50_000}, 128 << 10},
	}
	for _, tt := range tests {
		for _, piece := range []int{64 << 10, 1000} {
			t.Run(fmt.Sprintf("%s/%d bytes", tt.name, piece), func(t *testing.T) {
				inWorlds(t, abuseWorlds, func(t *testing.T, w world) {
					h := w.start(t, &hythe.Server{
						Service:  firstIsPing(tt.service),
						Limits:   tt.limits,
						Timeouts: hythe.Timeouts{Linger: 50 * time.Millisecond}, // the talker does not stop
					})
					ns := h.neighbours(1)
					peak := h.watchMemory()
					abusers(talkers, talkers, func(int) {
						p, err := h.rawDial()
						if err != nil {
							t.Error(err)
							return
						}
						s := []byte(strings.Repeat("e", piece))
						for sent := 0; err == nil; sent += len(s) {
							if sent > 1<<30 { // what is lingered for counts as well
								t.Errorf("the server took %d bytes of one line", sent)
								break
							}
							_, err = p.nc.Write(s)
						}
						p.close()
					})
					h.wantEnds(talkers, hythe.FrameTooLarge)
					t.Logf("account %d KiB at most for %d lines", peak()>>10, talkers)
					if peak() > int64(talkers*tt.bound) {
						t.Errorf("%d bytes were kept, want at most %d for each of %d", peak(), tt.bound, talkers)
					}
					ns.check(time.Second) // the talkers take all the processors there are
				})
			})
		}
	}
}

// noise makes streams that a codec might stumble over: bytes at random, some
// with a preference for those that mean something to it.
func noise(r *rand.Rand, size int, likes string) []byte {
	b := make([]byte, size)
	for i := range b {
		switch {
		case len(likes) > 0 && r.IntN(4) > 0:
			b[i] = likes[r.IntN(len(likes))]
		default:
			b[i] = byte(r.Uint32())
		}
	}
	return b
}

// Garbage ends its connection for the peer's fault, and nothing else. Some
// garbage is good input, whose end is PeerDone.
func TestAbuse_Garbage(t *testing.T) {
	const streams, maxSize = 60, 40_000
	lengths := codec.LengthPrefix{Width: codec.Uint16}
	tests := []struct {
		name    string
		service hythe.Service
		likes   string
	}{
		{"Lines", swallowing(codec.Lines()), "\r\n"},
		{"Line, any ending, strict", swallowing(codec.Line{In: codec.EndAny, Final: codec.FinalError}.Strings()), "\r\n"},
		{"Line, auto", swallowing(codec.Line{In: codec.EndAuto}.Bytes()), "\r\n"},
		{"Delimited", swallowing(codec.Delimited([]byte("ab"))), "ab"},
		{"Fixed", swallowing(codec.Fixed(7)), ""},
		{"LengthPrefixed", swallowing(codec.LengthPrefixed()), "\x00\x00\x00\x01"},
		{"uint8", swallowing(codec.LengthPrefix{Width: codec.Uint8, Inclusive: true}.Bytes()), "\x00\x01\x02"},
		{"uint16 adjusted", swallowing(codec.LengthPrefix{Width: codec.Uint16, Adjust: -3}.Bytes()), "\x00\x01\x02"},
		{"uint24", swallowing(codec.LengthPrefix{Width: codec.Uint24, LittleEndian: true}.Bytes()), "\x00\x00\x01"},
		{"uint64", swallowing(codec.LengthPrefix{Width: codec.Uint64}.Bytes()), "\x00\x00\x00\xff"},
		{"uvarint", swallowing(codec.LengthPrefix{Width: codec.Uvarint}.Bytes()), "\x80\xff\x01"},
		{"Netstrings", swallowing(codec.Netstrings()), "0123:,"},
		{"Blocks", swallowing(codec.Blocks()), "0123\x00"},
		{"JSON", swallowing(codec.JSON[any]()), "\x00\x00{}[]\",:1"},
		{"JSONLines", swallowing(codec.JSONLines[any]()), "{}[]\",:1\n"},
		{"Gob", swallowing(codec.Gob[map[string][]int]()), "\x00\x00\x01\x03"},
		{"Batch", swallowing(codec.Batch(codec.Lines(), 3)), "\n"},
		{"Raw", swallowing(codec.Raw()), ""},
		{"Stack", swallowing(codec.Stack(lengths.Bytes(), codec.JSON[any]())), "\x00\x00\x01{}"},
		{"Zlib", swallowing(codec.Stack(lengths.Bytes(), codec.Zlib{}.Bytes())), "\x00\x01\x78\x9c"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorlds(t, abuseWorlds, func(t *testing.T, w world) {
				h := w.start(t, &hythe.Server{
					Service:  firstIsPing(tt.service),
					Timeouts: hythe.Timeouts{Linger: time.Second, Frame: time.Second},
				})
				ns := h.neighbours(1)
				abusers(streams, 4, func(i int) {
					r := rand.New(rand.NewPCG(uint64(i), 1))
					p, err := h.rawDial()
					if err != nil {
						t.Error(err)
						return
					}
					defer p.close()
					b := noise(r, r.IntN(maxSize), []string{tt.likes, ""}[i%2])
					for len(b) > 0 && err == nil {
						k := min(len(b), 1+r.IntN(3000))
						_, err = p.nc.Write(b[:k])
						b = b[k:]
					}
					if err == nil {
						p.closeWrite()
					}
					io.Copy(io.Discard, p.nc)
				})
				ends := h.wantEnds(streams, hythe.BadFrame, hythe.FrameTooLarge, hythe.Truncated, hythe.PeerDone)
				t.Log(ends)
				ns.check(w.neighbourBound())
			})
		})
	}
}

// The same to conversations, whose codec is read from another goroutine.
func TestAbuse_GarbageToConversation(t *testing.T) {
	const streams = 60
	inWorlds(t, []world{tcpWorld, netWorld, tlsWorld}, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{
			Service: firstIsPing(hythe.Conversation(codec.Strings(codec.Netstrings()), talk(func(c *lines) error {
				for s := range c.Messages() {
					if err := c.Send(s); err != nil {
						return err
					}
				}
				return c.Err()
			}))),
		})
		ns := h.neighbours(1)
		abusers(streams, 4, func(i int) {
			p, err := h.rawDial()
			if err != nil {
				t.Error(err)
				return
			}
			defer p.close()
			r := rand.New(rand.NewPCG(uint64(i), 2))
			if _, err := p.nc.Write(noise(r, r.IntN(20_000), "0123:,")); err == nil {
				p.closeWrite()
			}
			io.Copy(io.Discard, p.nc)
		})
		t.Log(h.wantEnds(streams, hythe.BadFrame, hythe.FrameTooLarge, hythe.Truncated, hythe.PeerDone))
		ns.check(w.neighbourBound())
	})
}
