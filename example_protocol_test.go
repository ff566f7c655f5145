package hythe_test

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/hythe-go/hythe"
)

// An adder is a Protocol: it is called with bytes.
type adder struct {
	stream *hythe.Stream
	sum    uint32
}

func (a *adder) Input(src []byte, eof bool) (n int, err error) {
	for len(src)-n >= 4 && !a.stream.Yield() {
		a.sum += binary.BigEndian.Uint32(src[n:])
		n += 4
	}
	switch {
	case eof && n == len(src):
		fmt.Fprintln(a.stream, a.sum)
	case eof && len(src)-n < 4:
		return n, hythe.BadInput(errors.New("half a number"))
	}
	return n, nil
}

func ExampleServiceFunc() {
	exchange(hythe.ServiceFunc(func(s *hythe.Stream) (hythe.Protocol, error) {
		return &adder{stream: s}, nil
	}), "\x00\x00\x00\x02\x00\x00\x01\x00")
	// Output: 258
}
