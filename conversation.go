package hythe

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/hythe-go/hythe/codec"
)

// Conversation makes a Service of a function that talks to one peer from top to
// bottom: it reads with c.Messages or c.Receive and answers with c.Send. When it
// returns, what was sent is flushed and the connection is closed, for the reason
// Finished, or Failed if it returned an error. (PeerDone, Drained and the like
// when that was what ended its input.) ctx is c.Context.
//
// The function is a coroutine of the connection's turns: while it waits in
// Receive it has a small stack and nothing else, and while it does not, the
// connection's turn is running. It may block, and call everything that a hook
// may call, but Receive only on its own goroutine.
func Conversation[In, Out any](c codec.Codec[In, Out], talk func(ctx context.Context, c *Conn[In, Out]) error) Service {
	return &conversations[In, Out]{newFraming(c), talk}
}

type conversations[In, Out any] struct {
	*framing[In, Out]
	talk func(ctx context.Context, c *Conn[In, Out]) error
}

// conversation is the Protocol of one connection in the straight-line form.
// Everything belongs to the turn, whichever of the two goroutines runs it.
type conversation[In, Out any] struct {
	c      Conn[In, Out]
	resume func() (struct{}, bool)
	wait   func(struct{}) bool // called by the coroutine: back to the turn

	src      []byte // input of this turn
	used     int    // of src
	eof      bool   // nothing comes behind src
	draining bool
	ended    error // why nothing can be received any more
	err      error // what receive returned last
	result   error // what the function returned
	returned bool
}

func (s *conversations[In, Out]) Open(st *Stream) (Protocol, error) {
	p := new(conversation[In, Out])
	p.c.Stream, p.c.talk = st, p
	p.c.framing.Store(s.forConn())
	p.resume, _ = iter.Pull(func(yield func(struct{}) bool) {
		p.wait = yield
		p.result = s.talk(st.Context(), &p.c)
		p.returned = true
	})
	p.run()
	return p, nil
}

func (p *conversation[In, Out]) hooks() hookSet { return hasClosed }

// run lets the function go on until it waits for input or returns.
func (p *conversation[In, Out]) run() {
	if p.returned {
		return
	}
	p.resume()
	if !p.returned {
		return
	}
	switch {
	case p.result != nil && !errors.Is(p.result, p.err):
		p.c.finish(Failed, p.result)
	case p.err == io.EOF:
		p.c.finish(PeerDone, nil)
	case p.err == ErrDraining:
		p.c.finish(Drained, nil)
	case p.err != nil:
		p.c.finish(reasonOf(p.err), p.err)
	default:
		p.c.finish(Finished, p.result)
	}
}

func (p *conversation[In, Out]) Input(src []byte, eof bool) (n int, err error) {
	if len(src) < p.c.need && !eof {
		return 0, nil
	}
	p.c.need = 0
	p.src, p.eof = src, eof
	p.run()
	n, p.src, p.used = p.used, nil, 0
	return n, nil
}

// lastCall ends the wait of a function that waits between two messages while
// the server drains and nothing more has come.
func (p *conversation[In, Out]) lastCall() {
	p.draining = true
	p.run()
}

// Closed lets the function finish.
func (p *conversation[In, Out]) Closed(why error) {
	p.ended = why
	p.run()
}

// receive runs on the function's goroutine.
func (p *conversation[In, Out]) receive() (msg In, err error) {
	for {
		if p.ended != nil {
			p.err = p.ended
			return msg, p.err
		}
		if !p.c.Yield() && (len(p.src) > p.used || p.eof) {
			n, msg, err := p.c.framing.Load().Decode(p.src[p.used:], p.eof)
			p.used += n
			if err == nil {
				p.c.newFrames++
				return msg, nil
			}
			need, short := shortBy(err)
			switch {
			case short && !p.eof:
				p.c.need = need
			case short:
				p.err = BadInput(io.ErrUnexpectedEOF)
				return msg, p.err
			case err == io.EOF:
				p.err = io.EOF
				return msg, p.err
			default:
				p.err = BadInput(err)
				return msg, p.err
			}
		}
		if p.draining && !p.c.Yield() && len(p.src) == p.used {
			p.err = ErrDraining
			return msg, p.err
		}
		p.wait(struct{}{})
	}
}
