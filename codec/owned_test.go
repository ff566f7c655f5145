package codec_test

import (
	"testing"

	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/codec/codectest"
)

func TestOwned(t *testing.T) {
	codectest.Suite[[]byte, []byte]{
		Codec:  codec.Owned(codec.Line{In: codec.EndAuto}.Borrowed()),
		Sent:   [][]byte{[]byte("a"), []byte("b")},
		Allocs: &codectest.Allocs{Decode: 1},
	}.Run(t)
}

func TestStrings(t *testing.T) {
	codectest.Suite[string, string]{
		Codec:  codec.Strings(LengthPrefix{Width: codec.Uvarint}.Borrowed()),
		Sent:   []string{"a", "", "ccc"},
		Allocs: &codectest.Allocs{Decode: 1},
	}.Run(t)
}

func FuzzStrings(f *testing.F) {
	codectest.Fuzz(f, codec.Strings(codec.Delimiter{Delim: []byte(";"), Max: 20, Final: codec.FinalError}.Borrowed()))
}
