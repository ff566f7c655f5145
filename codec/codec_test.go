package codec_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/hythe-go/hythe/codec"
)

func TestShort(t *testing.T) {
	var err error = codec.Short(12)
	if !errors.Is(err, codec.ErrShort) {
		t.Errorf("%v is not ErrShort", err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v is an end of the stream", err)
	}
	if short, ok := errors.AsType[codec.Short](err); !ok || short != 12 {
		t.Errorf("got %v", short)
	}
}

// Codecs must be inferred from calls such as hythe's, without type arguments.
func TestTypesAreInferred(t *testing.T) {
	serve(codec.Lines(), func(*conn[string, string]) {})
	serve(codec.Line{In: codec.EndAuto}.Bytes(), func(*conn[[]byte, []byte]) {})
	serve(codec.JSON[int](), func(*conn[int, int]) {})
	serve(codec.Pair(codec.Lines(), codec.Netstrings()), func(*conn[string, []byte]) {})
	serve(codec.Pair(codec.Batch(codec.Lines(), 3), codec.JSONLines[int]()), func(*conn[[]string, int]) {})
	serve(codec.Stack(codec.Netstrings(), codec.Gob[int]()), func(*conn[int, int]) {})
	serve(codec.Map(codec.Lines(), parse, format), func(*conn[int, int]) {})
}

type conn[In, Out any] struct{}

func serve[In, Out any](codec.Codec[In, Out], func(*conn[In, Out])) {}

func TestStatePassesThroughCombinators(t *testing.T) {
	none := codec.LineBytes()
	some := codec.Line{In: codec.EndAuto}.Bytes()
	for name, stateful := range map[string][2]bool{
		"Owned":      {codec.Stateful(codec.Owned(none)), codec.Stateful(codec.Owned(some))},
		"Strings":    {codec.Stateful(codec.Strings(none)), codec.Stateful(codec.Strings(some))},
		"Map":        {codec.Stateful(codec.Map(none, same, same)), codec.Stateful(codec.Map(some, same, same))},
		"Grep":       {codec.Stateful(codec.Grep(none, nil, nil)), codec.Stateful(codec.Grep(some, nil, nil))},
		"Stack.out":  {codec.Stateful(codec.Stack(none, none)), codec.Stateful(codec.Stack(some, none))},
		"Stack.in":   {false, codec.Stateful(codec.Stack(none, some))},
		"Pair.in":    {codec.Stateful(codec.Pair(none, none)), codec.Stateful(codec.Pair(some, none))},
		"Pair.out":   {false, codec.Stateful(codec.Pair(none, some))},
		"Batch":      {false, codec.Stateful(codec.Batch(none, 2))},
		"JSONValue":  {codec.Stateful(codec.JSON[int]()), codec.Stateful(codec.JSONValue[int]{Frames: some}.Codec())},
		"GobValue":   {codec.Stateful(codec.Gob[int]()), codec.Stateful(codec.GobValue[int]{Frames: some}.Codec())},
		"Zlib.Bytes": {codec.Stateful(codec.Zlib{}.Bytes()), codec.Stateful(codec.Zlib{Frames: some}.Bytes())},
	} {
		if stateful != [2]bool{false, true} {
			t.Errorf("%s: stateful over a codec without and with state: %v, want false and true", name, stateful)
		}
	}
}

func TestForConn(t *testing.T) {
	lines := codec.Lines()
	if codec.ForConn(lines) != lines {
		t.Error("a codec without state was copied")
	}
	shared := codec.Line{In: codec.EndAuto}.Strings()
	a, b := codec.ForConn(shared), codec.ForConn(shared)
	a.Decode([]byte("x\n"), false) // a now ends lines at LF only
	if _, msg, err := b.Decode([]byte("x\ry"), false); msg != "x" || err != nil {
		t.Errorf("the state of one connection is seen by another: %q, %v", msg, err)
	}
	if n := testing.AllocsPerRun(10, func() { codec.ForConn(lines) }); n != 0 {
		t.Errorf("ForConn of a codec without state allocates: %v", n)
	}
}

func TestNilCodecsAreRefused(t *testing.T) {
	var none codec.Codec[[]byte, []byte]
	wantBroken(t, codec.Owned(none), nil, "Owned")
	wantBroken(t, codec.Strings(none), nil, "Strings")
	wantBroken(t, codec.Map(none, same, same), nil, "map")
	wantBroken(t, codec.Map(codec.LineBytes(), same, (func([]byte) ([]byte, error))(nil)), nil, "function is nil")
	wantBroken(t, codec.Grep(none, nil, nil), nil, "Grep")
	wantBroken(t, codec.Batch(none, 0), nil, "size")
	wantBroken(t, codec.Stack(none, none), nil, "outer")
	wantBroken(t, codec.Stack(none, none), nil, "inner")
	wantBroken(t, codec.Pair(none, none), nil, "Pair: in")
	wantBroken(t, codec.Pair(none, none), nil, "Pair: out")
}

func TestWrongSettingsPassThroughCombinators(t *testing.T) {
	bad := codec.Line{Max: -1}.Bytes()
	badAuto := codec.Batch(bad, 2)
	good := codec.LineBytes()
	const want = "Line.Max"
	wantBroken(t, codec.Owned(bad), nil, want)
	wantBroken(t, codec.Strings(bad), nil, want)
	wantBroken(t, codec.Map(bad, same, same), nil, want)
	wantBroken(t, codec.Grep(bad, nil, nil), nil, want)
	wantBroken(t, badAuto, nil, want)
	wantBroken(t, codec.Stack(bad, good), nil, want)
	wantBroken(t, codec.Stack(good, bad), nil, want)
	wantBroken(t, codec.Pair(bad, good), nil, want)
	wantBroken(t, codec.Pair(good, bad), nil, want)
	wantBroken(t, codec.JSONValue[int]{Frames: bad}.Codec(), nil, want)
	wantBroken(t, codec.GobValue[int]{Frames: bad}.Codec(), nil, want)
	wantBroken(t, codec.Zlib{Frames: bad}.Bytes(), nil, want)
}

// demanding is a codec of other people's that has something to say about its settings.
type demanding struct{ codec.Codec[[]byte, []byte] }

func (demanding) Validate() error { return errors.New("demanding.X is wrong") }

func TestValidateOfForeignCodecsIsSeen(t *testing.T) {
	c := codec.Strings(codec.Grep[[]byte, []byte](demanding{codec.LineBytes()}, nil, nil))
	wantBroken(t, c, nil, "demanding.X")
	if err := codec.Lines().(interface{ Validate() error }).Validate(); err != nil {
		t.Errorf("Lines: Validate: %v", err)
	}
	if err := codec.Batch(codec.Lines(), 2).(interface{ Validate() error }).Validate(); err != nil {
		t.Errorf("Batch: Validate: %v", err)
	}
}

// wantBroken checks that c was not built, and says why: from Validate and from each call. If settings is not nil it must
// say so too.
func wantBroken[In, Out any](t *testing.T, c codec.Codec[In, Out], settings error, want string) {
	t.Helper()
	if settings != nil && !strings.Contains(settings.Error(), want) {
		t.Errorf("Validate of the settings: %v, want %q in it", settings, want)
	}
	v, ok := c.(interface{ Validate() error })
	if !ok {
		t.Errorf("%T has no Validate", c)
		return
	}
	errs := []error{v.Validate()}
	dst := []byte("dst")
	var out Out
	for range 2 {
		n, _, err := c.Decode([]byte("1:a,\na\n"), false)
		if n != 0 || errors.Is(err, codec.ErrShort) {
			t.Errorf("Decode = %d, %v", n, err)
		}
		errs = append(errs, err)
		got, err := c.Append(dst, out)
		if !bytes.Equal(got, dst) {
			t.Errorf("Append = %q", got)
		}
		errs = append(errs, err)
	}
	for _, err := range errs {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
}

func same(msg []byte) ([]byte, error) { return msg, nil }

// benchmark measures the decoding of many frames of msg in one buffer, and the encoding of one.
func benchmark[In, Out any](b *testing.B, c codec.Codec[In, Out], msg Out) {
	const frames = 256
	c = codec.ForConn(c)
	var wire []byte
	for range frames {
		var err error
		if wire, err = c.Append(wire, msg); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("Decode", func(b *testing.B) {
		b.SetBytes(int64(len(wire) / frames))
		b.ReportAllocs()
		unread := wire
		for b.Loop() {
			n, _, err := c.Decode(unread, false)
			if err != nil {
				b.Fatal(err)
			}
			if unread = unread[n:]; len(unread) == 0 {
				unread = wire
			}
		}
	})
	b.Run("Append", func(b *testing.B) {
		b.SetBytes(int64(len(wire) / frames))
		b.ReportAllocs()
		dst := make([]byte, 0, len(wire))
		for b.Loop() {
			if _, err := c.Append(dst[:0], msg); err != nil {
				b.Fatal(err)
			}
		}
	})
}
