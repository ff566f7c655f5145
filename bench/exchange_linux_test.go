package main

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// An answer is taken once all of it is there, wherever it is split, and only if
// it is the right one.
func TestAnswers(t *testing.T) {
	stream := func(pieces ...string) string {
		var b []byte
		for _, p := range pieces {
			b = appendRecord(b, stdout, []byte(p))
		}
		b = appendRecord(b, stdout, nil)
		return string(appendRecord(b, endRequest, make([]byte, 8)))
	}
	const head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
	for _, tt := range []struct {
		name   string
		answer answerParser
		text   string
		wrong  string // in the error
	}{
		{"http", httpAnswer([]byte("hello")), head + "hello", ""},
		{"http, status", httpAnswer([]byte("hello")), strings.Replace(head, "200 OK", "500 Oh", 1) + "hello", "500 Oh"},
		{"http, body", httpAnswer([]byte("hello")), head + "jello", "not the expected"},
		{"http, length", httpAnswer([]byte("hello")), strings.Replace(head, "5", "4", 1) + "hell", "not the expected"},
		{"http, no length", httpAnswer([]byte("hello")), "HTTP/1.1 200 OK\r\n\r\n", "no Content-Length"},
		{"fcgi", fcgiAnswer([]byte("hello")), stream("Status: 200 OK\r\n\r\nhello"), ""},
		{"fcgi, pieces", fcgiAnswer([]byte("hello")), stream("Status: 200 OK\r\n", "\r\nhe", "llo"), ""},
		{"fcgi, body", fcgiAnswer([]byte("hello")), stream("Status: 500\r\n\r\nsorry"), "not the expected"},
		{"fcgi, stderr", fcgiAnswer([]byte("hello")), string(appendRecord(nil, stderr, []byte("oh"))), "complains"},
		{"fcgi, refused", fcgiAnswer([]byte("hello")), string(appendRecord(nil, endRequest, []byte{0, 0, 0, 0, 2, 0, 0, 0})), "END_REQUEST"},
		{"fcgi, type", fcgiAnswer([]byte("hello")), string(appendRecord(nil, 11, []byte("?"))), "type 11"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := []byte(tt.text)
			if tt.wrong != "" {
				if _, err := tt.answer(text); err == nil || !strings.Contains(err.Error(), tt.wrong) {
					t.Errorf("error %v, want one with %q", err, tt.wrong)
				}
				return
			}
			for i := range text {
				if n, err := tt.answer(text[:i]); n != 0 || err != nil {
					t.Fatalf("after %d of %d bytes: %d, %v", i, len(text), n, err)
				}
			}
			if n, err := tt.answer(append(text, text...)); n != len(text) || err != nil {
				t.Errorf("%d, %v, want %d", n, err, len(text))
			}
		})
	}
}

// The generator takes an answer in pieces, and notices one too many.
func TestGenerator_Answers(t *testing.T) {
	g := &generator{unit: 10, request: []byte("a request."), answer: httpAnswer([]byte("hi"))}
	c := &client{sent: 20}
	text := []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
	for i, b := range append(text, text...) {
		if err := g.take(c, []byte{b}); err != nil {
			t.Fatal(err)
		}
		if want := uint64((i+1)/len(text)) * 10; c.got != want {
			t.Fatalf("after %d bytes got = %d, want %d", i+1, c.got, want)
		}
	}
	if err := g.take(c, text); err == nil {
		t.Error("an answer that was not asked for was taken")
	}
}

// What a relay does wrong is noticed.
func TestRelayed(t *testing.T) {
	for _, tt := range []struct {
		name  string
		pass  func(n int, line []byte) []byte // what becomes of line n
		wrong string
		twice int
	}{
		{"right", func(_ int, line []byte) []byte { return line }, "", 0},
		{"twice", func(n int, line []byte) []byte { return bytes.Repeat(line, 1+n/150) }, "", 50},
		{"lost", func(n int, line []byte) []byte { return line[:len(line)*min(n, 1)] }, "1 lines are missing", 0},
		{"changed", func(_ int, line []byte) []byte { return line[1:] }, "arrived", 0},
		{"invented", func(_ int, line []byte) []byte {
			return append(fmt.Appendf(nil, "%s%0*d", relayPrefix, relayDigits, 999), line[len(relayPrefix)+relayDigits:]...)
		}, "before it was sent", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRelayed(100*time.Millisecond, 1000)
			in, out := net.Pipe()
			from, to := net.Pipe()
			go func() {
				defer to.Close()
				b := make([]byte, relayBatch*relayLine)
				for n, got := 0, 0; got < len(b); {
					k, err := out.Read(b[got:])
					if err != nil {
						return
					}
					for got += k; (n+1)*relayLine <= got; n++ {
						to.Write(tt.pass(n, b[n*relayLine:(n+1)*relayLine]))
					}
				}
			}()
			sunk := make(chan struct{})
			go func() {
				r.sink(from)
				close(sunk)
			}()
			err := r.pass([]net.Conn{in}, 0)
			in.Close()
			<-sunk
			switch {
			case tt.wrong == "" && (err != nil || r.arrived != relayBatch || r.twice != tt.twice):
				t.Errorf("pass = %v, %d arrived, %d twice", err, r.arrived, r.twice)
			case tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong)):
				t.Errorf("pass = %v, want an error with %q", err, tt.wrong)
			}
		})
	}
}
