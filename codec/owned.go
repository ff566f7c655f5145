package codec

import (
	"bytes"
	"unsafe"
)

// Owned returns c with messages that are copies, one allocation each, for the receiver to keep and change.
func Owned(c Codec[[]byte, []byte]) Codec[[]byte, []byte] {
	if err := needCodec("Owned", c); err != nil {
		return invalid[[]byte, []byte]{err}
	}
	return perConn(Stateful(c), func() Codec[[]byte, []byte] { return &owned{ForConn(c)} })
}

type owned struct{ Codec[[]byte, []byte] }

func (o *owned) Decode(src []byte, eof bool) (int, []byte, error) {
	n, msg, err := o.Codec.Decode(src, eof)
	if err != nil {
		return n, nil, err
	}
	return n, bytes.Clone(msg), nil
}

func (o *owned) Validate() error { return validate(o.Codec) }

// Strings returns c with strings for messages, one allocation for each that is received and none for those sent.
func Strings(c Codec[[]byte, []byte]) Codec[string, string] {
	if err := needCodec("Strings", c); err != nil {
		return invalid[string, string]{err}
	}
	return perConn(Stateful(c), func() Codec[string, string] { return &text{ForConn(c)} })
}

type text struct{ bytes Codec[[]byte, []byte] }

func (t *text) Decode(src []byte, eof bool) (int, string, error) {
	n, msg, err := t.bytes.Decode(src, eof)
	if err != nil {
		return n, "", err
	}
	return n, string(msg), nil
}

func (t *text) Append(dst []byte, msg string) ([]byte, error) {
	// The bytes of a string must not be written to; an Encoder does not change what it is given.
	return t.bytes.Append(dst, unsafe.Slice(unsafe.StringData(msg), len(msg)))
}

func (t *text) Validate() error { return validate(t.bytes) }
