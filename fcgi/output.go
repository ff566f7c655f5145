package fcgi

import (
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/hythe-go/hythe"
)

// closingBytes is how much may come behind the content of a request's last
// record: its padding, the ends of two streams, END_REQUEST.
const closingBytes = 7 + 2*headerBytes + headerBytes + controlBody

// errReturned is the error of a ResponseWriter whose handler has returned.
var errReturned = errors.New("fcgi: the handler has returned")

// errRefused is why the input of a request that was refused cannot be read.
var errRefused = errors.New("fcgi: request refused")

// errNoMemory is why a request ended when there was no room for its parameters.
var errNoMemory = errors.New("fcgi: no memory for the parameters of a request")

// A line is of those who wait to send on a connection.
type line struct {
	places   []*place  // first come first
	changed  sync.Cond // the line, or the room for output, or a request has ended
	flushing bool      // a goroutine waits for the output queue to be empty
}

// A place is somebody's in a line. It is not empty, so that each has an address
// of its own.
type place struct{ _ byte }

// send queues a whole record of a request's output. It returns why the request
// has ended if it has: nothing is sent after its END_REQUEST.
func (c *conn) send(req *request, b []byte, kind recordType) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := kind == typeStdout && !req.sent
	switch {
	case first:
		req.sent, req.status = true, req.resp.status
	case kind == typeStderr:
		req.stderr = true
	}
	err := c.queue(b, false, func() error {
		if d := req.resp.deadline; !d.IsZero() && !time.Now().Before(d) {
			return os.ErrDeadlineExceeded
		}
		return req.overLocked()
	})
	if err != nil && first {
		req.sent, req.status = false, 0
	}
	return err
}

// queue queues whole records. It waits for room, in line with the other requests
// of the connection, so that each gets to send one record after the other, and
// as long as may returns no error. c.mu is held, but not while it waits. last
// says that b is the last of a request, which is gone before anybody can see it.
func (c *conn) queue(b []byte, last bool, may func() error) error {
	var mine *place
	for {
		err := may()
		if err == nil && !c.sending && c.isFirst(mine) {
			if err = c.tryWrite(b, last); err == nil {
				c.leaveLine(mine)
				return nil
			}
			if err == hythe.ErrFull {
				c.awaitFlush()
				err = nil
			}
		}
		if err != nil {
			c.leaveLine(mine)
			return err
		}
		l := c.needLine()
		if mine == nil {
			mine = new(place)
			l.places = append(l.places, mine)
		}
		l.changed.Wait()
	}
}

// tryWrite is Stream.TryWrite. Unless locked it lets go of c.mu meanwhile, so
// that others can get in line.
func (c *conn) tryWrite(b []byte, locked bool) error {
	if locked {
		return c.st.TryWrite(b)
	}
	c.sending = true
	c.mu.Unlock()
	err := c.st.TryWrite(b)
	c.mu.Lock()
	c.sending = false
	c.wake()
	return err
}

// leaveLine gives up a place, nil for none. c.mu is held.
func (c *conn) leaveLine(p *place) {
	if p != nil {
		c.line.places = slices.DeleteFunc(c.line.places, func(other *place) bool { return other == p })
		c.wake()
	}
}

// isFirst reports whether nobody is in line before p, nil for who is not in it.
// c.mu is held.
func (c *conn) isFirst(p *place) bool {
	return c.line == nil || len(c.line.places) == 0 || c.line.places[0] == p
}

// wake has those in line look again. c.mu is held.
func (c *conn) wake() {
	if c.line != nil {
		c.line.changed.Broadcast()
	}
}

// c.mu is held.
func (c *conn) needLine() *line {
	if c.line == nil {
		c.line = &line{changed: sync.Cond{L: &c.mu}}
	}
	return c.line
}

// awaitFlush wakes the line when the output queue is empty again, or the
// connection has ended. c.mu is held.
func (c *conn) awaitFlush() {
	l := c.needLine()
	if l.flushing {
		return
	}
	l.flushing = true
	c.work.Go(func() {
		c.st.Flush() // an error is TryWrite's as well
		c.mu.Lock()
		defer c.mu.Unlock()
		l.flushing = false
		c.wake()
	})
}

// setWriteDeadline bounds how long a request waits in line.
func (c *conn) setWriteDeadline(req *request, t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := &req.resp
	w.deadline = t
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	if t.IsZero() || req.ended {
		return
	}
	w.timer = time.AfterFunc(time.Until(t), func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.wake()
	})
}
