package codec_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/codec/codectest"
)

func TestBlock(t *testing.T) {
	suite := codectest.Suite[[]byte, []byte]{
		Codec: codec.Block{Max: 12}.Bytes(),
		Sent:  [][]byte{[]byte("hello world!"), {}, []byte("1\x00a")},
		Streams: []codectest.Stream[[]byte]{
			{Wire: "12\x00hello world!0\x003\x00x", Want: [][]byte{[]byte("hello world!"), {}}, Err: io.ErrUnexpectedEOF},
		},
		TooLong:  []string{"13", "0\x0099"},
		TooLarge: [][]byte{make([]byte, 13)},
		Allocs:   &codectest.Allocs{Decode: 1},
	}
	suite.Run(t)
	suite.Codec = codec.Block{Max: 12}.Borrowed()
	suite.Clone = bytes.Clone
	suite.Allocs = &codectest.Allocs{}
	t.Run("Borrowed", suite.Run)
}

func TestBlock_Wire(t *testing.T) {
	for msg, want := range map[string]string{"": "0\x00", "hello world!": "12\x00hello world!"} {
		if got, err := codec.Blocks().Append(nil, []byte(msg)); string(got) != want || err != nil {
			t.Errorf("Append(%q) = %q, %v; want %q", msg, got, err, want)
		}
	}
}

// POE's block filter dropped what it found before the digits of a length, and went on with the wrong bytes.
func TestBlock_LeadingJunkIsAnError(t *testing.T) {
	_, _, err := codec.Blocks().Decode([]byte("junk3\x00abc"), false)
	if _, ok := errors.AsType[*codec.DecodeError](err); !ok {
		t.Errorf("error %v, want a DecodeError", err)
	}
	testMalformed(t, codec.Blocks(), "block", map[string]int{
		"junk3\x00abc": 0, "\x00": 0, "01\x00a": 0, "1 \x00a": 1, "1:a": 1, "\n1\x00a": 0,
	})
}

func TestBlock_WrongSettings(t *testing.T) {
	s := codec.Block{Max: -1}
	wantBroken(t, s.Bytes(), s.Validate(), "Block.Max")
	wantBroken(t, s.Borrowed(), s.Validate(), "Block.Max")
}

func FuzzBlock(f *testing.F) { codectest.Fuzz(f, codec.Block{Max: 20}.Bytes()) }

func BenchmarkBlock(b *testing.B) {
	msg := make([]byte, 60)
	b.Run("Bytes", func(b *testing.B) { benchmark(b, codec.Blocks(), msg) })
	b.Run("Borrowed", func(b *testing.B) { benchmark(b, codec.Block{}.Borrowed(), msg) })
}
