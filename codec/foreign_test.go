package codec_test

import (
	"io"
	"testing"

	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/codec/codectest"
)

// frame and frames are the codec of the package's documentation.
type frame struct {
	kind byte
	body string
}

type frames struct{}

func (frames) Decode(src []byte, eof bool) (int, frame, error) {
	if len(src) == 0 && eof {
		return 0, frame{}, io.EOF
	}
	if len(src) < 2 || len(src) < 2+int(src[1]) {
		if eof {
			return 0, frame{}, io.ErrUnexpectedEOF
		}
		return 0, frame{}, codec.ErrShort
	}
	n := 2 + int(src[1])
	return n, frame{src[0], string(src[2:n])}, nil
}

func (frames) Append(dst []byte, f frame) ([]byte, error) {
	if len(f.body) > 255 {
		return dst, codec.ErrFrameTooLarge
	}
	return append(append(dst, f.kind, byte(len(f.body))), f.body...), nil
}

func TestDocumentedCodec(t *testing.T) {
	codectest.Suite[frame, frame]{
		Codec:    frames{},
		Sent:     []frame{{'a', ""}, {'b', "hello"}},
		TooLarge: []frame{{'c', string(make([]byte, 256))}},
		Allocs:   &codectest.Allocs{Decode: 1},
	}.Run(t)
}
