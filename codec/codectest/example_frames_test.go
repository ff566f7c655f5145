package codectest_test

import (
	"encoding/binary"
	"io"
	"testing"

	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/codec/codectest"
)

// words are texts behind a length of two bytes, at most 1,000 bytes long.
type words struct{}

func (words) Decode(src []byte, eof bool) (n int, text string, err error) {
	switch {
	case len(src) == 0 && eof:
		return 0, "", io.EOF
	case len(src) >= 2 && binary.BigEndian.Uint16(src) > 1000:
		return 0, "", codec.ErrFrameTooLarge
	case len(src) < 2 || len(src) < 2+int(binary.BigEndian.Uint16(src)):
		if eof {
			return 0, "", io.ErrUnexpectedEOF
		}
		return 0, "", codec.ErrShort
	}
	n = 2 + int(binary.BigEndian.Uint16(src))
	return n, string(src[2:n]), nil
}

func (words) Append(dst []byte, text string) ([]byte, error) {
	if len(text) > 1000 {
		return dst, codec.ErrFrameTooLarge
	}
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(text))), text...), nil
}

// testWords is called TestWords in a test file of its own.
func testWords(t *testing.T) {
	codectest.Suite[string, string]{
		Codec:    words{},
		Sent:     []string{"hello", "", "two words"},
		Streams:  []codectest.Stream[string]{{Wire: "\x00\x02hi\x00", Want: []string{"hi"}, Err: io.ErrUnexpectedEOF}},
		TooLong:  []string{"\x03\xe9"},
		TooLarge: []string{string(make([]byte, 1001))},
		Allocs:   &codectest.Allocs{Decode: 1},
	}.Run(t)
}

// A codec of one's own, and the whole test of it.
func Example() {
	_ = testWords
	// Output:
}
