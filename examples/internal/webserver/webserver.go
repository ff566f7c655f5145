// Package webserver asks a FastCGI application as a web server does, for the
// tests of the examples.
package webserver

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"
)

// A Request is what the application is asked.
type Request struct {
	Role        uint16 // 1 Responder, 2 Authorizer, 3 Filter
	Env         []string
	Stdin, Data string
}

// Types of records.
const (
	begin = 1 + iota
	_
	end
	params
	stdin
	stdout
	stderr
	data
)

func record(kind byte, content string) string {
	n := len(content)
	return string([]byte{1, kind, 0, 1, byte(n >> 8), byte(n), 0, 0}) + content
}

// Ask sends a request over a connection of its own and returns what comes: the
// whole of STDOUT and of STDERR. It calls piece, unless that is nil, with each
// record of STDOUT as it comes.
func Ask(t testing.TB, addr net.Addr, r Request, piece func(string)) (out, errs string) {
	t.Helper()
	nc, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	var env string
	for i := 0; i < len(r.Env); i += 2 { // names and values below 128 bytes
		env += string([]byte{byte(len(r.Env[i])), byte(len(r.Env[i+1]))}) + r.Env[i] + r.Env[i+1]
	}
	ask := record(begin, string([]byte{0, byte(r.Role), 0, 0, 0, 0, 0, 0}))
	for _, stream := range []struct {
		kind    byte
		content string
	}{{params, env}, {stdin, r.Stdin}, {data, r.Data}} {
		if stream.content != "" {
			ask += record(stream.kind, stream.content)
		}
		if stream.kind != data || r.Role == 3 {
			ask += record(stream.kind, "")
		}
	}
	if _, err := io.WriteString(nc, ask); err != nil {
		t.Fatal(err)
	}
	for {
		var head [8]byte
		if _, err := io.ReadFull(nc, head[:]); err != nil {
			t.Fatalf("after %q: %v", out, err)
		}
		n := int(binary.BigEndian.Uint16(head[4:]))
		content := make([]byte, n+int(head[6]))
		if _, err := io.ReadFull(nc, content); err != nil {
			t.Fatalf("after %q: %v", out, err)
		}
		switch s := string(content[:n]); head[1] {
		case stdout:
			out += s
			if piece != nil && s != "" {
				piece(s)
			}
		case stderr:
			errs += s
		case end:
			return out, errs
		}
	}
}
