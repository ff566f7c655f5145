package fcgi

import (
	"encoding/binary"
	"errors"
	"iter"
)

// Name-value pairs, section 3.4: both lengths, then the name, then the value. A
// length below 128 takes one byte, or four with the topmost bit set.

// errPairs means that the lengths of a name-value pair go beyond the bytes that
// there are.
var errPairs = errors.New("fcgi: truncated name-value pair")

// appendPair appends a name-value pair.
func appendPair(dst []byte, name, value string) []byte {
	dst = appendLength(dst, len(name))
	dst = appendLength(dst, len(value))
	dst = append(dst, name...)
	return append(dst, value...)
}

func appendLength(dst []byte, n int) []byte {
	if n < 128 {
		return append(dst, byte(n))
	}
	return binary.BigEndian.AppendUint32(dst, uint32(n)|1<<31)
}

// cutPair takes the first pair off b. name and value are parts of b.
func cutPair(b string) (name, value, rest string, err error) {
	n, b, ok := cutLength(b)
	v, b, ok2 := cutLength(b)
	// The lengths are below 1<<31 each, so their sum is no danger in 64 bits.
	if !ok || !ok2 || int64(n)+int64(v) > int64(len(b)) {
		return "", "", "", errPairs
	}
	return b[:n], b[n : n+v], b[n+v:], nil
}

func cutLength(b string) (n uint32, rest string, ok bool) {
	switch {
	case len(b) > 0 && b[0] < 128:
		return uint32(b[0]), b[1:], true
	case len(b) >= 4:
		return uint32(b[0]&0x7f)<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3]), b[4:], true
	}
	return 0, "", false
}

// pairs returns the pairs in b, in order, up to the first that is damaged.
func pairs(b string) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for len(b) > 0 {
			name, value, rest, err := cutPair(b)
			if err != nil || !yield(name, value) {
				return
			}
			b = rest
		}
	}
}
