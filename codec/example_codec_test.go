package codec_test

import (
	"fmt"
	"io"

	"github.com/hythe-go/hythe/codec"
)

// A tagged message is a byte that says what it is, a byte with the length of the
// text, and the text.
type tagged struct {
	kind byte
	text string
}

// taggedFrames is the codec of tagged messages. It has no state, so one serves
// all connections.
type taggedFrames struct{}

func (taggedFrames) Decode(src []byte, eof bool) (n int, msg tagged, err error) {
	switch {
	case len(src) == 0 && eof:
		return 0, msg, io.EOF
	case len(src) < 2 || len(src) < 2+int(src[1]):
		if eof {
			return 0, msg, io.ErrUnexpectedEOF
		}
		return 0, msg, codec.ErrShort
	}
	n = 2 + int(src[1])
	return n, tagged{src[0], string(src[2:n])}, nil
}

func (taggedFrames) Append(dst []byte, msg tagged) ([]byte, error) {
	if len(msg.text) > 255 {
		return dst, codec.ErrFrameTooLarge
	}
	return append(append(dst, msg.kind, byte(len(msg.text))), msg.text...), nil
}

// A codec of one's own is two methods. Package codectest checks that they keep
// the promises.
func ExampleCodec() {
	var c codec.Codec[tagged, tagged] = taggedFrames{}
	wire, err := c.Append(nil, tagged{'!', "hello"})
	fmt.Printf("%q %v\n", wire, err)
	_, _, err = c.Decode(wire[:4], false)
	fmt.Println(err)
	n, msg, err := c.Decode(append(wire, "next"...), false)
	fmt.Printf("%d %c %s %v\n", n, msg.kind, msg.text, err)
	// Output:
	// "!\x05hello" <nil>
	// codec: more bytes are needed
	// 7 ! hello <nil>
}
