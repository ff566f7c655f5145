package framing_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

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

func TestFramings_RefuseWhatIsTooLargeAtOnce(t *testing.T) {
	for _, test := range []struct{ name, fits, tooLong string }{
		{"lines", "1234567890\n", "12345678901"},
		{"nul", "1234567890\x00", "12345678901"},
		{"netstring", "10:1234567890,", "11:"},
		{"length8", "\x0a1234567890", "\x0b"},
		{"length16", "\x00\x0a1234567890", "\x00\x0b"},
		{"length32", "\x00\x00\x00\x0a1234567890", "\x00\x00\x00\x0b"},
		{"uvarint", "\x0a1234567890", "\x0b"},
		{"json", `"12345678"`, `"1234567890`},
		{"json", `[[[[[]]]]]`, `[[[[[[[[[[[`},
		{"raw", "1234567890", "12345678901"},
		{"hythe", "\x00\x00\x00\x0a1234567890", "\x00\x00\x00\x0b"},
	} {
		c, err := framing.New(test.name, 10)
		if err != nil {
			t.Fatal(err)
		}
		if n, msg, err := codec.ForConn(c).Decode([]byte(test.fits), true); n != len(test.fits) || len(msg) != 10 || err != nil {
			t.Errorf("%s: %q: %d, %q, %v", test.name, test.fits, n, msg, err)
		}
		if _, msg, err := codec.ForConn(c).Decode([]byte(test.tooLong), false); !errors.Is(err, codec.ErrFrameTooLarge) {
			t.Errorf("%s: %q: %q, %v", test.name, test.tooLong, msg, err)
		}
	}
}

// A message that comes byte by byte is looked at once.
func TestJSON_IsScannedOnce(t *testing.T) {
	c, _ := framing.New("json", 1<<20)
	c = codec.ForConn(c)
	wire := []byte("[" + strings.Repeat(`{"a":"b"},`, 20_000) + "1]")
	start := time.Now()
	for i := range wire {
		if _, _, err := c.Decode(wire[:i], false); !errors.Is(err, codec.ErrShort) {
			t.Fatalf("at %d: %v", i, err)
		}
	}
	n, msg, err := c.Decode(wire, false)
	if n != len(wire) || !bytes.Equal(msg, wire) || err != nil {
		t.Errorf("%d of %d: %v", n, len(wire), err)
	}
	if took := time.Since(start); took > 5*time.Second { // 20,000,000,000 steps otherwise
		t.Errorf("took %v", took)
	}
}

func TestFramings_DoNotAllocate(t *testing.T) {
	for name, wire := range map[string]string{
		"lines": "hello\n", "nul": "hello\x00", "netstring": "5:hello,", "length8": "\x05hello",
		"length32": "\x00\x00\x00\x05hello", "uvarint": "\x05hello", "json": `{"a":17,"b":[1,2]}`,
	} {
		c, _ := framing.New(name, 1000)
		c = codec.ForConn(c)
		src := []byte(wire)
		least := math.Inf(1)
		for range 20 { // the race detector has pools lose some of what they are given
			least = min(least, testing.AllocsPerRun(10, func() {
				if _, _, err := c.Decode(src, false); err != nil {
					t.Fatal(err)
				}
			}))
		}
		if least > 0 {
			t.Errorf("%s: %v allocations for a message", name, least)
		}
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
