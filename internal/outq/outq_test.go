package outq

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// drain takes everything off q in pieces of random size and returns it.
func drain(q *Queue, r *rand.Rand) []byte {
	var got []byte
	for q.Len() > 0 {
		first := q.First()
		n := 1 + r.IntN(len(first))
		got = append(got, first[:n]...)
		q.Advance(n)
	}
	return got
}

func TestQueueKeepsOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		var b Budget
		b.SetMax(1 << 40)
		q := Queue{Budget: &b}
		q.Charge()
		var want, got []byte
		for range 1 + r.IntN(12) {
			p := make([]byte, r.IntN(3*smallBytes))
			for i := range p {
				p[i] = byte(r.Uint32())
			}
			want = append(want, p...)
			if r.IntN(5) == 0 {
				q.Charge()
			}
			switch r.IntN(4) {
			case 3:
				m := NewMessage()
				q.Add(m, append(m.Room(), p...))
			case 0:
				q.AppendOwned(bytes.Clone(p))
			case 1:
				q.AppendShared(bytes.Clone(p))
			default:
				q.Append(p)
			}
			if q.Len() > 0 && r.IntN(2) == 0 {
				first := q.First()
				n := r.IntN(len(first) + 1)
				got = append(got, first[:n]...)
				q.Advance(n)
			}
		}
		if q.Len() != len(want)-len(got) {
			t.Fatalf("round %d: Len = %d, want %d", round, q.Len(), len(want)-len(got))
		}
		var all []byte
		for _, p := range q.Buffers(make([][]byte, 0, 64)) {
			all = append(all, p...)
		}
		if !bytes.Equal(all, want[len(got):]) {
			t.Fatalf("round %d: Buffers differ from what was added", round)
		}
		got = append(got, drain(&q, r)...)
		if !bytes.Equal(got, want) {
			t.Fatalf("round %d: got other bytes than were added", round)
		}
		if q.head != nil || q.tail != nil || q.held != 0 || b.Used() != 0 {
			t.Fatalf("round %d: an empty queue holds %d bytes, the budget %d", round, q.held, b.Used())
		}
	}
}

func TestSharedChunkIsNotWrittenTo(t *testing.T) {
	backing := make([]byte, 5, 100)
	copy(backing, "hello")
	var q Queue
	q.AppendShared(backing[:5])
	q.Append([]byte(" world"))
	if got := backing[:11]; !bytes.Equal(got[5:], make([]byte, 6)) {
		t.Fatalf("appending after a shared chunk wrote into it: %q", got)
	}
}

func TestReleaseGivesBack(t *testing.T) {
	var b Budget
	b.SetMax(10)
	q := Queue{Budget: &b}
	q.Append(make([]byte, 100))
	if b.Used() != 0 {
		t.Fatal("a small chunk was charged before Charge")
	}
	q.Append(make([]byte, 100<<10))
	if !b.Exhausted() {
		t.Fatal("100 KiB in a budget of 10 bytes: not exhausted")
	}
	q.Release()
	if b.Used() != 0 || b.Exhausted() || q.Len() != 0 {
		t.Fatalf("after Release: used %d, len %d", b.Used(), q.Len())
	}
}

func BenchmarkAppendAdvance(b *testing.B) {
	var q Queue
	msg := make([]byte, 65)
	b.SetBytes(65)
	b.ReportAllocs()
	for b.Loop() {
		q.Append(msg)
		q.Advance(q.Len())
	}
}
