package codec_test

import (
	"strings"
	"testing"

	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/codec/codectest"
)

func notComment(line string) bool { return !strings.HasPrefix(line, "#") }

func TestGrep(t *testing.T) {
	codectest.Suite[string, string]{
		Codec:    codec.Grep(codec.Line{Max: 8}.Strings(), notComment, func(line string) bool { return line != "secret" }),
		Sent:     []string{"a", "secret", "b"},
		Received: []string{"a", "b"},
		Streams: []codectest.Stream[string]{
			{Wire: "#\na\n#\n#\nb\n#\n", Want: []string{"a", "b"}},
			{Wire: "#\na\n#", Want: []string{"a"}},
			{Wire: "#\n123456789", Err: codec.ErrFrameTooLarge},
		},
		TooLong: []string{"#2345678\n#23456789"},
	}.Run(t)
}

func TestGrep_NilKeepsAll(t *testing.T) {
	codectest.Run(t, codec.Grep(codec.Lines(), nil, nil), "a", "#", "")
}

// What a predicate drops is gone at once: it must not pile up in the caller's buffer.
func TestGrep_DroppedBytesAreUsed(t *testing.T) {
	n, _, err := codec.Grep(codec.Lines(), notComment, nil).Decode([]byte("#1\n#2\n#3"), false)
	if n != 6 || err != codec.ErrShort {
		t.Errorf("Decode = %d, %v; want 6 and ErrShort", n, err)
	}
}

func FuzzGrep(f *testing.F) {
	codectest.Fuzz(f, codec.Grep(codec.Line{Max: 20, In: codec.EndAny}.Strings(), notComment, nil))
}

func BenchmarkGrep(b *testing.B) { benchmark(b, codec.Grep(codec.Lines(), notComment, nil), "x") }
