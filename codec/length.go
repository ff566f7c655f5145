package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// LengthPrefix is the framing of messages behind their length. The zero value has a 32-bit big-endian length that does
// not count itself, and allows [DefaultMax] bytes in a message. The codecs are safe for concurrent use.
type LengthPrefix struct {
	// Width is the form of the length. Zero means Uint32.
	Width Width

	// LittleEndian puts the low byte of the length first.
	LittleEndian bool

	// Inclusive says that the length counts its own bytes too. It does not go with Uvarint.
	Inclusive bool

	// Adjust is added to the number of bytes in a message to get the length on the wire: 2 where the length counts two
	// bytes more than there are, -1 where it leaves out a byte at the start of the message. Inclusive comes on top.
	Adjust int

	// Max is the size of the largest message in bytes, without the prefix and whatever the length on the wire counts.
	// Zero means DefaultMax. Where the length has fewer values, these are the limit.
	Max int
}

// Width is the form in which a length is written.
type Width uint8

const (
	Uint32 Width = iota
	Uint8
	Uint16
	Uint24
	Uint64
	Uvarint // 7 bits a byte, low ones first, as in encoding/binary and protocol buffers
)

// bytes returns the size of a length of this width, or zero if it varies.
func (w Width) bytes() int {
	return [...]int{Uint32: 4, Uint8: 1, Uint16: 2, Uint24: 3, Uint64: 8, Uvarint: 0}[w]
}

// LengthPrefixed returns the codec of messages behind a 32-bit big-endian length, owned by the receiver, with the
// settings of the zero [LengthPrefix].
func LengthPrefixed() Codec[[]byte, []byte] { return LengthPrefix{}.Bytes() }

// Bytes returns the codec of messages owned by the receiver: one allocation for each received.
func (s LengthPrefix) Bytes() Codec[[]byte, []byte] { return Owned(s.Borrowed()) }

// Borrowed returns the codec of messages that are parts of the input, valid until the next Decode: no allocation.
func (s LengthPrefix) Borrowed() Codec[[]byte, []byte] {
	if err := s.Validate(); err != nil {
		return invalid[[]byte, []byte]{err}
	}
	p := &lengthPrefix{size: s.Width.bytes(), little: s.LittleEndian, adjust: int64(s.Adjust), max: limit(s.Max)}
	if s.Inclusive {
		p.adjust += int64(p.size)
	}
	// The largest length that is taken. It may be above what the field holds; then every length is taken.
	p.most = uint64(int64(p.max) + p.adjust)
	return p
}

// Validate returns all that is wrong with the settings, each error naming its field, or nil.
func (s LengthPrefix) Validate() error {
	errs := []error{needMax("LengthPrefix.Max", s.Max)}
	if s.Width > Uvarint {
		errs = append(errs, fmt.Errorf("codec: LengthPrefix.Width is %d: there is no such Width", s.Width))
	}
	if s.Width == Uvarint && s.Inclusive {
		errs = append(errs, errors.New("codec: LengthPrefix.Inclusive is set: it does not go with Uvarint"))
	}
	if s.Width == Uvarint && s.LittleEndian {
		errs = append(errs, errors.New("codec: LengthPrefix.LittleEndian is set: it does not go with Uvarint"))
	}
	if s.Adjust > maxMax || s.Adjust < -limit(s.Max) {
		errs = append(errs, fmt.Errorf("codec: LengthPrefix.Adjust is %d: it must be between -Max and %d", s.Adjust, maxMax))
	}
	return errors.Join(errs...)
}

type lengthPrefix struct {
	size   int // of the length, or zero if it is a uvarint
	little bool
	adjust int64  // length on the wire - bytes in the message
	most   uint64 // largest length on the wire
	max    int    // bytes in the message
}

func (p *lengthPrefix) Decode(src []byte, eof bool) (int, []byte, error) {
	length, head := p.length(src)
	if head == 0 {
		return 0, nil, missing(len(src), max(p.size, len(src)+1), eof)
	}
	if head < 0 || length > p.most {
		return 0, nil, tooLarge("length prefix", p.max)
	}
	size := int64(length) - p.adjust
	if size < 0 {
		return 0, nil, malformed("length prefix", 0, fmt.Errorf("length %d is below the least, %d", length, p.adjust))
	}
	total := head + int(size)
	if len(src) < total {
		return 0, nil, missing(len(src), total, eof)
	}
	return total, src[head:total:total], nil
}

// length reads the length at the start of src and returns it with its size, which is zero if it is not complete and
// negative if it does not fit 64 bits.
func (p *lengthPrefix) length(src []byte) (length uint64, head int) {
	if p.size == 0 {
		length, head = binary.Uvarint(src)
		if head == 0 && len(src) >= binary.MaxVarintLen64 {
			head = -1
		}
		return length, head
	}
	if len(src) < p.size {
		return 0, 0
	}
	for i := range p.size {
		if p.little {
			length |= uint64(src[i]) << (8 * i)
		} else {
			length = length<<8 | uint64(src[i])
		}
	}
	return length, p.size
}

func (p *lengthPrefix) Append(dst, msg []byte) ([]byte, error) {
	if err := fits("length prefix", len(msg), p.max); err != nil {
		return dst, err
	}
	length := int64(len(msg)) + p.adjust
	if length < 0 {
		return dst, &EncodeError{"length prefix", fmt.Errorf("%d bytes, at least %d", len(msg), -p.adjust)}
	}
	if p.size == 0 {
		return append(binary.AppendUvarint(dst, uint64(length)), msg...), nil
	}
	if p.size < 8 && length >= 1<<(8*p.size) {
		return dst, &EncodeError{"length prefix", fmt.Errorf("%w: length %d in %d bits", ErrFrameTooLarge, length, 8*p.size)}
	}
	dst = slices.Grow(dst, p.size+len(msg))
	for i := range p.size {
		if p.little {
			dst = append(dst, byte(length>>(8*i)))
		} else {
			dst = append(dst, byte(length>>(8*(p.size-1-i))))
		}
	}
	return append(dst, msg...), nil
}
