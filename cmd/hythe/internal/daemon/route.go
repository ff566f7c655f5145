package daemon

import (
	"context"
	"time"
)

// finish waits until everything was delivered that can be before ctx ends: what an
// output has no connection for is not waited for.
func (r *route) finish(ctx context.Context) {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		if empty, moving := r.Drained(); empty || !moving {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
