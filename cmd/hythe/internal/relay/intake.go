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

// An Intake is where an input puts messages. It is safe for concurrent use.
type Intake struct {
	Name string

	ids    *IDs
	routes atomic.Pointer[[]*Route] // those that may take a message of this input

	messages atomic.Uint64 // durable
	bytes    atomic.Uint64 // of their bodies
	refused  atomic.Uint64
	repeated atomic.Uint64
}

// NewIntake returns the intake of the input of that name. It has no routes yet.
func NewIntake(name string, ids *IDs) *Intake {
	in := &Intake{Name: name, ids: ids}
	in.routes.Store(new([]*Route))
	return in
}

// SetRoutes says which routes there are, from the next call of Put or Submit on.
func (in *Intake) SetRoutes(all []*Route) {
	list := slices.DeleteFunc(slices.Clone(all), func(r *Route) bool { return !r.match.takesFrom(in.Name) })
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
	in.count(msgs, err)
	return err
}

// PutWaiting is Put that waits for room, and for the end of whatever trouble there
// is, until ctx ends. Then the error is why the messages could not be put.
func (in *Intake) PutWaiting(ctx context.Context, msgs []Message, header func(name string) string) error {
	b := batches.Get().(*batch)
	defer b.free()
	err := in.sort(b, msgs, header)
	for pause := 20 * time.Millisecond; err == nil; pause = min(2*pause, time.Second) {
		trouble := b.append()
		if trouble == nil || errors.Is(trouble, spool.ErrTooLarge) {
			err = trouble
			break
		}
		if stopped := sleep(ctx, pause); stopped != nil {
			err = errors.Join(trouble, stopped)
		}
	}
	in.count(msgs, err)
	return err
}

// Submit is Put that does not wait: done is called when the messages are durable
// on every route, or could not be made so. The calls come in the order of
// submission as long as the same routes take all messages. done must not block.
// When Submit returns an error, done is not called; spool.ErrBusy is one, after
// which Put waits. (Submit itself waits when only one of several routes is busy.)
func (in *Intake) Submit(msgs []Message, header func(name string) string, done func(error)) error {
	b := batches.Get().(*batch)
	defer b.free()
	if err := in.sort(b, msgs, header); err != nil {
		in.count(msgs, err)
		return err
	}
	n, bytes := uint64(len(msgs)), size(msgs)
	err := b.submit(func(err error) {
		if err == nil {
			in.messages.Add(n)
			in.bytes.Add(bytes)
		} else {
			in.refused.Add(n)
		}
		done(err)
	})
	if err != nil && !errors.Is(err, spool.ErrBusy) {
		in.refused.Add(n)
	}
	return err
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

func (in *Intake) count(msgs []Message, err error) {
	if err != nil {
		in.refused.Add(uint64(len(msgs)))
		return
	}
	in.messages.Add(uint64(len(msgs)))
	in.bytes.Add(size(msgs))
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
	clear(b.envelopes)
	b.arena, b.envelopes = b.arena[:0], b.envelopes[:0]
	b.parts = b.parts[:cap(b.parts)]
	for i := range b.parts {
		clear(b.parts[i].envelopes)
		b.parts[i].route = nil
	}
	b.parts = b.parts[:0]
	batches.Put(b)
}

// sort puts the messages into envelopes and finds the routes of each.
func (in *Intake) sort(b *batch, msgs []Message, header func(string) string) error {
	in.wrap(b, msgs)
	routes := *in.routes.Load()
	for _, r := range routes {
		if len(b.parts) < cap(b.parts) {
			b.parts = b.parts[:len(b.parts)+1]
		} else {
			b.parts = append(b.parts, part{})
		}
		p := &b.parts[len(b.parts)-1]
		p.route, p.envelopes = r, p.envelopes[:0]
		for i := range msgs {
			if r.match.simple() || r.match.matches(&msgs[i], header) {
				p.envelopes = append(p.envelopes, b.envelopes[i])
			}
		}
	}
	for i := range msgs {
		if !slices.ContainsFunc(routes, func(r *Route) bool { return r.match.simple() || r.match.matches(&msgs[i], header) }) {
			return ErrNoRoute
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

// submit has all parts made durable. If the first is refused, none is submitted;
// if a later one is, done is told.
func (b *batch) submit(done func(error)) error {
	if len(b.parts) == 1 {
		return b.parts[0].route.submit(b.parts[0].envelopes, done)
	}
	j := &join{left: len(b.parts), done: done}
	for i, p := range b.parts {
		err := p.route.submit(p.envelopes, j.one)
		if err != nil && i == 0 {
			return err
		}
		if errors.Is(err, spool.ErrBusy) {
			j.one(p.route.append(p.envelopes))
		} else if err != nil {
			j.one(err)
		}
	}
	return nil
}

// A join calls done when all parts of a batch have been heard of.
type join struct {
	mu   sync.Mutex
	left int   // guarded by mu
	err  error // guarded by mu
	done func(error)
}

func (j *join) one(err error) {
	j.mu.Lock()
	j.err = errors.Join(j.err, err)
	j.left--
	last, err := j.left == 0, j.err
	j.mu.Unlock()
	if last {
		j.done(err)
	}
}
