package codec

import (
	"errors"
	"fmt"
	"io"
)

// ErrShort is returned by Decode when there is no message before more bytes have come. Match it with [errors.Is]: a
// codec that knows how many are needed returns a [Short].
var ErrShort = errors.New("codec: more bytes are needed")

// ErrFrameTooLarge is matched by the error of a frame that passes the limit of its codec: on Decode it is what a peer
// sent, on Append what this program wanted to send.
var ErrFrameTooLarge = errors.New("frame too large")

// Short is an [ErrShort] that knows more: there is no message before this many bytes are there, counted from the first
// byte that is not used up. A caller may wait for them before it calls Decode again, and may size its buffer by them,
// since a codec compares them with its limit first.
type Short int

func (s Short) Error() string {
	return fmt.Sprintf("codec: more bytes are needed: %d in all", int(s))
}

// Is reports whether target is [ErrShort].
func (s Short) Is(target error) bool { return target == ErrShort }

// A DecodeError is a peer's fault: input that is malformed or too large.
type DecodeError struct {
	Codec  string // what found it, such as "netstring"
	Offset int    // of the offending byte from the start of the frame or its payload; zero if not known
	Err    error
}

func (e *DecodeError) Error() string {
	return fmt.Sprintf("codec: %s: byte %d: %v", e.Codec, e.Offset, e.Err)
}

func (e *DecodeError) Unwrap() error { return e.Err }

// An EncodeError is this program's fault: a message that cannot be framed.
type EncodeError struct {
	Codec string
	Err   error
}

func (e *EncodeError) Error() string { return fmt.Sprintf("codec: %s: encode: %v", e.Codec, e.Err) }

func (e *EncodeError) Unwrap() error { return e.Err }

// malformed returns err as a [*DecodeError]. Errors that come from inside of a frame must not look like the end of the
// stream or a call for more bytes, so those are kept as text only.
func malformed(name string, offset int, err error) error {
	for _, control := range []error{ErrShort, io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(err, control) {
			return &DecodeError{name, offset, errors.New(err.Error())}
		}
	}
	if _, ok := errors.AsType[*DecodeError](err); ok {
		return err
	}
	return &DecodeError{name, offset, err}
}

// unencodable returns err as an [*EncodeError].
func unencodable(name string, err error) error {
	if _, ok := errors.AsType[*EncodeError](err); ok {
		return err
	}
	return &EncodeError{name, err}
}

// tooLarge is the error of input that passes the limit max.
func tooLarge(name string, max int) error {
	return &DecodeError{name, 0, fmt.Errorf("%w: more than %d bytes", ErrFrameTooLarge, max)}
}

// fits returns the error of sending size bytes where max are allowed.
func fits(name string, size, max int) error {
	if size <= max {
		return nil
	}
	return &EncodeError{name, fmt.Errorf("%w: %d bytes, at most %d", ErrFrameTooLarge, size, max)}
}

// missing is the error of a frame of which have bytes are there and total are needed.
func missing(have, total int, eof bool) error {
	switch {
	case !eof:
		return Short(total)
	case have == 0:
		return io.EOF
	default:
		return io.ErrUnexpectedEOF
	}
}
