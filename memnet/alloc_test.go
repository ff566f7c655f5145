//go:build !race

package memnet_test

import (
	"testing"
	"time"

	"github.com/hythe-go/hythe/memnet"
)

// Without latency, traffic and deadlines do not allocate. The race detector
// makes sync.Pool forget, so that this cannot be seen with it.
func TestNoAllocations(t *testing.T) {
	a, b := pipe(t, &memnet.Network{})
	buf := make([]byte, 10_000)
	a.SetDeadline(time.Now().Add(time.Hour))
	b.SetDeadline(time.Now().Add(time.Hour))
	got := testing.AllocsPerRun(1000, func() {
		a.Write(buf)
		b.WaitRead()
		b.Read(buf)
		b.TryWrite(buf)
		a.Read(buf)
		a.SetReadDeadline(time.Now().Add(time.Hour))
		b.SetWriteDeadline(time.Time{})
	})
	if got != 0 {
		t.Errorf("%v allocations per round, want 0", got)
	}
}
