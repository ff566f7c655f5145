package httpd

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hythe-go/hythe"
)

// A wire is the connection that net/http has, from its taking to its mooring. It
// hands out at most the rest of one message at a time, so that when net/http
// waits for another request nothing of it is in net/http's buffer already.
type wire struct {
	*hythe.Taken
	c       *conn
	track   framing // Read only
	pending []byte  // came and was not handed out. Read only

	// Deadlines for reading are put off lazily: one that is due too early has
	// read look again.
	mu      sync.Mutex
	asked   time.Time // by net/http or a handler; zero: none. Guarded by mu
	wanted  time.Time // that, or an earlier one of ours. Guarded by mu
	applied time.Time // no later than wanted. Guarded by mu
	drained bool      // Guarded by mu

	idle     atomic.Bool // net/http waits for a request
	hijacked atomic.Bool
	moored   bool // Read has ended so that the connection can be moored; before closed is closed

	bodySince time.Time // Read only
	bodyBytes int64     // Read only
	blocked   time.Duration
	written   int64 // since the answer began; Write only, as blocked

	why hythe.Reason // the connection ends for; 0: Finished. Read and Write, one after the other
	err error        // what lies behind that

	once   sync.Once
	closed chan struct{} // closed by Close
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
		w.written, w.blocked = 0, 0
		w.c.report()
	case http.StateHijacked:
		w.hijacked.Store(true)
	case http.StateClosed:
		w.c.report()
	}
}

func (w *wire) Read(b []byte) (n int, err error) {
	switch {
	case len(b) == 0:
		return 0, nil
	case w.track.broken:
		return 0, io.EOF
	}
	if len(w.pending) == 0 {
		idle := w.idle.Load() && w.track.between() && !w.hijacked.Load()
		switch {
		case idle:
			n, err = w.readIdle(b)
		case w.track.inBody():
			n, err = w.readBody(b)
		default:
			n, err = w.read(b)
			if isTimeout(err) && !w.track.between() && w.why == 0 {
				w.why = hythe.InputTimeout // in the middle of a head
			}
		}
		if n == 0 {
			return 0, err
		}
	}
	if w.idle.Swap(false) {
		w.Taken.SetIdle(false)
	}
	return w.handOut(b, n)
}

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
	w.why, w.err = hythe.BadFrame, errors.New("httpd: "+why)
	return &net.OpError{Op: "read", Err: errRefused} // to which net/http says nothing
}

var errRefused = errors.New("httpd: ambiguous request")

// read reads what has come, waiting for it until the deadline.
func (w *wire) read(b []byte) (int, error) {
	for {
		n, err := w.Taken.Read(b)
		if n > 0 || !isTimeout(err) || !w.early() {
			return n, err
		}
	}
}

// early reports whether a deadline was applied that nobody wants yet, and puts
// it off.
func (w *wire) early() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.drained && w.idle.Load() || !w.wanted.IsZero() && !time.Now().Before(w.wanted) {
		return false
	}
	w.apply(w.wanted)
	return true
}

// want sets the deadline for reading. mu is held.
func (w *wire) want(t time.Time) {
	w.wanted = t
	switch {
	case w.applied.IsZero() && t.IsZero():
	case w.applied.IsZero(), !t.IsZero() && t.Before(w.applied), !w.applied.After(time.Now()):
		w.apply(t)
	}
}

func (w *wire) apply(t time.Time) {
	w.applied = t
	w.Taken.Conn.SetReadDeadline(t)
}

// wantWithin sets a deadline of ours, if the one that was asked for is not
// earlier. It returns false when there is nothing to wait for any more.
func (w *wire) wantWithin(d time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.drained && w.idle.Load() {
		return false
	}
	if d < forever {
		t := time.Now().Add(d)
		if !w.asked.IsZero() && w.asked.Before(t) {
			t = w.asked
		}
		w.want(t)
	}
	return true
}

// SetReadDeadline is called by net/http and by handlers.
func (w *wire) SetReadDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = t
	if !w.drained || !w.idle.Load() {
		w.want(t)
	}
	return nil
}

// SetDeadline sets both deadlines.
func (w *wire) SetDeadline(t time.Time) error {
	w.SetReadDeadline(t)
	return w.SetWriteDeadline(t)
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// readIdle waits for the next request, for as long as a connection may be idle
// before it is moored.
func (w *wire) readIdle(b []byte) (int, error) {
	if !w.wantWithin(w.c.srv.moorAfter()) {
		return 0, io.EOF
	}
	n, err := w.read(b)
	w.mu.Lock()
	defer w.mu.Unlock()
	if n == 0 && isTimeout(err) {
		w.moored = !w.drained && (w.asked.IsZero() || time.Now().Before(w.asked))
		return 0, io.EOF
	}
	w.want(w.asked)
	return n, err
}

// readBody waits for more of a body, which must make progress.
func (w *wire) readBody(b []byte) (int, error) {
	began := time.Now()
	if w.bodySince.IsZero() {
		w.bodySince, w.bodyBytes = began, 0
	}
	idle := w.c.srv.bodyIdle()
	w.wantWithin(idle)
	n, err := w.read(b)
	w.bodyBytes += int64(n)
	late := n == 0 && isTimeout(err) && time.Since(began) >= idle
	if late || w.tooSlow(w.bodyBytes, time.Since(w.bodySince)) {
		w.giveUp(hythe.InputTimeout, ErrSlow)
		return 0, ErrSlow
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.want(w.asked)
	return n, err
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

// drain ends the wait for another request.
func (w *wire) drain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drained = true
	if w.idle.Load() {
		w.apply(time.Unix(1, 0))
	}
}

func (w *wire) Write(b []byte) (int, error) {
	if !w.c.active.Load() {
		w.sawRefusal(b)
	}
	if w.c.srv.MinRate <= 0 {
		return w.Taken.Write(b)
	}
	began := time.Now()
	n, err := w.Taken.Write(b)
	w.wrote(int64(n), time.Since(began))
	return n, err
}

// ReadFrom is what net/http sends files with.
func (w *wire) ReadFrom(r io.Reader) (int64, error) {
	began := time.Now()
	n, err := w.Taken.ReadFrom(r)
	if w.c.srv.MinRate > 0 {
		w.wrote(n, time.Since(began))
	}
	return n, err
}

// wrote ends the connection of a client that takes too little.
func (w *wire) wrote(n int64, took time.Duration) {
	w.written += n
	w.blocked += took
	if w.tooSlow(w.written, w.blocked) {
		w.giveUp(hythe.WriteStalled, ErrSlow)
	}
}

// SyscallConn gives access to the descriptor of a connection without TLS.
func (w *wire) SyscallConn() (syscall.RawConn, error) {
	if c, ok := w.Taken.NetConn().(syscall.Conn); ok {
		return c.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// Close is net/http's last word, or that of whoever has hijacked the connection.
func (w *wire) Close() error {
	w.once.Do(func() { close(w.closed) })
	return nil
}

// end does what is to be done once net/http has closed the connection.
func (w *wire) end() {
	switch {
	case w.moored:
		w.Taken.Conn.SetDeadline(time.Time{})
		w.Taken.Moor()
	case w.c.detached() != nil:
		// Detach has seen to it.
	default:
		w.Taken.Conn.SetDeadline(time.Time{})
		if w.why == 0 {
			w.why = hythe.Finished
		}
		w.Taken.ShutdownFor(w.why, w.err)
	}
}

var _ net.Conn = (*wire)(nil)
