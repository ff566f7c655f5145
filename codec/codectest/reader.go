package codectest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/hythe-go/hythe/codec"
)

// plan is a way to hand a stream to a codec.
type plan struct {
	cuts     []int // ascending; a call sees the stream up to one of them, or to its end
	eofApart bool  // the end is told in a call of its own, not with the last bytes
	waits    bool  // after a codec.Short there is no call before the bytes are there
	scribble bool  // the input is written over after each call
}

func (p plan) String() string {
	cuts := "whole"
	if len(p.cuts) > 0 {
		cuts = fmt.Sprintf("cut at %v", p.cuts)
	}
	if len(p.cuts) > 8 {
		cuts = fmt.Sprintf("cut in %d", len(p.cuts)+1)
	}
	for _, option := range []struct {
		on   bool
		text string
	}{{p.eofApart, ", eof apart"}, {p.waits, ", waiting as told"}, {p.scribble, ", input reused"}} {
		if option.on {
			cuts += option.text
		}
	}
	return cuts
}

// pieces bounds the work for a wire of n bytes: at most is what a short one may cost.
func pieces(n, most int) int { return max(8, min(most, most*1024/max(n, 1))) }

// every cuts wire into bytes, or into pieces of some bytes if it is long.
func every(wire []byte) []int {
	step := 1 + len(wire)/pieces(len(wire), 1024)
	if len(wire) <= 1024 {
		step = 1
	}
	var cuts []int
	for n := step; n < len(wire); n += step {
		cuts = append(cuts, n)
	}
	return cuts
}

// someCuts returns all positions in a short wire, and some in a long one: around the ends of frames, and evenly spread.
func someCuts(wire []byte, ends []int) []int {
	const short = 256
	step, chosen := 1, map[int]bool{}
	if len(wire) > short {
		step = len(wire) / pieces(len(wire), short)
		for _, end := range ends[:min(len(ends), 8)] {
			for n := end - 3; n <= end+9; n++ {
				chosen[n] = true
			}
		}
	}
	var cuts []int
	for n := range len(wire) {
		if n%step == 0 || chosen[n] {
			cuts = append(cuts, n)
		}
	}
	return cuts
}

// run is what a codec made of a stream.
type run[In any] struct {
	msgs []In
	ends []int // position in the stream after each message
	err  error // that ended it
}

func (r run[In]) String() string {
	return fmt.Sprintf("%d messages %s, then %v", len(r.msgs), brief(r.msgs), r.err)
}

// brief returns v as text that fits a failure.
func brief(v any) string {
	switch v.(type) {
	case string, []string, []byte, [][]byte:
		return fmt.Sprintf("%.200q", v)
	}
	text := fmt.Sprintf("%#v", v) // which tells nil from empty
	return text[:min(len(text), 500)]
}

// reader hands a stream to a codec as a server does, and checks the form of each answer.
type reader[In, Out any] struct {
	suite Suite[In, Out]
	t     tb
	codec codec.Codec[In, Out]
	wire  []byte
	plan  plan
	used  int // bytes of wire
	need  int // bytes of wire without which there is no message, says the codec
	empty bool
	run[In]
}

func (s Suite[In, Out]) newReader(t tb, wire []byte, p plan) *reader[In, Out] {
	return &reader[In, Out]{suite: s, t: t, codec: codec.ForConn(s.Codec), wire: wire, plan: p}
}

// decode returns what the codec makes of wire.
func (s Suite[In, Out]) decode(t tb, wire []byte, p plan) run[In] {
	t.Helper()
	r := s.newReader(t, wire, p)
	for _, n := range p.cuts {
		r.upTo(n, false)
	}
	if p.eofApart {
		r.upTo(len(wire), false)
	}
	r.upTo(len(wire), true)
	if s.Join != nil {
		r.msgs, r.ends = s.Join(r.msgs), nil
	}
	return r.run
}

// upTo calls Decode until there is nothing more in the first n bytes of the stream.
func (r *reader[In, Out]) upTo(n int, eof bool) {
	if r.plan.waits && n < r.need && !eof {
		return
	}
	for r.err == nil {
		if !r.next(n, eof) {
			return
		}
	}
}

// next calls Decode once and reports whether to call it again.
func (r *reader[In, Out]) next(n int, eof bool) bool {
	unread := r.wire[r.used:n]
	used, msg, err := r.step(unread, eof)
	r.used += used
	fail := func(format string, args ...any) {
		r.t.Fatalf("Decode(%.100q, %t): "+format, append([]any{unread, eof}, args...)...)
	}
	if err == nil {
		if n < r.need && !eof {
			fail("a message when the stream has %d bytes, after a Short that asked for %d", n, r.need)
		}
		if used == 0 && r.empty {
			fail("two messages in a row that use no bytes")
		}
		r.empty = used == 0
		r.msgs = append(r.msgs, msg)
		r.ends = append(r.ends, r.used)
		return true
	}
	if !errors.Is(err, codec.ErrShort) {
		switch {
		case !eof && (err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF)):
			fail("%v, though there may be more", err)
		case err == io.EOF && r.used < n:
			fail("io.EOF with %d bytes left", n-r.used)
		case errors.Is(err, io.EOF) && err != io.EOF:
			fail("an error that is io.EOF in disguise: %v", err)
		}
		r.err = err
		return false
	}
	if eof {
		fail("codec.ErrShort at the end of the stream")
	}
	if short, ok := errors.AsType[codec.Short](err); ok {
		if int(short) <= n-r.used {
			fail("Short asks for %d bytes, and there are %d", int(short), n-r.used)
		}
		r.need = r.used + int(short)
	}
	if used, _, err := r.step(r.wire[r.used:n], false); used != 0 || !errors.Is(err, codec.ErrShort) {
		fail("codec.ErrShort, but the next call with the same bytes returns %d, %v", used, err)
	}
	return false
}

// step is one call of Decode on a copy of unread, which it then checks and destroys.
func (r *reader[In, Out]) step(unread []byte, eof bool) (used int, msg In, err error) {
	buf := make([]byte, len(unread)+8)
	copy(buf, unread)
	src := buf[:len(unread)]
	if problem := guard(func() { used, msg, err = r.codec.Decode(src, eof) }); problem != nil {
		r.t.Fatalf("Decode(%.100q, %t) panics: %v", unread, eof, problem)
	}
	if used < 0 || used > len(src) {
		r.t.Fatalf("Decode(%.100q, %t) uses %d bytes of %d", unread, eof, used, len(src))
	}
	if !bytes.Equal(src, unread) {
		r.t.Fatalf("Decode(%.100q, %t) changes its input to %.100q", unread, eof, src)
	}
	if err != nil {
		used = max(used, 0)
	} else if b, ok := any(msg).([]byte); ok {
		if _ = append(b, 0xEE); !bytes.Equal(src, unread) || buf[len(src)] != 0 {
			r.t.Fatalf("Decode(%.100q, %t): append to the message writes over the input behind it", unread, eof)
		}
	}
	if r.suite.Clone != nil && err == nil {
		msg = r.suite.Clone(msg)
	}
	if r.plan.scribble {
		for i := range buf {
			buf[i] = 0xDB
		}
	}
	return used, msg, err
}

// guard calls f and returns what it panics with, or nil.
func guard(f func()) (problem any) {
	defer func() { problem = recover() }()
	f()
	return nil
}

// encode returns the frames of all that is sent.
func (s Suite[In, Out]) encode(t tb) []byte {
	t.Helper()
	c := codec.ForConn(s.Codec)
	var wire []byte
	for _, msg := range s.Sent {
		var err error
		if wire, err = s.appendTo(t, c, wire, msg); err != nil {
			t.Fatalf("Append of %s: %v", brief(msg), err)
		}
	}
	return wire
}

func (s Suite[In, Out]) appendTo(t tb, c codec.Codec[In, Out], dst []byte, msg Out) (frame []byte, err error) {
	t.Helper()
	before := fmt.Sprintf("%#v", msg)
	if problem := guard(func() { frame, err = c.Append(dst, msg) }); problem != nil {
		t.Fatalf("Append of %s panics: %v", brief(msg), problem)
	}
	if after := fmt.Sprintf("%#v", msg); after != before {
		t.Fatalf("Append changes the message %.100s to %.100s", before, after)
	}
	return frame, err
}

// same reports whether two runs had the same messages and ended in the same way.
func (s Suite[In, Out]) same(a, b run[In]) bool {
	for _, err := range []error{io.EOF, io.ErrUnexpectedEOF, codec.ErrFrameTooLarge} {
		if errors.Is(a.err, err) != errors.Is(b.err, err) {
			return false
		}
	}
	return s.sameMessages(a.msgs, b.msgs)
}

func (s Suite[In, Out]) sameMessages(a, b []In) bool {
	if s.Join != nil {
		a, b = s.Join(a), s.Join(b)
	}
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !s.equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

func (s Suite[In, Out]) equal(a, b In) bool {
	if s.Equal != nil {
		return s.Equal(a, b)
	}
	if a, ok := any(a).([]byte); ok {
		return bytes.Equal(a, any(b).([]byte))
	}
	return reflect.DeepEqual(a, b)
}
