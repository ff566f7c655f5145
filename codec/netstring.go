package codec

import (
	"errors"
	"fmt"
	"strconv"
)

// Netstring is the framing of [netstrings]: the length in decimal digits, a colon, the message, a comma. It is strict:
// there are no leading zeros, no blanks, and nothing between two netstrings. The zero value allows [DefaultMax] bytes in
// a message. The codecs are safe for concurrent use.
//
// [netstrings]: https://cr.yp.to/proto/netstrings.txt
type Netstring struct {
	// Max is the size of the largest message in bytes. Zero means DefaultMax.
	Max int
}

// Netstrings returns the codec of netstrings, owned by the receiver, with the settings of the zero [Netstring].
func Netstrings() Codec[[]byte, []byte] { return Netstring{}.Bytes() }

// Bytes returns the codec of messages owned by the receiver: one allocation for each received.
func (s Netstring) Bytes() Codec[[]byte, []byte] { return Owned(s.Borrowed()) }

// Borrowed returns the codec of messages that are parts of the input, valid until the next Decode: no allocation.
func (s Netstring) Borrowed() Codec[[]byte, []byte] {
	if err := s.Validate(); err != nil {
		return invalid[[]byte, []byte]{err}
	}
	return &decimal{name: "netstring", max: limit(s.Max), colon: ':', comma: ","}
}

// Validate returns what is wrong with the settings, naming the field, or nil.
func (s Netstring) Validate() error { return needMax("Netstring.Max", s.Max) }

// decimal is the codec of messages behind a length in decimal digits.
type decimal struct {
	name  string
	max   int
	colon byte   // ends the length
	comma string // ends the frame
}

func (d *decimal) Decode(src []byte, eof bool) (int, []byte, error) {
	head, size, err := d.length(src)
	if err != nil {
		return 0, nil, err
	}
	if head == 0 {
		// More digits would only make it longer.
		least := max(len(src), 1) + 1 + size + len(d.comma)
		return 0, nil, missing(len(src), least, eof)
	}
	end := head + size
	total := end + len(d.comma)
	if len(src) < total {
		return 0, nil, missing(len(src), total, eof)
	}
	if string(src[end:total]) != d.comma {
		return 0, nil, malformed(d.name, end, fmt.Errorf("%q in place of %q", src[end:total], d.comma))
	}
	return total, src[head:end:end], nil
}

// length reads the length at the start of src. It returns the size of the header, which is zero if it is not complete,
// and the length as far as it is known.
func (d *decimal) length(src []byte) (head, size int, err error) {
	n := int64(0)
	for i, b := range src {
		switch {
		case b == d.colon && i > 0:
			return i + 1, int(n), nil
		case b < '0' || b > '9':
			return 0, 0, malformed(d.name, i, fmt.Errorf("%q in a length", b))
		case i > 0 && src[0] == '0':
			return 0, 0, malformed(d.name, 0, errors.New("length with a leading zero"))
		}
		n = n*10 + int64(b-'0')
		if n > int64(d.max) {
			return 0, 0, tooLarge(d.name, d.max)
		}
	}
	return 0, int(n), nil
}

func (d *decimal) Append(dst, msg []byte) ([]byte, error) {
	if err := fits(d.name, len(msg), d.max); err != nil {
		return dst, err
	}
	dst = strconv.AppendInt(dst, int64(len(msg)), 10)
	dst = append(dst, d.colon)
	dst = append(dst, msg...)
	return append(dst, d.comma...), nil
}
