package httpd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/hythe-go/hythe"
)

// An Out is an answer that goes on after its handler has returned. Its methods
// are safe for concurrent use.
type Out struct {
	c       *conn
	stream  *stream2 // of HTTP/2; nil: HTTP/1, on the connection itself
	chunked bool

	mu        sync.Mutex
	writing   bool       // a Write, which may wait for room, is under way. Guarded by mu
	inParts   bool       // ... and sends a chunk in parts. Guarded by mu
	written   *sync.Cond // made by the first who waits for writing. Guarded by mu
	onFlushed func(*Out) // guarded by mu
	ended     func()     // called when it is over, and finish is. Guarded by mu
	finishing bool       // finish is yet to say what has become of the end. Guarded by mu
	endSent   bool       // it was queued. Guarded by mu
	bytes     int64      // guarded by mu
	closed    bool       // Close was called. Guarded by mu
	aborted   bool       // with an error, or the client left. Guarded by mu
	isOver    bool       // guarded by mu
	done      chan struct{}
	err       error // set before done is closed
}

// ErrDetached means that an answer cannot be detached: something of it was
// written already, it is one to a HEAD request, or the request is not one of a
// Server's. Over HTTP/1 an answer that had begun is cut off.
var ErrDetached = errors.New("httpd: cannot detach this answer")

// Detach sends the answer's header, with status 200, and lets the handler return
// while the answer goes on. Over HTTP/1 it then costs as little as a connection
// that is idle, and the connection ends with it; over HTTP/2 the stream keeps its
// goroutine. Nothing must have been written before, the request's body has been
// read or is lost, and w and r must not be used any more.
//
// The answer is ended by Close, by the client's leaving, by a drain, and by the
// clocks of the hythe.Server: WriteStall (over HTTP/2 Server.AnswerIdle), and Idle if nothing is sent.
func Detach(w http.ResponseWriter, r *http.Request) (*Out, error) {
	c, ok := r.Context().Value(connKey{}).(*conn)
	if !ok {
		return nil, ErrDetached
	}
	if r.Method == http.MethodHead {
		return nil, ErrDetached
	}
	o := &Out{c: c, done: make(chan struct{})}
	var err error
	if slot, ok := r.Context().Value(slotKey{}).(*detachSlot); ok {
		err = slot.detach(o, w, r)
	} else {
		err = o.takeOver(w, r)
	}
	if err != nil {
		return nil, err
	}
	return o, nil
}

// takeOver makes the connection the answer's.
func (o *Out) takeOver(w http.ResponseWriter, r *http.Request) (err error) {
	c := o.c
	c.mu.Lock()
	wire := c.wire
	c.mu.Unlock()
	if wire == nil {
		return ErrDetached
	}
	o.chunked = r.ProtoAtLeast(1, 1)
	header := w.Header().Clone()
	_, _, err = http.NewResponseController(w).Hijack()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDetached, err)
	}
	defer func() {
		if err != nil {
			noteCut(w)
		}
		wire.Close() // the goroutine that had it can go
	}()
	release := c.st.Hold() // until it is known whether to end it
	defer release()
	if wire.begun.Load() { // Hijack has flushed it
		c.st.Reset()
		return ErrDetached
	}
	header.Del("Content-Length")
	header.Set("Connection", "close")
	if o.chunked {
		header.Set("Transfer-Encoding", "chunked")
	}
	c.mu.Lock()
	gone := c.isOver // nobody would tell o
	if !gone {
		c.out = o
	}
	c.mu.Unlock()
	if gone {
		return context.Cause(c.st.Context())
	}
	wire.Taken.Conn.SetDeadline(time.Time{})
	if err := writeHead(wire.Taken, header); err != nil {
		return err
	}
	moored := make(chan struct{})
	if err := wire.Taken.MoorThen(func() { close(moored) }); err != nil {
		return err
	}
	select {
	case <-moored:
	case <-o.done: // the connection has ended
		return o.err
	}
	if c.isDraining() {
		o.Close(nil)
	}
	return nil
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func writeHead(w io.Writer, header http.Header) error {
	var b writerBuffer
	b.WriteString("HTTP/1.1 200 OK\r\n")
	if header.Get("Date") == "" {
		b.WriteString("Date: " + time.Now().UTC().Format(http.TimeFormat) + "\r\n") // RFC 9110 section 6.6.1
	}
	header.Write(&b)
	b.WriteString("\r\n")
	_, err := w.Write(b)
	return err
}

type writerBuffer []byte

func (b *writerBuffer) Write(p []byte) (int, error) { *b = append(*b, p...); return len(p), nil }

func (b *writerBuffer) WriteString(s string) (int, error) { *b = append(*b, s...); return len(s), nil }

// Write sends b, waiting while too much has been sent that the client has not
// taken. b is copied. It returns what the answer ended for when it has ended.
func (o *Out) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, o.Err()
	}
	if err := o.sending(); err != nil {
		return 0, err
	}
	var err error
	if o.stream != nil {
		err = o.stream.write(b, true)
	} else {
		err = o.send(b)
	}
	if err != nil {
		return 0, err
	}
	o.count(len(b))
	return len(b), nil
}

// TryWrite is Write that does not wait: it sends all of b or, when there is no
// room, nothing and returns false. There is none while a Write of more than
// 16 KiB is under way.
func (o *Out) TryWrite(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if o.stream != nil {
		if o.sending() != nil || o.stream.write(b, false) != nil {
			return false
		}
		o.count(len(b))
		return true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sendingLocked() != nil || o.inParts || o.c.st.TryWrite(o.frame(b)) != nil {
		return false
	}
	o.bytes += int64(len(b))
	return true
}

// lock has the caller be the only one inside a Write. (A sync.Mutex would not let
// the clock of a testing/synctest bubble go on.)
func (o *Out) lock(inParts bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.writing {
		if o.written == nil {
			o.written = sync.NewCond(&o.mu)
		}
		o.written.Wait()
	}
	o.writing, o.inParts = true, inParts
}

func (o *Out) unlock() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writing, o.inParts = false, false
	if o.written != nil {
		o.written.Signal()
	}
}

// send sends a chunk.
func (o *Out) send(b []byte) error {
	inParts := len(b) > 16<<10
	o.lock(inParts)
	defer o.unlock()
	if !inParts {
		_, err := o.c.st.Write(o.frame(b))
		return err
	}
	for _, part := range [][]byte{o.chunkHead(len(b)), b, o.chunkTail()} {
		if _, err := o.c.st.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// frame returns b as a chunk.
func (o *Out) frame(b []byte) []byte {
	if !o.chunked {
		return b
	}
	f := make([]byte, 0, len(b)+20)
	return append(append(append(f, o.chunkHead(len(b))...), b...), o.chunkTail()...)
}

func (o *Out) chunkHead(n int) []byte {
	if !o.chunked {
		return nil
	}
	return append(strconv.AppendInt(nil, int64(n), 16), "\r\n"...)
}

func (o *Out) chunkTail() []byte {
	if !o.chunked {
		return nil
	}
	return []byte("\r\n")
}

// sending returns why nothing can be sent any more, nil if it can.
func (o *Out) sending() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.sendingLocked()
}

func (o *Out) sendingLocked() error {
	switch {
	case o.isOver:
		return o.err
	case o.closed:
		return io.ErrClosedPipe
	}
	return nil
}

func (o *Out) count(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bytes += int64(n)
}

// Pending returns how many bytes wait for the kernel, framing included.
func (o *Out) Pending() int {
	if o.stream != nil {
		return o.stream.pending()
	}
	return o.c.st.Stats().Queued
}

// OnFlushed has f called whenever everything that was sent has been handed to
// the kernel, and soon after the call of OnFlushed if that is so already. f is
// called by one goroutine at a time and may write. Only the last f counts.
func (o *Out) OnFlushed(f func(o *Out)) {
	o.mu.Lock()
	o.onFlushed = f
	o.mu.Unlock()
	if o.stream != nil {
		o.stream.askFlushed()
	} else {
		o.c.st.Post(nil) // see conn.Posted
	}
}

func (o *Out) flushed() {
	o.mu.Lock()
	f := o.onFlushed
	if o.closed || o.isOver {
		f = nil
	}
	o.mu.Unlock()
	if f != nil {
		f(o)
	}
}

// Done returns a channel that is closed when the answer has ended.
func (o *Out) Done() <-chan struct{} { return o.done }

// Err returns nil while the answer goes on, and then what it ended for: a
// *hythe.CloseError of the connection's, over HTTP/2 the cause of the request's
// context.
func (o *Out) Err() error {
	if !isClosed(o.done) {
		return nil
	}
	return o.err
}

// Close ends the answer, after what was sent. With an error it is cut off, so
// that the client can tell. Calls after the first do nothing. It does not wait.
func (o *Out) Close(err error) error {
	o.mu.Lock()
	was := o.closed || o.isOver
	o.closed = true
	o.aborted = o.aborted || !was && err != nil
	o.finishing = o.finishing || !was && err == nil && o.stream == nil && o.chunked
	o.mu.Unlock()
	switch {
	case was:
	case o.stream != nil:
		o.stream.close(err)
	case err != nil && !o.chunked:
		o.c.st.Reset() // an end in peace would be that of the answer
	case err != nil:
		o.c.st.Close()
	default:
		if o.chunked {
			release := o.c.st.Hold() // a drain waits for it
			go func() {              // it may have to wait for room
				defer release()
				o.finish()
			}()
		} else {
			o.c.st.Shutdown()
		}
	}
	return nil
}

// finish sends the end of a chunked answer.
func (o *Out) finish() {
	o.lock(false)
	_, err := o.c.st.Write([]byte("0\r\n\r\n"))
	if err == nil {
		o.c.st.Shutdown()
	}
	o.unlock()
	o.mu.Lock()
	o.finishing, o.endSent = false, err == nil
	ended := o.verdict()
	o.mu.Unlock()
	ended()
}

// peerDone is told that the client has finished sending: it has left, or does
// not want to say anything more. It is taken for leaving.
func (o *Out) peerDone() {
	o.mu.Lock()
	o.aborted = o.aborted || !o.closed
	o.mu.Unlock()
}

// over ends the answer for good.
func (o *Out) over(reason error) {
	o.mu.Lock()
	if o.isOver {
		o.mu.Unlock()
		return
	}
	o.isOver = true
	o.err = reason
	ended := o.verdict()
	o.mu.Unlock()
	close(o.done)
	ended()
}

// verdict says whether the answer was whole, once it is over and finish is. It
// returns whom to tell. mu is held.
func (o *Out) verdict() (tell func()) {
	if !o.isOver || o.finishing {
		return func() {}
	}
	whole := errors.Is(o.err, hythe.Finished) || o.endSent && o.c.st.Flush() == nil // the client was quick to leave
	o.aborted = o.aborted || !o.closed || !whole
	if tell = o.ended; tell == nil {
		return func() {}
	}
	o.ended = nil
	return tell
}

// whenOver has f called when the answer has ended.
func (o *Out) whenOver(f func()) {
	o.mu.Lock()
	o.ended = f
	tell := o.verdict()
	o.mu.Unlock()
	tell()
}

func (o *Out) sent() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes
}

func (o *Out) whole() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.aborted
}
