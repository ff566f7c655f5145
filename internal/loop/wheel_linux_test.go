package loop

import (
	"math/rand/v2"
	"testing"
)

// Every node is told no earlier than it was looked for and no more than a tick
// late, whatever else happens in the wheel.
func TestWheelTellsInTime(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	w := newWheel()
	now := int64(5 * wheelTick)
	want := make(map[*Node]int64)
	armedAt := make(map[*Node]int64)
	span := int64(wheelSlots-1) * wheelTick
	told := 0
	for range 20_000 {
		switch r.IntN(4) {
		case 0, 1:
			n := new(Node)
			at := now + r.Int64N(2*span)
			w.arm(n, at, now)
			want[n], armedAt[n] = at, now
		case 2:
			for n := range want {
				w.disarm(n)
				delete(want, n)
				break
			}
		default:
			now += r.Int64N(20 * wheelTick)
			if now < w.nextAt.Load() {
				for n, at := range want {
					if at+wheelTick < now && n.timing.armed.Load() != 0 {
						t.Fatalf("due since %d ticks, and nobody looks", (now-at)/wheelTick)
					}
				}
				continue
			}
			for _, n := range w.expired(make([]*Node, 0, 1<<16), now) {
				at, ok := want[n]
				if !ok {
					t.Fatal("told a node that was disarmed, or twice")
				}
				if now < at { // beyond the span: it is looked at early and armed again
					if at < armedAt[n]+span-30*wheelTick {
						t.Fatalf("told %d ticks early, with the time inside the span", (at-now)/wheelTick)
					}
					w.arm(n, at, now)
					armedAt[n] = now
					continue
				}
				told++
				delete(want, n)
			}
			for n, at := range want {
				if at+wheelTick < now {
					t.Fatalf("node due %d ticks ago was not told (armed %d)", (now-at)/wheelTick, n.timing.armed.Load())
				}
			}
		}
	}
	if told < 1000 {
		t.Fatalf("only %d nodes were told", told)
	}
}

func TestWheelExpiresInPortions(t *testing.T) {
	w := newWheel()
	nodes := make([]Node, 10)
	for i := range nodes {
		w.arm(&nodes[i], 3*wheelTick, wheelTick)
	}
	var got int
	for range 4 {
		got += len(w.expired(make([]*Node, 0, 3), 10*wheelTick))
	}
	if got != len(nodes) {
		t.Fatalf("told %d of %d nodes", got, len(nodes))
	}
}

func TestWheelArmIsLazy(t *testing.T) {
	w := newWheel()
	var n Node
	w.arm(&n, 100*wheelTick, wheelTick)
	early := n.timing.armed.Load()
	w.arm(&n, 50*wheelTick, wheelTick)
	if at := n.timing.armed.Load(); at >= early {
		t.Fatalf("an earlier time did not count: armed for %d, before for %d", at, early)
	}
	if w.count != 1 {
		t.Fatalf("count = %d after arming one node twice", w.count)
	}
}
