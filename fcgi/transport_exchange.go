package fcgi

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// An exchange is a request and its response on a connection. Several have to do
// with it, each in its turn:
//
//	RoundTrip    writes the head, then reads to the response's header
//	sender       a goroutine that writes the body, if there is one. It ends
//	             with the exchange, as soon as the body's Read returns
//	Body         reads on, on behalf of the caller
//	abandoner    a goroutine that takes over when nobody wants the response
//	             any more. It ends after AbortTimeout at the latest
//
// Who uses the connection has the baton for reading, or for writing. Whoever
// ends the exchange sets over, after which nobody begins to use it, and wakes
// those who do.
type exchange struct {
	t      *Transport
	pc     *clientConn
	req    *http.Request
	body   *onceBody // of the request; nil: none
	length int64     // of body

	reading  baton
	writing  baton
	answered bool // something of the response came. Reader only
	outEnded bool // STDOUT has ended. Reader only
	broken   bool // a write has failed, perhaps inside a record. Writer only

	mu       sync.Mutex
	over     error       // why it has ended. Guarded by mu
	headSent bool        // BEGIN_REQUEST and PARAMS are on their way. Guarded by mu
	sending  bool        // there is more of the body to write. Guarded by mu
	finished bool        // END_REQUEST came. Guarded by mu
	status   uint32      // what it said. Guarded by mu
	stop     func() bool // stops the wait for the context. Guarded by mu
}

// A baton is the turn to do something: one at a time has it. It is no Mutex, since
// it is held while waiting for the network, and for the caller's hook.
type baton chan struct{}

func (b baton) take() { b <- struct{}{} }
func (b baton) give() { <-b }

// errFinished is why an exchange is over that went well.
var errFinished = errors.New("fcgi: the response is complete")

// run sends the request and returns the response when its header has come.
func (x *exchange) run(head []byte) (*http.Response, error) {
	ctx := x.req.Context()
	x.mu.Lock()
	x.stop = context.AfterFunc(ctx, func() { x.abandon(context.Cause(ctx), 0) })
	x.mu.Unlock()
	if x.body == nil {
		head = appendHeader(head[:len(head):len(head)], typeStdin, clientID, 0)
	}
	if err := x.write(head, false); err != nil {
		return nil, x.abandon(err, 0)
	}
	x.mu.Lock()
	over := x.over
	x.sending = x.body != nil
	x.mu.Unlock()
	if over != nil {
		return nil, over
	}
	if x.body != nil {
		go x.send()
	}
	resp, err := x.readHeader()
	if err != nil {
		return nil, x.abandon(err, 0)
	}
	return resp, nil
}

// write writes records. last says that they are the request's last ones.
func (x *exchange) write(b []byte, last bool) error {
	x.writing.take()
	defer x.writing.give()
	x.mu.Lock()
	if x.over != nil {
		defer x.mu.Unlock()
		return x.over
	}
	x.sending = x.sending && !last
	x.pc.nc.SetWriteDeadline(time.Now().Add(or(x.t.WriteTimeout, time.Minute)))
	x.mu.Unlock()
	_, err := x.pc.nc.Write(b)
	x.broken = err != nil
	switch {
	case err == nil:
		x.mu.Lock()
		x.headSent = true
		x.mu.Unlock()
	case !isTimeout(err):
		err = fmt.Errorf("%w: %w", errGone, err)
	}
	return err
}

// send is the sender. What is wrong with the body ends the exchange; an
// application that takes no more of it may still have answered.
func (x *exchange) send() {
	err := x.sendBody()
	x.body.close()
	if err != nil && !errors.Is(err, errGone) {
		x.abandon(err, 0)
	}
}

func (x *exchange) sendBody() error {
	buf := batchPool.Get().(*[batchBytes]byte)
	defer batchPool.Put(buf)
	for left := x.length; left > 0; {
		n, err := x.body.Read(buf[headerBytes:min(int64(batchBytes), headerBytes+left)])
		if left -= int64(n); n > 0 {
			appendHeader(buf[:0], typeStdin, clientID, n)
			rec := append(buf[:headerBytes+n], padding[:-n&7]...)
			if left == 0 {
				rec = appendHeader(rec, typeStdin, clientID, 0)
			}
			if err := x.write(rec, left == 0); err != nil {
				return err
			}
		}
		if err == io.EOF && left > 0 {
			return fmt.Errorf("%w: %d bytes are missing", ErrBodyLength, left)
		}
		if err != nil && err != io.EOF {
			return err
		}
	}
	var more [1]byte
	if n, _ := x.body.Read(more[:]); n > 0 {
		return fmt.Errorf("%w: more than %d bytes", ErrBodyLength, x.length)
	}
	return nil
}

// next returns the next piece of STDOUT, or io.EOF when END_REQUEST has come.
// It is valid until the next call. It is called in the turn to read.
func (x *exchange) next() ([]byte, error) {
	for {
		x.mu.Lock()
		if x.over != nil {
			defer x.mu.Unlock()
			return nil, x.over
		}
		x.pc.nc.SetReadDeadline(time.Now().Add(or(x.t.ReadTimeout, time.Minute)))
		x.mu.Unlock()
		rec, err := x.pc.next()
		if err != nil {
			if errors.Is(err, errGone) && x.outEnded {
				err = io.EOF // only the word that it was all is missing
				x.finish(false)
			}
			return nil, err
		}
		x.answered = true
		p, err := x.record(rec)
		if len(p) > 0 || err != nil {
			return p, err
		}
	}
}

// record looks at a record of the response. It returns what it has of STDOUT.
func (x *exchange) record(rec record) ([]byte, error) {
	if rec.id != clientID {
		return nil, fmt.Errorf("%w: a record for request %d", ErrBadResponse, rec.id)
	}
	switch rec.kind {
	case typeStdout:
		if x.outEnded && !rec.end {
			return nil, fmt.Errorf("%w: output behind its end", ErrBadResponse)
		}
		x.outEnded = x.outEnded || rec.end
		return rec.content, nil
	case typeStderr:
		if x.t.Stderr != nil && !rec.end {
			x.t.Stderr(x.req, rec.content)
		}
		return nil, nil
	case typeEnd:
		return nil, x.ended(rec.content)
	}
	return nil, fmt.Errorf("%w: a record of type %d", ErrBadResponse, rec.kind)
}

// ended looks at an END_REQUEST: section 5.5. It returns io.EOF if all is well.
func (x *exchange) ended(b []byte) error {
	if len(b) != controlBody {
		return fmt.Errorf("%w: END_REQUEST of %d bytes", ErrBadResponse, len(b))
	}
	protocol := b[4]
	x.mu.Lock()
	x.status = binary.BigEndian.Uint32(b)
	x.mu.Unlock()
	x.finish(true) // b is no longer ours
	switch protocol {
	case statusComplete:
		return io.EOF
	case statusCantMultiplex:
		return ErrCantMultiplex
	case statusOverloaded:
		return ErrOverloaded
	case statusUnknownRole:
		return ErrUnknownRole
	}
	return fmt.Errorf("%w: protocol status %d", ErrBadResponse, protocol)
}

// finish ends the exchange in peace, in the turn to read. The connection is kept
// if it may be and all of the request was sent.
func (x *exchange) finish(keep bool) {
	x.mu.Lock()
	first := x.over == nil
	if first {
		x.over, x.finished = errFinished, true
	}
	x.mu.Unlock()
	if first {
		x.release(keep)
	}
}

// release gives the connection back, in the turn to read and when the exchange
// is over.
func (x *exchange) release(keep bool) {
	x.mu.Lock()
	keep = keep && !x.sending && x.t.idlePerAddress() > 0
	x.stop()
	x.mu.Unlock()
	if x.isBegun() { // or else the body may be needed for another try
		x.body.close()
	}
	if keep {
		x.pc.nc.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)) // the last write is about to return
	} else {
		x.pc.nc.Close()
	}
	x.writing.take()
	defer x.writing.give()
	x.t.put(x.pc, keep && !x.broken)
}

// abandon ends the exchange because of err, unless it has ended, and leaves the
// rest to somebody else. It returns why it has ended. The connection may still
// be kept if the response turns out to be complete within patience.
func (x *exchange) abandon(err error, patience time.Duration) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over == errFinished {
		return err
	}
	if x.over == nil {
		x.over = err
		x.pc.nc.SetReadDeadline(time.Unix(1, 0))
		x.pc.nc.SetWriteDeadline(time.Now().Add(x.t.abortTimeout()))
		go x.leave(!errors.Is(err, errGone) && !errors.Is(err, ErrBadResponse), patience)
	}
	return x.over
}

// abandoned returns why the exchange was abandoned, nil if it was not.
func (x *exchange) abandoned() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over == errFinished {
		return nil
	}
	return x.over
}

// isBegun reports whether the application has the head of the request, so that
// it may be at work.
func (x *exchange) isBegun() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.headSent
}

func (t *Transport) abortTimeout() time.Duration {
	return max(or(t.AbortTimeout, time.Second), time.Millisecond)
}

// leave is the abandoner. If the connection is in order it looks whether the
// response is complete, and otherwise says ABORT_REQUEST, section 5.4, and waits
// for the end of that.
func (x *exchange) leave(inOrder bool, patience time.Duration) {
	if !inOrder {
		x.pc.nc.Close()
	}
	if x.isBegun() {
		x.body.close() // the sender may wait for it
	}
	x.reading.take()
	defer x.reading.give()
	complete := inOrder && x.drain(time.Now().Add(patience))
	if inOrder && !complete {
		x.abort()
	}
	x.release(complete)
}

// drain reads to the END_REQUEST, if it comes in time.
func (x *exchange) drain(until time.Time) bool {
	x.pc.nc.SetReadDeadline(until)
	for {
		rec, err := x.pc.next()
		if err != nil || rec.id != clientID {
			return false
		}
		if rec.kind == typeEnd {
			return true
		}
	}
}

// abort has the application end the request, if it can still be told so.
func (x *exchange) abort() {
	x.writing.take()
	defer x.writing.give()
	if x.broken || !x.isBegun() {
		return
	}
	until := time.Now().Add(x.t.abortTimeout())
	x.pc.nc.SetWriteDeadline(until)
	if _, err := x.pc.nc.Write(appendHeader(nil, typeAbort, clientID, 0)); err == nil {
		x.drain(until)
	}
}
