package output

import (
	"context"
	"fmt"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/framing"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/codec"
)

// fileFraming returns the framing for a file. Messages are written as they are,
// even if they have the end of a line in them: it is people who read lines in
// files.
func fileFraming(name string) (codec.Codec[[]byte, []byte], error) {
	switch name {
	case "lines":
		return codec.Line{Max: 1 << 30, AllowBreaks: true}.Borrowed(), nil
	case "hythe", "raw":
		return nil, fmt.Errorf("framing %s does not go with files", name)
	}
	return framing.New(name, 1<<30)
}

// deliverTo has write write one batch after the other. What it has written, and
// made durable if it can be, is confirmed. A message that the framing cannot hold
// becomes a dead letter.
func deliverTo(
	ctx context.Context, c *config.Output, frames codec.Codec[[]byte, []byte], lane *relay.Lane,
	write func(ctx context.Context, b []byte) error,
) error {
	var buf []byte
	for {
		msgs, err := lane.Next(ctx, c.BatchMessages, int(c.BatchBytes), time.Duration(c.Linger))
		if err != nil {
			return err
		}
		if cap(buf) > 4<<20 {
			buf = nil
		}
		good := 0
		flush := func() error {
			if good == 0 {
				return nil
			}
			if err := write(ctx, buf); err != nil {
				return err
			}
			lane.Confirm(good)
			buf, good = buf[:0], 0
			return nil
		}
		for i := range msgs {
			var bad error
			if buf, bad = frames.Append(buf, msgs[i].Body); bad == nil {
				good++
				continue
			}
			if err := flush(); err != nil {
				return err
			}
			if err := lane.Reject(ctx, bad); err != nil {
				return err
			}
		}
		if err := flush(); err != nil {
			return err
		}
	}
}
