package link

import (
	"context"
	"errors"
	"net"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

// A DialFunc makes a byte-level connection: [TCP], [Unix], what [TLS] returns, or
// a function of your own.
type DialFunc = func(ctx context.Context, a Attempt) (net.Conn, error)

// Sessions makes a Dial that yields the same typed connections as a server with
// hythe.Sessions has: dial connects, c is the framing, and open makes the session
// of each connection. A session that has to log in, or change over to TLS
// (Stream.StartTLSClient), says when it is ready to an OnUp that waits for it.
//
// Messages are sent with Send on the connection, by whoever gets it from the
// link. The end of the connection, a *hythe.CloseError, is the link's cause.
// The session's hooks may be called before subscribers hear of the connection.
func Sessions[In, Out any, S hythe.Session[In, Out]](
	dial DialFunc, c codec.Codec[In, Out], open func(c *hythe.Conn[In, Out]) S,
) func(ctx context.Context, a Attempt) (*hythe.Conn[In, Out], error) {
	return func(ctx context.Context, a Attempt) (*hythe.Conn[In, Out], error) {
		var conn *hythe.Conn[In, Out]
		svc := hythe.Sessions(c, func(c *hythe.Conn[In, Out]) S {
			conn = c
			return open(c)
		})
		ready := make(chan error, 1)
		if err := attach(ctx, a, dial, opener{svc, ready}, ready); err != nil {
			return nil, err
		}
		return conn, nil
	}
}

// Conversation is Sessions for the straight-line form: talk is called with each
// connection, which ends when talk returns. The connection counts as made when
// talk is called, unless OnUp waits for something that talk has to say.
func Conversation[In, Out any](
	dial DialFunc, c codec.Codec[In, Out], talk func(ctx context.Context, c *hythe.Conn[In, Out]) error,
) func(ctx context.Context, a Attempt) (*hythe.Conn[In, Out], error) {
	return func(ctx context.Context, a Attempt) (*hythe.Conn[In, Out], error) {
		var conn *hythe.Conn[In, Out]
		ready := make(chan error, 1)
		svc := hythe.Conversation(c, func(ctx context.Context, c *hythe.Conn[In, Out]) error {
			conn = c
			ready <- nil
			return talk(ctx, c)
		})
		if err := attach(ctx, a, dial, svc, ready); err != nil {
			return nil, err
		}
		return conn, nil
	}
}

// attach connects, and returns when svc has said that it is ready.
func attach(ctx context.Context, a Attempt, dial DialFunc, svc hythe.Service, ready <-chan error) error {
	if a.host == nil {
		return errors.New("link: the Attempt is not a link's")
	}
	srv, err := a.host()
	if err != nil {
		return err
	}
	nc, err := dial(ctx, a)
	if err != nil {
		return err
	}
	if c, ok := nc.(*conn); ok {
		nc = c.Conn // the stream reports its end; and the loops know the bare one
	}
	s, err := srv.Attach(nc, svc)
	if err != nil {
		return err
	}
	over := s.Context()
	context.AfterFunc(over, func() { a.Report(context.Cause(over)) })
	select {
	case err = <-ready:
	case <-over.Done():
		err = context.Cause(over)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		s.Close()
	}
	return err
}

// opener is a Service that says how Open went.
type opener struct {
	hythe.Service
	ready chan<- error
}

func (o opener) Open(s *hythe.Stream) (hythe.Protocol, error) {
	p, err := o.Service.Open(s)
	o.ready <- err
	return p, err
}

// Validate reports what is wrong with the service.
func (o opener) Validate() error {
	if v, ok := o.Service.(interface{ Validate() error }); ok {
		return v.Validate()
	}
	return nil
}
