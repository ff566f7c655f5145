package codec_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/codec/codectest"
)

func TestFixedSize(t *testing.T) {
	suite := codectest.Suite[[]byte, []byte]{
		Codec:    codec.Fixed(4),
		Sent:     [][]byte{[]byte("four"), []byte("five"), {0, 1, 2, 3}},
		Streams:  []codectest.Stream[[]byte]{{Wire: "fourfo", Want: [][]byte{[]byte("four")}, Err: io.ErrUnexpectedEOF}},
		TooLarge: [][]byte{[]byte("seven")},
		Refused:  [][]byte{nil, []byte("six")},
		Allocs:   &codectest.Allocs{Decode: 1},
	}
	suite.Run(t)
	suite.Codec = codec.FixedSize{Size: 4}.Borrowed()
	suite.Clone = bytes.Clone
	suite.Allocs = &codectest.Allocs{}
	t.Run("Borrowed", suite.Run)
}

func TestFixedSize_WrongSettings(t *testing.T) {
	for _, size := range []int{-1, 0, 1<<30 + 1} {
		s := codec.FixedSize{Size: size}
		wantBroken(t, codec.Fixed(size), s.Validate(), "FixedSize.Size")
		wantBroken(t, s.Borrowed(), s.Validate(), "FixedSize.Size")
	}
}

func FuzzFixedSize(f *testing.F) { codectest.Fuzz(f, codec.Fixed(3)) }

func BenchmarkFixedSize(b *testing.B) {
	msg := make([]byte, 64)
	b.Run("Bytes", func(b *testing.B) { benchmark(b, codec.Fixed(64), msg) })
	b.Run("Borrowed", func(b *testing.B) { benchmark(b, codec.FixedSize{Size: 64}.Borrowed(), msg) })
}
