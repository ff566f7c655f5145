package codec_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/codec/codectest"
)

type LengthPrefix = codec.LengthPrefix

func TestLengthPrefix_Wire(t *testing.T) {
	long := strings.Repeat("x", 300)
	tests := []struct {
		prefix    LengthPrefix
		msg, want string
	}{
		{LengthPrefix{}, "hi", "\x00\x00\x00\x02hi"},
		{LengthPrefix{LittleEndian: true}, "hi", "\x02\x00\x00\x00hi"},
		{LengthPrefix{Width: codec.Uint8}, "hi", "\x02hi"},
		{LengthPrefix{Width: codec.Uint16}, long, "\x01\x2c" + long},
		{LengthPrefix{Width: codec.Uint16, LittleEndian: true}, long, "\x2c\x01" + long},
		{LengthPrefix{Width: codec.Uint24}, long, "\x00\x01\x2c" + long},
		{LengthPrefix{Width: codec.Uint24, LittleEndian: true}, long, "\x2c\x01\x00" + long},
		{LengthPrefix{Width: codec.Uint64}, long, "\x00\x00\x00\x00\x00\x00\x01\x2c" + long},
		{LengthPrefix{Width: codec.Uint64, LittleEndian: true}, long, "\x2c\x01\x00\x00\x00\x00\x00\x00" + long},
		{LengthPrefix{Width: codec.Uvarint}, long, "\xac\x02" + long},
		{LengthPrefix{Width: codec.Uvarint}, "", "\x00"},
		{LengthPrefix{Inclusive: true}, "hi", "\x00\x00\x00\x06hi"},
		{LengthPrefix{Inclusive: true, Width: codec.Uint16}, "", "\x00\x02"},
		{LengthPrefix{Adjust: -1}, "hi", "\x00\x00\x00\x01hi"},
		{LengthPrefix{Adjust: -1}, "h", "\x00\x00\x00\x00h"},
		{LengthPrefix{Adjust: 3, Width: codec.Uvarint}, "hi", "\x05hi"},
		{LengthPrefix{Adjust: 1, Inclusive: true, Width: codec.Uint8}, "hi", "\x04hi"},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%+v", test.prefix), func(t *testing.T) {
			c := test.prefix.Bytes()
			got, err := c.Append(nil, []byte(test.msg))
			if string(got) != test.want || err != nil {
				t.Fatalf("Append(%q) = %q, %v; want %q", test.msg, got, err, test.want)
			}
			codectest.Suite[[]byte, []byte]{
				Codec:    c,
				Sent:     [][]byte{[]byte(test.msg), []byte("x"), []byte(test.msg)},
				TooLarge: [][]byte{make([]byte, codec.DefaultMax+1)},
				Allocs:   &codectest.Allocs{Decode: 1},
			}.Run(t)
		})
	}
}

func TestLengthPrefix_Limits(t *testing.T) {
	tests := []struct {
		prefix  LengthPrefix
		most    int // bytes in a message
		tooLong []string
	}{
		{LengthPrefix{Max: 10}, 10, []string{"\x00\x00\x00\x0b", "\xff\xff\xff\xff"}},
		{LengthPrefix{Max: 10, LittleEndian: true}, 10, []string{"\x0b\x00\x00\x00", "\x00\x00\x00\x80"}},
		{LengthPrefix{Max: 10, Width: codec.Uint64}, 10, []string{"\xff\xff\xff\xff\xff\xff\xff\xff", "\x80\x00\x00\x00\x00\x00\x00\x00"}},
		{LengthPrefix{Max: 10, Width: codec.Uvarint}, 10, []string{"\x0b", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", strings.Repeat("\xff", 10)}},
		{LengthPrefix{Max: 10, Inclusive: true, Width: codec.Uint16}, 10, []string{"\x00\x0d"}},
		{LengthPrefix{Max: 10, Adjust: -3, Width: codec.Uint8}, 10, []string{"\x08"}},
		{LengthPrefix{Max: 10, Adjust: -3, Width: codec.Uint64}, 10, []string{"\xff\xff\xff\xff\xff\xff\xff\xff"}},
		{LengthPrefix{Width: codec.Uint8}, math.MaxUint8, nil},
		{LengthPrefix{Width: codec.Uint8, Inclusive: true}, math.MaxUint8 - 1, nil},
		{LengthPrefix{Width: codec.Uint8, Adjust: -5}, math.MaxUint8 + 5, nil},
		{LengthPrefix{Width: codec.Uint16}, math.MaxUint16, nil},
		{LengthPrefix{Width: codec.Uint16, Inclusive: true}, math.MaxUint16 - 2, nil},
		{LengthPrefix{Width: codec.Uint24}, codec.DefaultMax, []string{"\x01\x00\x01"}},
		{LengthPrefix{}, codec.DefaultMax, []string{"\x00\x01\x00\x01"}},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%+v", test.prefix), func(t *testing.T) {
			codectest.Suite[[]byte, []byte]{
				Codec:    test.prefix.Borrowed(),
				Clone:    bytes.Clone,
				Sent:     [][]byte{make([]byte, test.most), []byte("xyzxyz")},
				TooLong:  test.tooLong,
				TooLarge: [][]byte{make([]byte, test.most+1)},
				Allocs:   &codectest.Allocs{},
			}.Run(t)
		})
	}
}

// tokio #5080: a length that the field could not hold was cut to the field, and the stream was out of step from there.
func TestLengthPrefix_LengthIsNotCutToItsField(t *testing.T) {
	for width, size := range map[codec.Width]int{codec.Uint8: 1 << 8, codec.Uint16: 1 << 16, codec.Uint24: 1 << 24} {
		c := LengthPrefix{Width: width, Max: 1 << 25}.Bytes()
		got, err := c.Append([]byte("dst"), make([]byte, size))
		if !errors.Is(err, codec.ErrFrameTooLarge) || string(got) != "dst" {
			t.Errorf("Width %d, %d bytes: %d bytes, %v; want ErrFrameTooLarge", width, size, len(got), err)
		}
		if _, err := c.Append(nil, make([]byte, size-1)); err != nil {
			t.Errorf("Width %d, %d bytes: %v", width, size-1, err)
		}
	}
}

// tokio #4815: the limit was compared with the length on the wire, before that was adjusted.
func TestLengthPrefix_LimitIsOnTheMessageNotTheLength(t *testing.T) {
	full := make([]byte, 10)
	for _, prefix := range []LengthPrefix{{Max: 10, Inclusive: true}, {Max: 10, Adjust: 7}, {Max: 10, Adjust: -4}} {
		c := prefix.Bytes()
		wire, err := c.Append(nil, full)
		if err != nil {
			t.Errorf("%+v: Append of Max bytes: %v", prefix, err)
		}
		if _, msg, err := c.Decode(wire, true); len(msg) != 10 || err != nil {
			t.Errorf("%+v: Decode of Max bytes: %d bytes, %v", prefix, len(msg), err)
		}
		wire[3]++
		if _, _, err := c.Decode(wire, false); !errors.Is(err, codec.ErrFrameTooLarge) {
			t.Errorf("%+v: Decode of Max+1 bytes: %v", prefix, err)
		}
	}
}

func TestLengthPrefix_LengthBelowTheLeast(t *testing.T) {
	c := LengthPrefix{Inclusive: true}.Bytes()
	_, _, err := c.Decode([]byte{0, 0, 0, 3}, false)
	if _, ok := errors.AsType[*codec.DecodeError](err); !ok {
		t.Errorf("a length that does not even count itself: %v, want a DecodeError", err)
	}
	if _, err := (LengthPrefix{Adjust: -4}).Bytes().Append(nil, []byte("abc")); err == nil {
		t.Error("a message shorter than what the length leaves out was encoded")
	}
}

func TestLengthPrefix_Truncated(t *testing.T) {
	for _, wire := range []string{"\x00", "\x00\x00\x00\x02", "\x00\x00\x00\x02x"} {
		if n, _, err := codec.LengthPrefixed().Decode([]byte(wire), true); n != 0 || err != io.ErrUnexpectedEOF {
			t.Errorf("Decode(%q, true) = %d, %v; want io.ErrUnexpectedEOF", wire, n, err)
		}
	}
}

func TestLengthPrefix_WrongSettings(t *testing.T) {
	for want, s := range map[string]LengthPrefix{
		"LengthPrefix.Max":          {Max: -1},
		"LengthPrefix.Width":        {Width: 17},
		"LengthPrefix.Inclusive":    {Width: codec.Uvarint, Inclusive: true},
		"LengthPrefix.LittleEndian": {Width: codec.Uvarint, LittleEndian: true},
		"LengthPrefix.Adjust is -5": {Max: 4, Adjust: -5},
		"LengthPrefix.Adjust is 21": {Adjust: math.MaxInt32},
	} {
		wantBroken(t, s.Bytes(), s.Validate(), want)
		wantBroken(t, s.Borrowed(), s.Validate(), want)
	}
}

func FuzzLengthPrefix(f *testing.F) { codectest.Fuzz(f, LengthPrefix{Max: 20}.Bytes()) }
func FuzzLengthPrefixUvarint(f *testing.F) {
	codectest.Fuzz(f, LengthPrefix{Max: 300, Width: codec.Uvarint}.Bytes())
}
func FuzzLengthPrefixAdjusted(f *testing.F) {
	codectest.Fuzz(f, LengthPrefix{Max: 20, Width: codec.Uint64, LittleEndian: true, Inclusive: true, Adjust: -10}.Bytes())
}

func BenchmarkLengthPrefix(b *testing.B) {
	msg := make([]byte, 60)
	b.Run("Bytes", func(b *testing.B) { benchmark(b, codec.LengthPrefixed(), msg) })
	b.Run("Borrowed", func(b *testing.B) { benchmark(b, LengthPrefix{}.Borrowed(), msg) })
	b.Run("Uvarint", func(b *testing.B) { benchmark(b, LengthPrefix{Width: codec.Uvarint}.Borrowed(), msg) })
}
