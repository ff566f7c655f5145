package codec_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/codec/codectest"
)

type reading struct {
	Sensor string
	Value  int
	Raw    []byte
}

func TestGob(t *testing.T) {
	codectest.Suite[reading, reading]{
		Codec:    codec.Gob[reading](),
		Sent:     []reading{{}, {Sensor: "a", Value: 1}, {Raw: []byte("raw")}},
		TooLong:  []string{"\x7f\xff\xff\xff"},
		TooLarge: []reading{{Sensor: strings.Repeat("x", codec.DefaultMax)}},
	}.Run(t)
}

func TestGob_FramesStandAlone(t *testing.T) {
	c := codec.Gob[reading]()
	first, _ := c.Append(nil, reading{Value: 1})
	both, _ := c.Append(first, reading{Value: 2})
	if _, msg, err := c.Decode(both[len(first):], true); msg.Value != 2 || err != nil {
		t.Errorf("the second frame without the first: %+v, %v", msg, err)
	}
}

func TestGob_Malformed(t *testing.T) {
	good, err := codec.GobValue[int]{Frames: codec.Chunk{}.Borrowed()}.Codec().Append(nil, 5)
	if err != nil {
		t.Fatal(err)
	}
	for _, payload := range []string{"", "\x01", "\xf8\xff\xff\xff\xff\xff\xff\xff\xff", string(good) + "x", string(good[:len(good)-1])} {
		wire, _ := codec.LengthPrefixed().Append(nil, []byte(payload))
		_, _, err := codec.Gob[int]().Decode(wire, true)
		bad, ok := errors.AsType[*codec.DecodeError](err)
		if !ok || bad.Codec != "gob" || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q: error %v, want a DecodeError of gob", payload, err)
		}
	}
}

func TestGob_NilPointerIsRefused(t *testing.T) {
	if _, err := codec.Gob[*reading]().Append(nil, nil); err == nil {
		t.Error("no error")
	}
}

func FuzzGob(f *testing.F) {
	type value struct {
		S string
		I int
		B bool
	}
	codectest.Suite[value, value]{Codec: codec.Gob[value](), Sent: []value{{"a", 1, true}}}.Fuzz(f)
}

func BenchmarkGob(b *testing.B) { benchmark(b, codec.Gob[reading](), reading{Sensor: "a", Value: 7}) }
