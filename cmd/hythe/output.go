package main

import (
	"bytes"
	"context"
	"errors"
	"sync"
)

// maxHeldBytes is how many bytes of lines are held for the destination. When
// there are so many, put waits. The last line may go past it.
const maxHeldBytes = 1 << 20

// A destination is where an output writes to.
type destination interface {
	// open waits until there is a connection. broke is why the last one came to
	// its end, nil at first. An error means that there will be none any more.
	// It is called by one goroutine.
	open(ctx context.Context, broke error) (connection, error)
}

// A connection leads to a destination.
type connection interface {
	// Write writes lines. On error n bytes were written. One goroutine calls it.
	Write(lines []byte) (n int, err error)

	// gone is closed when the other side has left. It may be nil.
	gone() <-chan struct{}

	// finish closes the connection after the last Write, and waits until the
	// other side has closed it as well, though not for long.
	finish(ctx context.Context)

	// abort closes the connection now, and ends a Write that waits if it can.
	abort()
}

// An output writes lines to a destination in the order in which put took them.
// One goroutine, run, does the writing: whatever has come since it last looked
// leaves with one write, so that a lone line is not delayed and many are not
// written one by one.
//
//	opening    there is no connection; put waits                 -> open
//	open       put takes lines, up to maxHeldBytes; run writes   -> opening, over
//	over       put returns err; what is held will not be written
//
// close ends an output when all it holds was written; until then it goes on
// opening connections if it needs them.
type output struct {
	dest   destination
	wake   chan struct{}      // holds one; run looks again
	cancel context.CancelFunc // ends run
	ended  chan struct{}      // closed when run has returned

	mu    sync.Mutex
	held  []byte        // lines that were not written
	room  chan struct{} // closed when put may try again; nil: nobody waits
	open  bool          // there is a connection
	last  bool          // no more lines come
	err   error         // why it is over
	lines uint64        // taken by put
}

var (
	errPeerGone = errors.New("the other side closed the connection")
	errGivenUp  = errors.New("the time to finish is over")
	errFinished = errors.New("the output is closed")
)

// startOutput starts the goroutine that writes to dest. close and giveUp end it.
func startOutput(dest destination) *output {
	ctx, cancel := context.WithCancel(context.Background())
	o := &output{dest: dest, wake: make(chan struct{}, 1), cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(o.ended)
		defer cancel()
		o.over(o.run(ctx))
	}()
	return o
}

// put takes a line, without its end, and waits for room if there is none. An
// error means that the output is over. line is copied. It is safe for
// concurrent use.
func (o *output) put(line []byte) error {
	for {
		room, err := o.tryPut(line)
		if room == nil {
			return err
		}
		<-room
	}
}

// tryPut takes a line, or returns a channel that is closed when it is worth
// another try.
func (o *output) tryPut(line []byte) (room <-chan struct{}, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.err != nil:
		return nil, o.err
	case !o.open || len(o.held) >= maxHeldBytes:
		if o.room == nil {
			o.room = make(chan struct{})
		}
		return o.room, nil
	}
	o.held = append(append(o.held, line...), '\n')
	o.lines++
	o.look()
	return nil, nil
}

// look has run look again.
func (o *output) look() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// retry wakes everybody who waits in put. o.mu is held.
func (o *output) retry() {
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
}

// run writes until everything was written and no more comes (nil), until ctx
// ends, or until the destination is beyond hope.
func (o *output) run(ctx context.Context) error {
	var broke error
	for {
		c, err := o.dest.open(ctx, broke)
		if err != nil {
			return err
		}
		o.setOpen(true)
		stop := context.AfterFunc(ctx, c.abort)
		broke = o.write(ctx, c)
		o.setOpen(false)
		if broke == nil {
			c.finish(ctx)
			stop()
			return nil
		}
		stop()
		c.abort()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// write writes lines to c. It returns nil when there are no more, and otherwise
// why c is of no more use.
func (o *output) write(ctx context.Context, c connection) error {
	for {
		select {
		case <-c.gone():
			return errPeerGone
		default:
		}
		lines, last := o.peek()
		switch {
		case len(lines) > 0:
			n, err := c.Write(lines)
			o.written(lines[:n])
			if err != nil {
				return err
			}
			continue
		case last:
			return nil
		}
		select {
		case <-o.wake:
		case <-c.gone():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// peek returns the lines that are held, and whether they are the last. They
// stay as they are until written is called; put only appends behind them.
func (o *output) peek() (lines []byte, last bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.held, o.last
}

// written drops the lines that are whole in what was written. One that was cut
// is held, to be written again from its beginning.
func (o *output) written(what []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := bytes.LastIndexByte(what, '\n') + 1
	o.held = append(o.held[:0], o.held[n:]...)
	o.retry()
}

func (o *output) setOpen(open bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open = open; open {
		o.retry()
	}
}

// over makes put return err from now on.
func (o *output) over(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		if o.err = err; err == nil {
			o.err = errFinished
		}
	}
	o.open = false
	o.retry()
}

// reason returns why it is over.
func (o *output) reason() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// close writes what is held and ends the output. No line may be put any more.
// When ctx ends it gives up. It returns how many lines were taken, how many of
// them may not have been written, and why.
func (o *output) close(ctx context.Context) (taken uint64, left int, err error) {
	o.mu.Lock()
	o.last = true
	idle := !o.open && len(o.held) == 0
	o.mu.Unlock()
	o.look()
	if idle {
		o.giveUp() // nothing is worth waiting for a connection
	}
	select {
	case <-o.ended:
	case <-ctx.Done():
		o.giveUp()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	left = bytes.Count(o.held, []byte("\n"))
	if left > 0 {
		err = o.err
	}
	return o.lines, left, err
}

// giveUp ends the output now. A write to standard output that is stuck cannot
// be ended; nobody waits for it.
func (o *output) giveUp() {
	o.over(errGivenUp)
	o.cancel()
}
