package input

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/framing"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/codec"
)

// ReadAll takes messages from r until it ends. Then all of them are durable, when
// it returns nil. While there is no room it waits. ctx ends that, and not a Read
// that waits.
func ReadAll(ctx context.Context, c *config.Input, in *relay.Intake, r io.Reader) error {
	frames, err := framing.New(c.Framing, int(c.MaxMessage))
	if err != nil {
		return err
	}
	var (
		dec    = codec.ForConn(frames)
		buf    = make([]byte, 0, 64<<10)
		msgs   []relay.Message
		source = []byte(in.Name)
		eof    bool
	)
	for ctx.Err() == nil {
		used := 0
		msgs = msgs[:0]
		for err = nil; err == nil; {
			var n int
			var frame []byte
			n, frame, err = dec.Decode(buf[used:], eof)
			used += n
			if err == nil && (len(frame) > 0 || c.Framing != "lines") {
				msgs = append(msgs, relay.Message{Source: source, Body: frame})
			}
		}
		if len(msgs) > 0 {
			if err := in.PutWaiting(ctx, msgs, nil); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case !errors.Is(err, codec.ErrShort):
			return fmt.Errorf("behind %d messages: %w", len(msgs), err)
		}
		buf = append(buf[:0], buf[used:]...)
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if eof = err == io.EOF; err != nil && !eof {
			return err
		}
	}
	return context.Cause(ctx)
}
