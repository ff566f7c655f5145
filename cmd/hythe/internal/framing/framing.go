// Package framing has the framings that a configuration can name.
package framing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/hythe-go/hythe/codec"
)

// Names are the framings, as they are written.
//
//	lines      text ending in LF or CRLF, written with LF
//	nul        anything but NUL, ending in NUL
//	netstring  5:hello,
//	length8, length16, length32  behind the number of bytes, big-endian
//	uvarint    behind the number of bytes as a uvarint
//	json       JSON values behind each other, with or without space between them
//	raw        all that comes until the end of the stream is one message
//	hythe      envelopes behind their 32-bit length; see docs/relay-protocol.md
//
// All of them deliver empty messages where there is something around them; who
// reads lines skips the empty ones.
var Names = []string{"lines", "nul", "netstring", "length8", "length16", "length32", "uvarint", "json", "raw", "hythe"}

// Known reports whether there is such a framing.
func Known(name string) bool { return slices.Contains(Names, name) }

// CanAnswer reports whether one message after the other can be sent back in the
// framing: not in raw, which has but one.
func CanAnswer(name string) bool { return name != "raw" }

// New returns the framing of that name, for messages of at most so many bytes.
// What it decodes refers to its input.
func New(name string, most int) (codec.Codec[[]byte, []byte], error) {
	switch name {
	case "lines":
		return codec.Line{Max: most}.Borrowed(), nil
	case "nul":
		return codec.Delimiter{Delim: []byte{0}, Max: most}.Borrowed(), nil
	case "netstring":
		return codec.Netstring{Max: most}.Borrowed(), nil
	case "length8":
		return codec.LengthPrefix{Width: codec.Uint8, Max: min(most, 0xff)}.Borrowed(), nil
	case "length16":
		return codec.LengthPrefix{Width: codec.Uint16, Max: min(most, 0xffff)}.Borrowed(), nil
	case "length32", "hythe":
		return codec.LengthPrefix{Max: most}.Borrowed(), nil
	case "uvarint":
		return codec.LengthPrefix{Width: codec.Uvarint, Max: most}.Borrowed(), nil
	case "json":
		return &values{most: most}, nil
	case "raw":
		return whole{most}, nil
	}
	return nil, fmt.Errorf("no such framing: %q (there are %v)", name, Names)
}

// values are JSON values, RFC 8259, one after the other. Each connection has its
// own decoder, which remembers how far it has looked, so that a value that comes
// byte by byte is not looked at from its start each time.
type values struct {
	most int

	seen     int // bytes of the value at hand
	depth    int // of objects and arrays
	inString bool
	escaped  bool
}

// PerConn implements codec.PerConn.
func (v *values) PerConn() codec.Codec[[]byte, []byte] { return &values{most: v.most} }

var errNotJSON = errors.New("not a JSON value")

const blanks = " \t\r\n"

func (v *values) Decode(src []byte, eof bool) (n int, msg []byte, err error) {
	if v.seen == 0 {
		n = len(src) - len(bytes.TrimLeft(src, blanks))
	}
	rest := src[n:]
	if len(rest) == 0 {
		if eof {
			return n, nil, io.EOF
		}
		return n, nil, codec.ErrShort
	}
	end, found := v.scan(rest)
	switch {
	case end > v.most:
		return n, nil, codec.ErrFrameTooLarge
	case !found && !eof:
		return n, nil, codec.ErrShort
	case !found && (v.depth > 0 || v.inString):
		return n, nil, io.ErrUnexpectedEOF
	case !json.Valid(rest[:end]):
		return n, nil, &codec.DecodeError{Codec: "json", Err: errNotJSON}
	}
	v.seen, v.depth, v.inString, v.escaped = 0, 0, false, false
	return n + end, rest[:end:end], nil
}

// scan looks for the end of the value at the start of b. Whether it is one is not
// its business.
func (v *values) scan(b []byte) (end int, found bool) {
	for ; v.seen < len(b); v.seen++ {
		c := b[v.seen]
		switch {
		case v.escaped:
			v.escaped = false
		case v.inString && c == '\\':
			v.escaped = true
		case v.inString:
			if v.inString = c != '"'; !v.inString && v.depth == 0 {
				return v.seen + 1, true
			}
		case v.depth == 0 && v.seen > 0 && bytes.IndexByte([]byte(blanks+`"{[`), c) >= 0:
			return v.seen, true // behind a number or a word
		case c == '"':
			v.inString = true
		case c == '{' || c == '[':
			v.depth++
		case c == '}' || c == ']':
			if v.depth--; v.depth <= 0 {
				return v.seen + 1, true
			}
		}
	}
	return len(b), false
}

func (*values) Append(dst, msg []byte) ([]byte, error) {
	if !json.Valid(msg) {
		return dst, &codec.EncodeError{Codec: "json", Err: errNotJSON}
	}
	return append(append(dst, msg...), '\n'), nil
}

// whole is a stream that is one message.
type whole struct{ most int }

func (w whole) Decode(src []byte, eof bool) (n int, msg []byte, err error) {
	switch {
	case len(src) > w.most:
		return 0, nil, codec.ErrFrameTooLarge
	case !eof:
		return 0, nil, codec.ErrShort
	case len(src) == 0:
		return 0, nil, io.EOF
	}
	return len(src), src[:len(src):len(src)], nil
}

func (w whole) Append(dst, msg []byte) ([]byte, error) { return append(dst, msg...), nil }
