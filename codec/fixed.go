package codec

import (
	"fmt"
)

// FixedSize is the framing of messages that all have the same size. Size must be set. The codecs are safe for
// concurrent use.
type FixedSize struct {
	// Size is the number of bytes in a message, at least 1. Append refuses a message of any other size.
	Size int
}

// Fixed returns the codec of messages of size bytes each, owned by the receiver.
func Fixed(size int) Codec[[]byte, []byte] { return FixedSize{size}.Bytes() }

// Bytes returns the codec of messages owned by the receiver: one allocation for each received.
func (s FixedSize) Bytes() Codec[[]byte, []byte] { return Owned(s.Borrowed()) }

// Borrowed returns the codec of messages that are parts of the input, valid until the next Decode: no allocation.
func (s FixedSize) Borrowed() Codec[[]byte, []byte] {
	if err := s.Validate(); err != nil {
		return invalid[[]byte, []byte]{err}
	}
	return fixed(s.Size)
}

// Validate returns what is wrong with the settings, naming the field, or nil.
func (s FixedSize) Validate() error {
	if s.Size < 1 || s.Size > maxMax {
		return fmt.Errorf("codec: FixedSize.Size is %d: it must be between 1 and %d bytes", s.Size, maxMax)
	}
	return nil
}

type fixed int

func (f fixed) Decode(src []byte, eof bool) (int, []byte, error) {
	size := int(f)
	if len(src) < size {
		return 0, nil, missing(len(src), size, eof)
	}
	return size, src[:size:size], nil
}

func (f fixed) Append(dst, msg []byte) ([]byte, error) {
	if err := fits("fixed", len(msg), int(f)); err != nil {
		return dst, err
	}
	if len(msg) < int(f) {
		return dst, &EncodeError{"fixed", fmt.Errorf("%d bytes, not %d", len(msg), int(f))}
	}
	return append(dst, msg...), nil
}
