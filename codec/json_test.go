package codec_test

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/codec/codectest"
)

type event struct {
	Name  string
	Count int `json:",omitempty"`
	Tags  map[string]string
}

func TestJSON(t *testing.T) {
	codectest.Suite[event, event]{
		Codec: codec.JSON[event](),
		Sent:  []event{{}, {Name: "a\nb", Count: -1}, {Tags: map[string]string{"k": "v"}}},
		Streams: []codectest.Stream[event]{
			{Wire: "\x00\x00\x00\x13{\"Name\":\"x\",\"Y\":1}", Err: io.ErrUnexpectedEOF}, // one byte short
			{Wire: "\x00\x00\x00\x13{\"Name\":\"x\",\"Y\": 1}", Want: []event{{Name: "x"}}},
		},
		TooLong:  []string{"\x7f\xff\xff\xff"},
		TooLarge: []event{{Name: strings.Repeat("x", codec.DefaultMax)}},
	}.Run(t)
}

func TestJSONLines(t *testing.T) {
	codectest.Suite[event, event]{
		Codec: codec.JSONLines[event](),
		Sent:  []event{{}, {Name: "a\nb\r", Count: -1}, {Name: "\u2028"}},
		Streams: []codectest.Stream[event]{
			{Wire: "\n \t\r\n{\"Name\":\"x\"}\r\n\n{\"Name\":\"y\"}", Want: []event{{Name: "x"}, {Name: "y"}}},
			{Wire: " \n  "},
		},
		TooLong:  []string{strings.Repeat(" ", codec.DefaultMax+1)},
		TooLarge: []event{{Name: strings.Repeat("x", codec.DefaultMax)}},
	}.Run(t)
}

func TestJSONValue_Malformed(t *testing.T) {
	strict := codec.JSONValue[event]{Frames: codec.Line{}.Borrowed(), Strict: true}.Codec()
	for _, test := range []struct {
		codec codec.Codec[event, event]
		line  string
	}{
		{codec.JSONLines[event](), `{"Name":`},
		{codec.JSONLines[event](), `{} {}`},
		{codec.JSONLines[event](), `{"Name":1}`},
		{strict, ``},
		{strict, `{} {}`},
		{strict, `{} x`},
		{strict, `{"Name":"x","Nmae":"y"}`},
	} {
		_, _, err := test.codec.Decode([]byte(test.line+"\n"), false)
		if bad, ok := errors.AsType[*codec.DecodeError](err); !ok || bad.Codec != "json" || errors.Is(err, io.EOF) {
			t.Errorf("%s: error %v, want a DecodeError of json", test.line, err)
		}
	}
	_, _, err := codec.JSONLines[event]().Decode([]byte("{]\n"), false)
	syntax, ok := errors.AsType[*json.SyntaxError](err)
	if bad, _ := errors.AsType[*codec.DecodeError](err); !ok || int(syntax.Offset) != bad.Offset {
		t.Errorf("error %v, want the offset of encoding/json's", err)
	}
}

func TestJSONValue_Unencodable(t *testing.T) {
	got, err := codec.JSONLines[chan int]().Append([]byte("dst"), make(chan int))
	if _, ok := errors.AsType[*codec.EncodeError](err); !ok || string(got) != "dst" {
		t.Errorf("Append of a channel: %q, %v; want an EncodeError", got, err)
	}
}

func FuzzJSON(f *testing.F)      { codectest.Fuzz(f, codec.JSON[event]()) }
func FuzzJSONLines(f *testing.F) { codectest.Fuzz(f, codec.JSONLines[event]()) }

func BenchmarkJSON(b *testing.B) {
	b.Run("Prefixed", func(b *testing.B) { benchmark(b, codec.JSON[event](), event{Name: "benchmark", Count: 7}) })
	b.Run("Lines", func(b *testing.B) { benchmark(b, codec.JSONLines[event](), event{Name: "benchmark", Count: 7}) })
}
