package framing_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/hythe-go/hythe/cmd/hythe/internal/framing"
	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/codec/codectest"
)

func TestFramings_KeepTheCodecsPromises(t *testing.T) {
	for _, name := range framing.Names {
		c, err := framing.New(name, 1000)
		if err != nil {
			t.Fatal(err)
		}
		suite := codectest.Suite[[]byte, []byte]{Codec: c, Clone: bytes.Clone}
		switch name {
		case "raw":
			suite.Streams = []codectest.Stream[[]byte]{{Wire: "all of it\n\n", Want: [][]byte{[]byte("all of it\n\n")}, Err: io.EOF}, {Wire: "", Err: io.EOF}}
		case "json":
			suite.Streams = []codectest.Stream[[]byte]{
				{Wire: ` {"a":1}{"b":2}[3]"s"4 true"t"`, Want: [][]byte{
					[]byte(`{"a":1}`), []byte(`{"b":2}`), []byte("[3]"), []byte(`"s"`), []byte("4"), []byte("true"), []byte(`"t"`),
				}, Err: io.EOF},
				{Wire: `{"a":`, Err: io.ErrUnexpectedEOF},
				{Wire: `"a`, Err: io.ErrUnexpectedEOF},
			}
		default:
			suite.Sent = [][]byte{[]byte("hello"), []byte("x"), []byte("a longer message, with blanks")}
		}
		t.Run(name, suite.Run)
	}
}

func TestNew_UnknownName(t *testing.T) {
	if _, err := framing.New("morse", 10); err == nil || framing.Known("morse") {
		t.Fatal("morse is known")
	}
}

func TestJSON_RefusesWhatIsNone(t *testing.T) {
	for _, wire := range []string{"}", "{]", "nul ", "1.2.3 ", `{"a" 1}`, "tru\"x\""} {
		c, _ := framing.New("json", 1000)
		if _, msg, err := c.Decode([]byte(wire), true); err == nil {
			t.Errorf("%q: decoded %q", wire, msg)
		}
	}
}

func FuzzJSON(f *testing.F) {
	c, _ := framing.New("json", 1000)
	codectest.Fuzz(f, codec.Owned(c), `{"a":[1,2,{"b":"\""}]} 17 "x"[]`, `{"a"`, "nul", "1 2")
}
