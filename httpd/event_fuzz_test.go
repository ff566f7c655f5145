package httpd_test

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hythe-go/hythe/httpd"
)

// dispatched is what a browser makes of a stream of events: the events that it
// fires, and how long it waits before it comes back.
type dispatched struct {
	events []httpd.Event // ID is the last one's; Type never empty
	retry  time.Duration
}

// interpret reads a stream as the specification has it, "Interpreting an event
// stream", line by line. Comments are counted.
func interpret(stream []byte) (d dispatched, comments int) {
	stream = bytes.TrimPrefix(bytes.ToValidUTF8(stream, []byte("\uFFFD")), []byte("\uFEFF"))
	d.retry = -1
	var data strings.Builder
	var kind, lastID string
	for len(stream) > 0 {
		end := bytes.IndexAny(stream, "\r\n")
		if end < 0 {
			break // what is not ended is not looked at
		}
		line := string(stream[:end])
		if next := stream[end:]; bytes.HasPrefix(next, []byte("\r\n")) {
			stream = next[2:]
		} else {
			stream = next[1:]
		}
		if line == "" {
			if data.Len() > 0 {
				if kind == "" {
					kind = "message"
				}
				d.events = append(d.events, httpd.Event{ID: lastID, Type: kind, Data: strings.TrimSuffix(data.String(), "\n")})
			}
			data.Reset()
			kind = ""
			continue
		}
		if line[0] == ':' {
			comments++
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			kind = value
		case "data":
			data.WriteString(value + "\n")
		case "id":
			if !strings.Contains(value, "\x00") {
				lastID = value
			}
		case "retry":
			if ms, err := strconv.ParseUint(value, 10, 32); err == nil && !strings.ContainsAny(value, "+_") {
				d.retry = time.Duration(ms) * time.Millisecond
			}
		default:
			panic("field " + strconv.Quote(field))
		}
	}
	return d, comments
}

// What is sent behind each other is read as the events that they were, whatever
// their values are, and none has an influence on another but by its ID.
func FuzzEventStream(f *testing.F) {
	f.Add("1", "tick", "a\nb", 1500, "2", "", "c")
	f.Add("", "", "", 0, "", "", "")
	f.Add("1\ndata: forged", "x\r\n\r\nid: 2", "a\r\n\r\nevent: b", 1, "", "y", "\r")
	f.Add("\uFEFF", ":", ": comment", -1, "", "", "\uFEFFdata")
	f.Fuzz(func(t *testing.T, id, kind, data string, ms int, id2, kind2, data2 string) {
		events := []httpd.Event{
			{ID: id, Type: kind, Data: data, Retry: time.Duration(ms%1e9) * time.Millisecond},
			{},
			{ID: id2, Type: kind2, Data: data2},
		}
		var stream []byte
		var want dispatched
		want.retry = -1
		comments := 0
		lastID := ""
		oneLine := strings.NewReplacer("\r", "", "\n", "", "\x00", "")
		for _, e := range events {
			before := len(stream)
			if stream = e.Append(stream); !bytes.HasSuffix(stream[before:], []byte("\n\n")) {
				t.Fatalf("%+v is sent as %q, which has no end", e, stream[before:])
			}
			if e == (httpd.Event{}) {
				comments++
				continue
			}
			if id := valid(oneLine.Replace(e.ID)); id != "" {
				lastID = id
			}
			w := httpd.Event{ID: lastID, Type: valid(oneLine.Replace(e.Type)), Data: valid(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(e.Data))}
			if w.Type == "" {
				w.Type = "message"
			}
			want.events = append(want.events, w)
			if e.Retry > 0 {
				want.retry = e.Retry
			}
		}
		got, n := interpret(stream)
		if n != comments || len(got.events) != len(want.events) || got.retry != want.retry {
			t.Fatalf("%q is read as %+v and %d comments, want %+v", stream, got, n, want)
		}
		for i := range got.events {
			if got.events[i] != want.events[i] {
				t.Errorf("%q is read as %+v, want %+v", stream, got.events[i], want.events[i])
			}
		}
	})
}

// valid is what is left of text that is read as UTF-8.
func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// An ID of nothing would have the client forget the one it has, and a retry of
// nothing have it come back at once.
func TestEvent_WhatIsEmptyIsNotSent(t *testing.T) {
	for _, e := range []httpd.Event{
		{ID: "\n", Data: "x"}, {ID: "\r\n\x00", Type: "\n", Data: "x"}, {Retry: 500 * time.Microsecond, Data: "x"}, {Retry: -time.Hour, Data: "x"},
	} {
		if got := string(e.Append(nil)); got != "data: x\n\n" {
			t.Errorf("%+v is sent as %q", e, got)
		}
	}
}
