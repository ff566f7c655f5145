package fcgi

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// A response is a handler's http.ResponseWriter. It keeps a small body back, so
// that a short answer is one record with its headers, and leaves in one write
// with the request's end.
type response struct {
	req    *request
	header http.Header

	mu       sync.Mutex // against goroutines that outlive their handler
	returned bool       // the handler has
	err      error      // of a send: there is no next one
	status   int        // what WriteHeader was given; 0 before
	headSent bool
	length   int64          // the Content-Length of the handler; negative: none
	written  int64          // bytes of the body
	held     *[heldMax]byte // the beginning of the body, nil when there is none
	n        int            // bytes in held

	deadline time.Time   // of send. Guarded by conn.mu
	timer    *time.Timer // wakes send at the deadline. Guarded by conn.mu
}

// heldMax is how much of a response is kept back for its headers.
const heldMax = 4 << 10

var (
	heldPool = sync.Pool{New: func() any { return new([heldMax]byte) }}

	// batchPool has room for a record as large as possible and the end of a
	// request.
	batchPool = sync.Pool{New: func() any { return new([batchBytes]byte) }}
)

const batchBytes = headerBytes + pieceContent

func (w *response) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header)
	}
	return w.header
}

// WriteHeader sets the status. Those below 200 are ignored: CGI has no word for
// them.
func (w *response) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("fcgi: invalid status %d", status))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeader(status)
}

func (w *response) writeHeader(status int) {
	if w.status != 0 || status < 200 {
		return
	}
	w.status = status
	w.length = -1
	if cl := w.header["Content-Length"]; len(cl) > 0 {
		n, err := strconv.ParseInt(cl[0], 10, 64)
		if err != nil || n < 0 {
			delete(w.header, "Content-Length")
			return
		}
		w.length = n
	}
}

// hasBody reports whether a response with this status has a body: RFC 9110,
// section 6.4.1.
func hasBody(status int) bool {
	return status != http.StatusNoContent && status != http.StatusNotModified
}

func (w *response) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.mayWrite(len(p)); err != nil {
		return 0, err
	}
	if w.n+len(p) <= heldMax {
		copy(w.room(), p)
		w.n += len(p)
		return len(p), nil
	}
	if err := w.send(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// WriteString is Write without a copy.
func (w *response) WriteString(s string) (int, error) {
	w.mu.Lock()
	if w.n+len(s) > heldMax {
		w.mu.Unlock()
		return w.Write([]byte(s))
	}
	defer w.mu.Unlock()
	if err := w.mayWrite(len(s)); err != nil {
		return 0, err
	}
	copy(w.room(), s)
	w.n += len(s)
	return len(s), nil
}

// mayWrite counts n bytes of the body, or returns why they may not be written.
func (w *response) mayWrite(n int) error {
	if err := w.mayStill(); err != nil {
		return err
	}
	w.writeHeader(http.StatusOK)
	if !hasBody(w.status) {
		return http.ErrBodyNotAllowed
	}
	if w.length >= 0 && w.written+int64(n) > w.length {
		return http.ErrContentLength
	}
	w.written += int64(n)
	return nil
}

// mayStill returns why nothing can be sent any more.
func (w *response) mayStill() error {
	switch {
	case w.returned:
		return errReturned
	case w.err != nil:
		return w.err
	}
	return w.req.over()
}

// room is what is left of held.
func (w *response) room() []byte {
	if w.held == nil {
		w.held = heldPool.Get().(*[heldMax]byte)
	}
	return w.held[w.n:]
}

// ReadFrom is for io.Copy: it reads into the memory that is sent.
func (w *response) ReadFrom(src io.Reader) (total int64, err error) {
	buf := batchPool.Get().(*[batchBytes]byte)
	defer batchPool.Put(buf)
	for {
		n, err := src.Read(buf[:])
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return total, err
			}
			total += int64(n)
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// Flush sends what was written so far, at least the headers.
func (w *response) Flush() { w.FlushError() }

// FlushError is Flush, for http.ResponseController.
func (w *response) FlushError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.mayStill(); err != nil {
		return err
	}
	w.writeHeader(http.StatusOK)
	return w.send(nil)
}

// SetReadDeadline bounds the waits for the request's body, for
// http.ResponseController.
func (w *response) SetReadDeadline(t time.Time) error {
	w.req.stdin.setDeadline(t)
	if w.req.data != nil {
		w.req.data.setDeadline(t)
	}
	return nil
}

// SetWriteDeadline bounds the waits for room for output, for
// http.ResponseController.
func (w *response) SetWriteDeadline(t time.Time) error {
	w.req.c.setWriteDeadline(w.req, t)
	return nil
}

// EnableFullDuplex does nothing, for http.ResponseController: bodies can always
// be read while a response is written.
func (w *response) EnableFullDuplex() error { return nil }

// A batch puts a stream into records, which it sends when they are full.
type batch struct {
	req *request
	buf *[batchBytes]byte
	n   int // bytes in buf: whole records, or the one that grows from its beginning
	err error
}

func newBatch(req *request) batch {
	return batch{req: req, buf: batchPool.Get().(*[batchBytes]byte), n: headerBytes}
}

// add adds bytes to the STDOUT record that grows.
func (b *batch) add(p []byte) {
	for len(p) > 0 && b.err == nil {
		k := copy(b.buf[b.n:], p)
		b.n += k
		p = p[k:]
		if b.n == len(b.buf) {
			b.send()
		}
	}
}

// close makes a record of what was added. An empty one would be the stream's
// end.
func (b *batch) close() []byte {
	content := b.n - headerBytes
	if content == 0 {
		return b.buf[:0]
	}
	appendHeader(b.buf[:0], typeStdout, b.req.id, content)
	return append(b.buf[:b.n], padding[:-content&7]...)
}

// send sends the record.
func (b *batch) send() {
	if p := b.close(); len(p) > 0 && b.err == nil {
		b.err = b.req.c.send(b.req, p, typeStdout)
	}
	b.n = headerBytes
}

// send sends the headers, if they have not left, what was held back, and p. w.mu
// is held.
func (w *response) send(p []byte) error {
	b := newBatch(w.req)
	w.fill(&b, p, false)
	b.send()
	batchPool.Put(b.buf)
	w.err = b.err
	return b.err
}

// fill adds to b what waits, and p. last says that nothing follows.
func (w *response) fill(b *batch, p []byte, last bool) {
	var held []byte
	if w.n > 0 {
		held = w.held[:w.n]
	}
	if !w.headSent {
		w.headSent = true
		w.addHead(b, held, p, last)
	}
	if !w.bodiless() {
		b.add(held)
		b.add(p)
	}
	w.n = 0
}

// bodiless reports whether the body is not sent though the handler writes one.
func (w *response) bodiless() bool {
	return w.req.http != nil && w.req.http.Method == http.MethodHead
}

// addHead adds the header lines, and the empty one after them. Those that the
// handler did not set are made as net/http makes them.
func (w *response) addHead(b *batch, held, p []byte, last bool) {
	var room [1 << 10]byte
	h := w.header
	head := room[:0]
	_, redirects := h["Location"]
	if !redirects {
		head = appendStatus(head, w.status)
	}
	if hasBody(w.status) {
		if _, has := h["Content-Type"]; !has && len(held)+len(p) > 0 && len(h["Content-Encoding"]) == 0 {
			sniffed := held
			if len(held) < 512 && len(p) > 0 {
				sniffed = bytes.Join([][]byte{held, p[:min(len(p), 512)]}, nil)
			}
			head = append(head, "Content-Type: "...)
			head = append(head, http.DetectContentType(sniffed)...)
			head = append(head, "\r\n"...)
		}
		if last && w.length < 0 && (len(held) > 0 || !w.bodiless()) {
			head = append(head, "Content-Length: "...)
			head = strconv.AppendInt(head, int64(len(held)), 10)
			head = append(head, "\r\n"...)
		}
	}
	head = w.req.appendFields(head, h)
	if redirects { // a Status before it is forgotten by haproxy/haproxy#2865
		head = appendStatus(head, w.status)
	}
	b.add(append(head, "\r\n"...))
}

// finish sends what is left, and ends the request. The handler has returned.
func (w *response) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.returned = true
	w.writeHeader(http.StatusOK)
	b := newBatch(w.req)
	defer batchPool.Put(b.buf)
	w.fill(&b, nil, true)
	if b.n+closingBytes > batchBytes {
		b.send()
	}
	w.req.end(ending{last: b.close(), returned: true})
}

// close gives back what finish has not.
func (w *response) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.returned = true
	if w.held != nil {
		heldPool.Put(w.held)
		w.held, w.n = nil, 0
	}
}
