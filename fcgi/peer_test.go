package fcgi

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/hythetest"
)

// ask returns the records of a whole request: BEGIN_REQUEST, PARAMS, STDIN.
func ask(id uint16, flags uint8, body string, env ...string) string {
	b := []byte(begin(id, flags, env...))
	b = appendStream(b, typeStdin, id, []byte(body))
	return string(appendHeader(b, typeStdin, id, 0))
}

// begin returns the records of a request's beginning: all but STDIN.
func begin(id uint16, flags uint8, env ...string) string {
	return string(appendBegin(nil, id, roleResponder, flags)) + environ(id, env...)
}

// environ returns a PARAMS stream.
func environ(id uint16, env ...string) string {
	var p []byte
	for i := 0; i < len(env); i += 2 {
		p = appendPair(p, env[i], env[i+1])
	}
	return string(appendHeader(appendStream(nil, typeParams, id, p), typeParams, id, 0))
}

// get is a whole request for a URI.
func get(id uint16, uri string) string {
	return ask(id, flagKeepConn, "", "REQUEST_METHOD", "GET", "REQUEST_URI", uri)
}

func rec(kind recordType, id uint16, content string) string {
	return string(appendRecord(nil, kind, id, []byte(content)))
}

// answer returns the records of a whole answer.
func answer(id uint16, out string) string {
	b := appendStream(nil, typeStdout, id, []byte(out))
	b = appendHeader(b, typeStdout, id, 0)
	return string(appendEnd(b, id, 0, statusComplete))
}

// A peer is a web server: what it reads is sorted by request.
type peer struct {
	net.Conn
	t       testing.TB
	dec     decoder
	src     []byte
	replies map[uint16]*reply
	reuse   bool // ids may come again before reply has returned
}

// A reply is what came for one request.
type reply struct {
	out, err         string
	outEnds, errEnds int
	app              uint32
	status           uint8
	over             bool
}

// head returns the value of a header line of the reply.
func (r *reply) head(name string) string {
	head, _, _ := strings.Cut(r.out, "\r\n\r\n")
	for line := range strings.SplitSeq(head, "\r\n") {
		if v, ok := strings.CutPrefix(line, name+": "); ok {
			return v
		}
	}
	return ""
}

func (r *reply) body() string {
	_, body, _ := strings.Cut(r.out, "\r\n\r\n")
	return body
}

func newPeer(t testing.TB, nc net.Conn) *peer {
	return &peer{Conn: nc, t: t, replies: make(map[uint16]*reply)}
}

func (p *peer) send(s string) {
	p.t.Helper()
	p.SetWriteDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(p, s); err != nil {
		p.t.Fatalf("sending %d bytes: %v", len(s), err)
	}
}

// next reads one record or a piece of one, and notes what it says.
func (p *peer) next() (record, error) {
	for {
		n, r, err := p.dec.next(p.src)
		r.content = bytes.Clone(r.content)
		p.src = p.src[n:]
		if err == nil {
			p.note(r)
			return r, nil
		}
		if err != errShort {
			p.t.Fatalf("the server sent no record: %v", err)
		}
		var b [64 << 10]byte
		p.SetReadDeadline(time.Now().Add(2 * time.Minute))
		n, err = p.Read(b[:])
		p.src = append(p.src, b[:n]...)
		if n == 0 && err != nil {
			return r, err
		}
	}
}

func (p *peer) note(r record) {
	p.t.Helper()
	if r.id == 0 {
		return
	}
	a := p.replies[r.id]
	if a == nil {
		a = new(reply)
		p.replies[r.id] = a
	}
	if a.over && p.reuse {
		*a = reply{}
	}
	if a.over {
		p.t.Fatalf("request %d: a record of type %d after END_REQUEST", r.id, r.kind)
	}
	switch r.kind {
	case typeStdout:
		if a.outEnds > 0 {
			p.t.Fatalf("request %d: STDOUT after its end", r.id)
		}
		a.out += string(r.content)
		if r.end {
			a.outEnds++
		}
	case typeStderr:
		a.err += string(r.content)
		if r.end {
			a.errEnds++
		}
	case typeEnd:
		a.app, a.status, a.over = binary.BigEndian.Uint32(r.content), r.content[4], true
	default:
		p.t.Fatalf("request %d: a record of type %d", r.id, r.kind)
	}
}

// reply reads until the END_REQUEST of a request. The id is free after it.
func (p *peer) reply(id uint16) *reply {
	p.t.Helper()
	for {
		if a := p.replies[id]; a != nil && a.over {
			delete(p.replies, id)
			return a
		}
		if _, err := p.next(); err != nil {
			p.t.Fatalf("waiting for request %d: %v", id, err)
		}
	}
}

// wantOut reads until STDOUT of a request has that much at its end.
func (p *peer) wantOut(id uint16, want string) {
	p.t.Helper()
	for p.replies[id] == nil || !strings.HasSuffix(p.replies[id].out, want) {
		if _, err := p.next(); err != nil {
			p.t.Fatalf("waiting for %q of request %d: %v", want, id, err)
		}
	}
}

// wantBody reads a whole reply and compares its body.
func (p *peer) wantBody(id uint16, want string) *reply {
	p.t.Helper()
	a := p.reply(id)
	if a.body() != want || a.status != statusComplete || a.outEnds != 1 {
		p.t.Errorf("request %d: got %+v, want the body %q", id, *a, want)
	}
	return a
}

// wantEnd reads the END_REQUEST of a request that was refused.
func (p *peer) wantEnd(id uint16, status uint8) {
	p.t.Helper()
	if a := p.reply(id); a.status != status || a.out != "" {
		p.t.Errorf("request %d: got %+v, want protocol status %d", id, *a, status)
	}
}

// wantEOF expects the end of the connection, with nothing before it.
func (p *peer) wantEOF() {
	p.t.Helper()
	if r, err := p.next(); err != io.EOF {
		p.t.Errorf("got record %+v, %v; want the connection to end", r, err)
	}
}

// onBoth runs a test in memory and over a Unix socket: on both of hythe's
// drivers.
func onBoth(t *testing.T, newServer func() *Server, test func(t *testing.T, s *Server, p *peer)) {
	t.Run("memory", func(t *testing.T) {
		s := newServer()
		test(t, s, newPeer(t, hythetest.Dial(t, &hythe.Server{Service: s}).Conn()))
	})
	t.Run("socket", func(t *testing.T) {
		s := newServer()
		test(t, s, dialUnix(t, &hythe.Server{Service: s}))
	})
}

// dialUnix serves on a Unix socket until the test ends.
func dialUnix(t testing.TB, srv *hythe.Server) *peer {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	srv.Timeouts.Drain = 2 * time.Second
	go func() { served <- srv.Serve(ctx, l) }()
	nc, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		nc.Close()
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	return newPeer(t, nc)
}
