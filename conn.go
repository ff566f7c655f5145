package hythe

import (
	"errors"
	"io"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/internal/outq"
)

// A Session is what the event form makes of one connection: a value whose
// methods are called in turns, which never overlap, with the connection's state
// in its fields. Methods may block, which stops this connection's turns and no
// other's. No lock is held.
//
// A client that never sends anything is cut by Timeouts.FirstInput, which a
// service that only talks switches off.
//
// Input is called with each message, in order. An error ends the connection, for
// the reason Failed; what was sent before is still delivered.
//
// A Session may also have these methods, which are looked for once. C stands
// for *Conn[In, Out].
//
//	Connected(c C) error           the first call, before any input: banners go here
//	Flushed(c C)                   the kernel has taken everything that was sent
//	HighWater(c C), LowWater(c C)  the output queue crossed its marks, alternately
//	Posted(c C, event any) error   somebody called c.Post
//	InputClosed(c C) error         the peer has finished sending. Without this
//	                               method the connection then ends when its output
//	                               has left; with it, when it calls Shutdown
//	InputFailed(c C, err error)    the input could not be decoded: the last chance
//	                               to send a word about it
//	Draining(c C)                  the server drains: say goodbye. (A peer that was
//	                               sent one counts as busy, and is given
//	                               Timeouts.Linger to hear it)
//	Disconnected(c C, why error)   the last call, exactly once if Connected
//	                               succeeded; why is a *CloseError
type Session[In, Out any] interface {
	Input(c *Conn[In, Out], in In) error
}

// Sessions makes a Service of sessions. open makes the session of each
// connection; Connected is called after it.
func Sessions[In, Out any, S Session[In, Out]](c codec.Codec[In, Out], open func(c *Conn[In, Out]) S) Service {
	return &sessions[In, Out]{
		framing: newFraming(c),
		open:    func(c *Conn[In, Out]) Session[In, Out] { return open(c) },
	}
}

// Handler makes a Service of a function that is called with each message, for
// protocols that need to remember nothing about a connection.
func Handler[In, Out any](c codec.Codec[In, Out], handle func(c *Conn[In, Out], in In) error) Service {
	return Sessions(c, func(*Conn[In, Out]) handler[In, Out] { return handle })
}

type handler[In, Out any] func(c *Conn[In, Out], in In) error

func (h handler[In, Out]) Input(c *Conn[In, Out], in In) error { return h(c, in) }

// A Conn is a connection on which messages travel. It has everything that its
// [Stream] has. Its methods are safe for concurrent use, but for Receive,
// Messages and Err, which are the conversation's own.
type Conn[In, Out any] struct {
	*Stream
	framing atomic.Pointer[framing[In, Out]]
	talk    *conversation[In, Out] // nil in the event form
	need    int                    // input shorter than this cannot be decoded. Turn only
}

// framing is a codec in use: by all connections of a service, unless it keeps
// state for each.
type framing[In, Out any] struct {
	codec.Codec[In, Out]
	stateful bool
	mu       sync.Mutex // held while a stateful codec encodes
}

func newFraming[In, Out any](c codec.Codec[In, Out]) *framing[In, Out] {
	return &framing[In, Out]{Codec: c, stateful: codec.Stateful(c)}
}

// forConn returns the framing that one connection uses.
func (f *framing[In, Out]) forConn() *framing[In, Out] {
	if !f.stateful {
		return f
	}
	return &framing[In, Out]{Codec: codec.ForConn(f.Codec), stateful: true}
}

// Validate reports what is wrong with the codec's settings.
func (f *framing[In, Out]) Validate() error {
	if f.Codec == nil {
		return errors.New("the codec is nil")
	}
	if v, ok := f.Codec.(interface{ Validate() error }); ok {
		return v.Validate()
	}
	return nil
}

// send encodes msg and puts it on the connection's output queue.
func (f *framing[In, Out]) send(s *Stream, msg Out, mode sendMode) error {
	if f.stateful {
		return f.sendInOrder(s, msg, mode)
	}
	m := outq.NewMessage()
	b, err := f.Append(m.Room(), msg)
	if err != nil {
		m.Drop()
		return err
	}
	return s.sendMessage(m, b, mode)
}

// sendInOrder is send for a codec with state: the order of its messages on the
// wire is their order in the codec, and a message that is refused has not been
// through it.
func (f *framing[In, Out]) sendInOrder(s *Stream, msg Out, mode sendMode) error {
	for {
		sent, err := f.sendIfRoom(s, msg)
		if sent || err != ErrFull || mode == sendTry {
			return err
		}
		if err := s.awaitOutput(sendWait); err != nil {
			return err
		}
	}
}

func (f *framing[In, Out]) sendIfRoom(s *Stream, msg Out) (sent bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := s.awaitOutput(sendTry); err != nil {
		return false, err
	}
	m := outq.NewMessage()
	b, err := f.Append(m.Room(), msg)
	if err != nil {
		m.Drop()
		return true, err
	}
	return true, s.sendMessage(m, b, sendAnyway)
}

// encode returns the bytes of msg.
func (f *framing[In, Out]) encode(msg Out) ([]byte, error) { return f.Append(nil, msg) }

// Send queues msg. When the output queue has reached its high mark it waits
// until the queue is down to the low mark; the write stall clock ends the wait
// of a peer that does not read. While that lasts the connection's own input
// waits too. In a hook the message leaves at the end of the turn, together with
// the others, or after a millisecond. Send returns what the codec finds wrong
// with the message, and a *CloseError when the connection has ended. msg is
// encoded before Send returns.
func (c *Conn[In, Out]) Send(msg Out) error {
	return c.framing.Load().send(c.Stream, msg, sendWait)
}

// TrySend is Send that never waits: it returns ErrFull instead. Input goes on.
func (c *Conn[In, Out]) TrySend(msg Out) error {
	return c.framing.Load().send(c.Stream, msg, sendTry)
}

// SetCodec changes the framing, in both directions. Input that has come and not
// been delivered is decoded by the new codec; what was sent stays as it was
// encoded. It returns what the codec's Validate method, if it has one, finds
// wrong with its settings, and then changes nothing. To be called in a hook.
func (c *Conn[In, Out]) SetCodec(to codec.Codec[In, Out]) error {
	f := newFraming(to)
	if err := f.Validate(); err != nil {
		return err
	}
	c.framing.Store(f.forConn())
	c.need = 0
	c.status |= sFresh
	return nil
}

// Codec returns the codec in use.
func (c *Conn[In, Out]) Codec() codec.Codec[In, Out] { return c.framing.Load().Codec }

// Receive returns the next message. It is for conversations; in the event form
// it returns ErrNotHere. It returns io.EOF when the peer has finished,
// ErrDraining when the server drains and no message has begun to arrive, and a
// *CloseError when the connection has ended.
func (c *Conn[In, Out]) Receive() (msg In, err error) {
	if c.talk == nil {
		return msg, ErrNotHere
	}
	return c.talk.receive()
}

// Messages returns the messages to come, one after the other, for conversations.
// It ends with the first error of Receive, which Err then has. It may be used
// several times, each use going on where the last one stopped.
func (c *Conn[In, Out]) Messages() iter.Seq[In] {
	return func(yield func(In) bool) {
		for {
			msg, err := c.Receive()
			if err != nil || !yield(msg) {
				return
			}
		}
	}
}

// Err returns why Messages ended: nil after the peer has finished or when the
// server drains, otherwise what Receive returned.
func (c *Conn[In, Out]) Err() error {
	if c.talk == nil {
		return ErrNotHere
	}
	switch err := c.talk.err; err {
	case io.EOF, ErrDraining:
		return nil
	default:
		return err
	}
}

// sessions is the Service of the event form.
type sessions[In, Out any] struct {
	*framing[In, Out]
	open func(c *Conn[In, Out]) Session[In, Out]
}

// session is the Protocol of one connection in the event form.
type session[In, Out any] struct {
	c    Conn[In, Out]
	user Session[In, Out]
}

// A Session's optional methods.
type (
	connected[In, Out any] interface {
		Connected(c *Conn[In, Out]) error
	}
	flushed[In, Out any]     interface{ Flushed(c *Conn[In, Out]) }
	highWater[In, Out any]   interface{ HighWater(c *Conn[In, Out]) }
	lowWater[In, Out any]    interface{ LowWater(c *Conn[In, Out]) }
	draining[In, Out any]    interface{ Draining(c *Conn[In, Out]) }
	inputFailed[In, Out any] interface {
		InputFailed(c *Conn[In, Out], err error)
	}
	inputClosed[In, Out any] interface {
		InputClosed(c *Conn[In, Out]) error
	}
	posted[In, Out any] interface {
		Posted(c *Conn[In, Out], event any) error
	}
	disconnected[In, Out any] interface {
		Disconnected(c *Conn[In, Out], why error)
	}
)

func (s *sessions[In, Out]) Open(st *Stream) (Protocol, error) {
	p := new(session[In, Out])
	p.c.Stream = st
	p.c.framing.Store(s.forConn())
	p.user = s.open(&p.c)
	if u, ok := p.user.(connected[In, Out]); ok {
		if err := u.Connected(&p.c); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *session[In, Out]) hooks() (h hookSet) {
	if _, ok := p.user.(flushed[In, Out]); ok {
		h |= hasFlushed
	}
	if _, ok := p.user.(highWater[In, Out]); ok {
		h |= hasHighWater
	}
	if _, ok := p.user.(lowWater[In, Out]); ok {
		h |= hasLowWater
	}
	if _, ok := p.user.(posted[In, Out]); ok {
		h |= hasPosted
	}
	if _, ok := p.user.(draining[In, Out]); ok {
		h |= hasDraining
	}
	if _, ok := p.user.(disconnected[In, Out]); ok {
		h |= hasClosed
	}
	return h
}

func (p *session[In, Out]) Flushed()   { p.user.(flushed[In, Out]).Flushed(&p.c) }
func (p *session[In, Out]) HighWater() { p.user.(highWater[In, Out]).HighWater(&p.c) }
func (p *session[In, Out]) LowWater()  { p.user.(lowWater[In, Out]).LowWater(&p.c) }
func (p *session[In, Out]) Draining()  { p.user.(draining[In, Out]).Draining(&p.c) }

func (p *session[In, Out]) Posted(event any) error {
	return p.user.(posted[In, Out]).Posted(&p.c, event)
}

func (p *session[In, Out]) Closed(why error) {
	p.user.(disconnected[In, Out]).Disconnected(&p.c, why)
}

// Input decodes and delivers, until no message is left or the gate closes.
func (p *session[In, Out]) Input(src []byte, eof bool) (n int, err error) {
	if len(src) < p.c.need && !eof {
		return 0, nil
	}
	p.c.need = 0
	for !p.c.Yield() {
		f := p.c.framing.Load()
		k, msg, err := f.Decode(src[n:], eof)
		n += k
		if err == nil {
			p.c.newFrames++
			if err := p.user.Input(&p.c, msg); err != nil {
				p.hookFailed(err)
			}
			continue
		}
		if err == io.EOF {
			if err := p.inputClosed(); err != nil {
				p.hookFailed(err)
			}
			return n, nil
		}
		if need, short := shortBy(err); short && !eof {
			p.c.need = need
			return n, nil
		}
		return n, p.failed(err, eof)
	}
	return n, nil
}

// hookFailed ends the connection for what a hook returned. Only what it says is
// bad input is the peer's fault: a hook has other codecs, and files.
func (p *session[In, Out]) hookFailed(err error) {
	why := Failed
	if errors.As(err, new(badInput)) {
		why = reasonOf(err)
	}
	p.c.finish(why, err)
}

// shortBy reports whether err asks for more input, and how much there must be.
func shortBy(err error) (need int, short bool) {
	if need, ok := err.(codec.Short); ok {
		return int(need), true
	}
	return 0, err == codec.ErrShort || errors.Is(err, codec.ErrShort)
}

func (p *session[In, Out]) inputClosed() error {
	u, ok := p.user.(inputClosed[In, Out])
	if !ok || p.c.status&sInputClosed != 0 {
		return nil
	}
	p.c.status |= sInputClosed
	p.c.Hold() // until the session shuts the connection down
	return u.InputClosed(&p.c)
}

func (p *session[In, Out]) failed(err error, eof bool) error {
	if _, short := shortBy(err); short {
		err = io.ErrUnexpectedEOF // the codec asks for more where there is none
	}
	if u, ok := p.user.(inputFailed[In, Out]); ok {
		u.InputFailed(&p.c, err)
	}
	return BadInput(err)
}
