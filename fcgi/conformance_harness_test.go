package fcgi_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/fcgi"
	"github.com/hythe-go/hythe/memnet"
)

// The conformance tests speak the protocol by themselves: nothing here uses the
// package's own codec, so that a mistake in it cannot hide itself.

// A world is a way in which a connection can be driven.
type world struct {
	name       string
	network    string // "" is memnet, in a bubble with fake time
	goroutines bool
}

var (
	unixWorld = world{name: "loop-unix", network: "unix"}
	tcpWorld  = world{name: "loop-tcp", network: "tcp"}
	netWorld  = world{name: "goroutine-unix", network: "unix", goroutines: true}
	memWorld  = world{name: "memnet"}
	worlds    = []world{unixWorld, tcpWorld, netWorld, memWorld}
)

// inWorlds runs f as a sub-test in each world.
func inWorlds(t *testing.T, f func(t *testing.T, w world)) {
	t.Helper()
	for _, w := range worlds {
		t.Run(w.name, func(t *testing.T) {
			if w.network == "" {
				synctest.Test(t, func(t *testing.T) { f(t, w) })
			} else {
				f(t, w)
			}
		})
	}
}

// patience is how long a test waits for what must happen.
func (w world) patience() time.Duration {
	if w.network == "" {
		return 100 * time.Hour
	}
	return 10 * time.Second
}

// bufReader is for a wire that only reads.
func bufReader(r io.Reader) *bufio.Reader { return bufio.NewReader(r) }

// An app is a server that serves in a world.
type app struct {
	testing.TB
	w    world
	fcgi *fcgi.Server
	srv  *hythe.Server
	mem  *memnet.Network
	ln   net.Listener
	ends chan hythe.Event // of its connections
}

// start starts a server, which ends with the test.
func (w world) start(t testing.TB, s *fcgi.Server) *app {
	t.Helper()
	a := &app{TB: t, w: w, fcgi: s, mem: new(memnet.Network), ends: make(chan hythe.Event, 4096)}
	a.srv = &hythe.Server{Service: s, Goroutines: w.goroutines, Observer: func(ev hythe.Event) {
		if ev.Kind == hythe.ConnEnded {
			a.ends <- ev
		}
	}}
	var err error
	switch w.network {
	case "":
		a.ln, err = a.mem.Listen("")
	case "unix":
		dir, e := os.MkdirTemp("", "fcgi")
		if e != nil {
			t.Fatal(e)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		a.ln, err = net.Listen("unix", filepath.Join(dir, "s"))
	default:
		a.ln, err = net.Listen(w.network, "127.0.0.1:0")
	}
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- a.srv.Serve(context.Background(), a.ln) }()
	t.Cleanup(func() {
		a.srv.Close()
		get(t, w, served, "Serve to return")
		if st := s.Stats(); st.Active != 0 || st.Memory != 0 || st.Disk != 0 {
			t.Errorf("after Serve has returned: %+v", st)
		}
	})
	return a
}

// serve starts a server for the role of Responder.
func (w world) serve(t testing.TB, h http.HandlerFunc) *app {
	t.Helper()
	return w.start(t, &fcgi.Server{Handler: h})
}

// netDial connects to the server.
func (a *app) netDial(ctx context.Context) (net.Conn, error) {
	if a.w.network == "" {
		return a.mem.Dial(ctx, a.ln.Addr().String())
	}
	var d net.Dialer
	return d.DialContext(ctx, a.ln.Addr().Network(), a.ln.Addr().String())
}

// dial connects to the server, and closes the connection after the test.
func (a *app) dial() *wire {
	a.Helper()
	nc, err := a.netDial(context.Background())
	if err != nil {
		a.Fatal(err)
	}
	a.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(a.w.patience()))
	return &wire{TB: a.TB, Conn: nc, r: bufio.NewReader(nc)}
}

// wantEnd waits for the end of a connection, for the reason why.
func (a *app) wantEnd(why hythe.Reason) {
	a.Helper()
	if ev := get(a.TB, a.w, a.ends, "the end of a connection"); ev.Reason != why {
		a.Errorf("a connection ended: %v (%v), want %v", ev.Reason, ev.Err, why)
	}
}

// get receives from ch, patiently.
func get[T any](t testing.TB, w world, ch <-chan T, what string) (v T) {
	t.Helper()
	timer := time.NewTimer(w.patience())
	defer timer.Stop()
	select {
	case v = <-ch:
	case <-timer.C:
		t.Fatalf("waited in vain for %s", what)
	}
	return v
}

// A wire is a web server's end of a connection.
type wire struct {
	testing.TB
	net.Conn
	r *bufio.Reader
}

// send writes bytes, which must succeed.
func (c *wire) send(s ...string) {
	c.Helper()
	if _, err := io.WriteString(c.Conn, strings.Join(s, "")); err != nil {
		c.Fatalf("sending: %v", err)
	}
}

// sendLate writes bytes that the server need not take.
func (c *wire) sendLate(s ...string) { io.WriteString(c.Conn, strings.Join(s, "")) }

// want reads as many bytes as want has, which must be these.
func (c *wire) want(want string) {
	c.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(c.r, got)
	if string(got[:n]) != want {
		c.Fatalf("got  %q (%v)\nwant %q", got[:n], err, want)
	}
}

// wantEOF expects that the server has finished, and nothing more.
func (c *wire) wantEOF() {
	c.Helper()
	if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
		c.Fatalf("got %q, %v, want EOF", rest, err)
	}
	c.Close() // the server lingers for that
}

// wantGone expects that the connection ends, in whatever way, without a byte.
func (c *wire) wantGone() {
	c.Helper()
	if rest, err := io.ReadAll(c.r); len(rest) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		c.Fatalf("got %q, %v, want the end of the connection", rest, err)
	}
	c.Close() // the server lingers for that
}

// wantOpen expects that the connection is alive and nothing more was to be
// read from it.
func (c *wire) wantOpen() {
	c.Helper()
	c.send("\x01\x09\x00\x00\x00\x11\x00\x00" + "\x0f\x00FCGI_MPXS_CONNS")
	c.want("\x01\x0a\x00\x00\x00\x12\x06\x00" + "\x0f\x01FCGI_MPXS_CONNS1" + "\x00\x00\x00\x00\x00\x00")
}

// A rec is a record that came.
type rec struct {
	kind    byte
	id      uint16
	content string
}

// record reads a record.
func (c *wire) record() rec {
	c.Helper()
	r, err := c.tryRecord()
	if err != nil {
		c.Fatalf("reading a record: %v", err)
	}
	return r
}

func (c *wire) tryRecord() (rec, error) {
	var h [8]byte
	if _, err := io.ReadFull(c.r, h[:]); err != nil {
		return rec{}, err
	}
	if h[0] != 1 || h[7] != 0 {
		return rec{}, fmt.Errorf("record header %x", h)
	}
	n := int(h[4])<<8 | int(h[5])
	if (n+int(h[6]))%8 != 0 {
		return rec{}, fmt.Errorf("record header %x: not padded to 8 bytes", h)
	}
	b := make([]byte, n+int(h[6]))
	if _, err := io.ReadFull(c.r, b); err != nil {
		return rec{}, err
	}
	return rec{h[1], uint16(h[2])<<8 | uint16(h[3]), string(b[:n])}, nil
}

// An answer is all that came for a request.
type answer struct {
	id     uint16
	out    string // STDOUT
	err    string // STDERR
	app    uint32
	status byte // the protocol status
}

// body returns what follows the headers.
func (a answer) body() string {
	_, body, _ := strings.Cut(a.out, "\r\n\r\n")
	return body
}

// httpStatus returns the line that says the status.
func (a answer) httpStatus() string {
	head, _, _ := strings.Cut(a.out, "\r\n\r\n")
	for line := range strings.SplitSeq(head, "\r\n") {
		if strings.HasPrefix(line, "Status: ") {
			return line
		}
	}
	return ""
}

// answers reads records to the n-th END_REQUEST, and checks what section 5 says
// of the order of an answer's. The answers are in the order of their ends.
func (c *wire) answers(n int) (ended []answer) {
	c.Helper()
	type state struct {
		answer
		outEnds, errEnds int
		errRecords       int
	}
	open := make(map[uint16]*state)
	for len(ended) < n {
		r := c.record()
		s := open[r.id]
		if s == nil {
			s = &state{answer: answer{id: r.id}}
			open[r.id] = s
		}
		switch {
		case r.kind == 6 && s.outEnds == 0:
			s.out += r.content
			if r.content == "" {
				s.outEnds++
			}
		case r.kind == 7 && s.errEnds == 0:
			s.err += r.content
			s.errRecords++
			if r.content == "" {
				s.errEnds++
			}
		case r.kind == 3 && len(r.content) == 8 && r.content[5:] == "\x00\x00\x00":
			s.app = binary.BigEndian.Uint32([]byte(r.content))
			s.status = r.content[4]
			if s.status == 0 && (s.outEnds != 1 || s.errRecords > 0 && s.errEnds != 1) {
				c.Errorf("request %d ended with %d ends of STDOUT and, after %d records, %d of STDERR", r.id, s.outEnds, s.errRecords, s.errEnds)
			}
			if s.status != 0 && s.outEnds+s.errRecords+len(s.out) > 0 {
				c.Errorf("request %d was refused after it had output", r.id)
			}
			ended = append(ended, s.answer)
			delete(open, r.id)
		default:
			c.Fatalf("a record that does not belong here: %+v", r)
		}
	}
	for id := range open {
		c.Errorf("request %d has output and no end", id)
	}
	return ended
}

// answer reads the answer to the only request.
func (c *wire) answer(id uint16) answer {
	c.Helper()
	a := c.answers(1)[0]
	if a.id != id {
		c.Fatalf("an answer for request %d, want %d", a.id, id)
	}
	return a
}

// wantBody expects a complete answer with that body.
func (c *wire) wantBody(id uint16, body string) {
	c.Helper()
	a := c.answer(id)
	if a.body() != body || a.status != 0 || a.httpStatus() != "Status: 200 OK" {
		c.Fatalf("got %.200q, protocol status %d; want the body %.200q", a.out, a.status, body)
	}
}

// wantRefused expects an END_REQUEST with a protocol status and nothing else.
func (c *wire) wantRefused(id uint16, status byte) {
	c.Helper()
	c.want("\x01\x03" + be16(int(id)) + "\x00\x08\x00\x00" + "\x00\x00\x00\x00" + string([]byte{status}) + "\x00\x00\x00")
}

func be16(n int) string { return string([]byte{byte(n >> 8), byte(n)}) }

// record types, section 8
const (
	tBegin = iota + 1
	tAbort
	tEnd
	tParams
	tStdin
	tStdout
	tStderr
	tData
	tGetValues
	tGetValuesResult
	tUnknownType
)

const keep = 1 // FCGI_KEEP_CONN

// mk makes a record without padding.
func mk(kind byte, id uint16, content string) string {
	return "\x01" + string([]byte{kind}) + be16(int(id)) + be16(len(content)) + "\x00\x00" + content
}

// begin makes a BEGIN_REQUEST for a Responder.
func begin(id uint16, flags byte) string { return beginRole(id, 1, flags) }

func beginRole(id, role uint16, flags byte) string {
	return mk(tBegin, id, be16(int(role))+string([]byte{flags, 0, 0, 0, 0, 0}))
}

// nv makes a name-value pair: section 3.4.
func nv(name, value string) string { return length(len(name)) + length(len(value)) + name + value }

func length(n int) string {
	if n < 128 {
		return string([]byte{byte(n)})
	}
	return string([]byte{byte(n>>24) | 128, byte(n >> 16), byte(n >> 8), byte(n)})
}

// env makes the pairs of a request.
func env(method, uri string, more ...string) string {
	s := nv("REQUEST_METHOD", method) + nv("REQUEST_URI", uri)
	for i := 0; i < len(more); i += 2 {
		s += nv(more[i], more[i+1])
	}
	return s
}

// params makes the PARAMS stream of one record and its end.
func params(id uint16, pairs string) string { return mk(tParams, id, pairs) + mk(tParams, id, "") }

// getting makes a whole request without a body.
func getting(id uint16, flags byte, uri string, more ...string) string {
	return begin(id, flags) + params(id, env("GET", uri, more...)) + mk(tStdin, id, "")
}

// posting makes a whole request with a body.
func posting(id uint16, flags byte, uri, body string) string {
	return begin(id, flags) + params(id, env("POST", uri, "CONTENT_LENGTH", fmt.Sprint(len(body)))) +
		mk(tStdin, id, body) + mk(tStdin, id, "")
}

// echo answers with the request's body, as it comes.
func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	if _, err := io.Copy(w, r.Body); err != nil {
		fmt.Fprintf(w, "[%v]", err)
	}
}

// path answers with the path.
func path(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Path) }

// readAll answers with the whole body, or the error that it ended with.
func readAll(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%q %v", b, err)
}

// A gate is a handler that stops until it is opened, and tells how it went.
type gate struct {
	entered chan *http.Request
	open    chan struct{}
	left    chan error // the cause of the request's context when it went on
	once    sync.Once
}

func newGate(t testing.TB) *gate {
	g := &gate{entered: make(chan *http.Request, 1000), open: make(chan struct{}), left: make(chan error, 1000)}
	t.Cleanup(g.pass)
	return g
}

// pass lets everybody through.
func (g *gate) pass() { g.once.Do(func() { close(g.open) }) }

// wait stops until the gate is open or the request is over.
func (g *gate) wait(r *http.Request) {
	g.entered <- r
	select {
	case <-g.open:
		g.left <- nil
	case <-r.Context().Done():
		g.left <- context.Cause(r.Context())
	}
}
