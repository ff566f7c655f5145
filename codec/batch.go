package codec

import (
	"errors"
	"fmt"
	"io"
)

// Batch returns c with its messages in slices of size, which must be at least 1. Messages wait until there are enough;
// at the end of the stream, and before an error, those that wait are delivered, however few. Such a rest may use no bytes
// of input, but the call after it returns the end or the error. Slices sent may have any length; their messages are
// encoded one after the other.
//
// The slices are owned by the receiver; the messages in them must be too, so c must not borrow. A connection may hold
// size messages of the largest size in memory. Batches keep state for each connection (see [PerConn]).
func Batch[In, Out any](c Codec[In, Out], size int) Codec[[]In, []Out] {
	err := needCodec("Batch", c)
	if size < 1 {
		err = errors.Join(err, fmt.Errorf("codec: Batch: size is %d: it must be at least 1", size))
	}
	if err != nil {
		return invalid[[]In, []Out]{err}
	}
	return perConn(true, func() Codec[[]In, []Out] { return &batch[In, Out]{codec: ForConn(c), size: size} })
}

type batch[In, Out any] struct {
	codec   Codec[In, Out]
	size    int
	waiting []In
	err     error // to be returned once nothing waits
}

func (b *batch[In, Out]) Decode(src []byte, eof bool) (n int, msgs []In, err error) {
	if b.err != nil {
		return 0, nil, b.err
	}
	for {
		used, msg, err := b.codec.Decode(src[n:], eof)
		n += used
		switch {
		case err == nil:
			b.waiting = append(b.waiting, msg)
			if len(b.waiting) == b.size {
				return n, b.take(), nil
			}
		case len(b.waiting) == 0:
			return n, nil, err
		case errors.Is(err, ErrShort):
			return n, nil, ErrShort // not a Short: malformed input may set free what waits before that
		default:
			if err != io.EOF { // the codec below says so again, and in a Stack more may follow
				b.err = err
			}
			return n, b.take(), nil
		}
	}
}

func (b *batch[In, Out]) take() []In {
	msgs := b.waiting
	b.waiting = nil
	return msgs
}

func (b *batch[In, Out]) Append(dst []byte, msgs []Out) ([]byte, error) {
	out := dst
	for _, msg := range msgs {
		var err error
		if out, err = b.codec.Append(out, msg); err != nil {
			return dst, err
		}
	}
	return out, nil
}

func (b *batch[In, Out]) Validate() error { return validate(b.codec) }
