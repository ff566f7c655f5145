package codec_test

import (
	"errors"
	"io"
	"reflect"
	"testing"

	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/codec/codectest"
)

func TestBatch(t *testing.T) {
	codectest.Suite[[]string, []string]{
		Codec:    codec.Batch(codec.Line{Max: 4}.Strings(), 2),
		Sent:     [][]string{{"a"}, {}, {"b", "c", "d"}, {"e"}},
		Received: [][]string{{"a", "b"}, {"c", "d"}, {"e"}},
		Streams: []codectest.Stream[[]string]{
			{Wire: "a\nb\nc", Want: [][]string{{"a", "b"}, {"c"}}},
			{Wire: "a\n12345", Want: [][]string{{"a"}}, Err: codec.ErrFrameTooLarge},
		},
		TooLong:  []string{"a\nb\n12345"},
		TooLarge: [][]string{{"a", "12345"}},
		Refused:  [][]string{{"a", "b\nc"}},
	}.Run(t)
}

func TestBatch_RestThenError(t *testing.T) {
	c := codec.ForConn(codec.Batch(codec.Strings(codec.Netstring{}.Borrowed()), 3))
	n, msgs, err := c.Decode([]byte("1:a,1:b,1:c"), true)
	if n != 8 || !reflect.DeepEqual(msgs, []string{"a", "b"}) || err != nil {
		t.Errorf("Decode = %d, %q, %v; want the rest", n, msgs, err)
	}
	if _, msgs, err = c.Decode([]byte("1:c"), true); msgs != nil || err != io.ErrUnexpectedEOF {
		t.Errorf("Decode = %q, %v; want io.ErrUnexpectedEOF", msgs, err)
	}
}

func TestBatch_KeepsNoBytesWhileItWaits(t *testing.T) {
	c := codec.ForConn(codec.Batch(codec.Lines(), 3))
	if n, _, err := c.Decode([]byte("a\nb\nc"), false); n != 4 || !errors.Is(err, codec.ErrShort) {
		t.Errorf("Decode = %d, %v; want 4 and ErrShort", n, err)
	}
}

func TestBatch_WrongSettings(t *testing.T) {
	for _, size := range []int{0, -1} {
		wantBroken(t, codec.Batch(codec.Lines(), size), nil, "Batch: size")
	}
}

func FuzzBatch(f *testing.F) {
	codectest.Fuzz(f, codec.Batch(codec.Strings(codec.Netstring{Max: 20}.Borrowed()), 3))
}

func BenchmarkBatch(b *testing.B) {
	benchmark(b, codec.Batch(codec.Lines(), 16), []string{"a", "b", "c", "d", "e", "f", "g", "h"})
}
