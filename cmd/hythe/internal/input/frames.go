// Package input has the ways into a relay: framed messages over stream
// connections, requests over HTTP and FastCGI, and standard input.
package input

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/framing"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/codec"
)

// frames is the service of inputs that take framed messages.
type frames struct {
	in     *relay.Intake
	codec  codec.Codec[[]byte, []byte]
	ack    ack
	hythe  bool // the messages are in envelopes
	lines  bool // empty ones are none
	window int
}

// ack is what is sent back for a message that is durable.
type ack uint8

const (
	ackNone ack = iota
	ackID
	ackMessage
	ackCount // how many have come on this connection: of framing hythe
)

// NewFrames returns the service of an input with the protocol frames.
//
// A connection has one batch of messages on the way to the disk at a time: all
// that could be read while the last one was. Until it is durable nothing is read,
// nor while the spool has no room. What was acknowledged is durable on every
// route. What was not, because the framing has no acknowledgements, is kept all
// the same until it is, even when its sender has left.
func NewFrames(c *config.Input, in *relay.Intake) (hythe.Service, error) {
	most := int(c.MaxMessage)
	f := &frames{in: in, hythe: c.Framing == "hythe", lines: c.Framing == "lines", window: c.Window}
	switch {
	case f.hythe:
		f.ack = ackCount
		most += 9 + 15 + relay.MaxID + relay.MaxSource + relay.MaxKey + relay.MaxCause + relay.MaxOnly
	case c.Ack == "id":
		f.ack = ackID
	case c.Ack == "message":
		f.ack = ackMessage
	}
	var err error
	f.codec, err = framing.New(c.Framing, most)
	return f, err
}

// Open implements hythe.Service.
func (f *frames) Open(st *hythe.Stream) (hythe.Protocol, error) {
	c := &conn{f: f, st: st, codec: codec.ForConn(f.codec)}
	c.source = append(append([]byte(f.in.Name), ' '), peer(st)...)
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

	after error // what is wrong with the input behind the batch. Turn, or done

	mu    sync.Mutex
	acks  []byte // to be sent: of the batch, or what did not go out yet. Guarded by mu
	ready bool   // the batch is durable, and acks can go. Guarded by mu
	count uint64 // messages that were acknowledged. Guarded by mu
	let   func() // lets go of the connection. Guarded by mu
}

// scratch is what the messages of a turn are gathered in.
type scratch struct {
	msgs []relay.Message
	ids  []byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// Input takes one batch.
func (c *conn) Input(src []byte, eof bool) (n int, err error) {
	s := scratches.Get().(*scratch)
	defer s.free()
	for len(s.msgs) < c.f.window && err == nil {
		var k int
		var frame []byte
		k, frame, err = c.codec.Decode(src[n:], eof)
		n += k
		if err == nil {
			err = c.add(s, frame)
		}
	}
	if errors.Is(err, codec.ErrShort) || err == io.EOF {
		err = nil
	} else if err != nil {
		err = hythe.BadInput(err)
	}
	if len(s.msgs) == 0 {
		return n, err
	}
	c.after = err
	return n, c.start(s)
}

// add adds a frame to the batch.
func (c *conn) add(s *scratch, frame []byte) error {
	m := relay.Message{Source: c.source, Body: frame}
	switch {
	case c.f.lines && len(frame) == 0:
		return nil
	case c.f.hythe:
		var err error
		if m, err = relay.Parse(frame); err != nil {
			return err
		}
		m.Cause, m.Only = nil, nil
	}
	s.msgs = append(s.msgs, m)
	return nil
}

// start has the batch spooled.
func (c *conn) start(s *scratch) error {
	if c.f.ack == ackID {
		s.ids = c.f.in.Identify(s.msgs, s.ids)
	}
	c.mu.Lock()
	c.acks = c.acks[:0]
	for _, m := range s.msgs {
		switch c.f.ack {
		case ackID:
			c.acks, _ = c.codec.Append(c.acks, m.ID)
		case ackMessage:
			c.acks, _ = c.codec.Append(c.acks, m.Body)
		}
	}
	c.let = c.st.Hold()
	c.mu.Unlock()
	c.st.PauseInput()

	ctx := c.st.Context()
	if c.f.ack == ackNone {
		ctx = context.WithoutCancel(ctx) // it may have left, thinking that it has sent
	}
	n := len(s.msgs)
	err := c.f.in.Start(ctx, s.msgs, nil, func(err error) { c.done(n, err) })
	if err == nil {
		return nil
	}
	c.letGo()
	if bad, ok := errors.AsType[*relay.RouteError](err); ok && bad.Index > 0 {
		s.msgs = s.msgs[:bad.Index] // those before it are good
		c.after = hythe.BadInput(err)
		return c.start(s)
	}
	return hythe.BadInput(err)
}

// done is called when the batch is durable, or never will be.
func (c *conn) done(n int, err error) {
	sent := true
	c.mu.Lock()
	if err == nil {
		c.count += uint64(n)
		c.ready = true
		sent = c.sendLocked()
	}
	c.mu.Unlock()
	if err = cmp.Or(err, c.after); err != nil {
		c.st.Post(err) // while the input is paused
		c.mu.Lock()
		defer c.mu.Unlock()
		c.let()
		return
	}
	if sent {
		c.letGo()
	}
}

// sendLocked sends the acknowledgements of the batch, and reports whether it could.
// c.mu is held.
func (c *conn) sendLocked() bool {
	if c.f.ack == ackCount {
		c.acks = binary.BigEndian.AppendUint64(append(c.acks[:0], 0, 0, 0, 8), c.count)
	}
	if len(c.acks) > 0 && errors.Is(c.st.TryWrite(c.acks), hythe.ErrFull) {
		return false // LowWater will
	}
	c.acks, c.ready = nil, false
	return true
}

// letGo goes on reading.
func (c *conn) letGo() {
	c.mu.Lock()
	let := c.let
	c.let = nil
	c.mu.Unlock()
	c.st.ResumeInput()
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

// Posted ends the connection: what came behind the batch cannot be taken.
func (c *conn) Posted(event any) error {
	err, _ := event.(error)
	return err
}

func (s *scratch) free() {
	clear(s.msgs)
	s.msgs, s.ids = s.msgs[:0], s.ids[:0]
	scratches.Put(s)
}
