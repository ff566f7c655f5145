// Package input has the ways into a relay: framed messages over stream
// connections, requests over HTTP and FastCGI, and standard input.
package input

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/framing"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/codec"
)

// frames is the service of inputs that take framed messages.
type frames struct {
	framed
	in   *relay.Intake
	ack  ack
	acks codec.Codec[[]byte, []byte]
	room room
}

// ack is what is sent back for a message that is durable.
type ack uint8

const (
	ackNone ack = iota
	ackID
	ackQuotedID // where it has to be JSON
	ackMessage
	ackCount // how many have come on this connection: of framing hythe
)

// NewFrames returns the service of an input with the protocol frames.
//
// A connection has one batch of messages on the way to the disk at a time: all
// that could be read while the last one was, and no more than the window. Until it
// is durable nothing is read, nor while the spool has no room, so that order is
// kept whatever the disk does. What was acknowledged is durable on every route.
// What was not, because the framing has no acknowledgements, is kept all the same
// until it is, even when its sender has left.
//
// Empty lines are no messages; empty frames of other framings are. A connection
// that sends what is no message, or what no route takes, ends, after all that came
// before is durable and acknowledged.
func NewFrames(c *config.Input, in *relay.Intake) (hythe.Service, error) {
	f := &frames{in: in}
	var err error
	if f.framed, err = newFramed(c); err != nil {
		return nil, err
	}
	switch {
	case f.envelopes:
		f.ack = ackCount
	case c.Ack == "id" && c.Framing == "json":
		f.ack = ackQuotedID
	case c.Ack == "id":
		f.ack = ackID
	case c.Ack == "message":
		f.ack = ackMessage
	}
	f.acks, err = framing.New(c.Framing, max(f.maxMessage, relay.MaxID))
	return f, err
}

// Open implements hythe.Service.
func (f *frames) Open(st *hythe.Stream) (hythe.Protocol, error) {
	c := &conn{f: f, st: st, codec: codec.ForConn(f.codec)}
	c.source = append(append([]byte(f.in.Name), ' '), peer(st)...)
	f.room.join(st)
	return c, nil
}

// peer names the other side.
func peer(st *hythe.Stream) string {
	if a := st.RemoteAddr(); a != nil && a.String() != "" && a.String() != "@" {
		return a.String()
	}
	return "local"
}

// A conn is one connection. Its input is paused while a batch is on its way.
type conn struct {
	f      *frames
	st     *hythe.Stream
	codec  codec.Codec[[]byte, []byte]
	source []byte

	after error // what is wrong with the input behind the batch. Turn only

	mu    sync.Mutex
	acks  *answers // to be sent: of the batch, or what did not go out yet. Guarded by mu
	ready bool     // the batch is durable, and acks can go. Guarded by mu
	count uint64   // messages that are durable. Guarded by mu
	let   func()   // lets go of the connection. Guarded by mu

	closed bool // guarded by mu
}

// answers are acknowledgements in their frames.
type answers struct{ b []byte }

var spareAnswers = sync.Pool{New: func() any { return new(answers) }}

func (a *answers) free() {
	if cap(a.b) <= 256<<10 {
		spareAnswers.Put(a)
	}
}

// Input takes one batch.
func (c *conn) Input(src []byte, eof bool) (n int, err error) {
	if c.after != nil {
		return 0, c.after
	}
	if !c.f.room.enter(c.st, len(src)) {
		return 0, nil
	}
	s := scratches.Get().(*scratch)
	defer s.free()
	n, err = c.f.decode(c.codec, s, c.source, src, eof)
	if err != nil {
		c.f.in.Refused(1)
	}
	c.after = err
	if len(s.msgs) == 0 || !c.start(s, len(src)) {
		c.f.room.give(len(src))
		return n, c.after
	}
	if c.after != nil { // told when the batch is durable, if something is left to be offered then
		n = max(0, min(n, len(src)-1))
	}
	return n, nil
}

// start has a batch spooled, which gives back so many bytes of room when it is. It
// reports whether that is under way; if not, c.after says why.
func (c *conn) start(s *scratch, size int) bool {
	if c.f.ack == ackID || c.f.ack == ackQuotedID {
		s.ids = c.f.in.Identify(s.msgs, s.ids)
	}
	c.prepare(s.msgs)
	c.f.room.leave(c.st)

	ctx := c.st.Context()
	if c.f.ack == ackNone {
		ctx = context.WithoutCancel(ctx) // it may have left, thinking that it has sent
	}
	n := len(s.msgs)
	err := c.f.in.Start(ctx, s.msgs, nil, func(err error) { c.done(n, size, err) })
	if err == nil {
		return true
	}
	c.letGo()
	c.after = hythe.BadInput(err)
	if bad, ok := errors.AsType[*relay.RouteError](err); ok && bad.Index > 0 {
		c.f.in.Refused(1)
		s.msgs = s.msgs[:bad.Index] // those before it are good
		return c.start(s, size)
	}
	return false
}

// prepare holds the connection, and writes the acknowledgements of a batch.
func (c *conn) prepare(msgs []relay.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.let = c.st.Hold()
	if c.f.ack == ackNone {
		return
	}
	if c.acks == nil {
		c.acks = spareAnswers.Get().(*answers)
	}
	b := c.acks.b[:0]
	for i := range msgs { // what was decoded, and an id, can be encoded
		switch c.f.ack {
		case ackID:
			b, _ = c.f.acks.Append(b, msgs[i].ID)
		case ackQuotedID:
			b, _ = c.f.acks.Append(b, fmt.Appendf(nil, "%q", msgs[i].ID))
		case ackMessage:
			b, _ = c.f.acks.Append(b, msgs[i].Body)
		}
	}
	c.acks.b = b
}

// done is called when the batch is durable, or never will be.
func (c *conn) done(n, size int, err error) {
	c.f.room.give(size)
	if err != nil {
		c.st.Post(fmt.Errorf("not taken: %w", err)) // while the input is paused
		c.mu.Lock()
		defer c.mu.Unlock()
		c.let()
		return
	}
	c.mu.Lock()
	c.count += uint64(n)
	c.ready = true
	sent := c.sendLocked()
	c.mu.Unlock()
	if sent {
		c.letGo()
	}
}

// sendLocked sends the acknowledgements of the batch, and reports whether it could.
// c.mu is held.
func (c *conn) sendLocked() bool {
	if c.f.ack == ackCount {
		c.acks.b = binary.BigEndian.AppendUint64(append(c.acks.b[:0], 0, 0, 0, 8), c.count)
	}
	if c.acks != nil {
		if errors.Is(c.st.TryWrite(c.acks.b), hythe.ErrFull) {
			return false // LowWater or Flushed will
		}
		c.acks.free()
	}
	c.acks, c.ready = nil, false
	return true
}

// letGo goes on reading.
func (c *conn) letGo() {
	c.mu.Lock()
	let := c.let
	c.let = nil
	if !c.closed {
		c.f.room.join(c.st)
	}
	c.mu.Unlock()
	let()
}

// LowWater is called when the peer has read enough of its acknowledgements.
func (c *conn) LowWater() {
	c.mu.Lock()
	sent := c.ready && c.sendLocked()
	c.mu.Unlock()
	if sent {
		c.letGo()
	}
}

// Flushed is called when it has read all of them. When all connections together
// have too much to send, there is no room before, and no LowWater.
func (c *conn) Flushed() { c.LowWater() }

// Posted ends the connection: what it sent cannot be taken.
func (c *conn) Posted(event any) error {
	err, _ := event.(error)
	return err
}

// Closed is called last.
func (c *conn) Closed(error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.f.room.leave(c.st)
}
