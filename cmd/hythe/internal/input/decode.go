package input

import (
	"errors"
	"io"
	"sync"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/framing"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/codec"
)

// A framed says how messages are found in a stream.
type framed struct {
	codec      codec.Codec[[]byte, []byte]
	lines      bool // empty ones are none
	envelopes  bool // what is framed are envelopes, with messages in them
	maxMessage int
	window     int // messages at once
}

func newFramed(c *config.Input) (f framed, err error) {
	f = framed{lines: c.Framing == "lines", envelopes: c.Framing == "hythe", maxMessage: int(c.MaxMessage), window: max(1, c.Window)}
	most := f.maxMessage
	if f.envelopes {
		most += relay.MaxEnvelope
	}
	f.codec, err = framing.New(c.Framing, most)
	return f, err
}

// decode adds the messages at the start of src to s, until there are f.window of
// them, and returns how many bytes they took. They refer to src and to source. The
// error is the peer's.
func (f *framed) decode(dec codec.Decoder[[]byte], s *scratch, source, src []byte, eof bool) (n int, err error) {
	for len(s.msgs) < f.window {
		k, frame, err := dec.Decode(src[n:], eof)
		m := relay.Message{Source: source, Body: frame}
		switch {
		case err == io.EOF, errors.Is(err, codec.ErrShort):
			return n + k, nil
		case err == nil && f.envelopes:
			m, err = f.unwrap(frame)
		case err == nil && f.lines && len(frame) == 0:
			n += k
			continue
		}
		if err != nil {
			return n, hythe.BadInput(err)
		}
		s.msgs = append(s.msgs, m)
		n += k
	}
	return n, nil
}

// unwrap returns the message in an envelope. Why it was a dead letter where it
// comes from, and whose, is of no importance here.
func (f *framed) unwrap(envelope []byte) (relay.Message, error) {
	m, err := relay.Parse(envelope)
	if err == nil && len(m.Body) > f.maxMessage {
		err = codec.ErrFrameTooLarge
	}
	m.Cause, m.Only = nil, nil
	return m, err
}

// scratch is what messages are gathered in.
type scratch struct {
	msgs []relay.Message
	ids  []byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func (s *scratch) free() {
	clear(s.msgs)
	s.msgs, s.ids = s.msgs[:0], s.ids[:0]
	scratches.Put(s)
}
