package relay

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hythe-go/hythe/spool"
)

// ErrNoRoute means that no route takes a message.
var ErrNoRoute = errors.New("relay: no route takes this message")

// A RouteError says which of the messages it is. It matches ErrNoRoute.
type RouteError struct{ Index int }

func (e *RouteError) Error() string { return ErrNoRoute.Error() }

// Unwrap returns ErrNoRoute.
func (e *RouteError) Unwrap() error { return ErrNoRoute }

// An Intake is where an input puts messages. It is safe for concurrent use.
type Intake struct {
	Name string

	ids    *IDs
	routes atomic.Pointer[[]*Route] // those that may take a message of this input

	messages atomic.Uint64 // durable
	bytes    atomic.Uint64 // of their bodies
	refused  atomic.Uint64
	repeated atomic.Uint64

	work    sync.WaitGroup  // who tries again
	closing context.Context // ends with Close
	close   context.CancelFunc
}

// NewIntake returns the intake of the input of that name. It has no routes yet.
func NewIntake(name string, ids *IDs) *Intake {
	in := &Intake{Name: name, ids: ids}
	in.closing, in.close = context.WithCancel(context.Background())
	in.routes.Store(new([]*Route))
	return in
}

// SetRoutes says which routes there are, from the next call of Put or Start on.
func (in *Intake) SetRoutes(all []*Route) {
	list := slices.DeleteFunc(slices.Clone(all), func(r *Route) bool { return !r.match.Load().takesFrom(in.Name) })
	in.routes.Store(&list)
}

// Put takes messages in: when it returns nil they are durable on every route that
// they match. It waits for the disk, but not for room: errors that match
// spool.ErrFull, or are the system's, may go away, ErrNoRoute and
// spool.ErrTooLarge will not. After an error some routes may have them, or some
// of them, all the same.
//
// What the messages refer to may be used again when Put has returned. header
// returns the values of the request's header, for routes that match on it. It may
// be nil.
func (in *Intake) Put(ctx context.Context, msgs []Message, header func(name string) string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	b := batches.Get().(*batch)
	defer b.free()
	err := in.sort(b, msgs, header)
	if err == nil {
		err = b.append()
	}
	in.count(uint64(len(msgs)), size(msgs), err)
	return err
}

// PutWaiting is Put that waits for room, and for the end of whatever trouble there
// is, until ctx ends. Then the error is why the messages could not be put.
func (in *Intake) PutWaiting(ctx context.Context, msgs []Message, header func(name string) string) error {
	done := make(chan error, 1)
	if err := in.Start(ctx, msgs, header, func(err error) { done <- err }); err != nil {
		return err
	}
	return <-done
}

// Start is PutWaiting that does not wait: done is called once, with nil when the
// messages are durable on every route. It must not block, and it may be called
// before Start returns. Start returns an error, and done is not called, if the
// messages cannot be put whatever happens: a *RouteError. Those are not counted.
func (in *Intake) Start(ctx context.Context, msgs []Message, header func(name string) string, done func(error)) error {
	b := batches.Get().(*batch)
	if err := in.sort(b, msgs, header); err != nil {
		b.free()
		return err
	}
	n, bytes := uint64(len(msgs)), size(msgs)
	finish := func(err error) {
		b.free()
		in.count(n, bytes, err)
		done(err)
	}
	b.submit(func(err error) {
		if err == nil || errors.Is(err, spool.ErrTooLarge) {
			finish(err)
			return
		}
		in.work.Go(func() { finish(in.insist(ctx, b, err)) })
	})
	return nil
}

// insist appends what is left of a batch until that works, or ctx ends. trouble
// is why it did not work yet.
func (in *Intake) insist(ctx context.Context, b *batch, trouble error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(in.closing, cancel)()
	pause := 20 * time.Millisecond
	for {
		if !errors.Is(trouble, spool.ErrBusy) { // for which append waits
			if stopped := sleep(ctx, pause); stopped != nil {
				return errors.Join(trouble, stopped)
			}
			pause = min(2*pause, time.Second)
		}
		if errors.Is(trouble, spool.ErrClosed) && !in.reroute(b) {
			return trouble
		}
		if trouble = b.append(); trouble == nil || errors.Is(trouble, spool.ErrTooLarge) {
			return trouble
		}
	}
}

// reroute looks up the routes of a batch again: one of them was closed, because it
// is opened anew, or is no more. It reports whether any is left.
func (in *Intake) reroute(b *batch) bool {
	now := *in.routes.Load()
	left := b.parts[:0]
	for _, p := range b.parts {
		if i := slices.IndexFunc(now, func(r *Route) bool { return r.Name == p.route.Name }); i >= 0 {
			p.route = now[i]
			left = append(left, p)
		}
	}
	b.parts = left
	return len(left) > 0
}

// Close gives up what cannot be put for want of room, and waits until nothing runs
// any more. Nothing may be put after it.
func (in *Intake) Close() {
	in.close()
	in.work.Wait()
}

// Identify gives an id to each message that has none, as Put would, and returns
// arena, in which the ids are.
func (in *Intake) Identify(msgs []Message, arena []byte) []byte {
	number := in.ids.Reserve(len(msgs))
	arena = slices.Grow(arena, 32*len(msgs)) // so that it stays where it is
	for i := range msgs {
		if len(msgs[i].ID) == 0 {
			at := len(arena)
			arena = in.ids.Append(arena, number+uint64(i))
			msgs[i].ID = arena[at:len(arena):len(arena)]
		}
	}
	return arena
}

// Refused counts messages that were refused before they were put.
func (in *Intake) Refused(n int) { in.refused.Add(uint64(n)) }

// Repeated counts messages that were known already and not put again.
func (in *Intake) Repeated(n int) { in.repeated.Add(uint64(n)) }

// Counts returns how many messages, with how many bytes in their bodies, were
// taken, how many were not, and how many were repeated.
func (in *Intake) Counts() (messages, bytes, refused, repeated uint64) {
	return in.messages.Load(), in.bytes.Load(), in.refused.Load(), in.repeated.Load()
}

// count counts n messages that were taken, or why they were not.
func (in *Intake) count(n, bytes uint64, err error) {
	if err != nil {
		in.refused.Add(n)
		return
	}
	in.messages.Add(n)
	in.bytes.Add(bytes)
}

func size(msgs []Message) (n uint64) {
	for i := range msgs {
		n += uint64(len(msgs[i].Body))
	}
	return n
}

// A batch is messages in envelopes, sorted by route.
type batch struct {
	arena     []byte
	envelopes [][]byte
	parts     []part
}

// A part is what one route gets.
type part struct {
	route     *Route
	envelopes [][]byte
}

var batches = sync.Pool{New: func() any { return new(batch) }}

// free gives the batch back. The spools have copied what was in it.
func (b *batch) free() {
	if cap(b.arena) > 1<<20 {
		return
	}
	b.clear()
	batches.Put(b)
}

func (b *batch) clear() {
	clear(b.envelopes)
	b.arena, b.envelopes = b.arena[:0], b.envelopes[:0]
	b.parts = b.parts[:cap(b.parts)]
	for i := range b.parts {
		clear(b.parts[i].envelopes)
		b.parts[i].route = nil
	}
	b.parts = b.parts[:0]
}

// sort puts the messages into envelopes and finds the routes of each.
func (in *Intake) sort(b *batch, msgs []Message, header func(string) string) error {
	in.wrap(b, msgs)
	routes := *in.routes.Load()
	routed := 0
	for _, r := range routes {
		if len(b.parts) < cap(b.parts) {
			b.parts = b.parts[:len(b.parts)+1]
		} else {
			b.parts = append(b.parts, part{})
		}
		p := &b.parts[len(b.parts)-1]
		p.route, p.envelopes = r, p.envelopes[:0]
		match := r.match.Load()
		if match.simple() {
			p.envelopes = append(p.envelopes, b.envelopes...)
			routed = len(msgs)
			continue
		}
		for i := range msgs {
			if match.matches(&msgs[i], header) {
				p.envelopes = append(p.envelopes, b.envelopes[i])
			}
		}
	}
	for i := 0; routed < len(msgs) && i < len(msgs); i++ {
		if !slices.ContainsFunc(routes, func(r *Route) bool { return r.match.Load().matches(&msgs[i], header) }) {
			return &RouteError{i}
		}
	}
	b.parts = slices.DeleteFunc(b.parts, func(p part) bool { return len(p.envelopes) == 0 })
	return nil
}

// wrap puts the messages into envelopes, with an id and the time where they have
// none.
func (in *Intake) wrap(b *batch, msgs []Message) {
	room, fresh := 0, 0
	for i := range msgs {
		room += msgs[i].envelopeSize() + max(len(msgs[i].ID), 32)
		if len(msgs[i].ID) == 0 {
			fresh++
		}
	}
	b.arena = slices.Grow(b.arena, room)
	number := in.ids.Reserve(fresh)
	var now time.Time
	var id [64]byte
	for i := range msgs {
		m := msgs[i]
		if len(m.ID) == 0 {
			m.ID = in.ids.Append(id[:0], number)
			number++
		}
		if m.Received.IsZero() {
			if now.IsZero() {
				now = time.Now()
			}
			m.Received = now
		}
		at := len(b.arena)
		b.arena = m.Append(b.arena)
		b.envelopes = append(b.envelopes, b.arena[at:len(b.arena):len(b.arena)])
	}
}

// append makes all parts durable, and leaves those that could not be.
func (b *batch) append() error {
	if len(b.parts) == 1 {
		return b.parts[0].route.append(b.parts[0].envelopes)
	}
	errs := make([]error, len(b.parts))
	var work sync.WaitGroup
	for i, p := range b.parts {
		work.Go(func() { errs[i] = p.route.append(p.envelopes) })
	}
	work.Wait()
	left := b.parts[:0]
	for i, p := range b.parts {
		if errs[i] != nil {
			left = append(left, p)
		}
	}
	b.parts = left
	return errors.Join(errs...)
}

// submit has all parts made durable, without waiting. Those of which that has
// succeeded are gone from the batch when done is called.
func (b *batch) submit(done func(error)) {
	if len(b.parts) == 1 {
		if err := b.parts[0].route.submit(b.parts[0].envelopes, done); err != nil {
			done(err)
		}
		return
	}
	j := &join{b: b, left: len(b.parts), failed: make([]bool, len(b.parts)), done: done}
	for i, p := range b.parts {
		one := func(err error) { j.one(i, err) }
		if err := p.route.submit(p.envelopes, one); err != nil {
			one(err)
		}
	}
}

// A join calls done when all parts of a batch have been heard of.
type join struct {
	b    *batch
	done func(error)

	mu     sync.Mutex
	left   int    // guarded by mu
	failed []bool // guarded by mu
	err    error  // guarded by mu
}

func (j *join) one(i int, err error) {
	j.mu.Lock()
	if err != nil {
		j.failed[i], j.err = true, errors.Join(j.err, err)
	}
	j.left--
	last := j.left == 0
	j.mu.Unlock()
	if !last {
		return
	}
	i = -1
	j.b.parts = slices.DeleteFunc(j.b.parts, func(part) bool {
		i++
		return !j.failed[i]
	})
	j.done(j.err)
}
