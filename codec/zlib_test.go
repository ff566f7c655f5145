package codec_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/codec/codectest"
)

func TestZlib(t *testing.T) {
	bomb, err := codec.Zlib{Max: 1 << 20, Level: 9}.Bytes().Append(nil, make([]byte, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	codectest.Suite[[]byte, []byte]{
		Codec:    codec.Zlib{Max: 1000}.Bytes(),
		Sent:     [][]byte{[]byte("hello"), {}, make([]byte, 1000)},
		TooLong:  []string{"\x00\x01\x00\x01", string(bomb)},
		TooLarge: [][]byte{make([]byte, 1001)},
	}.Run(t)
	codectest.Run(t, codec.Zlib{Frames: codec.Netstring{}.Borrowed(), Level: 1}.Bytes(), []byte("hello"), []byte("again"))
}

func TestZlib_Malformed(t *testing.T) {
	good, err := codec.Zlib{Frames: codec.Chunk{}.Borrowed()}.Bytes().Append(nil, []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	sum := bytes.Clone(good)
	sum[len(sum)-1]++
	for name, payload := range map[string][]byte{
		"empty": nil, "no zlib": []byte("hello"), "cut short": good[:len(good)-1], "wrong checksum": sum, "more behind": append(bytes.Clone(good), 'x'),
	} {
		wire, _ := codec.LengthPrefixed().Append(nil, payload)
		_, _, err := codec.Zlib{}.Bytes().Decode(wire, true)
		bad, ok := errors.AsType[*codec.DecodeError](err)
		if !ok || bad.Codec != "zlib" || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: error %v, want a DecodeError of zlib", name, err)
		}
	}
}

func TestZlib_WrongSettings(t *testing.T) {
	for want, s := range map[string]codec.Zlib{
		"Zlib.Max":          {Max: -1},
		"Zlib.Level is -1":  {Level: -1},
		"Zlib.Level is 10":  {Level: 10},
		"LengthPrefix.Max":  {Frames: LengthPrefix{Max: -1}.Bytes()},
		"Delimiter.Delim i": {Frames: codec.Delimited(nil)},
	} {
		wantBroken(t, s.Bytes(), s.Validate(), want)
	}
}

func FuzzZlib(f *testing.F) {
	codectest.Suite[[]byte, []byte]{Codec: codec.Zlib{Max: 200}.Bytes(), Sent: [][]byte{[]byte("hello")}}.Fuzz(f)
}

func BenchmarkZlib(b *testing.B) {
	benchmark(b, codec.Zlib{}.Bytes(), bytes.Repeat([]byte("hello, world "), 20))
}
