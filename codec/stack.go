package codec

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// Stack returns the codec of inner messages in outer frames. Each frame is a whole stream for inner, with one message in
// it: a frame that has bytes after its message or ends inside of it is malformed, and a frame in which inner finds
// nothing at all, as most do in one of no bytes, is used up without a message. To carry several messages in a frame let
// inner be a [Batch]. The limits of both hold. If both outer and inner borrow, so does the stack.
func Stack[In, Out any](outer Codec[[]byte, []byte], inner Codec[In, Out]) Codec[In, Out] {
	if err := errors.Join(needCodec("Stack: outer", outer), needCodec("Stack: inner", inner)); err != nil {
		return invalid[In, Out]{err}
	}
	return perConn(Stateful(outer) || Stateful(inner), func() Codec[In, Out] {
		return &stack[In, Out]{ForConn(outer), ForConn(inner)}
	})
}

type stack[In, Out any] struct {
	outer Codec[[]byte, []byte]
	inner Codec[In, Out]
}

func (s *stack[In, Out]) Decode(src []byte, eof bool) (n int, msg In, err error) {
	var none In
	for {
		used, payload, err := s.outer.Decode(src[n:], eof)
		n += used
		if err != nil {
			return n, none, err
		}
		used, msg, err := s.inner.Decode(payload, true)
		switch {
		case err == io.EOF:
			continue
		case err != nil:
			return 0, none, malformed("stack", used, err)
		case used < len(payload):
			return 0, none, malformed("stack", used, fmt.Errorf("%d bytes after the message", len(payload)-used))
		default:
			return n, msg, nil
		}
	}
}

// payloads holds buffers for what inner codecs append.
var payloads = sync.Pool{New: func() any { return new([]byte) }}

func (s *stack[In, Out]) Append(dst []byte, msg Out) ([]byte, error) {
	buf := payloads.Get().(*[]byte)
	payload, err := s.inner.Append((*buf)[:0], msg)
	if err == nil {
		dst, err = s.outer.Append(dst, payload)
	}
	if cap(payload) <= DefaultMax {
		*buf = payload
		payloads.Put(buf)
	}
	return dst, err
}

func (s *stack[In, Out]) Validate() error {
	return errors.Join(validate(s.outer), validate(s.inner))
}
