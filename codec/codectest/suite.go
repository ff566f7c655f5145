package codectest

import (
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/hythe-go/hythe/codec"
)

// Run checks c with the messages sent: what Append makes of them must decode to the same messages.
func Run[T any](t *testing.T, c codec.Codec[T, T], sent ...T) {
	t.Helper()
	Suite[T, T]{Codec: c, Sent: sent}.Run(t)
}

// Suite is a codec and what to check it with. Only Codec must be set; each of the others adds checks.
type Suite[In, Out any] struct {
	Codec codec.Codec[In, Out]

	// Sent are messages for Append, and Received what Decode must make of their frames. A nil Received means Sent, if
	// these have the type of Received.
	Sent     []Out
	Received []In

	// OneWay says that Decode does not understand what Append writes.
	OneWay bool

	// Streams are golden input.
	Streams []Stream[In]

	// TooLong are starts of streams in which the last byte is the first to show that the limit is passed, or comes after
	// that. They must be refused with codec.ErrFrameTooLarge, and without allocating what they announce.
	TooLong []string

	// TooLarge are messages that Append must refuse with codec.ErrFrameTooLarge, and Refused are others that it must
	// refuse.
	TooLarge []Out
	Refused  []Out

	// Allocs, if not nil, bounds the allocations for each message of Sent. It is ignored under the race detector.
	Allocs *Allocs

	// Clone copies a message that borrows its input. Nil says that messages are owned.
	Clone func(In) In

	// Equal compares messages. Nil means bytes.Equal for bytes and reflect.DeepEqual for all else, to which a nil slice
	// in a message differs from an empty one.
	Equal func(a, b In) bool

	// Join is for a codec without frames, where the cuts of the stream make the messages: it puts messages together, so
	// that the results for different cuts are equal. Nil says that there are frames.
	Join func([]In) []In

	// DropsRest says that the codec ignores an incomplete frame at the end of a stream. Otherwise it must be a message
	// or an error.
	DropsRest bool
}

// Stream is input with what it must decode to.
type Stream[In any] struct {
	Wire string
	Want []In

	// Err is matched by the error that ends the stream. Nil means io.EOF.
	Err error
}

// Allocs is a number of allocations for each message.
type Allocs struct {
	Decode float64
	Append float64 // where the slice has room for the frame
}

// Run runs every check as a subtest of t.
func (s Suite[In, Out]) Run(t *testing.T) {
	t.Helper()
	for _, check := range s.checks() {
		t.Run(check.name, func(t *testing.T) { check.run(t) })
	}
}

// tb is the part of testing.TB that checks use.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
}

type check struct {
	name string
	run  func(tb)
}

func (s Suite[In, Out]) checks() []check {
	return []check{
		{"Settings", s.settings},
		{"RoundTrip", s.roundTrip},
		{"Streams", s.streams},
		{"Cuts", s.cuts},
		{"Truncation", s.truncation},
		{"Retention", s.retention},
		{"Sharing", s.sharing},
		{"TooLong", s.tooLong},
		{"Refusal", s.refusal},
		{"Append", s.appending},
		{"Damage", s.damage},
		{"Allocs", s.allocs},
	}
}

func (s Suite[In, Out]) settings(t tb) {
	t.Helper()
	if c, ok := s.Codec.(interface{ Validate() error }); ok {
		if err := c.Validate(); err != nil {
			t.Fatalf("Validate: %v", err)
		}
	}
}

func (s Suite[In, Out]) roundTrip(t tb) {
	t.Helper()
	if s.OneWay || len(s.Sent) == 0 {
		return
	}
	want := s.Received
	if want == nil {
		for _, msg := range s.Sent {
			if msg, ok := any(msg).(In); ok {
				want = append(want, msg)
			}
		}
		if len(want) != len(s.Sent) {
			t.Fatalf("Suite.Received is nil, and the messages of Sent have another type")
		}
	}
	wire := s.encode(t)
	got := s.decode(t, wire, plan{})
	if !s.same(got, run[In]{msgs: want, err: io.EOF}) {
		t.Fatalf("messages sent and decoded again:\n got %v\nwant %v", got, run[In]{msgs: want, err: io.EOF})
	}
}

func (s Suite[In, Out]) streams(t tb) {
	t.Helper()
	for _, stream := range s.Streams {
		want := run[In]{msgs: stream.Want, err: stream.Err}
		if want.err == nil {
			want.err = io.EOF
		}
		got := s.decode(t, []byte(stream.Wire), plan{})
		if !s.sameMessages(got.msgs, want.msgs) || !errors.Is(got.err, want.err) {
			t.Fatalf("stream %.100q:\n got %v\nwant %v", stream.Wire, got, want)
		}
	}
}

// wires returns all the streams there are, and one with many frames.
func (s Suite[In, Out]) wires(t tb) [][]byte {
	t.Helper()
	var wires [][]byte
	for _, stream := range s.Streams {
		wires = append(wires, []byte(stream.Wire))
	}
	for _, start := range s.TooLong {
		wires = append(wires, []byte(start))
	}
	if len(s.Sent) > 0 && !s.OneWay {
		wire := s.encode(t)
		many := s
		many.Sent = nil
		for n := 0; n < 32 && n*len(wire) < 1024; n++ {
			many.Sent = append(many.Sent, s.Sent...)
		}
		wires = append(wires, wire, many.encode(t))
	}
	return wires
}

// cuts checks that the messages do not depend on how the stream is cut into calls.
func (s Suite[In, Out]) cuts(t tb) {
	t.Helper()
	for _, wire := range s.wires(t) {
		want := s.decode(t, wire, plan{})
		agree := func(p plan) {
			if got := s.decode(t, wire, p); !s.same(got, want) {
				t.Fatalf("%v of %.100q:\n  got %v\nwhole %v", p, wire, got, want)
			}
		}
		agree(plan{eofApart: true})
		agree(plan{cuts: every(wire)})
		agree(plan{cuts: every(wire), eofApart: true})
		agree(plan{cuts: every(wire), waits: true, eofApart: true})
		some := someCuts(wire, want.ends)
		for i, a := range some {
			agree(plan{cuts: []int{a}})
			if len(wire) > 48 {
				continue
			}
			for _, b := range some[i+1:] {
				agree(plan{cuts: []int{a, b}, eofApart: true})
			}
		}
	}
}

// truncation checks how streams end that are cut short.
func (s Suite[In, Out]) truncation(t tb) {
	t.Helper()
	for _, wire := range s.wires(t) {
		whole := s.decode(t, wire, plan{})
		for _, n := range someCuts(wire, whole.ends) {
			p := plan{cuts: every(wire[:n]), eofApart: true}
			p.cuts = p.cuts[max(0, len(p.cuts)-pieces(n, 32)):] // all would take the square of a long time
			want := s.decode(t, wire[:n], plan{})
			if got := s.decode(t, wire[:n], p); !s.same(got, want) {
				t.Fatalf("%v of %.100q, where the stream ends:\n  got %v\nwhole %v", p, wire[:n], got, want)
			}
		}
	}
	if s.OneWay || s.Join != nil || len(s.Sent) == 0 {
		return
	}
	wire := s.encode(t)
	// Byte by byte shows where each frame is first complete; the rest of its terminator may come later.
	slow, fast := s.decode(t, wire, plan{cuts: every(wire), eofApart: true}), s.decode(t, wire, plan{})
	borders := map[int]bool{0: true}
	for _, end := range append(slow.ends, fast.ends...) {
		borders[end] = true
	}
	for _, n := range someCuts(wire, fast.ends) {
		complete := 0
		for complete < len(slow.ends) && slow.ends[complete] <= n {
			complete++
		}
		got := s.decode(t, wire[:n], plan{})
		switch {
		case len(got.msgs) < complete || !s.sameMessages(got.msgs[:complete], slow.msgs[:complete]):
			t.Fatalf("stream %.100q that ends after %d messages:\n got %v", wire[:n], complete, got)
		case borders[n] && (len(got.msgs) > complete || got.err != io.EOF):
			t.Fatalf("stream %.100q that ends at the border of a frame:\n got %v", wire[:n], got)
		case !borders[n] && !s.DropsRest && len(got.msgs) == complete && got.err == io.EOF:
			t.Fatalf("stream %.100q that ends inside a frame: the rest is lost without an error", wire[:n])
		}
	}
}

// retention checks that nothing refers to the input of an earlier call.
func (s Suite[In, Out]) retention(t tb) {
	t.Helper()
	for _, wire := range s.wires(t) {
		for _, p := range []plan{{}, {cuts: every(wire)}} {
			want := s.decode(t, wire, p)
			p.scribble = true
			if got := s.decode(t, wire, p); !s.same(got, want) {
				t.Fatalf("%v of %.100q: the codec refers to input of an earlier call:\n   got %v\nbefore %v", p, wire, got, want)
			}
		}
	}
}

// sharing checks that connections do not disturb each other: two streams in turns, then many at once.
func (s Suite[In, Out]) sharing(t tb) {
	t.Helper()
	for _, wire := range s.wires(t) {
		if len(wire) > 4096 {
			continue
		}
		want := s.decode(t, wire, plan{cuts: every(wire), eofApart: true})
		a, b := s.newReader(t, wire, plan{}), s.newReader(t, wire, plan{})
		for n := 1; n <= len(wire); n++ {
			a.upTo(n, false)
			b.upTo(n, false)
		}
		a.upTo(len(wire), true)
		b.upTo(len(wire), true)
		for _, got := range []run[In]{a.run, b.run} {
			if !s.same(got, want) {
				t.Fatalf("two streams of %.100q in turns: the codec keeps state, but not for each connection (codec.PerConn):\n  got %v\nalone %v", wire, got, want)
			}
		}
		// The race detector is the judge of this one.
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				c := codec.ForConn(s.Codec)
				for unread, eof := wire, false; ; {
					n, _, err := c.Decode(unread, eof)
					if unread = unread[n:]; err != nil {
						if eof || !errors.Is(err, codec.ErrShort) {
							return
						}
						eof = true
					}
				}
			})
		}
		wg.Wait()
	}
}

// tooLong checks that input over the limit is refused without waiting for more, and cheaply.
func (s Suite[In, Out]) tooLong(t tb) {
	t.Helper()
	for _, start := range s.TooLong {
		wire := []byte(start)
		for _, p := range []plan{{}, {cuts: every(wire)}} {
			r := s.newReader(t, wire, p)
			for _, n := range append(p.cuts, len(wire)) {
				r.upTo(n, false)
			}
			if !errors.Is(r.err, codec.ErrFrameTooLarge) {
				t.Fatalf("%v of %.100q: error %v, want codec.ErrFrameTooLarge", p, wire, r.err)
			}
		}
		least := ^uint64(0)
		for range 3 { // others may allocate too
			var before, after runtime.MemStats
			c := codec.ForConn(s.Codec)
			runtime.ReadMemStats(&before)
			for unread := wire; ; {
				n, _, err := c.Decode(unread, false)
				if unread = unread[n:]; err != nil {
					break
				}
			}
			runtime.ReadMemStats(&after)
			least = min(least, after.TotalAlloc-before.TotalAlloc)
		}
		if most := uint64(64<<10 + 8*len(wire)); least > most {
			t.Fatalf("%.100q: %d bytes allocated for a frame over the limit", wire, least)
		}
	}
}

// refusal checks that Append refuses what it must, and leaves dst as it was.
func (s Suite[In, Out]) refusal(t tb) {
	t.Helper()
	refuse := func(msg Out, want error) {
		const prefix = "prefix"
		dst := append(make([]byte, 0, 1024), prefix...)
		got, err := s.appendTo(t, codec.ForConn(s.Codec), dst, msg)
		switch {
		case err == nil:
			t.Fatalf("Append of %s: no error", brief(msg))
		case want != nil && !errors.Is(err, want):
			t.Fatalf("Append of %s: error %v, want %v", brief(msg), err, want)
		case string(got) != prefix:
			t.Fatalf("Append of %s failed (%v), but returned %.100q for %q", brief(msg), err, got, prefix)
		}
	}
	for _, msg := range s.TooLarge {
		refuse(msg, codec.ErrFrameTooLarge)
	}
	for _, msg := range s.Refused {
		refuse(msg, nil)
	}
}

// appending checks what Append does to the slice it extends and to the message.
func (s Suite[In, Out]) appending(t tb) {
	t.Helper()
	for _, msg := range s.Sent {
		want, err := s.appendTo(t, codec.ForConn(s.Codec), nil, msg)
		if err != nil {
			t.Fatalf("Append of %s: %v", brief(msg), err)
		}
		const prefix = "prefix"
		for _, room := range []int{0, 1, len(want) / 2, len(want), 2 * len(want)} {
			dst := append(make([]byte, 0, len(prefix)+room), prefix...)
			got, err := s.appendTo(t, codec.ForConn(s.Codec), dst, msg)
			if err != nil || string(got) != prefix+string(want) {
				t.Fatalf("Append of %s to %q with room for %d bytes: %.100q, %v; want %.100q", brief(msg), prefix, room, got, err, prefix+string(want))
			}
			if string(dst) != prefix {
				t.Fatalf("Append of %s changed the bytes before it: %q", brief(msg), dst)
			}
		}
		// The encoder has returned, so the bytes of the message are the sender's again.
		if b, ok := any(msg).([]byte); ok && len(b) > 0 {
			saved := string(b)
			c := codec.ForConn(s.Codec)
			first, _ := s.appendTo(t, c, nil, msg)
			clear(b)
			kept := string(first) != string(want)
			copy(b, saved)
			if kept {
				t.Fatalf("Append of %s: the frame refers to the message", brief(msg))
			}
		}
	}
}

// damage checks that broken input is treated alike however it is cut, and without a panic.
func (s Suite[In, Out]) damage(t tb) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, wire := range s.wires(t) {
		if len(wire) == 0 || len(wire) > 4096 {
			continue
		}
		for range 100 {
			broken := append([]byte(nil), wire...)
			for range 1 + rnd.IntN(3) {
				broken[rnd.IntN(len(broken))] = byte(rnd.Uint32())
			}
			s.agree(t, broken, rnd)
		}
	}
}

// agree checks that wire decodes to the same for some cuts, and returns what that is.
func (s Suite[In, Out]) agree(t tb, wire []byte, rnd *rand.Rand) run[In] {
	t.Helper()
	want := s.decode(t, wire, plan{})
	var cuts []int
	for n := 0; n < len(wire); n += 1 + rnd.IntN(1+rnd.IntN(len(wire))) {
		cuts = append(cuts, n)
	}
	plans := []plan{{cuts: cuts}, {cuts: cuts, eofApart: true, scribble: true}, {cuts: cuts, waits: true}}
	if len(wire) <= 512 {
		plans = append(plans, plan{cuts: every(wire), scribble: true})
	}
	for _, p := range plans {
		if got := s.decode(t, wire, p); !s.same(got, want) {
			t.Fatalf("%v of %.200q:\n  got %v\nwhole %v", p, wire, got, want)
		}
	}
	return want
}

func (s Suite[In, Out]) allocs(t tb) {
	t.Helper()
	if s.Allocs == nil || len(s.Sent) == 0 || raceEnabled {
		return
	}
	wire := s.encode(t)
	s.decode(t, wire, plan{}) // fails, where the loop below would not end
	c := codec.ForConn(s.Codec)
	msgs := 0
	decode := testing.AllocsPerRun(100, func() {
		msgs = 0
		for unread := wire; len(unread) > 0; msgs++ {
			n, _, err := c.Decode(unread, false)
			if err != nil {
				return
			}
			unread = unread[n:]
		}
	})
	if per := decode / float64(max(msgs, 1)); per > s.Allocs.Decode {
		t.Fatalf("Decode: %.2f allocations for a message, at most %.2f allowed", per, s.Allocs.Decode)
	}
	dst := make([]byte, 0, 2*len(wire))
	encode := testing.AllocsPerRun(100, func() {
		dst = dst[:0]
		for _, msg := range s.Sent {
			dst, _ = c.Append(dst, msg)
		}
	})
	if per := encode / float64(len(s.Sent)); per > s.Allocs.Append {
		t.Fatalf("Append: %.2f allocations for a message, at most %.2f allowed", per, s.Allocs.Append)
	}
}
