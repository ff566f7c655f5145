package codectest_test

import (
	"testing"

	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/codec/codectest"
)

// In a test, the codec and some messages are enough.
func ExampleRun() {
	_ = func(t *testing.T) {
		codectest.Run(t, codec.Lines(), "hello", "", "two words")
	}
	// Output:
}

// A suite is told where the limit is, what must be refused and what a message may cost.
func ExampleSuite() {
	_ = func(t *testing.T) {
		codectest.Suite[string, string]{
			Codec:    codec.Line{Max: 5}.Strings(),
			Sent:     []string{"hello", ""},
			Streams:  []codectest.Stream[string]{{Wire: "a\r\nb", Want: []string{"a", "b"}}},
			TooLong:  []string{"123456"},
			TooLarge: []string{"123456"},
			Refused:  []string{"a\nb"},
			Allocs:   &codectest.Allocs{Decode: 1},
		}.Run(t)
	}
	// Output:
}

func ExampleFuzz() {
	_ = func(f *testing.F) {
		codectest.Fuzz(f, codec.Lines(), "a\r\nb\n", "\r", "no end")
	}
	// Output:
}
