package input

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/codec"
)

// ReadAll takes messages from r until it ends. Then all of them are durable, when
// it returns nil; and when it ends with what was wrong in the input, all that came
// before it. While there is no room it waits. ctx ends that, and not a Read that
// waits.
func ReadAll(ctx context.Context, c *config.Input, in *relay.Intake, r io.Reader) error {
	f, err := newFramed(c)
	if err != nil {
		return err
	}
	var (
		dec    = codec.ForConn(f.codec)
		source = []byte(in.Name)
		buf    = make([]byte, 0, 64<<10)
		s      scratch
		taken  int
	)
	for eof := false; !eof; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if eof = err == io.EOF; err != nil && !eof {
			return err
		}
		used := 0
		for more := true; more; {
			s.msgs = s.msgs[:0]
			n, wrong := f.decode(dec, &s, source, buf[used:], eof)
			used += n
			more = len(s.msgs) == f.window
			if len(s.msgs) > 0 {
				if err := put(ctx, in, s.msgs); err != nil {
					return err
				}
				taken += len(s.msgs)
			}
			if wrong != nil {
				in.Refused(1)
				return fmt.Errorf("behind %d messages: %w", taken, wrong)
			}
		}
		buf = buf[:copy(buf, buf[used:])]
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, 1)
		}
	}
	return nil
}

// put makes messages durable, or those before the first one that has no route.
func put(ctx context.Context, in *relay.Intake, msgs []relay.Message) error {
	err := in.PutWaiting(ctx, msgs, nil)
	if bad, ok := errors.AsType[*relay.RouteError](err); ok {
		in.Refused(1)
		if bad.Index > 0 {
			err = errors.Join(err, put(ctx, in, msgs[:bad.Index]))
		}
	}
	return err
}
