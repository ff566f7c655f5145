package httpd

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/internal/sendfile"
)

// A wire is the connection that net/http has, from its taking to its mooring. It
// hands out at most the rest of one message at a time, so that when net/http
// waits for another request nothing of it is in net/http's buffer already.
type wire struct {
	*hythe.Taken
	c       *conn
	track   framing // Read only
	pending []byte  // came and was not handed out. Read only

	// The deadline for reading is put off lazily, because to set one for each
	// step of each request costs more than to look again now and then.
	mu      sync.Mutex
	asked   time.Time // by net/http or a handler; zero: none. Guarded by mu
	applied time.Time // no later than asked. Guarded by mu
	ours    time.Time // the last that was for readIdle. Guarded by mu
	past    bool      // applied has passed, for sure. Guarded by mu
	drained bool      // Guarded by mu
	over    bool      // Close was called. Guarded by mu
	http2   bool      // set before net/http has it
	quiet   bool      // nothing has come since a deadline has fired. Read only

	idle     atomic.Bool // net/http waits for a request
	hijacked atomic.Bool
	refused  atomic.Bool // a head was refused: net/http gets and says nothing more
	moored   atomic.Bool // Read has ended so that the connection can be moored
	begun    atomic.Bool // something of an answer was written

	reading sync.Mutex // held by Read

	bodySince time.Time // Read only
	bodyBytes int64     // Read only

	// Since the answer began. Written by Write, and set back by state, which over
	// HTTP/2 are two goroutines.
	blocked atomic.Int64 // nanoseconds
	written atomic.Int64

	why hythe.Reason // the connection ends for; 0: Finished. Guarded by mu
	err error        // what lies behind that. Guarded by mu

	once   sync.Once
	closed chan struct{} // closed by Close
	done   func()        // ends the taking
}

func newWire(c *conn, t *hythe.Taken, first []byte) *wire {
	return &wire{Taken: t, c: c, pending: first, closed: make(chan struct{})}
}

// tlsWire is a wire that net/http can ask for the state of TLS.
type tlsWire struct {
	*wire
	tls tls.ConnectionState
}

// ConnectionState is what net/http fills Request.TLS from.
func (w *tlsWire) ConnectionState() tls.ConnectionState { return w.tls }

// state is told what net/http thinks of the connection.
func (w *wire) state(s http.ConnState) {
	switch s {
	case http.StateIdle:
		w.idle.Store(true)
		w.Taken.SetIdle(true)
		w.begun.Store(false)
		w.written.Store(0)
		w.blocked.Store(0)
		w.c.report()
	case http.StateHijacked:
		w.hijacked.Store(true)
	case http.StateClosed:
		w.c.report()
	}
}

func (w *wire) Read(b []byte) (n int, err error) {
	w.reading.Lock()
	defer w.reading.Unlock()
	switch {
	case len(b) == 0:
		return 0, nil
	case isClosed(w.closed):
		return 0, net.ErrClosed
	case w.refused.Load():
		return 0, errRefused
	case w.track.broken:
		return 0, io.EOF
	}
	for {
		if len(w.pending) == 0 {
			if n, err = w.await(b); n == 0 {
				return 0, err
			}
		}
		if n = w.skipLines(b[:n]); n > 0 || len(w.pending) > 0 {
			break
		}
	}
	if isClosed(w.closed) {
		return 0, net.ErrClosed // nobody would answer
	}
	if w.idle.Swap(false) {
		w.Taken.SetIdle(false)
	}
	return w.handOut(b, n)
}

// await waits for what comes next, within the clock that is for it.
func (w *wire) await(b []byte) (n int, err error) {
	switch {
	case w.idle.Load() && w.track.between() && !w.hijacked.Load():
		return w.readIdle(b)
	case w.track.inBody():
		return w.readBody(b)
	}
	n, err = w.read(b)
	if isTimeout(err) && !w.track.between() {
		w.blame(hythe.InputTimeout, nil) // in the middle of a head
	}
	return n, err
}

// skipLines leaves out empty lines between two requests, RFC 9112 section 2.2:
// some clients have one behind a body. It returns how much of what came is left.
func (w *wire) skipLines(came []byte) int {
	switch {
	case !w.idle.Load() || !w.track.between():
		return len(came)
	case len(w.pending) > 0:
		if w.pending = bytes.TrimLeft(w.pending, emptyLines); len(w.pending) == 0 {
			w.pending = nil
		}
		return 0
	}
	return copy(came, bytes.TrimLeft(came, emptyLines))
}

const emptyLines = "\r\n"

// handOut gives net/http what it may have: b[:n], or pending in front of it, but
// nothing behind the end of a message.
func (w *wire) handOut(b []byte, n int) (int, error) {
	from := b[:n]
	if len(w.pending) > 0 {
		from = w.pending
	}
	max := min(len(b), len(from))
	if w.hijacked.Load() {
		w.track.lost = true
	}
	k, bad := w.track.next(from[:max])
	if bad != "" {
		return 0, w.refuse(bad)
	}
	if w.track.lastOne {
		w.c.closeAfter.Store(true)
	}
	if !w.track.inBody() {
		w.bodySince = time.Time{}
	}
	if len(w.pending) > 0 {
		copy(b, from[:k])
		if w.pending = w.pending[k:]; len(w.pending) == 0 {
			w.pending = nil
		}
		return k, nil
	}
	if k < n {
		w.pending = bytes.Clone(b[k:n])
	}
	return k, nil
}

// refuse answers a request that net/http might misunderstand, in its place.
func (w *wire) refuse(why string) error {
	const status = "400 Bad Request"
	io.WriteString(w.Taken, "HTTP/1.1 "+status+"\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"+status+": "+why)
	w.c.observeBad(http.StatusBadRequest, why)
	w.pending = nil
	w.refused.Store(true)
	w.blame(hythe.BadFrame, errors.New("httpd: "+why))
	return errRefused
}

// errRefused is an error of reading to which net/http says nothing.
var errRefused error = &net.OpError{Op: "read", Err: errors.New("httpd: ambiguous request")}

// read reads what has come, waiting for it until the deadline.
func (w *wire) read(b []byte) (int, error) {
	for {
		n, err := w.Taken.Read(b)
		if n > 0 || !isTimeout(err) || !w.early(forever) {
			return n, err
		}
	}
}

// early reports whether the deadline that has fired is one that nobody wants
// yet, and sets the next: the one that was asked for, or an earlier one after d.
func (w *wire) early(d time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if w.over || w.drained && w.idle.Load() || !w.asked.IsZero() && !now.Before(w.asked) {
		return false
	}
	if d < forever {
		due := now.Add(d)
		if w.idle.Load() {
			w.ours = due
		}
		w.apply(w.earlier(due))
	} else {
		w.apply(w.asked)
	}
	return true
}

// earlier returns t, or what was asked for if that is earlier. mu is held.
func (w *wire) earlier(t time.Time) time.Time {
	if !w.asked.IsZero() && w.asked.Before(t) {
		return w.asked
	}
	return t
}

func (w *wire) apply(t time.Time) {
	if w.over {
		return
	}
	w.applied, w.past = t, !t.IsZero() && t.Before(w.c.opened)
	w.Taken.Conn.SetReadDeadline(t)
}

// SetReadDeadline is called by net/http and by handlers.
func (w *wire) SetReadDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = t
	if w.drained && w.idle.Load() {
		return nil
	}
	switch {
	case w.past && !w.ours.IsZero() && !t.Before(w.c.opened):
		w.apply(w.earlier(w.ours)) // so that readIdle has nothing to do
	case w.past && t.IsZero():
		// Most often another deadline follows at once. If it does not, the next
		// Read finds that it is too early for this one.
	case !t.IsZero() && (w.past || w.applied.IsZero() || t.Before(w.applied)):
		w.apply(t)
	}
	return nil
}

// SetDeadline sets both deadlines.
func (w *wire) SetDeadline(t time.Time) error {
	w.SetReadDeadline(t)
	return w.SetWriteDeadline(t)
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// readIdle waits for the next request. A connection on which nothing has come
// from one firing of the deadline to the next is moored.
func (w *wire) readIdle(b []byte) (int, error) {
	after := w.c.srv.moorAfter()
	w.mu.Lock()
	drained := w.drained
	if after < forever && !drained && (w.applied.IsZero() || w.past || w.applied != w.ours) {
		w.ours = time.Now().Add(after)
		w.apply(w.earlier(w.ours))
		w.quiet = true // the whole of it is ahead
	}
	w.mu.Unlock()
	if drained {
		return 0, io.EOF
	}
	for {
		n, err := w.Taken.Read(b)
		switch {
		case n > 0 || !isTimeout(err):
			w.quiet = false
			return n, err
		case w.quiet && w.early(after):
			w.moored.Store(true)
			return 0, io.EOF
		case !w.early(after):
			return 0, io.EOF
		}
		w.quiet = true
	}
}

// readBody waits for more of a body, which must make progress.
func (w *wire) readBody(b []byte) (int, error) {
	began := time.Now()
	if w.bodySince.IsZero() {
		w.bodySince, w.bodyBytes = began, 0
	}
	idle := w.c.srv.bodyIdle()
	w.mu.Lock()
	if due := began.Add(idle); idle < forever && (w.past || w.applied.IsZero() || w.applied.After(due)) {
		w.apply(w.earlier(due))
	}
	w.mu.Unlock()
	for {
		n, err := w.Taken.Read(b)
		w.bodyBytes += int64(n)
		late := false
		if n == 0 && isTimeout(err) {
			waited := time.Since(began)
			if late = waited >= idle; !late && w.early(idle-waited) {
				continue
			}
		}
		if late || w.tooSlow(w.bodyBytes, time.Since(w.bodySince)) {
			w.giveUp(hythe.InputTimeout, ErrSlow)
			return 0, ErrSlow
		}
		return n, err
	}
}

// ErrSlow is what lies behind the end of a connection whose client did not keep
// Server.BodyIdle or Server.MinRate.
var ErrSlow = errors.New("httpd: the client is too slow")

func (w *wire) tooSlow(n int64, took time.Duration) bool {
	s := w.c.srv
	return s.MinRate > 0 && took > s.rateGrace() && float64(n)/took.Seconds() < float64(s.MinRate)
}

// giveUp ends the connection for a reason.
func (w *wire) giveUp(why hythe.Reason, err error) { w.Taken.CloseFor(why, err) }

// drain ends the wait for another request. Over HTTP/2 net/http does that itself,
// and calls a connection idle on which an answer has not been flushed.
func (w *wire) drain() {
	if w.http2 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drained = true
	if w.idle.Load() {
		w.apply(time.Unix(1, 0))
	}
}

func (w *wire) Write(b []byte) (int, error) {
	if isClosed(w.closed) {
		return 0, net.ErrClosed
	}
	if w.refused.Load() {
		return 0, errRefused
	}
	if !w.c.active.Load() {
		w.sawRefusal(b)
	}
	if !w.begun.Load() && !bytes.HasPrefix(b, informational) {
		w.begun.Store(true)
	}
	if w.c.srv.MinRate <= 0 {
		return w.Taken.Write(b)
	}
	n := 0
	for {
		began := time.Now()
		k, err := w.Taken.Write(b[n:min(len(b), n+rateBytes)])
		n += k
		if w.wrote(int64(k), time.Since(began)); err != nil || n == len(b) {
			return n, err
		}
	}
}

// informational is how an answer begins that another follows.
var informational = []byte("HTTP/1.1 1")

// rateBytes is how much is written between two looks at how fast that went.
const rateBytes = 256 << 10

// ReadFrom is what net/http sends files with.
func (w *wire) ReadFrom(r io.Reader) (n int64, err error) {
	if w.c.srv.MinRate <= 0 {
		return w.Taken.ReadFrom(r)
	}
	whole, ok := r.(*io.LimitedReader) // what the kernel can send a part of
	if !ok {
		whole = &io.LimitedReader{R: r, N: math.MaxInt64}
	}
	if !sendfile.Can(whole.R) { // waiting for r is not the client's fault
		return io.Copy(struct{ io.Writer }{w}, r)
	}
	for whole.N > 0 {
		part := &io.LimitedReader{R: whole.R, N: min(whole.N, rateBytes)}
		began := time.Now()
		k, err := w.Taken.ReadFrom(part)
		n += k
		whole.N -= k
		if w.wrote(k, time.Since(began)); err != nil || part.N > 0 {
			return n, err
		}
	}
	return n, nil
}

// wrote ends the connection of a client that takes too little.
func (w *wire) wrote(n int64, took time.Duration) {
	written, blocked := w.written.Add(n), time.Duration(w.blocked.Add(int64(took)))
	if w.tooSlow(written, blocked) {
		w.giveUp(hythe.WriteStalled, ErrSlow)
	}
}

// SyscallConn gives access to the descriptor of a connection without TLS.
func (w *wire) SyscallConn() (syscall.RawConn, error) {
	w.mu.Lock()
	if w.past && w.asked.IsZero() {
		w.apply(w.asked)
	}
	w.mu.Unlock()
	if c, ok := w.Taken.NetConn().(syscall.Conn); ok {
		return c.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// Close is net/http's last word, or that of whoever has hijacked the connection.
func (w *wire) Close() error {
	w.once.Do(func() {
		ours := !w.moored.Load() && w.c.detached() == nil
		w.mu.Lock()
		if ours {
			w.apply(time.Unix(1, 0)) // a Read that waits is to return
		}
		w.over = true
		w.mu.Unlock()
		close(w.closed)
		if w.reading.TryLock() { // most often Read has returned
			w.c.served(w)
			return
		}
		go func() { // net/http may have a lock. The taking waits for it
			w.reading.Lock()
			w.c.served(w)
		}()
	})
	return nil
}

// end does what is to be done once net/http has closed the connection. reading
// is held: Read has returned, and waits for nothing any more.
func (w *wire) end() {
	if w.hijacked.Load() && w.c.detached() == nil {
		w.c.report()
	}
	switch {
	case w.moored.Load():
		w.Taken.Conn.SetDeadline(time.Time{})
		w.Taken.Moor()
	case w.c.detached() != nil:
		// Detach has seen to it.
	default:
		w.Taken.Conn.SetDeadline(time.Time{})
		w.mu.Lock()
		why, err := w.why, w.err
		w.mu.Unlock()
		if why == 0 {
			why = hythe.Finished
		}
		w.Taken.ShutdownFor(why, err)
	}
}

// blame notes why the connection is about to end. The first reason counts.
func (w *wire) blame(why hythe.Reason, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.why == 0 {
		w.why, w.err = why, err
	}
}

var _ net.Conn = (*wire)(nil)
