package relay

import (
	"context"
	"errors"
	"fmt"

	"github.com/hythe-go/hythe/link"
)

// An Output delivers the messages of one lane to one place. Brokers with clients
// of their own (NATS, Kafka, Redis) fit in as well as sockets and files do.
type Output interface {
	// Run delivers what the lane has, until ctx ends, and returns when nothing
	// of it runs any more. It never gives up: while it cannot deliver it waits,
	// and Link says why.
	//
	// It takes messages with Lane.Next, and says of each, in order, that it was
	// delivered (Confirm) or never will be (Reject). When a connection breaks
	// it calls Lane.Again and has those once more that it has said nothing of.
	Run(ctx context.Context, lane *Lane)

	// Link describes the connection for people. ok is false if there is none,
	// as with standard output.
	Link() (s link.Status, ok bool)
}

// Linked is an Output over a link: whenever there is a connection it has Deliver
// use it.
type Linked[C any] struct {
	L *link.Link[C]

	// Deliver delivers until it fails. The link is told why, and makes a new
	// connection after a pause. link.RetryAfter sets the pause; with a single
	// endpoint link.Permanent has the link fail visibly and try seldom.
	Deliver func(ctx context.Context, c C, lane *Lane) error
}

// Run implements Output.
func (o *Linked[C]) Run(ctx context.Context, lane *Lane) {
	defer func() {
		o.L.Close()
		<-o.L.Done()
	}()
	for ctx.Err() == nil {
		lease, err := o.L.Acquire(ctx)
		if err != nil {
			if errors.Is(err, link.ErrClosed) {
				return
			}
			for e := range o.L.Events(ctx) { // Acquire does not wait while the link has Failed
				if e.Phase != link.Failed {
					break
				}
			}
			continue
		}
		err = o.deliver(ctx, lease.Conn, lane)
		if ctx.Err() == nil && !errors.Is(err, link.ErrFailback) {
			lane.failed(err)
			lease.Report(err)
		}
		lease.Release()
		lane.Again()
	}
}

// deliver uses one connection, until it fails or the link has a better one.
func (o *Linked[C]) deliver(ctx context.Context, c C, lane *Lane) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer o.L.Subscribe(&link.Funcs[C]{OnConnected: func(now C) {
		if any(now) != any(c) {
			cancel(link.ErrFailback)
		}
	}})()
	defer func() {
		if cause := context.Cause(ctx); errors.Is(cause, link.ErrFailback) {
			err = cause
		}
	}()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	if err := o.Deliver(ctx, c, lane); err != nil {
		return err
	}
	return errors.New("the output ended by itself")
}

// Link implements Output.
func (o *Linked[C]) Link() (link.Status, bool) {
	return link.Status{Name: o.L.Name, State: o.L.State()}, true
}
