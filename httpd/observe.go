package httpd

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/hythe-go/hythe"
)

// A Request describes a request that has ended.
type Request struct {
	Conn *Conn

	// Request is what the handler was given. Nil for a request that was refused
	// before any handler had it; Refused then says why.
	Request *http.Request
	Refused string

	Status int           // of the answer; 0 if none was begun
	Bytes  int64         // of its body
	Took   time.Duration // from the call of the handler to the end of the answer
	Cut    bool          // the answer was cut off: the handler panicked, or the client left
}

// recorder notes what a handler answers.
type recorder struct {
	http.ResponseWriter
	began  time.Time
	status int
	bytes  int64
	cut    bool
	failed bool // a write has failed

	hijacked bool
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b)
	w.wrote(int64(n), err)
	return n, err
}

// ReadFrom keeps sendfile possible.
func (w *recorder) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(w.ResponseWriter, r)
	w.wrote(n, err)
	return n, err
}

func (w *recorder) wrote(n int64, err error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.bytes += n
	w.failed = w.failed || err != nil
}

// Flush is for those who ask for an http.Flusher.
func (w *recorder) Flush() { w.FlushError() }

// FlushError is for http.ResponseController.
func (w *recorder) FlushError() error {
	err := http.NewResponseController(w.ResponseWriter).Flush()
	if err == nil {
		w.wrote(0, nil)
	} else if !errors.Is(err, http.ErrNotSupported) {
		w.failed = true
	}
	return err
}

// noteCut notes that the answer to w is not whole, although its handler returns.
func noteCut(w http.ResponseWriter) {
	for w != nil {
		if rec, ok := w.(*recorder); ok {
			rec.failed = true
			return
		}
		inner, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return
		}
		w = inner.Unwrap()
	}
}

// Hijack is for those who ask for an http.Hijacker.
func (w *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.status == 0 {
		w.status = http.StatusSwitchingProtocols
	}
	nc, buf, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.hijacked = w.hijacked || err == nil
	return nc, buf, err
}

// ended has the Observer told of a request whose handler has returned, when the
// answer has been handed over.
func (c *conn) ended(r *http.Request, rec *recorder, slot *detachSlot) {
	out := c.detached()
	if slot != nil {
		out = slot.detached()
	}
	tell := func() {
		if rec.status == 0 && !rec.cut {
			rec.status = http.StatusOK
		}
		bytes := rec.bytes
		if out != nil {
			bytes, rec.cut = out.sent(), rec.cut || !out.whole()
		}
		c.srv.Observer(Request{
			Conn: &Conn{c}, Request: r, Status: rec.status, Bytes: bytes,
			Took: time.Since(rec.began), Cut: rec.cut || rec.failed,
		})
	}
	switch {
	case out != nil:
		rec.status = http.StatusOK
		out.whenOver(tell)
	case r.ProtoMajor == 2:
		tell()
	case rec.hijacked:
		c.mu.Lock()
		over := c.wire == nil || isClosed(c.wire.closed)
		if !over {
			c.tell = tell // wire.end reports
		}
		c.mu.Unlock()
		if over {
			tell()
		}
	default:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.tell = tell
	}
}

// report tells the Observer of the request that has just ended.
func (c *conn) report() {
	c.mu.Lock()
	tell := c.tell
	c.tell = nil
	c.mu.Unlock()
	c.active.Store(false)
	if tell != nil {
		tell()
	}
}

// observeBad tells the Observer of a request that was refused here.
func (c *conn) observeBad(status int, why string) {
	if c.srv.Observer != nil {
		c.srv.Observer(Request{Conn: &Conn{c}, Refused: why, Status: status})
	}
}

// sawRefusal notes that net/http refuses a request by itself, which can be seen
// by what it writes while no handler is at work.
func (w *wire) sawRefusal(b []byte) {
	const version = "HTTP/1.1 "
	if len(b) < len(version)+3 || !bytes.HasPrefix(b, []byte("HTTP/1.")) {
		return
	}
	status, err := strconv.Atoi(string(b[len(version):][:3]))
	if err != nil || status < 400 {
		return
	}
	line, _, _ := bytes.Cut(b[len(version):], []byte("\r\n"))
	w.blame(hythe.BadFrame, errors.New("httpd: answered "+string(line)))
	w.c.observeBad(status, string(line))
}
