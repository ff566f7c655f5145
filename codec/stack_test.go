package codec_test

import (
	"errors"
	"io"
	"testing"

	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/codec/codectest"
)

func TestStack(t *testing.T) {
	codectest.Suite[string, string]{
		Codec: codec.Stack(LengthPrefix{Width: codec.Uint8, Max: 10}.Borrowed(), codec.Line{Max: 6}.Strings()),
		Sent:  []string{"", "one", "123456"},
		Streams: []codectest.Stream[string]{
			{Wire: "\x02a\n\x00\x02b\n\x01c", Want: []string{"a", "b", "c"}}, // an empty frame, and one without a terminator
			{Wire: "\x02a\n\x02b", Want: []string{"a"}, Err: io.ErrUnexpectedEOF},
			{Wire: "\x081234567\n", Err: codec.ErrFrameTooLarge},
		},
		TooLong:  []string{"\x0b", "\x071234567"},
		TooLarge: []string{"1234567"},
		Refused:  []string{"a\nb"},
		Allocs:   &codectest.Allocs{Decode: 1, Append: 0.5}, // the pool may be emptied
	}.Run(t)
}

func TestStack_OuterLimitHolds(t *testing.T) {
	codectest.Suite[string, string]{
		Codec:    codec.Stack(codec.Netstring{Max: 4}.Borrowed(), codec.Line{Max: 100}.Strings()),
		Sent:     []string{"one"},
		TooLong:  []string{"5"},
		TooLarge: []string{"four"},
	}.Run(t)
}

func TestStack_FrameMustBeOneMessage(t *testing.T) {
	inner := codec.Strings(codec.Netstring{}.Borrowed())
	c := codec.Stack(codec.Line{}.Borrowed(), inner)
	for _, line := range []string{"1:a,1:b,", "1:a,x", "2:a", "1", "x"} {
		_, msg, err := c.Decode([]byte(line+"\n"), false)
		_, ok := errors.AsType[*codec.DecodeError](err)
		if !ok || msg != "" || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, codec.ErrShort) {
			t.Errorf("%q: %q, %v; want a DecodeError", line, msg, err)
		}
	}
}

// A connection keeps one inner state: a batch must be complete in its frame, and the next frame starts a new one.
func TestStack_OfBatches(t *testing.T) {
	codectest.Suite[[]string, []string]{
		Codec: codec.Stack(codec.Netstring{Max: 50}.Borrowed(), codec.Batch(codec.Lines(), 3)),
		Sent:  [][]string{{"a"}, {"b", "c", "d"}, {"e", "f"}},
		Streams: []codectest.Stream[[]string]{
			{Wire: "4:a\nb\n,0:,2:c\n,", Want: [][]string{{"a", "b"}, {"c"}}},
		},
	}.Run(t)
	c := codec.ForConn(codec.Stack(codec.Netstrings(), codec.Batch(codec.Lines(), 1)))
	if _, msg, err := c.Decode([]byte("4:a\nb\n,"), false); err == nil {
		t.Errorf("a frame with more than a batch: %q, no error", msg)
	}
}

func FuzzStack(f *testing.F) {
	outer := LengthPrefix{Width: codec.Uint8, Max: 100}.Borrowed()
	codectest.Fuzz(f, codec.Stack(outer, codec.Batch(codec.Line{Max: 20}.Strings(), 3)))
}

func BenchmarkStack(b *testing.B) {
	benchmark(b, codec.Stack(LengthPrefix{}.Borrowed(), codec.Line{}.Borrowed()), make([]byte, 60))
}
