package output

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/link"
)

// newStdout returns the output to standard output. A message counts as delivered
// when it was written.
func newStdout(c *config.Output, o Options) (relay.Output, error) {
	frames, err := fileFraming(c.Framing)
	if err != nil {
		return nil, err
	}
	s := &stdout{w: o.Stdout, lines: c.Framing == "lines"}
	dial := func(context.Context, link.Attempt) (*stdout, error) { return s, nil }
	deliver := func(ctx context.Context, s *stdout, lane *relay.Lane) error {
		return deliverTo(ctx, c, frames, lane, s.write)
	}
	return newLinked(c, o, nil, dial, deliver), nil
}

// stdout is standard output.
type stdout struct {
	w     io.Writer
	lines bool
	torn  bool // what was written last was not written whole
}

// write writes b. It does not wait much longer than ctx for a reader that has
// stopped: then the write is left behind, to end when the reader goes on or goes
// away.
func (s *stdout) write(ctx context.Context, b []byte) error {
	if s.torn && s.lines {
		b = append([]byte("\n"), b...)
	}
	var n int
	var err error
	written := make(chan struct{})
	go func() { // owned by write, unless it is stuck in the kernel
		defer close(written)
		n, err = s.w.Write(b)
	}()
	select {
	case <-written:
	case <-ctx.Done():
		select {
		case <-written:
		case <-time.After(lastWords):
			return context.Cause(ctx)
		}
	}
	s.torn = s.torn && n == 0 || n > 0 && n < len(b)
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		return link.Permanent(fmt.Errorf("nobody reads standard output any more: %w", err))
	}
	return err
}
