package codec_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/codec/codectest"
)

func TestNetstring(t *testing.T) {
	suite := codectest.Suite[[]byte, []byte]{
		Codec: codec.Netstring{Max: 12}.Bytes(),
		Sent:  [][]byte{[]byte("hello world!"), {}, []byte("1:a,")},
		Streams: []codectest.Stream[[]byte]{
			{Wire: "12:hello world!,0:,3:x", Want: [][]byte{[]byte("hello world!"), {}}, Err: io.ErrUnexpectedEOF},
			{Wire: "1", Err: io.ErrUnexpectedEOF},
			{Wire: "0:", Err: io.ErrUnexpectedEOF},
		},
		TooLong:  []string{"13", "0:,13", "99999999999999999999999999"},
		TooLarge: [][]byte{make([]byte, 13)},
		Allocs:   &codectest.Allocs{Decode: 1},
	}
	suite.Run(t)
	suite.Codec = codec.Netstring{Max: 12}.Borrowed()
	suite.Clone = bytes.Clone
	suite.Allocs = &codectest.Allocs{}
	t.Run("Borrowed", suite.Run)
}

func TestNetstring_Wire(t *testing.T) {
	for msg, want := range map[string]string{"": "0:,", "hello world!": "12:hello world!,", ",": "1:,,"} {
		if got, err := codec.Netstrings().Append(nil, []byte(msg)); string(got) != want || err != nil {
			t.Errorf("Append(%q) = %q, %v; want %q", msg, got, err, want)
		}
	}
}

func TestNetstring_Malformed(t *testing.T) {
	testMalformed(t, codec.Netstrings(), "netstring", map[string]int{
		"01:a,": 0, "00:,": 0, ":,": 0, " 1:a,": 0, "-1:a,": 0, "+1:a,": 0, "1 :a,": 1, "a": 0, "1x": 1,
		"1:ab": 3, "1:a\n": 3, "0:\n": 2, "1\x00a,": 1,
	})
}

// testMalformed checks that each input is refused, with the offset of the byte that shows it.
func testMalformed(t *testing.T, c codec.Codec[[]byte, []byte], name string, offsets map[string]int) {
	t.Helper()
	for wire, offset := range offsets {
		n, msg, err := c.Decode([]byte(wire), false)
		bad, ok := errors.AsType[*codec.DecodeError](err)
		if !ok || bad.Codec != name || bad.Offset != offset || n != 0 || msg != nil {
			t.Errorf("Decode(%q) = %d, %q, %v; want a DecodeError of %s at %d", wire, n, msg, err, name, offset)
		}
	}
}

func TestNetstring_WrongSettings(t *testing.T) {
	s := codec.Netstring{Max: -1}
	wantBroken(t, s.Bytes(), s.Validate(), "Netstring.Max")
	wantBroken(t, s.Borrowed(), s.Validate(), "Netstring.Max")
}

func FuzzNetstring(f *testing.F) { codectest.Fuzz(f, codec.Netstring{Max: 20}.Bytes()) }

func BenchmarkNetstring(b *testing.B) {
	msg := make([]byte, 60)
	b.Run("Bytes", func(b *testing.B) { benchmark(b, codec.Netstrings(), msg) })
	b.Run("Borrowed", func(b *testing.B) { benchmark(b, codec.Netstring{}.Borrowed(), msg) })
}
