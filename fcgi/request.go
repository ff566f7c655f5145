package fcgi

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hythe-go/hythe"
)

// A request is one request on one connection. Its stages are in the comment of
// conn.
type request struct {
	c     *conn
	id    uint16
	role  uint16
	keep  bool
	began time.Time

	stage  stage  // turn only
	first  string // parameters that came in one piece, until there is another. Turn only
	raw    []byte // parameters that came in several. Turn only
	params params // written before the handler starts
	stdin  body
	data   *body // nil but for a Filter
	resp   response
	url    url.URL

	overdue *time.Timer // the clock of the parameters. Guarded by conn.mu
	limit   *time.Timer // the clock of the handler. Guarded by conn.mu

	// Guarded by conn.mu.
	held      int64  // bytes of parameters, as counted in Server.memory
	running   bool   // a handler has it
	ended     bool   // nothing more is sent for it
	gone      bool   // its id is free
	uncounted bool   // it does not count in Server.active and memory any more
	sent      bool   // output has been sent to STDOUT
	stderr    bool   // ... to STDERR
	status    int    // of the response that was sent; 0: none
	appStatus uint32 // of END_REQUEST
	err       error  // why it ended early

	http *http.Request // what the handler was given, nil before. The handler's, then observe's

	// The context; see context.go.
	ctxMu     sync.Mutex
	ctx       context.Context
	cancelCtx context.CancelCauseFunc
	cause     error
}

type stage uint8

const (
	inParams stage = iota // parameters come
	complete              // they have come
	running               // a handler was started
)

func (req *request) context() *requestContext { return (*requestContext)(req) }

// addParams adds a piece of PARAMS.
func (req *request) addParams(r record) {
	s := req.c.srv
	if req.stage != inParams || !req.hold(len(r.content)) {
		return
	}
	status := 0
	switch {
	case s.memory.Load() > s.maxMemory():
		req.end(ending{cause: errNoMemory, protocol: statusOverloaded})
	case r.end:
		req.stage = complete
		all := req.first
		if req.raw != nil {
			all = string(req.raw)
		}
		req.first, req.raw = "", nil
		status = req.prepare(all)
	case len(req.first)+len(req.raw)+len(r.content) > s.paramBytes():
		status = http.StatusRequestHeaderFieldsTooLarge
	case req.first == "" && req.raw == nil:
		req.first = string(r.content)
	default:
		req.raw = append(append(req.raw, req.first...), r.content...)
		req.first = ""
	}
	if status != 0 {
		req.end(ending{status: status})
	}
}

// hold counts n bytes of parameters, unless the request has ended.
func (req *request) hold(n int) bool {
	req.c.mu.Lock()
	defer req.c.mu.Unlock()
	if req.ended {
		return false
	}
	req.held += int64(n)
	req.c.srv.memory.Add(int64(n))
	return true
}

// prepare looks at the parameters. It returns the status to refuse them with, or
// zero.
func (req *request) prepare(all string) (status int) {
	s := req.c.srv
	var err error
	if req.params, err = scanParams(all); err != nil {
		return http.StatusBadRequest
	}
	if req.params.count > s.paramCount() {
		return http.StatusRequestHeaderFieldsTooLarge
	}
	if req.role == roleAuthorizer { // section 6.3: it has no body, and no end of one may come
		req.stdin.setLength(0)
		return 0
	}
	if req.params.length > s.bodyBytes() || req.params.dataLength > s.bodyBytes() {
		return http.StatusRequestEntityTooLarge
	}
	ok := req.stdin.setLength(req.params.length)
	if req.data != nil {
		ok = req.data.setLength(req.params.dataLength) && ok
	}
	if !ok {
		return http.StatusBadRequest
	}
	return 0
}

// How long the input of a connection waits for the handler of its only request
// to read its body, before what does not fit goes to a file.
const patience = 100 * time.Millisecond

// addTo adds a piece of STDIN or DATA to b.
func (req *request) addTo(b *body, r record) {
	if r.end {
		b.end()
		return
	}
	alone := req.stage == running && req.c.alone()
	switch b.add(r.content, !alone) {
	case full:
		b.hold(patience)
	case stuck:
		if alone {
			b.hold(-1)
		} else {
			req.end(ending{cause: errNoDisk, status: http.StatusRequestEntityTooLarge})
		}
	}
}

// start has the handler called. A request that is alone and has come whole, as
// most do, is worked on in the connection's turn. conn.mu is held.
func (req *request) start() {
	c := req.c
	req.stage = running
	req.running = true
	if d := c.srv.HandlerTimeout; d > 0 {
		req.limit = time.AfterFunc(d, func() {
			req.end(ending{cause: context.DeadlineExceeded, status: http.StatusServiceUnavailable})
		})
	}
	c.start(req.serve, len(c.live) == 1 && req.isWhole())
}

// isWhole reports whether all input of the request has come.
func (req *request) isWhole() bool {
	return req.stdin.isWhole() && (req.data == nil || req.data.isWhole())
}

// serve calls the handler and sees its answer off.
func (req *request) serve() {
	returned := false
	defer func() {
		if !returned {
			req.panicked(recover())
		}
		req.context().cancel(context.Canceled)
		req.resp.close()
	}()
	r, status := req.newRequest()
	if status != 0 {
		req.kill(errRefused)
		req.end(ending{status: status, returned: true})
	} else {
		req.http = r
		req.c.srv.handler(req.role).ServeHTTP(&req.resp, r)
		req.kill(http.ErrBodyReadAfterClose)
		req.resp.finish()
	}
	returned = true
}

// panicked ends the request of a handler that panicked with v, or, if v is nil,
// that ended its goroutine.
func (req *request) panicked(v any) {
	err := &hythe.PanicError{Value: v, Stack: debug.Stack()}
	req.resp.close()
	s := req.c.srv
	s.panicked.Add(1)
	if v != http.ErrAbortHandler {
		s.logger().Error("fcgi: panic in a handler", slog.Any("value", v), slog.String("stack", string(err.Stack)))
	}
	req.c.mu.Lock()
	if req.appStatus == 0 {
		req.appStatus = 1
	}
	req.c.mu.Unlock()
	req.kill(http.ErrBodyReadAfterClose)
	req.end(ending{cause: err, status: http.StatusInternalServerError, returned: true})
}

// An ending is how a request ends.
type ending struct {
	cause    error  // why it ends before its handler's answer is complete
	last     []byte // the last records of its output
	status   int    // if nothing was sent yet: a response that says just that. 0: none
	protocol uint8  // the protocol status, which is all that is sent if it is not statusComplete
	silent   bool   // nothing at all is sent
	returned bool   // the handler has returned
}

// end ends the request, unless it has ended already. It may wait for room.
func (req *request) end(e ending) {
	c := req.c
	c.mu.Lock()
	if req.ended && !e.returned {
		c.mu.Unlock()
		return
	}
	if e.returned {
		req.running = false
	}
	if !req.running && !req.uncounted {
		// Before anybody can see the END_REQUEST and begin another one.
		req.uncounted = true
		c.srv.active.Add(-1)
		c.srv.memory.Add(-req.held)
	}
	if !req.ended {
		req.ended = true
		req.err = e.cause
		c.srv.served.Add(1)
		if e.cause != nil {
			c.srv.aborted.Add(1)
		}
		if !e.returned {
			req.kill(cmp.Or(e.cause, errRefused))
			req.context().cancel(cmp.Or(e.cause, errRefused))
		}
		c.wake()
		switch {
		case req.sent:
		case e.status != 0:
			e.last = appendStatusResponse(e.last, req.id, e.status)
			req.status = e.status
		case len(e.last) > 0:
			req.status = req.resp.status
		}
		if !e.silent {
			err := c.queue(req.appendClosing(e.last, e.protocol), true, func() error { return nil })
			if err != nil && req.err == nil { // nobody is there to have it
				req.err = err
				c.srv.aborted.Add(1)
				if !req.sent {
					req.status = 0
				}
			}
		}
		stop(req.overdue)
		stop(req.limit)
		stop(req.resp.timer)
		c.gone(req, req.keep)
		req.gone = true
	}
	over := req.gone && !req.running
	if over {
		c.forget()
	}
	c.mu.Unlock()
	if over {
		req.observe()
	}
}

func stop(t *time.Timer) {
	if t != nil {
		t.Stop()
	}
}

// kill drops the input.
func (req *request) kill(why error) {
	req.stdin.kill(why)
	if req.data != nil {
		req.data.kill(why)
	}
}

// appendClosing appends what ends a request: section 5.5. An aborted one is
// complete as well.
func (req *request) appendClosing(b []byte, protocol uint8) []byte {
	if protocol != statusComplete {
		return appendEnd(b, req.id, 0, protocol)
	}
	b = appendHeader(b, typeStdout, req.id, 0)
	if req.stderr {
		b = appendHeader(b, typeStderr, req.id, 0)
	}
	return appendEnd(b, req.id, req.appStatus, statusComplete)
}

// over returns why the request has ended, nil if it has not.
func (req *request) over() error {
	req.c.mu.Lock()
	defer req.c.mu.Unlock()
	return req.overLocked()
}

func (req *request) overLocked() error {
	switch {
	case !req.ended:
		return nil
	case req.err != nil:
		return req.err
	}
	return errReturned
}
