package main

import (
	"io"
	"strings"
	"testing"

	"github.com/hythe-go/hythe/codec/codectest"
	"github.com/hythe-go/hythe/examples/internal/extest"
)

var suite = codectest.Suite[frame, frame]{
	Codec: frames{},
	Sent:  []frame{{'e', ""}, {'u', "hello"}, {0, "\x00\xff"}, {'e', strings.Repeat("x", 1000)}},
	Streams: []codectest.Stream[frame]{
		{Wire: "u\x00\x05hello", Want: []frame{{'u', "hello"}}},
		{Wire: "u\x00\x05hell", Err: io.ErrUnexpectedEOF},
		{Wire: "u\x00", Err: io.ErrUnexpectedEOF},
	},
	TooLong:  []string{"e\x40\x01"},
	TooLarge: []frame{{'e', strings.Repeat("x", maxBody+1)}},
}

func TestFrames(t *testing.T) { suite.Run(t) }

func FuzzFrames(f *testing.F) { suite.Fuzz(f, "u\x00\x05hello", "e\x00\x00e\xff\xff") }

func TestBinary(t *testing.T) {
	c := extest.Dial(t, extest.Start(t, newServer()))
	io.WriteString(c, "u\x00\x05hello?\x00\x00u\x00\x02")
	want := "u\x00\x05HELLO!\x00\x10unknown type '?'"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v; want %q", got, err, want)
	}
	io.WriteString(c, "ok")
	c.Done()
	if got, err := io.ReadAll(c); err != nil || string(got) != "u\x00\x02OK" {
		t.Errorf("got %q, %v", got, err)
	}
}

// What a peer sends wrongly ends its connection, and no other.
func TestBinary_TooLarge(t *testing.T) {
	at := extest.Start(t, newServer())
	good, bad := extest.Dial(t, at), extest.Dial(t, at)
	io.WriteString(bad, "u\xff\xff")
	bad.ExpectEnd()
	io.WriteString(good, "u\x00\x0astill here")
	good.Done()
	if got, err := io.ReadAll(good); err != nil || string(got) != "u\x00\x0aSTILL HERE" {
		t.Errorf("got %q, %v", got, err)
	}
}
