package codec

import "io"

// Chunk is the absence of framing: a message is whatever has been read, and sending one adds nothing to it. Messages
// are never empty, their borders mean nothing, and there is no error but the end of the stream. The zero value allows
// [DefaultMax] bytes in a message. The codecs are safe for concurrent use.
type Chunk struct {
	// Max is the size of the largest message received, in bytes; more bytes make more messages. There is no limit on
	// what is sent. Zero means DefaultMax.
	Max int
}

// Raw returns the codec of chunks, owned by the receiver, with the settings of the zero [Chunk].
func Raw() Codec[[]byte, []byte] { return Chunk{}.Bytes() }

// Bytes returns the codec of chunks owned by the receiver: one allocation for each received.
func (s Chunk) Bytes() Codec[[]byte, []byte] { return Owned(s.Borrowed()) }

// Borrowed returns the codec of chunks that are parts of the input, valid until the next Decode: no allocation.
func (s Chunk) Borrowed() Codec[[]byte, []byte] {
	if err := s.Validate(); err != nil {
		return invalid[[]byte, []byte]{err}
	}
	return raw(limit(s.Max))
}

// Validate returns what is wrong with the settings, naming the field, or nil.
func (s Chunk) Validate() error { return needMax("Chunk.Max", s.Max) }

type raw int

func (r raw) Decode(src []byte, eof bool) (int, []byte, error) {
	n := min(len(src), int(r))
	switch {
	case n > 0:
		return n, src[:n:n], nil
	case eof:
		return 0, nil, io.EOF
	default:
		return 0, nil, ErrShort
	}
}

func (raw) Append(dst, msg []byte) ([]byte, error) { return append(dst, msg...), nil }
