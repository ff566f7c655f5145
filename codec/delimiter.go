package codec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Delimiter is the framing of messages that end in a delimiter, such as a NUL. Delim must be set; nothing is stripped
// but Delim itself. The codecs are safe for concurrent use.
type Delimiter struct {
	// Delim ends each message, on input and on output. It must not be empty. Append refuses messages that contain it,
	// and those that end in the first part of it, so that the delimiter would be found too early.
	Delim []byte

	// Max is the length of the longest message in bytes, without Delim. Zero means DefaultMax.
	Max int

	// Final says what becomes of a last message without Delim. Zero means FinalDeliver.
	Final Final
}

// Delimited returns the codec of messages that end in delim, as bytes owned by the receiver, with the settings of
// Delimiter{Delim: delim}.
func Delimited(delim []byte) Codec[[]byte, []byte] { return Delimiter{Delim: delim}.Bytes() }

// Bytes returns the codec of messages owned by the receiver: one allocation for each received.
func (s Delimiter) Bytes() Codec[[]byte, []byte] { return Owned(s.Borrowed()) }

// Borrowed returns the codec of messages that are parts of the input, valid until the next Decode: no allocation.
func (s Delimiter) Borrowed() Codec[[]byte, []byte] {
	if err := s.Validate(); err != nil {
		return invalid[[]byte, []byte]{err}
	}
	delim := bytes.Clone(s.Delim)
	return &delimited{name: "delimiter", end: delim, out: delim, max: limit(s.Max), final: s.Final}
}

// Validate returns all that is wrong with the settings, each error naming its field, or nil.
func (s Delimiter) Validate() error {
	errs := []error{needMax("Delimiter.Max", s.Max), needFinal("Delimiter.Final", s.Final)}
	if len(s.Delim) == 0 {
		errs = append(errs, errors.New("codec: Delimiter.Delim is empty"))
	}
	return errors.Join(errs...)
}

// delimited is the codec of frames that end in a terminator.
type delimited struct {
	name   string
	end    []byte // ends a frame of input
	dropCR bool   // CRs before end are not content
	max    int
	final  Final
	out    []byte // ends a frame of output
	refuse refusal
}

// refusal says which messages Append refuses because of what is in them.
type refusal uint8

const (
	refuseOut      refusal = iota // those in which out would be found before their end
	refuseLF                      // those with an LF, or with a CR at the end
	refuseNewlines                // those with a CR or an LF
	refuseNothing
)

func (d *delimited) Decode(src []byte, eof bool) (int, []byte, error) {
	return d.cut(src, eof, d.end)
}

func (d *delimited) cut(src []byte, eof bool, end []byte) (int, []byte, error) {
	window := src[:min(len(src), d.max+1+len(end))] // 1 for a CR
	i := bytes.Index(window, end)
	if i < 0 {
		return d.unterminated(src, eof, end)
	}
	if !d.fits(src[:i]) {
		return 0, nil, tooLarge(d.name, d.max)
	}
	return i + len(end), d.content(src[:i]), nil
}

// unterminated deals with a src that has no terminator, or has it beyond the limit.
func (d *delimited) unterminated(src []byte, eof bool, end []byte) (int, []byte, error) {
	switch {
	case !d.fits(src) && (eof || !d.mayFit(src, end)):
		return 0, nil, tooLarge(d.name, d.max)
	case !eof:
		return 0, nil, ErrShort
	case len(src) == 0:
		return 0, nil, io.EOF
	case d.final == FinalDrop:
		return len(src), nil, io.EOF
	case d.final == FinalError:
		return 0, nil, io.ErrUnexpectedEOF
	default:
		return len(src), d.content(src), nil
	}
}

// fits reports whether frame, without its terminator, keeps to the limit. One CR more may be the start of a CRLF.
func (d *delimited) fits(frame []byte) bool {
	return len(frame) <= d.max || d.dropCR && len(frame) == d.max+1 && frame[d.max] == '\r'
}

// mayFit reports whether src, longer than the limit, ends in the first bytes of a terminator that begins within it.
func (d *delimited) mayFit(src, end []byte) bool {
	for i := max(0, len(src)-len(end)+1); i <= d.max; i++ {
		if bytes.HasPrefix(end, src[i:]) {
			return true
		}
	}
	return false
}

func (d *delimited) content(frame []byte) []byte {
	n := len(frame)
	if d.dropCR {
		for n > 0 && frame[n-1] == '\r' {
			n--
		}
	}
	return frame[:n:n]
}

func (d *delimited) Append(dst, msg []byte) ([]byte, error) {
	if err := fits(d.name, len(msg), d.max); err != nil {
		return dst, err
	}
	frame := append(append(dst, msg...), d.out...)
	if i := d.breaks(frame[len(dst):], msg); i >= 0 {
		return dst, &EncodeError{d.name, fmt.Errorf("byte %d would end the frame", i)}
	}
	return frame, nil
}

// breaks returns where in frame, which is msg and its terminator, a reader would see an end too early, or -1.
func (d *delimited) breaks(frame, msg []byte) int {
	switch d.refuse {
	case refuseOut:
		if i := bytes.Index(frame, d.out); i < len(msg) {
			return i
		}
	case refuseNewlines:
		if i := bytes.IndexByte(msg, '\r'); i >= 0 {
			return i
		}
		return bytes.IndexByte(msg, '\n')
	case refuseLF:
		if n := len(msg); n > 0 && msg[n-1] == '\r' {
			return n - 1
		}
		return bytes.IndexByte(msg, '\n')
	}
	return -1
}
