package codec_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/codec/codectest"
)

func TestDelimiter(t *testing.T) {
	suite := codectest.Suite[[]byte, []byte]{
		Codec: codec.Delimiter{Delim: []byte("\r\n.\r\n"), Max: 6}.Bytes(),
		Sent:  [][]byte{[]byte("one"), {}, []byte("\r\n.\n"), []byte("\r\n.\r"), []byte("123456")},
		Streams: []codectest.Stream[[]byte]{
			{Wire: "a\r\n.\r\nb\r\n.", Want: [][]byte{[]byte("a"), []byte("b\r\n.")}},
			{Wire: "1234\r\n.", Err: codec.ErrFrameTooLarge},
		},
		TooLong:  []string{"1234567", "123456\r\n.\n", "1234567\r\n.\r\n"},
		TooLarge: [][]byte{[]byte("1234567")},
		Refused:  [][]byte{[]byte("\r\n.\r\n"), []byte("a\r\n.")},
		Allocs:   &codectest.Allocs{Decode: 1},
	}
	suite.Run(t)
	suite.Codec = codec.Delimiter{Delim: []byte("\r\n.\r\n"), Max: 6}.Borrowed()
	suite.Clone = bytes.Clone
	suite.Allocs = &codectest.Allocs{}
	t.Run("Borrowed", suite.Run)
}

func TestDelimiter_Final(t *testing.T) {
	codectest.Suite[[]byte, []byte]{
		Codec:     codec.Delimiter{Delim: []byte{0}, Final: codec.FinalDrop}.Bytes(),
		Sent:      [][]byte{[]byte("one"), []byte("two")},
		Streams:   []codectest.Stream[[]byte]{{Wire: "a\x00b", Want: [][]byte{[]byte("a")}}},
		DropsRest: true,
	}.Run(t)
	codectest.Suite[[]byte, []byte]{
		Codec:   codec.Delimiter{Delim: []byte{0}, Final: codec.FinalError}.Bytes(),
		Sent:    [][]byte{[]byte("one"), []byte("two")},
		Streams: []codectest.Stream[[]byte]{{Wire: "a\x00b", Want: [][]byte{[]byte("a")}, Err: io.ErrUnexpectedEOF}},
	}.Run(t)
}

func TestDelimiter_KeepsItsOwnDelim(t *testing.T) {
	delim := []byte("|")
	c := codec.Delimited(delim)
	delim[0] = 'x'
	if _, msg, err := c.Decode([]byte("axb|"), false); string(msg) != "axb" || err != nil {
		t.Errorf("Decode = %q, %v", msg, err)
	}
}

func TestDelimiter_WrongSettings(t *testing.T) {
	for want, s := range map[string]codec.Delimiter{
		"Delimiter.Delim": {},
		"Delimiter.Max":   {Delim: []byte("x"), Max: -1},
		"Delimiter.Final": {Delim: []byte("x"), Final: 7},
	} {
		wantBroken(t, s.Bytes(), s.Validate(), want)
		wantBroken(t, s.Borrowed(), s.Validate(), want)
	}
	wantBroken(t, codec.Delimited(nil), nil, "Delimiter.Delim")
}

func FuzzDelimiter(f *testing.F) {
	codectest.Fuzz(f, codec.Delimiter{Delim: []byte("aab"), Max: 20}.Bytes())
}

func BenchmarkDelimiter(b *testing.B) {
	msg := bytes.Repeat([]byte("x"), 63)
	b.Run("Bytes", func(b *testing.B) { benchmark(b, codec.Delimited([]byte{0}), msg) })
	b.Run("Borrowed", func(b *testing.B) { benchmark(b, codec.Delimiter{Delim: []byte{0}}.Borrowed(), msg) })
}
