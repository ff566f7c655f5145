package codec

import (
	"bytes"
	"errors"
	"fmt"
)

// Line is the framing of lines of text. The zero value reads lines that end in LF or CRLF, writes lines that end in LF,
// and allows [DefaultMax] bytes in a line.
//
// The codecs of a Line keep state for each connection (see [PerConn]) if In is [EndAny] or [EndAuto], and none otherwise.
type Line struct {
	// Max is the length of the longest line in bytes, without its terminator, on input and on output; with [Pair] each
	// has its own. Zero means DefaultMax.
	Max int

	// In says which terminators end a line of input. Zero means EndLF.
	In Ending

	// InLiteral, if not empty, is the one terminator that ends a line of input. In must then be zero.
	InLiteral string

	// Out ends the lines of output. Empty means InLiteral or, if that is empty, "\n".
	Out string

	// Final says what becomes of a last line without a terminator. Zero means FinalDeliver.
	Final Final

	// AllowBreaks lets Append write lines that a peer might not read as one. Without it they are refused. If Out is
	// "\n" these are the lines that contain LF or end in CR; or, if In is EndAny or EndAuto, those that contain either. If
	// Out is "\r" or "\r\n" they are the lines that contain either, too, because so many peers take a bare CR or LF for
	// an end. For any other Out they are those in which it would be found before their end.
	AllowBreaks bool
}

// Ending is a way to recognise the end of a line.
type Ending uint8

const (
	// EndLF ends a line at LF. CRs just before the LF belong to the terminator; all other CRs are content.
	EndLF Ending = iota

	// EndAny ends a line at CR, LF or CRLF, in any mixture. A line is delivered as soon as its CR is there; an LF that
	// comes later is taken for the other half of a CRLF.
	EndAny

	// EndAuto is EndAny for the first line of a connection. The terminator of that line, CR, LF or CRLF, is from then on
	// the only one; the others are content.
	EndAuto
)

// Final is a way to treat bytes at the end of a stream that lack their terminator.
type Final uint8

const (
	FinalDeliver Final = iota // they are a message
	FinalDrop                 // they are ignored
	FinalError                // they are an io.ErrUnexpectedEOF
)

// Lines returns the codec of lines as strings with the settings of the zero [Line].
func Lines() Codec[string, string] { return Line{}.Strings() }

// LineBytes returns the codec of lines as bytes, owned by the receiver, with the settings of the zero [Line].
func LineBytes() Codec[[]byte, []byte] { return Line{}.Bytes() }

// Strings returns the codec of lines as strings: one allocation for a line received.
func (s Line) Strings() Codec[string, string] { return Strings(s.Borrowed()) }

// Bytes returns the codec of lines as bytes, owned by the receiver: one allocation for a line received.
func (s Line) Bytes() Codec[[]byte, []byte] { return Owned(s.Borrowed()) }

// Borrowed returns the codec of lines as parts of the input, valid until the next Decode: no allocation.
func (s Line) Borrowed() Codec[[]byte, []byte] {
	if err := s.Validate(); err != nil {
		return invalid[[]byte, []byte]{err}
	}
	d := delimited{name: "line", max: limit(s.Max), final: s.Final}
	switch {
	case s.Out != "":
		d.out = []byte(s.Out)
	case s.InLiteral != "":
		d.out = []byte(s.InLiteral)
	default:
		d.out = []byte("\n")
	}
	switch out := string(d.out); {
	case s.AllowBreaks:
		d.refuse = refuseNothing
	case out == "\n" && s.In == EndLF:
		d.refuse = refuseLF
	case out == "\n", out == "\r", out == "\r\n":
		d.refuse = refuseNewlines
	default:
		d.refuse = refuseOut
	}
	switch {
	case s.In != EndLF:
		return perConn(true, func() Codec[[]byte, []byte] { return &newlines{delimited: d, auto: s.In == EndAuto} })
	case s.InLiteral != "":
		d.end = []byte(s.InLiteral)
	default:
		d.end, d.dropCR = []byte("\n"), true
	}
	return &d
}

// Validate returns all that is wrong with the settings, each error naming its field, or nil.
func (s Line) Validate() error {
	errs := []error{needMax("Line.Max", s.Max), needFinal("Line.Final", s.Final)}
	if s.In > EndAuto {
		errs = append(errs, fmt.Errorf("codec: Line.In is %d: there is no such Ending", s.In))
	}
	if s.In != EndLF && s.InLiteral != "" {
		errs = append(errs, fmt.Errorf("codec: Line.InLiteral is %q: it excludes Line.In", s.InLiteral))
	}
	return errors.Join(errs...)
}

func needFinal(field string, f Final) error {
	if f > FinalError {
		return fmt.Errorf("codec: %s is %d: there is no such Final", field, f)
	}
	return nil
}

// newlines reads lines that end in CR, LF or CRLF.
type newlines struct {
	delimited
	auto  bool
	style []byte // the terminator that auto has found, nil before
	sawCR bool   // the last line ended in a CR, and the byte after it is yet to come
}

func (l *newlines) Decode(src []byte, eof bool) (int, []byte, error) {
	skip := 0
	if l.sawCR && len(src) > 0 {
		l.sawCR = false
		if src[0] == '\n' {
			skip = 1
		}
		l.found("\r\n"[:1+skip])
	}
	n, line, err := l.next(src[skip:], eof)
	return skip + n, line, err
}

func (l *newlines) next(src []byte, eof bool) (int, []byte, error) {
	if l.style != nil {
		return l.cut(src, eof, l.style)
	}
	window := src[:min(len(src), l.max+1)]
	i := bytes.IndexByte(window, '\n')
	if i >= 0 {
		window = window[:i]
	}
	if cr := bytes.IndexByte(window, '\r'); cr >= 0 {
		i = cr
	}
	if i < 0 {
		return l.unterminated(src, eof, nil)
	}
	line := src[:i:i]
	switch {
	case src[i] == '\n':
		l.found("\n")
		return i + 1, line, nil
	case i+1 == len(src):
		l.sawCR = !eof
		return i + 1, line, nil
	case src[i+1] == '\n':
		l.found("\r\n")
		return i + 2, line, nil
	default:
		l.found("\r")
		return i + 1, line, nil
	}
}

// found is told the terminator of each line until there is a style.
func (l *newlines) found(terminator string) {
	if l.auto {
		l.style = []byte(terminator)
	}
}
