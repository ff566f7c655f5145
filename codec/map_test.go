package codec_test

import (
	"errors"
	"io"
	"strconv"
	"testing"

	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/codec/codectest"
)

var errOdd = errors.New("odd")

// parse and format are the even numbers.
func parse(line string) (int, error) {
	n, err := strconv.Atoi(line)
	if err == nil && n%2 != 0 {
		err = errOdd
	}
	return n, err
}

func format(n int) (string, error) {
	if n%2 != 0 {
		return "", errOdd
	}
	return strconv.Itoa(n), nil
}

func TestMap(t *testing.T) {
	codectest.Suite[int, int]{
		Codec: codec.Map(codec.Line{Max: 6}.Strings(), parse, format),
		Sent:  []int{0, 2, -42},
		Streams: []codectest.Stream[int]{
			{Wire: "2\n+4\n3\n", Want: []int{2, 4}, Err: errOdd},
			{Wire: "2\ntwo\n", Want: []int{2}, Err: strconv.ErrSyntax},
		},
		TooLong:  []string{"1234567"},
		TooLarge: []int{12345678},
		Refused:  []int{1},
	}.Run(t)
}

func TestMap_ErrorsSayWhoseFaultItWas(t *testing.T) {
	c := codec.Map(codec.Lines(), parse, format)
	_, _, err := c.Decode([]byte("3\n"), false)
	if bad, ok := errors.AsType[*codec.DecodeError](err); !ok || bad.Codec != "map" {
		t.Errorf("Decode: %v, want a DecodeError", err)
	}
	_, err = c.Append(nil, 3)
	if bad, ok := errors.AsType[*codec.EncodeError](err); !ok || bad.Codec != "map" {
		t.Errorf("Append: %v, want an EncodeError", err)
	}
}

// A transform may fail with an error that means something else to the caller of Decode.
func TestMap_ErrorsAreNotTheEndOfTheStream(t *testing.T) {
	for _, control := range []error{io.EOF, io.ErrUnexpectedEOF, codec.ErrShort, codec.Short(5)} {
		c := codec.Map(codec.Lines(), func(string) (string, error) { return "", control }, strconvUnquote)
		_, _, err := c.Decode([]byte("a\n"), false)
		if bad, ok := errors.AsType[*codec.DecodeError](err); !ok || errors.Is(err, control) || errors.Is(err, codec.ErrShort) {
			t.Errorf("%v became %v, %v", control, bad, err)
		}
	}
}

func strconvUnquote(s string) (string, error) { return strconv.Unquote(s) }

func FuzzMap(f *testing.F) {
	codectest.Fuzz(f, codec.Map(codec.Line{Max: 20, In: codec.EndAuto}.Strings(), parse, format))
}

func BenchmarkMap(b *testing.B) { benchmark(b, codec.Map(codec.Lines(), parse, format), 4) }
