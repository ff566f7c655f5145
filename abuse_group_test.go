//go:build unix

package hythe_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
)

// Two hundred members, of whom twenty never read. The others get everything,
// the slow ones are cut or left out, and memory stays within the budget and 4
// KiB for each.
func TestAbuse_Broadcast(t *testing.T) {
	const members, slow, size, most = 200, 20, 3 << 10, 1200
	tests := []struct {
		name   string
		limits hythe.Limits
		policy hythe.SlowPolicy
	}{
		{"high mark", hythe.Limits{HighWater: 64 << 10}, hythe.SlowCut},
		{"budget", hythe.Limits{Memory: 512 << 10}, hythe.SlowCut},
		{"drop", hythe.Limits{HighWater: 64 << 10}, hythe.SlowDrop},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorlds(t, []world{tcpWorld, netWorld, memWorld}, func(t *testing.T, w world) {
				var g hythe.Group[string]
				h := w.start(t, &hythe.Server{
					Service: sessions(func(c *lines) *hooks {
						return &hooks{input: withPing(func(c *lines, in string) error { g.Join(c); return nil })}
					}),
					Limits:   tt.limits,
					Slow:     tt.policy,
					Timeouts: hythe.Timeouts{WriteStall: time.Minute},
				})
				h.smallBuffers()
				ns := h.neighbours(1)
				var healthy []*peer
				for i := range members {
					p := h.dialSmall()
					if i >= slow {
						healthy = append(healthy, p)
					}
					p.send("join\n")
				}
				eventually(t, w, func() bool { return g.Len() == members }, "all to join")
				before := liveHeapIn(w)
				var account gauge
				var sent int
				enough := func() bool {
					if tt.policy == hythe.SlowDrop {
						return g.Dropped() >= 10*slow
					}
					return g.Len() == members-slow
				}
				for began := time.Now(); sent < most && !enough(); sent++ {
					msg := fmt.Sprintf("%d %s", sent, strings.Repeat("g", size))
					if _, err := g.Broadcast(msg); err != nil {
						t.Fatal(err)
					}
					account.show(h.srv.Stats().Memory)
					for i, p := range healthy { // all have it before there is a next one
						p.nc.SetDeadline(time.Now().Add(w.patience()))
						if got, err := p.r.ReadString('\n'); err != nil || got != msg+"\n" {
							t.Fatalf("member %d, message %d: got %.20q, %v", i, sent, got, err)
						}
					}
					if time.Since(began) > 20*time.Second && !w.mem {
						t.Fatalf("only %d messages in 20 s", sent)
					}
				}
				held := liveHeapIn(w) - before
				bound := int64(members * 4 << 10)
				if tt.limits.Memory > 0 {
					bound += tt.limits.Memory
				} else {
					bound += slow * int64(tt.limits.HighWater+size)
				}
				t.Logf("%d messages; account %d KiB at most (bound %d KiB), heap %d KiB more; %d members, %d messages dropped",
					sent, account.peak.Load()>>10, bound>>10, held>>10, g.Len(), g.Dropped())
				if !enough() {
					t.Errorf("%d of %d are still members, %d messages were dropped", g.Len(), members, g.Dropped())
				}
				if account.peak.Load() > bound || held > bound+1<<20 {
					t.Errorf("account %d bytes, heap %d bytes, want at most %d", account.peak.Load(), held, bound)
				}
				if tt.policy == hythe.SlowCut {
					h.wantEnds(slow, hythe.Slow)
					h.wantLiveConns(members - slow + 1)
				} else {
					h.wantLiveConns(members + 1)
				}
				ns.check(2 * w.neighbourBound()) // 180 readers take their time
			})
		})
	}
}

// liveHeapIn is liveHeap where a collection does no harm to fake time.
func liveHeapIn(w world) int64 {
	if w.mem {
		return 0
	}
	return liveHeap()
}
