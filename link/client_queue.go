package link

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hythe-go/hythe"
)

// post has letters settled.
func (c *Client[In, Out]) post(ls ...letter[In, Out]) {
	c.mu.Lock()
	c.posted = append(c.posted, ls...)
	start := !c.settling
	c.settling = true
	c.mu.Unlock()
	if start && !c.spawn(c.settle) {
		c.settle() // the link has ended, and waits for nobody any more
	}
}

// settle finds out what became of the messages, and says so.
func (c *Client[In, Out]) settle() {
	returned := false
	defer func() {
		if !returned { // Settled has ended the goroutine
			c.mu.Lock()
			c.settling = false
			c.mu.Unlock()
			c.post()
		}
	}()
	for {
		c.mu.Lock()
		if len(c.posted) == 0 {
			c.settling, c.posted = false, nil
			c.mu.Unlock()
			returned = true
			return
		}
		l := c.posted[0]
		c.posted[0] = letter[In, Out]{}
		c.posted = c.posted[1:]
		c.mu.Unlock()
		if l.outcome == 0 {
			l.outcome, l.err = Sent, nil
			l.conn.Flush() // or it has ended, and the count says how far it got
			if l.conn.Stats().BytesOut < l.target {
				l.outcome, l.err = InDoubt, context.Cause(l.conn.Context())
			}
		}
		call(func() error {
			defer c.discount(l.size)
			c.Settled(l.msg, l.outcome, l.err)
			return nil
		}, c.panicked)
	}
}

// enqueue has a message wait for its turn.
func (c *Client[In, Out]) enqueue(l letter[In, Out]) error {
	if c.MaxAge > 0 {
		l.expires = time.Now().Add(c.MaxAge)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.pumping {
		if !c.spawn(c.pump) {
			return c.down(c.State(), ErrClosed)
		}
		c.pumping = true
	}
	c.waiting = append(c.waiting, l)
	return nil
}

// pump hands the waiting messages to connections, in order.
func (c *Client[In, Out]) pump() {
	for {
		c.mu.Lock()
		if len(c.waiting) == 0 {
			c.pumping, c.waiting = false, nil
			c.mu.Unlock()
			return
		}
		l := c.waiting[0]
		c.mu.Unlock()

		conn, err := c.connFor(l)
		switch {
		case errors.Is(err, ErrExpired):
			c.give(1, err)
			continue
		case err != nil:
			c.give(-1, err)
			continue
		}
		call(func() error { return conn.Send(l.msg) }, func(e error) { err = e })
		var end *hythe.CloseError
		switch {
		case err == nil:
			c.pop(1)
			c.handed(conn, l)
		case errors.As(err, &end):
			c.Report(conn, err) // and again, with the next one
		default:
			c.give(1, err)
		}
	}
}

// connFor waits for a connection, until l expires or the link ends.
func (c *Client[In, Out]) connFor(l letter[In, Out]) (*hythe.Conn[In, Out], error) {
	ctx := context.Background()
	if !l.expires.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, l.expires, ErrExpired)
		defer cancel()
		if ctx.Err() != nil {
			return nil, ErrExpired
		}
	}
	u, err := c.await(ctx, patience{failed: true})
	if err != nil {
		return nil, err
	}
	return u.conn, nil
}

// pop takes the first n waiting messages, all of them if n is negative.
func (c *Client[In, Out]) pop(n int) []letter[In, Out] {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n < 0 {
		n = len(c.waiting)
	}
	ls := slices.Clone(c.waiting[:n])
	clear(c.waiting[:n])
	c.waiting = c.waiting[n:]
	return ls
}

// give gives the first n waiting messages up.
func (c *Client[In, Out]) give(n int, why error) {
	ls := c.pop(n)
	for i := range ls {
		ls[i].outcome, ls[i].err = Unsent, why
	}
	c.post(ls...)
}
