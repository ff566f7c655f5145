package fcgi

import (
	"net/http"
	"time"
)

// Served tells of a request that has ended.
type Served struct {
	// Request is nil if no handler was called.
	Request *http.Request

	// Status is the response's; 0 if there was none.
	Status int

	AppStatus uint32 // see SetAppStatus
	BytesIn   int64  // of the body, as far as it came
	BytesOut  int64  // of the response's body, as far as it was written
	Began     time.Time
	Duration  time.Duration // until the handler returned

	// Err says why the request ended before its handler's answer was
	// complete: ErrAborted, a *hythe.CloseError when the connection ended,
	// context.DeadlineExceeded after HandlerTimeout, a *hythe.PanicError. It
	// is nil if all was well.
	Err error
}

// observe tells the Observer of a request that has ended and that no handler has
// any more.
func (req *request) observe() {
	s := req.c.srv
	if s.Observer == nil {
		return
	}
	req.stdin.mu.Lock()
	in := req.stdin.come
	req.stdin.mu.Unlock()
	s.Observer(&Served{
		Request:   req.http,
		Status:    req.status,
		AppStatus: req.appStatus,
		BytesIn:   in,
		BytesOut:  req.resp.written,
		Began:     req.began,
		Duration:  time.Since(req.began),
		Err:       req.err,
	})
}
