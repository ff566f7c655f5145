package codectest

import (
	"math/rand/v2"
	"testing"

	"github.com/hythe-go/hythe/codec"
)

// Fuzz fuzzes c with streams that begin as the seeds. See [Suite.Fuzz].
func Fuzz[T any](f *testing.F, c codec.Codec[T, T], seeds ...string) {
	f.Helper()
	Suite[T, T]{Codec: c}.Fuzz(f, seeds...)
}

// Fuzz gives streams to the codec, at first the seeds and the frames of Sent: there must be no panic and the same
// messages however a stream is cut. Each message decoded that Append accepts must come back from its frame, unless the
// codec is OneWay or sends messages of another type.
//
// The arguments of a corpus file are the stream, as []byte, and a uint64 from which the cuts are made.
func (s Suite[In, Out]) Fuzz(f *testing.F, seeds ...string) {
	f.Helper()
	for _, seed := range seeds {
		f.Add([]byte(seed), uint64(1))
	}
	if len(s.Sent) > 0 {
		f.Add(s.encode(f), uint64(1))
	}
	f.Fuzz(func(t *testing.T, wire []byte, cuts uint64) { s.fuzz(t, wire, cuts) })
}

func (s Suite[In, Out]) fuzz(t tb, wire []byte, cuts uint64) {
	t.Helper()
	const most = 64 // messages to encode again
	got := s.agree(t, wire, rand.New(rand.NewPCG(cuts, 0)))
	for _, msg := range got.msgs[:min(len(got.msgs), most)] {
		out, ok := any(msg).(Out)
		if !ok || s.OneWay {
			return
		}
		frame, err := s.appendTo(t, codec.ForConn(s.Codec), nil, out)
		if err != nil || len(frame) == 0 {
			continue
		}
		again := s.decode(t, frame, plan{})
		if !s.sameMessages(again.msgs, []In{msg}) {
			t.Fatalf("message %s, sent as %.200q, comes back as %v", brief(msg), frame, again)
		}
	}
}
