package codec

// A Decoder turns bytes into messages. It is a pure step: no I/O, no clock, no blocking.
type Decoder[T any] interface {
	// Decode looks at the start of src, the bytes of a stream that were read and not yet used, and returns the first
	// message in it with the number n of bytes that are used up. eof says that no byte will follow src.
	//
	// The error says how it went:
	//
	//   - nil: msg is a message. It may have used no bytes (a batch handing out its rest at the end of the stream), but
	//     two messages in a row may not, or the caller would never come to an end.
	//   - [ErrShort], or a [Short] that says how many: there is no message before more bytes have come. n may be above
	//     zero: these bytes are used up without a message, as comments and keep-alives are. Never when eof is true.
	//   - [io.EOF]: eof is true, all of src is used up, and the stream ends where a frame may end.
	//   - [io.ErrUnexpectedEOF]: eof is true inside a frame.
	//   - [ErrFrameTooLarge], as soon as the limit is known to be passed, whether or not the frame is all there.
	//   - any other, such as a [*DecodeError]: the input is malformed.
	//
	// After an error other than ErrShort the stream has no more messages, and Decode is not called again.
	//
	// The sequence of messages does not depend on how the stream was cut into calls. Decode does not write to src, and
	// neither keeps it nor refers to it in msg, unless the codec's constructor says that it borrows.
	Decode(src []byte, eof bool) (n int, msg T, err error)
}

// An Encoder turns messages into bytes. It is a pure step like a [Decoder].
type Encoder[T any] interface {
	// Append appends the frame of msg to dst and returns the extended slice, as append does. It does not change msg and
	// keeps no reference to it. On error, an [*EncodeError] for the codecs of this package, it returns dst with
	// nothing appended.
	Append(dst []byte, msg T) ([]byte, error)
}

// A Codec decodes the messages of type In that a connection receives and encodes the messages of type Out that it sends.
// It may be used by many connections at the same time, unless it implements [PerConn].
//
// Any two halves make a codec: struct{ Decoder[In]; Encoder[Out] }. To combine halves of codecs use [Pair].
type Codec[In, Out any] interface {
	Decoder[In]
	Encoder[Out]
}

// DefaultMax is the limit of all framings whose settings name no other: 64 KiB for the payload of one frame.
const DefaultMax = 64 << 10

// maxMax bounds every Max, so that the sums of a length and the framing around it cannot overflow.
const maxMax = 1 << 30

// limit returns the limit that the setting max stands for.
func limit(max int) int {
	if max == 0 {
		return DefaultMax
	}
	return max
}
