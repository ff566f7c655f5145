package codec_test

import (
	"bytes"
	"testing"

	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/codec/codectest"
)

// join makes one message of all, so that streams compare whatever the chunks were.
func join(chunks [][]byte) [][]byte { return [][]byte{bytes.Join(chunks, nil)} }

func TestChunk(t *testing.T) {
	suite := codectest.Suite[[]byte, []byte]{
		Codec:   codec.Chunk{Max: 8}.Bytes(),
		Sent:    [][]byte{[]byte("one"), {}, []byte("a chunk of more than eight bytes")},
		Streams: []codectest.Stream[[]byte]{{Wire: ""}, {Wire: "x", Want: [][]byte{[]byte("x")}}},
		Join:    join,
		Allocs:  &codectest.Allocs{Decode: 1},
	}
	suite.Run(t)
	suite.Codec = codec.Chunk{Max: 8}.Borrowed()
	suite.Clone = bytes.Clone
	suite.Allocs = &codectest.Allocs{}
	t.Run("Borrowed", suite.Run)
}

func TestChunk_IsWhatWasRead(t *testing.T) {
	n, msg, err := codec.Raw().Decode([]byte("a\nb"), false)
	if n != 3 || string(msg) != "a\nb" || err != nil {
		t.Errorf("Decode = %d, %q, %v", n, msg, err)
	}
}

func TestChunk_WrongSettings(t *testing.T) {
	s := codec.Chunk{Max: -1}
	wantBroken(t, s.Bytes(), s.Validate(), "Chunk.Max")
	wantBroken(t, s.Borrowed(), s.Validate(), "Chunk.Max")
}

func FuzzChunk(f *testing.F) {
	codectest.Suite[[]byte, []byte]{Codec: codec.Chunk{Max: 20}.Bytes(), Join: join}.Fuzz(f)
}

func BenchmarkChunk(b *testing.B) {
	msg := make([]byte, 64)
	b.Run("Bytes", func(b *testing.B) { benchmark(b, codec.Chunk{Max: 64}.Bytes(), msg) })
	b.Run("Borrowed", func(b *testing.B) { benchmark(b, codec.Chunk{Max: 64}.Borrowed(), msg) })
}
