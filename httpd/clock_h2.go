package httpd

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// A writer2 is the http.ResponseWriter of a request over HTTP/2, where a client
// that sends nothing, or takes nothing, holds a stream that no clock of the
// connection's sees. It looks now and then how long the handler has been waiting
// for its client, and ends the stream when that is too long.
//
// What is left to send when the handler has returned is under net/http's own
// deadline, http.Server.WriteTimeout. It is two AnswerIdles, and is put off with
// each look, so that a short request costs nothing but a timer.
//
// It has no Unwrap, so that Detach, which goes down to the server's own writer,
// finds this one.
type writer2 struct {
	http.ResponseWriter
	rc   *http.ResponseController
	srv  *Server
	body body2
	pace pace // who writes only

	begun bool // something was written. Who writes only

	mu      sync.Mutex
	timer   *time.Timer // nil: nothing is bounded. Guarded by mu
	reading time.Time   // since when the handler waits for the body; zero: it does not. Guarded by mu
	writing time.Time   // and for its answer to be taken. Guarded by mu
	late    bool        // no more of the body is waited for. Guarded by mu
	cut     bool        // the stream was ended. Guarded by mu
	asked   time.Time   // the handler's own deadline for writing. Guarded by mu
	over    bool        // the handler has returned: net/http's writer must not be used. Guarded by mu
}

// maxPiece is how much of an answer is written before progress is seen.
const maxPiece = 32 << 10

// longAgo is a deadline that has passed by any clock.
var longAgo = time.Unix(1, 0)

// watch puts w, and the body of r, under clocks, which run until stop is called.
func (s *Server) watch(w http.ResponseWriter, r *http.Request) *writer2 {
	w2 := &writer2{ResponseWriter: w, rc: http.NewResponseController(w), srv: s}
	w2.body = body2{ReadCloser: r.Body, w: w2}
	r.Body = &w2.body
	if first := min(s.answerIdle(), s.bodyIdle()); first < forever {
		w2.mu.Lock()
		defer w2.mu.Unlock()
		w2.timer = time.AfterFunc(first, w2.look)
	}
	return w2
}

// stop is to be called before net/http has its writer back.
func (w *writer2) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	if w.timer != nil {
		w.timer.Stop()
	}
}

// look ends a wait that is too long, and comes again when another might be.
func (w *writer2) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over || w.cut {
		return
	}
	now := time.Now()
	left := func(since time.Time, idle time.Duration) time.Duration {
		if since.IsZero() || idle == forever {
			return idle
		}
		return idle - now.Sub(since)
	}
	answer, body := left(w.writing, w.srv.answerIdle()), left(w.reading, w.srv.bodyIdle())
	if answer <= 0 {
		w.reset()
		return
	}
	if body <= 0 {
		w.endBody()
		body = forever
	}
	if w.srv.answerIdle() < forever && (w.asked.IsZero() || w.asked.After(now)) {
		w.rc.SetWriteDeadline(w.due(now))
	}
	w.timer.Reset(min(answer, body))
}

// endBody has Read fail, now and from now on. mu is held.
func (w *writer2) endBody() {
	if !w.late && !w.over {
		w.late = true
		w.rc.SetReadDeadline(longAgo)
	}
}

// reset has net/http reset the stream. mu is held.
func (w *writer2) reset() {
	if !w.cut && !w.over {
		w.cut = true
		w.rc.SetWriteDeadline(longAgo)
	}
}

// due returns the deadline for writing: the handler's, or an earlier one for what
// may be left when it returns. mu is held.
func (w *writer2) due(now time.Time) time.Time {
	if idle := w.srv.answerIdle(); idle < forever {
		if t := now.Add(2 * idle); w.asked.IsZero() || w.asked.After(t) {
			return t
		}
	}
	return w.asked
}

// SetWriteDeadline is for http.ResponseController, as the next three are.
func (w *writer2) SetWriteDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = t
	return w.rc.SetWriteDeadline(w.due(time.Now()))
}

func (w *writer2) SetReadDeadline(t time.Time) error { return w.rc.SetReadDeadline(t) }
func (w *writer2) EnableFullDuplex() error           { return w.rc.EnableFullDuplex() }

func (w *writer2) FlushError() error {
	_, err := w.waiting(func() (int, error) { return 0, w.rc.Flush() })
	return err
}

// Flush is for those who ask for an http.Flusher.
func (w *writer2) Flush() { w.FlushError() }

// Push is for those who ask for an http.Pusher.
func (w *writer2) Push(target string, opts *http.PushOptions) error {
	return w.ResponseWriter.(http.Pusher).Push(target, opts)
}

func (w *writer2) WriteHeader(status int) {
	w.begun = w.begun || status >= 200
	w.ResponseWriter.WriteHeader(status)
}

// Write writes b in pieces, so that progress is seen after each.
func (w *writer2) Write(b []byte) (n int, err error) {
	for {
		piece := b[n:min(len(b), n+maxPiece)]
		k, err := w.waiting(func() (int, error) { return w.ResponseWriter.Write(piece) })
		n += k
		if err != nil || n == len(b) {
			return n, err
		}
	}
}

// waiting does what may wait for the client to take something.
func (w *writer2) waiting(write func() (int, error)) (int, error) {
	began := time.Now()
	w.begun = true
	w.mu.Lock()
	cut := w.cut
	w.writing = began
	w.mu.Unlock()
	if cut {
		return 0, ErrSlow
	}
	n, err := write()
	waited := time.Since(began)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writing = time.Time{}
	if w.srv.tooSlow(&w.pace, n, waited) {
		w.reset()
	}
	if w.cut {
		return n, ErrSlow
	}
	return n, err
}

// body2 is a request's body over HTTP/2.
type body2 struct {
	io.ReadCloser
	w    *writer2
	pace pace // who reads only
}

func (b *body2) Read(p []byte) (int, error) {
	w, began := b.w, time.Now()
	w.mu.Lock()
	w.reading = began
	w.mu.Unlock()
	n, err := b.ReadCloser.Read(p)
	waited := time.Since(began)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reading = time.Time{}
	if err == nil && w.srv.tooSlow(&b.pace, n, waited) {
		w.endBody()
	}
	if w.late && isTimeout(err) {
		err = ErrSlow
	}
	return n, err
}

// A pace is how fast a client sends or takes, by the time in which it was waited
// for.
type pace struct {
	bytes  int64
	waited time.Duration
}

// tooSlow adds n bytes that were waited for, and reports whether the client does
// not keep MinRate.
func (s *Server) tooSlow(p *pace, n int, waited time.Duration) bool {
	p.bytes += int64(n)
	p.waited += waited
	return s.MinRate > 0 && p.waited > s.rateGrace() && float64(p.bytes)/p.waited.Seconds() < float64(s.MinRate)
}
