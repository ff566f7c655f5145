package codectest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hythe-go/hythe/codec"
)

// small is a good codec: an 8-bit length, at most maxSmall, then the message. The codecs of TestSeededBugs are small with
// one thing wrong.
type small struct{}

const maxSmall = 100

func (small) Decode(src []byte, eof bool) (int, []byte, error) {
	switch {
	case len(src) == 0 && eof:
		return 0, nil, io.EOF
	case len(src) > 0 && src[0] > maxSmall:
		return 0, nil, codec.ErrFrameTooLarge
	case len(src) > 0 && len(src) > int(src[0]):
		n := 1 + int(src[0])
		return n, bytes.Clone(src[1:n]), nil
	case eof:
		return 0, nil, io.ErrUnexpectedEOF
	case len(src) == 0:
		return 0, nil, codec.Short(1)
	default:
		return 0, nil, codec.Short(1 + int(src[0]))
	}
}

func (small) Append(dst, msg []byte) ([]byte, error) {
	if len(msg) > maxSmall {
		return dst, codec.ErrFrameTooLarge
	}
	return append(append(dst, byte(len(msg))), msg...), nil
}

// wrong is a codec whose halves may be replaced.
type wrong struct {
	decode func(src []byte, eof bool) (int, []byte, error)
	append func(dst, msg []byte) ([]byte, error)
}

func (w wrong) Decode(src []byte, eof bool) (int, []byte, error) {
	if w.decode == nil {
		return small{}.Decode(src, eof)
	}
	return w.decode(src, eof)
}

func (w wrong) Append(dst, msg []byte) ([]byte, error) {
	if w.append == nil {
		return small{}.Append(dst, msg)
	}
	return w.append(dst, msg)
}

// suiteFor is what a careful author would check small with.
func suiteFor(c codec.Codec[[]byte, []byte]) Suite[[]byte, []byte] {
	return Suite[[]byte, []byte]{
		Codec:    c,
		Sent:     [][]byte{[]byte("one"), {}, []byte("number three"), bytes.Repeat([]byte("4"), maxSmall)},
		Streams:  []Stream[[]byte]{{Wire: "\x02hi\x03ho", Want: [][]byte{[]byte("hi")}, Err: io.ErrUnexpectedEOF}},
		TooLong:  []string{"\x65", "\x00\xff"},
		TooLarge: [][]byte{make([]byte, maxSmall+1), make([]byte, 256), make([]byte, 1000)},
		Allocs:   &Allocs{Decode: 1},
	}
}

// recorder is a tb that keeps the first failure.
type recorder struct{ failure string }

type stop struct{}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = fmt.Sprintf(format, args...)
	panic(stop{})
}

// failures runs all checks and returns those that failed, each as "name: why".
func failures[In, Out any](s Suite[In, Out]) []string {
	var failed []string
	for _, check := range s.checks() {
		r := &recorder{}
		func() {
			defer func() {
				if p := recover(); p != nil && p != any(stop{}) {
					panic(p)
				}
			}()
			check.run(r)
		}()
		if r.failure != "" {
			failed = append(failed, check.name+": "+r.failure)
		}
	}
	return failed
}

func TestGoodCodecPasses(t *testing.T) {
	suiteFor(small{}).Run(t)
	Run[[]byte](t, small{}, []byte("one"), []byte("two"))
}

// counting is small with a state that all connections share: each second message is changed.
type counting struct {
	small
	n *int
}

func (c counting) Decode(src []byte, eof bool) (int, []byte, error) {
	n, msg, err := c.small.Decode(src, eof)
	if err == nil {
		if *c.n++; *c.n%2 == 0 {
			msg = append(msg, '!')
		}
	}
	return n, msg, err
}

// reusing returns each message in the same buffer, the messages before it with it.
type reusing struct {
	small
	buf []byte
}

func (r *reusing) PerConn() codec.Codec[[]byte, []byte] { return &reusing{} }

func (r *reusing) Decode(src []byte, eof bool) (int, []byte, error) {
	n, msg, err := r.small.Decode(src, eof)
	if err == nil {
		r.buf = append(r.buf[:0], msg...)
		msg = r.buf
	}
	return n, msg, err
}

// pairing joins each two messages, and keeps the first of them as part of the input.
type pairing struct {
	small
	first []byte
}

func (p *pairing) PerConn() codec.Codec[[]byte, []byte] { return &pairing{} }

func (p *pairing) Decode(src []byte, eof bool) (n int, msg []byte, err error) {
	for {
		used, msg, err := p.small.Decode(src[n:], eof)
		if err != nil {
			return n, nil, err
		}
		if p.first == nil {
			p.first = src[n+1 : n+used : n+used]
			n += used
			continue
		}
		msg = append(bytes.Clone(p.first), msg...)
		p.first = nil
		return n + used, msg, nil
	}
}

func TestSeededBugs(t *testing.T) {
	shared := 0
	tests := []struct {
		name  string
		codec codec.Codec[[]byte, []byte]
		check string // that must fail
		why   string // part of the failure
	}{
		{"message is part of the input", wrong{decode: func(src []byte, eof bool) (int, []byte, error) {
			n, msg, err := small{}.Decode(src, eof)
			if err == nil {
				msg = src[1:n:n]
			}
			return n, msg, err
		}}, "Retention", "refers to input"},
		{"state refers to the input", &pairing{}, "Retention", "refers to input"},
		{"message changes with the next", &reusing{}, "RoundTrip", "decoded again"},
		{"state shared by connections", counting{n: &shared}, "Sharing", ""},
		{"append to message hits the input", wrong{decode: func(src []byte, eof bool) (int, []byte, error) {
			n, msg, err := small{}.Decode(src, eof)
			if err == nil {
				msg = src[1:n]
			}
			return n, msg, err
		}}, "RoundTrip", "writes over the input"},
		{"input changed", wrong{decode: func(src []byte, eof bool) (int, []byte, error) {
			n, msg, err := small{}.Decode(src, eof)
			if err == nil {
				src[0] = 0
			}
			return n, msg, err
		}}, "RoundTrip", "changes its input"},
		{"depends on the cut", wrong{decode: func(src []byte, eof bool) (int, []byte, error) {
			if !eof && len(src) > 1 && len(src) <= int(src[0]) {
				return len(src), bytes.Clone(src[1:]), nil // a frame of what is there
			}
			return small{}.Decode(src, eof)
		}}, "Cuts", "whole"},
		{"loses frames in a full buffer", wrong{decode: func(src []byte, eof bool) (int, []byte, error) {
			n, msg, err := small{}.Decode(src, eof)
			if err == nil && len(src) > 500 {
				n = 500
			}
			return n, msg, err
		}}, "Cuts", ""},
		{"limit off by one", wrong{decode: func(src []byte, eof bool) (int, []byte, error) {
			if len(src) > 0 && src[0] == maxSmall+1 {
				return 0, nil, codec.ErrShort
			}
			return small{}.Decode(src, eof)
		}}, "TooLong", ""},
		{"limit noticed when the frame is complete", wrong{decode: func(src []byte, eof bool) (int, []byte, error) {
			if len(src) > 0 && len(src) <= int(src[0]) && !eof {
				return 0, nil, codec.ErrShort
			}
			return small{}.Decode(src, eof)
		}}, "TooLong", "want codec.ErrFrameTooLarge"},
		{"allocates before it looks at the limit", wrong{decode: func(src []byte, eof bool) (int, []byte, error) {
			if len(src) > 0 && src[0] > maxSmall {
				keep(make([]byte, 1<<20))
			}
			return small{}.Decode(src, eof)
		}}, "TooLong", "allocated"},
		{"allocates twice", wrong{decode: func(src []byte, eof bool) (int, []byte, error) {
			n, msg, err := small{}.Decode(src, eof)
			keep(bytes.Clone(msg))
			return n, bytes.Clone(msg), err
		}}, "Allocs", "Decode"},
		{"encoder allocates", wrong{append: func(dst, msg []byte) ([]byte, error) {
			frame, err := small{}.Append(nil, msg)
			if err != nil {
				return dst, err
			}
			keep(frame)
			return append(dst, frame...), nil
		}}, "Allocs", "Append"},
		{"no limit on encode", wrong{append: func(dst, msg []byte) ([]byte, error) {
			return append(append(dst, byte(len(msg))), msg...), nil
		}}, "Refusal", "no error"},
		{"another error for too large", wrong{append: func(dst, msg []byte) ([]byte, error) {
			frame, err := small{}.Append(dst, msg)
			if err != nil {
				err = errors.New("no")
			}
			return frame, err
		}}, "Refusal", "want frame too large"},
		{"half a frame stays after an error", wrong{append: func(dst, msg []byte) ([]byte, error) {
			frame, err := small{}.Append(dst, msg)
			if err != nil {
				frame = append(frame, byte(len(msg)))
			}
			return frame, err
		}}, "Refusal", "returned"},
		{"nil after an error", wrong{append: func(dst, msg []byte) ([]byte, error) {
			frame, err := small{}.Append(dst, msg)
			if err != nil {
				frame = nil
			}
			return frame, err
		}}, "Refusal", "returned"},
		{"last frame lost", wrong{decode: func(src []byte, eof bool) (int, []byte, error) {
			n, msg, err := small{}.Decode(src, eof)
			if err == io.ErrUnexpectedEOF {
				return len(src), nil, io.EOF
			}
			return n, msg, err
		}}, "Truncation", "lost without an error"},
		{"last complete frame lost", wrong{decode: func(src []byte, eof bool) (int, []byte, error) {
			if eof {
				return len(src), nil, io.EOF
			}
			return small{}.Decode(src, eof)
		}}, "RoundTrip", ""},
		{"end inside a frame is a clean end", wrong{decode: func(src []byte, eof bool) (int, []byte, error) {
			n, msg, err := small{}.Decode(src, eof)
			if err == io.ErrUnexpectedEOF {
				err = io.EOF
			}
			return n, msg, err
		}}, "Truncation", "io.EOF with"},
		{"clean end is an error", wrong{decode: func(src []byte, eof bool) (int, []byte, error) {
			n, msg, err := small{}.Decode(src, eof)
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return n, msg, err
		}}, "RoundTrip", "unexpected EOF"},
		{"swallowed error", wrong{decode: func(src []byte, eof bool) (int, []byte, error) {
			n, msg, err := small{}.Decode(src, eof)
			if err == codec.ErrFrameTooLarge {
				return 1, []byte{}, nil
			}
			return n, msg, err
		}}, "TooLong", ""},
		{"end before the end", wrong{decode: func(src []byte, eof bool) (int, []byte, error) {
			if len(src) == 0 {
				return 0, nil, io.EOF
			}
			return small{}.Decode(src, eof)
		}}, "Cuts", "there may be more"},
		{"wants more at the end", wrong{decode: func(src []byte, eof bool) (int, []byte, error) {
			n, msg, err := small{}.Decode(src, eof)
			if err == io.ErrUnexpectedEOF {
				err = codec.ErrShort
			}
			return n, msg, err
		}}, "Streams", "ErrShort at the end"},
		{"asks for too much", wrong{decode: func(src []byte, eof bool) (int, []byte, error) {
			n, msg, err := small{}.Decode(src, eof)
			if short, ok := errors.AsType[codec.Short](err); ok {
				err = short + 1
			}
			return n, msg, err
		}}, "Cuts", "after a Short that asked for"},
		{"asks for what is there", wrong{decode: func(src []byte, eof bool) (int, []byte, error) {
			n, msg, err := small{}.Decode(src, eof)
			if errors.Is(err, codec.ErrShort) {
				err = codec.Short(len(src))
			}
			return n, msg, err
		}}, "Cuts", "Short asks for"},
		{"leaves a message waiting", wrong{decode: func(src []byte, eof bool) (int, []byte, error) {
			if !eof && len(src) > 1 && src[0] == 0 {
				return 1, nil, codec.ErrShort // an empty frame is a keep-alive, but then?
			}
			return small{}.Decode(src, eof)
		}}, "Cuts", "next call with the same bytes"},
		{"messages without end", wrong{decode: func(src []byte, eof bool) (int, []byte, error) {
			if len(src) == 0 && eof {
				return 0, []byte{}, nil
			}
			return small{}.Decode(src, eof)
		}}, "RoundTrip", "two messages in a row"},
		{"uses more than there is", wrong{decode: func(src []byte, eof bool) (int, []byte, error) {
			n, msg, err := small{}.Decode(src, eof)
			if err == nil && n == len(src) {
				n++
			}
			return n, msg, err
		}}, "RoundTrip", "uses"},
		{"panics on a short header", wrong{decode: func(src []byte, eof bool) (int, []byte, error) {
			if !eof {
				_ = src[0]
			}
			return small{}.Decode(src, eof)
		}}, "Cuts", "panics"},
		{"panics on damage", wrong{decode: func(src []byte, eof bool) (int, []byte, error) {
			if len(src) > 2 && src[0] > 200 {
				panic("never seen that")
			}
			return small{}.Decode(src, eof)
		}}, "Damage", "panics"},
		{"overwrites what is there", wrong{append: func(dst, msg []byte) ([]byte, error) {
			return small{}.Append(dst[:0], msg)
		}}, "Append", "with room for"},
		{"changes what is there", wrong{append: func(dst, msg []byte) ([]byte, error) {
			if len(dst) > 0 && len(msg) == 0 {
				dst[0] ^= 1
			}
			return small{}.Append(dst, msg)
		}}, "Append", "with room for"},
		{"changes the message", wrong{append: func(dst, msg []byte) ([]byte, error) {
			defer func() { slices.Reverse(msg) }()
			return small{}.Append(dst, msg)
		}}, "Append", "changes the message"},
		{"loses what did not fit", wrong{append: func(dst, msg []byte) ([]byte, error) {
			if spare := cap(dst) - len(dst) - 1; spare > 0 && spare < len(msg) {
				msg = msg[:spare]
			}
			return small{}.Append(dst, msg)
		}}, "Append", "with room for"},
		{"length cut to its field", wrong{
			decode: small{}.Decode,
			append: func(dst, msg []byte) ([]byte, error) {
				if len(msg) > maxSmall && len(msg) < 256 {
					return dst, codec.ErrFrameTooLarge
				}
				return append(append(dst, byte(len(msg))), msg...), nil
			}}, "Refusal", "no error"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.check == "Allocs" && raceEnabled {
				t.Skip("allocations are not counted under the race detector")
			}
			failed := failures(suiteFor(test.codec))
			for _, f := range failed {
				if strings.HasPrefix(f, test.check+": ") && strings.Contains(f, test.why) {
					return
				}
			}
			t.Errorf("check %s did not fail with %q; failed:\n%s", test.check, test.why, strings.Join(failed, "\n"))
		})
	}
}

var sink struct {
	sync.Mutex
	bytes []byte
}

// keep makes b a real allocation.
func keep(b []byte) {
	sink.Lock()
	sink.bytes = b
	sink.Unlock()
}

// TestSeededBug_SplitCRLF has the fault that gave line readers an empty line for a CR and an LF that came apart.
func TestSeededBug_SplitCRLF(t *testing.T) {
	s := Suite[[]byte, []byte]{
		Codec: wrong{
			decode: func(src []byte, eof bool) (int, []byte, error) {
				i := bytes.IndexAny(src, "\r\n")
				switch {
				case i < 0 && eof && len(src) == 0:
					return 0, nil, io.EOF
				case i < 0 && eof:
					return len(src), bytes.Clone(src), nil
				case i < 0:
					return 0, nil, codec.ErrShort
				case bytes.HasPrefix(src[i:], []byte("\r\n")):
					return i + 2, bytes.Clone(src[:i]), nil
				default:
					return i + 1, bytes.Clone(src[:i]), nil
				}
			},
			append: func(dst, msg []byte) ([]byte, error) { return append(append(dst, msg...), "\r\n"...), nil },
		},
		Sent: [][]byte{[]byte("a"), []byte("b")},
	}
	if failed := failures(s); !strings.Contains(strings.Join(failed, "\n"), "Cuts: cut ") {
		t.Errorf("an empty line for a split CRLF was not noticed: %q", failed)
	}
}

// TestSeededBugs_Fuzz looks for the faults that only Fuzz can see, since nobody sent such messages.
func TestSeededBugs_Fuzz(t *testing.T) {
	tests := []struct {
		name  string
		codec codec.Codec[[]byte, []byte]
		wire  string
		why   string
	}{
		{"good", small{}, "\x02hi", ""},
		{"does not come back", wrong{append: func(dst, msg []byte) ([]byte, error) {
			return small{}.Append(dst, bytes.TrimSpace(msg))
		}}, "\x03hi ", "comes back as"},
		{"depends on the cut", wrong{decode: func(src []byte, eof bool) (int, []byte, error) {
			if len(src) == 3 && !eof {
				return 3, []byte("three"), nil
			}
			return small{}.Decode(src, eof)
		}}, "\x04half", "after a Short"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := &recorder{}
			func() {
				defer func() { recover() }()
				Suite[[]byte, []byte]{Codec: test.codec}.fuzz(r, []byte(test.wire), 1)
			}()
			if (r.failure == "") != (test.why == "") || !strings.Contains(r.failure, test.why) {
				t.Errorf("failure %q, want one with %q", r.failure, test.why)
			}
		})
	}
}

func TestMissingReceivedIsReported(t *testing.T) {
	s := Suite[string, []byte]{
		Codec: struct {
			codec.Decoder[string]
			codec.Encoder[[]byte]
		}{codec.Lines(), codec.LineBytes()},
		Sent: [][]byte{[]byte("a")},
	}
	if failed := failures(s); !strings.Contains(strings.Join(failed, "\n"), "Suite.Received is nil") {
		t.Errorf("got %q", failed)
	}
	s.Received = []string{"a"}
	s.Run(t)
}

func TestWrongSettingsAreReported(t *testing.T) {
	s := Suite[string, string]{Codec: codec.Line{Max: -1}.Strings()}
	if failed := failures(s); !strings.Contains(strings.Join(failed, "\n"), "Line.Max") {
		t.Errorf("got %q", failed)
	}
}

func FuzzSmall(f *testing.F) { Fuzz[[]byte](f, small{}, "\x02hi\x00", "\xff") }
