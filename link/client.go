package link

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hythe-go/hythe"
)

// A Client sends messages over a link, and says of each what became of it. It is
// the link: its Dial is made with Sessions or Conversation, everything else is
// set, called and heard of as with any Link.
//
//	c := &link.Client[string, string]{
//		Link:      link.Link[*hythe.Conn[string, string]]{Dial: link.Sessions(link.TCP, codec.Lines(), open)},
//		WhileDown: link.Queue,
//		Settled:   func(line string, o link.Outcome, err error) { … },
//	}
//
// A message that Send has accepted, by returning nil, is settled exactly once; a
// message that it has not accepted was not sent, and is not settled. What the
// session itself sends on its connection is none of the Client's business.
type Client[In, Out any] struct {
	Link[*hythe.Conn[In, Out]]

	// WhileDown says what Send does while there is no connection.
	WhileDown Policy

	// Messages and Bytes bound what has been accepted and is not settled: 10,000
	// and 8 MiB. Negative: no limit. One message may go past Bytes.
	Messages, Bytes int

	// Size returns the size of a message, for Bytes. The default is the length
	// of strings and byte slices, and nothing for anything else.
	Size func(msg Out) int

	// MaxAge bounds how long a message waits for a connection, with Queue. Zero:
	// as long as it takes.
	MaxAge time.Duration

	// Settled is called once for each accepted message, with the reason unless
	// it was Sent. Calls never overlap. Messages of one connection come in the
	// order in which they were sent. It may block, which makes Send wait when
	// the bounds are reached. It must be set with Queue.
	Settled func(msg Out, o Outcome, err error)

	once     sync.Once
	mu       sync.Mutex
	waiting  []letter[In, Out] // for a connection, oldest first. Guarded by mu
	posted   []letter[In, Out] // handed to a connection, or given up, oldest first. Guarded by mu
	messages int               // accepted and not settled. Guarded by mu
	bytes    int               // of these. Guarded by mu
	changed  chan struct{}     // closed when messages goes down; nil: nobody waits for it. Guarded by mu
	pumping  bool              // pump runs. Guarded by mu
	settling bool              // settle runs. Guarded by mu
	draining bool              // nothing is accepted any more. Guarded by mu
}

// A Policy says what a Client's Send does while there is no connection.
type Policy uint8

const (
	Refuse Policy = iota // return a *DownError at once
	Wait                 // wait until there is one
	Queue                // accept the message; it leaves with the next connection, in order
)

// An Outcome is what became of a message.
type Outcome uint8

const (
	_ Outcome = iota

	// Sent: the kernel has taken all of it. Whether the peer has received it,
	// let alone acted on it, only an answer of the peer's can tell.
	Sent

	// Unsent: it was never handed to a connection. It can be sent again.
	Unsent

	// InDoubt: it was handed to a connection that ended before the kernel had
	// taken all of it. Part of it may have arrived, and all of it only if that
	// was not noticed.
	InDoubt
)

// String returns the outcome in words.
func (o Outcome) String() string {
	if o >= Sent && o <= InDoubt {
		return [...]string{"sent", "unsent", "in doubt"}[o-Sent]
	}
	return fmt.Sprintf("Outcome(%d)", uint8(o))
}

// ErrExpired is why a message is Unsent that has waited for MaxAge.
var ErrExpired = errors.New("link: message expired")

// A letter is a message that was accepted.
type letter[In, Out any] struct {
	msg     Out
	size    int
	expires time.Time // zero: never

	conn    *hythe.Conn[In, Out] // that it was handed to
	target  uint64               // its BytesOut when the kernel has taken the message
	outcome Outcome              // 0: not known yet
	err     error
}

// Send sends msg, starting the link if need be. What it does while there is no
// connection is WhileDown's business; while there is too much that has not been
// settled it waits. ctx bounds both. It returns nil when msg has been accepted;
// otherwise msg was not sent, and the error is a *DownError, ctx's, or what the
// codec finds wrong with msg. (With Queue that is found when a connection takes
// it, and is Settled as Unsent.)
//
// A connection that is up, and has more output queued than it may, holds Send up
// as it does a Send of its own: until its write stall clock runs out at the
// latest, whatever ctx says.
func (c *Client[In, Out]) Send(ctx context.Context, msg Out) error { return c.send(ctx, msg, true) }

// TrySend is Send that never waits for room: it returns hythe.ErrFull. Nor does
// it wait for a connection: with Wait it is as with Refuse.
func (c *Client[In, Out]) TrySend(msg Out) error {
	return c.send(context.Background(), msg, false)
}

// Pending returns how many messages, and bytes, have been accepted and not yet
// been settled.
func (c *Client[In, Out]) Pending() (messages, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.messages, c.bytes
}

func (c *Client[In, Out]) send(ctx context.Context, msg Out, wait bool) error {
	if err := c.prepare(); err != nil {
		return err
	}
	l := letter[In, Out]{msg: msg, size: c.size(msg)}
	if c.Settled != nil {
		if err := c.admit(ctx, l.size, wait); err != nil {
			return err
		}
	}
	var err error
	if c.WhileDown == Queue {
		err = c.enqueue(l)
	} else {
		err = c.hand(ctx, l, wait)
	}
	if err != nil && c.Settled != nil {
		c.discount(l.size)
	}
	return err
}

// prepare starts the link and has Drain flush what was accepted.
func (c *Client[In, Out]) prepare() error {
	if c.WhileDown > Queue || c.WhileDown == Queue && c.Settled == nil {
		return errors.New("link: Client.WhileDown is unknown, or is Queue and Settled is nil")
	}
	c.once.Do(func() {
		c.Link.mu.Lock()
		defer c.Link.mu.Unlock()
		c.flush = c.flushAll
	})
	return c.Start()
}

func (c *Client[In, Out]) size(msg Out) int {
	if c.Size != nil {
		return c.Size(msg)
	}
	switch m := any(msg).(type) {
	case string:
		return len(m)
	case []byte:
		return len(m)
	}
	return 0
}

// admit counts a message, waiting until there is room.
func (c *Client[In, Out]) admit(ctx context.Context, size int, wait bool) error {
	most, mostBytes := cmp.Or(c.Messages, 10_000), cmp.Or(c.Bytes, 8<<20)
	for {
		c.mu.Lock()
		if c.draining {
			c.mu.Unlock()
			return c.down(c.State(), ErrDraining)
		}
		if c.messages == 0 || (most < 0 || c.messages < most) && (mostBytes < 0 || c.bytes+size <= mostBytes) {
			c.messages++
			c.bytes += size
			c.mu.Unlock()
			return nil
		}
		changed := c.changes()
		c.mu.Unlock()
		if !wait {
			return hythe.ErrFull
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", hythe.ErrFull, context.Cause(ctx))
		}
	}
}

// discount is the opposite of admit.
func (c *Client[In, Out]) discount(size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.messages--
	c.bytes -= size
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// changes returns a channel that is closed when a message has been settled.
// c.mu is held.
func (c *Client[In, Out]) changes() <-chan struct{} {
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	return c.changed
}

// hand gives a message to the connection.
func (c *Client[In, Out]) hand(ctx context.Context, l letter[In, Out], wait bool) error {
	for {
		conn, ok := c.Conn()
		if !ok {
			if c.WhileDown == Refuse || !wait {
				return c.down(c.State(), nil)
			}
			var err error
			if conn, err = c.Get(ctx); err != nil {
				return err
			}
		}
		var err error
		if wait {
			err = conn.Send(l.msg)
		} else {
			err = conn.TrySend(l.msg)
		}
		if err == nil {
			c.handed(conn, l)
			return nil
		}
		var end *hythe.CloseError
		if !errors.As(err, &end) {
			return err
		}
		c.Report(conn, err) // the link may not have noticed yet
	}
}

// handed records that conn has taken a message.
func (c *Client[In, Out]) handed(conn *hythe.Conn[In, Out], l letter[In, Out]) {
	if c.Settled == nil {
		return
	}
	st := conn.Stats()
	l.conn, l.target = conn, st.BytesOut+uint64(st.Queued)
	c.post(l)
}

// flushAll accepts nothing more, and waits until everything is settled.
func (c *Client[In, Out]) flushAll(ctx context.Context) {
	for {
		c.mu.Lock()
		c.draining = true
		left, changed := c.messages, c.changes()
		c.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-changed:
		case <-c.closing:
			return
		case <-ctx.Done():
			return
		}
	}
}
