package fcgi

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/hythe-go/hythe"
)

// A conn is the protocol of one connection: it takes records apart in the
// connection's turns and hands requests to handlers. A request is
//
//	begun     by BEGIN_REQUEST; its parameters come
//	running   its handler was started, when the parameters were complete
//	ended     nothing is sent for it any more, but for its END_REQUEST
//	gone      END_REQUEST was sent; the id is free. The handler may still run
//
// and counts against the limits until it is both gone and not running.
type conn struct {
	srv *Server
	st  *hythe.Stream

	dec      decoder // turn only
	coming   bool    // there may be live requests that are not running. Turn only
	draining bool    // turn only

	closing bool // a request without KEEP_CONN was answered. Guarded by mu
	sending bool // somebody sends, without mu. Guarded by mu

	work sync.WaitGroup // handlers, and who waits for room

	mu      sync.Mutex
	count   int32      // requests that count against the limits. Guarded by mu
	live    []*request // those that are not gone. Guarded by mu
	release func()     // lets go of the connection; set while count > 0. Guarded by mu
	line    *line      // who waits to send; made by the first. Guarded by mu
}

// errProtocol is the peer's fault, and the end of its connection.
type errProtocol string

func (e errProtocol) Error() string { return "fcgi: " + string(e) }

// Input is called in turns.
func (c *conn) Input(src []byte, eof bool) (n int, err error) {
	short := false
	for !short && !c.st.Yield() {
		k, rec, err := c.dec.next(src[n:])
		n += k
		switch {
		case err == errShort:
			short = true
		case err == nil:
			err = c.record(rec)
		}
		if err != nil && !short {
			c.cancelAll(err)
			return n, hythe.BadInput(err)
		}
	}
	if short && eof {
		err = c.inputEnded(n < len(src) || !c.dec.between())
	}
	if c.coming {
		c.startAll()
	}
	return n, err
}

// startAll starts the requests that have come, and gives the others their clock.
func (c *conn) startAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.coming = false
	for _, req := range c.live {
		switch {
		case req.ended:
		case req.stage == complete:
			req.start()
		case req.stage == inParams:
			c.coming = true
			if req.overdue == nil {
				req.overdue = time.AfterFunc(c.srv.paramsTimeout(), func() { req.end(ending{status: http.StatusRequestTimeout}) })
			}
		}
	}
}

// record deals with one record, or one piece of one.
func (c *conn) record(r record) error {
	if r.id == 0 {
		c.manage(r)
		return nil
	}
	if r.kind == typeBegin {
		return c.begin(r)
	}
	req := c.find(r.id)
	if req == nil {
		return nil // section 3.3: records for inactive ids are ignored
	}
	switch r.kind {
	case typeParams:
		req.addParams(r)
	case typeStdin:
		req.addTo(&req.stdin, r)
	case typeData:
		if req.data != nil {
			req.addTo(req.data, r)
		}
	case typeAbort:
		req.end(ending{cause: ErrAborted})
	}
	return nil
}

// find returns the request of an active id. Turn only: nobody else adds one.
func (c *conn) find(id uint16) *request {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, req := range c.live {
		if req.id == id {
			return req
		}
	}
	return nil
}

// manage answers a management record, section 4. Records of requests do not
// belong under id 0, and are types unknown there.
func (c *conn) manage(r record) {
	if r.kind != typeGetValues {
		if r.first {
			c.st.Write(appendUnknownType(nil, r.kind))
		}
		return
	}
	var body []byte
	asked := make([]string, 0, 3)
	for name := range pairs(string(r.content)) {
		if value, known := c.srv.value(name); known && !slices.Contains(asked, name) {
			asked = append(asked, name)
			body = appendPair(body, name, value)
		}
	}
	c.st.Write(appendRecord(nil, typeGetValuesResult, 0, body))
}

// begin begins a request, or refuses to: section 5.1 and 5.5.
func (c *conn) begin(r record) error {
	if len(r.content) != controlBody {
		return errProtocol(fmt.Sprintf("BEGIN_REQUEST of %d bytes, want %d", len(r.content), controlBody))
	}
	if c.find(r.id) != nil {
		return errProtocol(fmt.Sprintf("BEGIN_REQUEST for request %d, which is active", r.id))
	}
	role := uint16(r.content[0])<<8 | uint16(r.content[1])
	keep := r.content[2]&flagKeepConn != 0
	if status := c.admit(role); status != statusComplete {
		c.srv.refused.Add(1)
		c.st.Write(appendEnd(nil, r.id, 0, status))
		c.mu.Lock()
		defer c.mu.Unlock()
		c.gone(nil, keep)
		return nil
	}
	req := &request{c: c, id: r.id, role: role, keep: keep, began: time.Now()}
	req.resp.req = req
	req.stdin.init(req, -1)
	if role == roleFilter {
		req.data = new(body)
		req.data.init(req, -1)
	}
	c.coming = true
	c.mu.Lock()
	c.live = append(c.live, req)
	if c.count++; c.count == 1 {
		c.release = c.st.Hold()
	}
	c.mu.Unlock()
	return nil
}

// admit finds a place for a request, if there is one.
func (c *conn) admit(role uint16) (status uint8) {
	s := c.srv
	if s.handler(role) == nil {
		return statusUnknownRole
	}
	c.mu.Lock()
	live, count, over := len(c.live), c.count, c.closing && len(c.live) == 0
	c.mu.Unlock()
	switch {
	case over: // the connection is being closed: nobody could be answered
		return statusOverloaded
	case s.NoMultiplex && live > 0, int(count) >= s.requestsPerConn():
		return statusCantMultiplex
	case c.draining && live > 0: // a connection that is never idle would never end
		return statusOverloaded
	case s.memory.Load() >= s.maxMemory():
		return statusOverloaded
	case s.active.Add(1) > int64(s.requests()):
		s.active.Add(-1)
		return statusOverloaded
	}
	return statusComplete
}

// gone frees the id of a request, nil for one that was refused, when its
// END_REQUEST has been sent. The connection ends with it if one request was
// without KEEP_CONN and no other is left. c.mu is held.
func (c *conn) gone(req *request, keep bool) {
	if i := slices.Index(c.live, req); i >= 0 {
		c.live = slices.Delete(c.live, i, i+1)
	}
	c.closing = c.closing || !keep
	if c.closing && len(c.live) == 0 {
		c.st.Shutdown()
	}
}

// forget takes a request off the count, at its very end. c.mu is held.
func (c *conn) forget() {
	if c.count--; c.count == 0 {
		release := c.release
		c.release = nil
		release()
	}
}

// alone reports whether req is the only request on the connection.
func (c *conn) alone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.live) == 1
}

// inputEnded deals with the end of the input: requests that have not come whole
// never will, and nobody may be left to answer the others. broken says that it
// ended inside a record.
func (c *conn) inputEnded(broken bool) error {
	c.mu.Lock()
	live := slices.Clone(c.live)
	c.mu.Unlock()
	whole := 0
	for _, req := range live {
		switch {
		case req.stage == inParams:
			req.end(ending{cause: errInputEnded, silent: true})
			continue
		case !req.isWhole():
			req.stdin.cut(io.ErrUnexpectedEOF)
			if req.data != nil {
				req.data.cut(io.ErrUnexpectedEOF)
			}
		default:
			whole++
		}
		if !c.srv.IgnoreEOF {
			req.context().cancel(errInputEnded)
		}
	}
	if broken && whole == 0 {
		return hythe.BadInput(io.ErrUnexpectedEOF)
	}
	return nil
}

// errInputEnded is the cause of a context when the web server has closed the
// connection, or half of it.
var errInputEnded = &hythe.CloseError{Reason: hythe.PeerDone}

// start runs f: in this turn, which goes on without it if it takes long, or
// beside it.
func (c *conn) start(f func(), inTurn bool) {
	if !inTurn {
		c.work.Go(f)
		return
	}
	c.work.Add(1)
	c.st.Aside(func() {
		defer c.work.Done()
		f()
	})
}

// Draining is called when the server drains.
func (c *conn) Draining() { c.draining = true }

// Closed is the connection's last call.
func (c *conn) Closed(reason error) {
	c.cancelAll(reason)
	c.work.Wait()
}

// cancelAll ends all requests without a word.
func (c *conn) cancelAll(reason error) {
	c.mu.Lock()
	live := slices.Clone(c.live)
	c.mu.Unlock()
	for _, req := range live {
		req.end(ending{cause: reason, silent: true})
	}
}
