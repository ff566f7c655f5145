package codec_test

import (
	"testing"

	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/codec/codectest"
)

func TestPair(t *testing.T) {
	codectest.Suite[string, []byte]{
		Codec:    codec.Pair(codec.Line{Max: 4}.Strings(), codec.Netstring{Max: 4}.Bytes()),
		OneWay:   true,
		Sent:     [][]byte{[]byte("four")},
		Streams:  []codectest.Stream[string]{{Wire: "a\nb", Want: []string{"a", "b"}}},
		TooLong:  []string{"12345"},
		TooLarge: [][]byte{[]byte("12345")},
	}.Run(t)
}

func TestPair_TakesEachHalfFromItsSide(t *testing.T) {
	c := codec.Pair(codec.Lines(), codec.Netstrings())
	if _, msg, err := c.Decode([]byte("1:a,\n"), false); msg != "1:a," || err != nil {
		t.Errorf("Decode = %q, %v", msg, err)
	}
	if got, err := c.Append(nil, []byte("a")); string(got) != "1:a," || err != nil {
		t.Errorf("Append = %q, %v", got, err)
	}
}

func FuzzPair(f *testing.F) {
	codectest.Suite[string, string]{
		Codec:  codec.Pair(codec.Line{Max: 20, In: codec.EndAuto}.Strings(), codec.Line{Out: "||"}.Strings()),
		OneWay: true,
	}.Fuzz(f)
}

func BenchmarkPair(b *testing.B) { benchmark(b, codec.Pair(codec.Lines(), codec.Lines()), "x") }
