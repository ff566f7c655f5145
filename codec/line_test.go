package codec_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/codec/codectest"
)

func TestLine_Strings(t *testing.T) {
	codectest.Suite[string, string]{
		Codec: codec.Line{Max: 8}.Strings(),
		Sent:  []string{"", "one", "a\rb", "12345678", "ünï"},
		Streams: []codectest.Stream[string]{
			{Wire: "a\nb\r\n\nc\r\r\n", Want: []string{"a", "b", "", "c"}},
			{Wire: "12345678\r\n12345678\n", Want: []string{"12345678", "12345678"}},
			{Wire: "12345678\r", Want: []string{"12345678"}},
			{Wire: "a\n\r", Want: []string{"a", ""}},
			{Wire: "a\n123456789", Want: []string{"a"}, Err: codec.ErrFrameTooLarge},
			{Wire: "12345678\r\r\n", Err: codec.ErrFrameTooLarge},
		},
		TooLong:  []string{"123456789", "12345678\r\r", "\n123456789\n"},
		TooLarge: []string{"123456789"},
		Refused:  []string{"a\nb", "\n", "a\r", "\r"},
		Allocs:   &codectest.Allocs{Decode: 1},
	}.Run(t)
}

func TestLine_Bytes(t *testing.T) {
	codectest.Suite[[]byte, []byte]{
		Codec:    codec.LineBytes(),
		Sent:     [][]byte{[]byte("one"), {}, []byte("three")},
		TooLong:  []string{strings.Repeat("x", codec.DefaultMax+1)},
		TooLarge: [][]byte{make([]byte, codec.DefaultMax+1)},
		Allocs:   &codectest.Allocs{Decode: 1},
	}.Run(t)
}

func TestLine_Borrowed(t *testing.T) {
	codectest.Suite[[]byte, []byte]{
		Codec:  codec.Line{}.Borrowed(),
		Sent:   [][]byte{[]byte("one"), {}, []byte("three")},
		Allocs: &codectest.Allocs{Decode: 0},
		Clone:  bytes.Clone,
	}.Run(t)
}

func TestLine_EndAny(t *testing.T) {
	codectest.Suite[string, string]{
		Codec: codec.Line{In: codec.EndAny, Out: "\r", Max: 4}.Strings(),
		Sent:  []string{"", "one", "four"},
		Streams: []codectest.Stream[string]{
			{Wire: "a\rb\r\nc\nd\n\r\r\ne", Want: []string{"a", "b", "c", "d", "", "", "e"}},
			{Wire: "four\r\n\n12345", Want: []string{"four", ""}, Err: codec.ErrFrameTooLarge},
			{Wire: "\r", Want: []string{""}},
			{Wire: "\r\n", Want: []string{""}},
		},
		TooLong:  []string{"12345", "four\r\n12345"},
		TooLarge: []string{"12345"},
		Refused:  []string{"a\nb", "a\rb"},
	}.Run(t)
}

func TestLine_EndAuto(t *testing.T) {
	codectest.Suite[string, string]{
		Codec: codec.Line{In: codec.EndAuto, Out: "\r\n", Max: 4}.Strings(),
		Sent:  []string{"one", "", "four"},
		Streams: []codectest.Stream[string]{
			{Wire: "a\nb\rc\nd\r\n", Want: []string{"a", "b\rc", "d\r"}},
			{Wire: "a\rb\nc\r\nd", Want: []string{"a", "b\nc", "\nd"}},
			{Wire: "a\r\nb\nc\r\nd\r\r\n\r", Want: []string{"a", "b\nc", "d\r", "\r"}},
			{Wire: "\r\rfour\r", Want: []string{"", "", "four"}},
			{Wire: "\r\nfour\r\n12345\r\n", Want: []string{"", "four"}, Err: codec.ErrFrameTooLarge},
			{Wire: "\r\nfour\r", Want: []string{""}, Err: codec.ErrFrameTooLarge},
		},
		TooLong:  []string{"12345", "\r\nfour\r\r", "\n12345", "\r12345"},
		TooLarge: []string{"12345"},
		Refused:  []string{"a\nb", "a\rb"},
	}.Run(t)
}

func TestLine_Literal(t *testing.T) {
	codectest.Suite[string, string]{
		Codec: codec.Line{InLiteral: "--=", Max: 4}.Strings(),
		Sent:  []string{"", "one", "a-=b", "\n\r\n"},
		Streams: []codectest.Stream[string]{
			{Wire: "a--=----=b-", Want: []string{"a", "--", "b-"}},
			{Wire: "four--=12--=", Want: []string{"four", "12"}},
			{Wire: "four--", Err: codec.ErrFrameTooLarge},
		},
		TooLong:  []string{"fourx", "four-x", "four---", "12345--="},
		TooLarge: []string{"12345"},
		Refused:  []string{"--=", "a--="},
	}.Run(t)
	// The end of the message and the start of the terminator must not make a terminator either.
	codectest.Suite[string, string]{
		Codec:   codec.Line{InLiteral: "||"}.Strings(),
		Sent:    []string{"a", "|b"},
		Refused: []string{"a|", "|"},
	}.Run(t)
}

func TestLine_InAndOutDiffer(t *testing.T) {
	codectest.Suite[string, string]{
		Codec:   codec.Line{InLiteral: "\x00", Out: "\r\n"}.Strings(),
		OneWay:  true,
		Sent:    []string{"a", "b\x00"},
		Streams: []codectest.Stream[string]{{Wire: "a\nb\x00c", Want: []string{"a\nb", "c"}}},
		Refused: []string{"a\nb", "a\r"},
	}.Run(t)
}

func TestLine_AllowBreaks(t *testing.T) {
	codectest.Suite[string, string]{
		Codec:  codec.Line{AllowBreaks: true}.Strings(),
		OneWay: true,
		Sent:   []string{"a\nb", "a\r", "\n"},
	}.Run(t)
}

func TestLine_FinalDrop(t *testing.T) {
	codectest.Suite[string, string]{
		Codec:     codec.Line{Final: codec.FinalDrop, Max: 4}.Strings(),
		Sent:      []string{"one", "two"},
		DropsRest: true,
		Streams: []codectest.Stream[string]{
			{Wire: "a\nb", Want: []string{"a"}},
			{Wire: "a\n12345", Want: []string{"a"}, Err: codec.ErrFrameTooLarge},
		},
	}.Run(t)
}

func TestLine_FinalError(t *testing.T) {
	codectest.Suite[string, string]{
		Codec:   codec.Line{Final: codec.FinalError}.Strings(),
		Sent:    []string{"one", "two"},
		Streams: []codectest.Stream[string]{{Wire: "a\nb", Want: []string{"a"}, Err: io.ErrUnexpectedEOF}},
	}.Run(t)
}

func TestLine_Append(t *testing.T) {
	tests := []struct {
		line Line
		msg  string
		want string
	}{
		{Line{}, "a", "a\n"},
		{Line{Out: "\r\n"}, "a", "a\r\n"},
		{Line{InLiteral: "||"}, "a", "a||"},
		{Line{InLiteral: "||", Out: "\n"}, "a||", "a||\n"},
		{Line{In: codec.EndAuto}, "", "\n"},
		{Line{AllowBreaks: true}, "a\nb\r", "a\nb\r\n"},
	}
	for _, test := range tests {
		got, err := test.line.Strings().Append(nil, test.msg)
		if string(got) != test.want || err != nil {
			t.Errorf("%+v: Append(%q) = %q, %v; want %q", test.line, test.msg, got, err, test.want)
		}
	}
}

type Line = codec.Line

// POE's line filter gave an empty line for a CRLF of which the halves came in two reads.
func TestLine_SplitCRLFIsOneTerminator(t *testing.T) {
	for _, in := range []codec.Ending{codec.EndLF, codec.EndAny, codec.EndAuto} {
		c := codec.ForConn(Line{In: in}.Strings())
		var got []string
		unread := ""
		for _, read := range []string{"a\r", "\nb\r\n"} {
			unread += read
			for {
				n, msg, err := c.Decode([]byte(unread), false)
				unread = unread[n:]
				if err != nil {
					break
				}
				got = append(got, msg)
			}
		}
		if strings.Join(got, ",") != "a,b" || unread != "" {
			t.Errorf("Ending %d: lines %q, unread %q; want a, b and nothing", in, got, unread)
		}
	}
}

// A client that ends its lines in CR waits for an answer to the first, so it must not wait for a byte after that.
func TestLine_LoneCRDeliversAtOnce(t *testing.T) {
	for _, in := range []codec.Ending{codec.EndAny, codec.EndAuto} {
		c := codec.ForConn(Line{In: in}.Strings())
		if n, msg, err := c.Decode([]byte("hello\r"), false); n != 6 || msg != "hello" || err != nil {
			t.Errorf("Ending %d: Decode = %d, %q, %v; want the line", in, n, msg, err)
		}
	}
}

// POE's line filter threw an exception for one long line, which ended the whole server. Here it is a typed error of that
// stream, and another connection with the same codec goes on.
func TestLine_OverlongLineIsAnErrorOfItsStream(t *testing.T) {
	c := Line{Max: 4}.Strings()
	_, _, err := c.Decode([]byte("12345"), false)
	if bad, ok := errors.AsType[*codec.DecodeError](err); !ok || !errors.Is(err, codec.ErrFrameTooLarge) || bad.Codec != "line" {
		t.Errorf("error %v, want a DecodeError of codec line that is ErrFrameTooLarge", err)
	}
	if _, msg, err := c.Decode([]byte("1234\n"), false); msg != "1234" || err != nil {
		t.Errorf("another stream: %q, %v", msg, err)
	}
}

// POE's line filter never delivered a last line without a terminator.
func TestLine_LastLineIsNotLost(t *testing.T) {
	n, msg, err := codec.Lines().Decode([]byte("bye"), true)
	if n != 3 || msg != "bye" || err != nil {
		t.Errorf("Decode = %d, %q, %v; want the line", n, msg, err)
	}
}

// Filters upstream took wrong parameters for a wish to have the default.
func TestLine_WrongSettingsDoNotFallBack(t *testing.T) {
	tests := []struct {
		line Line
		want string
	}{
		{Line{Max: -1}, "Line.Max"},
		{Line{Max: 1<<30 + 1}, "Line.Max"},
		{Line{In: 9}, "Line.In"},
		{Line{In: codec.EndAny, InLiteral: "x"}, "Line.InLiteral"},
		{Line{Final: 9}, "Line.Final"},
		{Line{Max: -1, Final: 9}, "Line.Final"},
	}
	for _, test := range tests {
		wantBroken(t, test.line.Strings(), test.line.Validate(), test.want)
		wantBroken(t, test.line.Bytes(), test.line.Validate(), test.want)
		wantBroken(t, test.line.Borrowed(), test.line.Validate(), test.want)
	}
}

func TestLine_OnlyNewlineStylesKeepState(t *testing.T) {
	for _, line := range []Line{{}, {InLiteral: "||"}} {
		if codec.Stateful(line.Strings()) || codec.Stateful(line.Bytes()) || codec.Stateful(line.Borrowed()) {
			t.Errorf("%+v has state", line)
		}
	}
	for _, line := range []Line{{In: codec.EndAny}, {In: codec.EndAuto}} {
		if !codec.Stateful(line.Strings()) || !codec.Stateful(line.Bytes()) || !codec.Stateful(line.Borrowed()) {
			t.Errorf("%+v has no state", line)
		}
	}
}

func FuzzLine(f *testing.F)     { codectest.Fuzz(f, Line{Max: 20}.Strings()) }
func FuzzLineAny(f *testing.F)  { codectest.Fuzz(f, Line{Max: 20, In: codec.EndAny}.Strings()) }
func FuzzLineAuto(f *testing.F) { codectest.Fuzz(f, Line{Max: 20, In: codec.EndAuto}.Strings()) }
func FuzzLineLiteral(f *testing.F) {
	codectest.Fuzz(f, Line{Max: 20, InLiteral: "-+-"}.Strings())
}

func BenchmarkLine(b *testing.B) {
	line := strings.Repeat("x", 63)
	b.Run("Strings", func(b *testing.B) { benchmark(b, codec.Lines(), line) })
	b.Run("Bytes", func(b *testing.B) { benchmark(b, codec.LineBytes(), []byte(line)) })
	b.Run("Borrowed", func(b *testing.B) { benchmark(b, Line{}.Borrowed(), []byte(line)) })
	b.Run("EndAuto", func(b *testing.B) { benchmark(b, Line{In: codec.EndAuto}.Borrowed(), []byte(line)) })
	b.Run("EndAny", func(b *testing.B) { benchmark(b, Line{In: codec.EndAny}.Borrowed(), []byte(line)) })
	b.Run("Literal", func(b *testing.B) { benchmark(b, Line{InLiteral: "\r\n"}.Borrowed(), []byte(line)) })
}
