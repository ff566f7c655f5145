package relay

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hythe-go/hythe/spool"
)

// A Delivery is the way of a route's messages to one output: a cursor in the
// route's spool, the lanes that share it, and the dead letters.
type Delivery struct {
	route  *Route
	name   string
	reader *spool.Reader
	lanes  []*Lane
	seed   maphash.Seed

	ctx  context.Context
	stop context.CancelFunc
	work sync.WaitGroup // the lanes' outputs, and dispatch

	start     uint64        // backlog when it began
	delivered atomic.Uint64 // confirmed
	dead      atomic.Uint64 // rejected, and in the dead-letter spool
	lost      atomic.Uint64 // reported missing by the spool
	skipped   atomic.Uint64 // for another output only
	again     atomic.Uint64 // handed out more than once

	deadMu sync.Mutex
	graves *spool.Spool // nil: not open. Guarded by deadMu
}

// records is how many a lane reads at once.
const records = 1024

// newDelivery opens the cursor.
func newDelivery(r *Route, name string, lanes int) (*Delivery, error) {
	d := &Delivery{route: r, name: name, seed: maphash.MakeSeed()}
	for _, s := range r.spool.Stats().Readers {
		if s.Name == name {
			d.start = s.Backlog
		}
	}
	var err error
	if d.reader, err = r.spool.Reader(name, spool.ReaderOptions{Window: 2 * maxOutstanding}); err != nil {
		return nil, err
	}
	if _, err := os.Stat(d.deadDir()); err == nil {
		if _, err := d.openDead(); err != nil {
			d.reader.Close()
			return nil, err
		}
	}
	d.ctx, d.stop = context.WithCancel(context.Background())
	for range max(1, lanes) {
		l := &Lane{d: d}
		l.more = func(ctx context.Context) (*chunk, error) { return d.read(ctx, l) }
		d.lanes = append(d.lanes, l)
	}
	return d, nil
}

// run has the outputs deliver, until end is called.
func (d *Delivery) run(outputs []Output) {
	if len(d.lanes) > 1 {
		feeds := make([]chan *chunk, len(d.lanes))
		for i, l := range d.lanes {
			feed := make(chan *chunk, 1)
			feeds[i] = feed
			l.more = func(ctx context.Context) (*chunk, error) {
				select {
				case c := <-feed:
					return c, nil
				case <-ctx.Done():
					return nil, context.Cause(ctx)
				}
			}
		}
		d.work.Go(func() { d.dispatch(feeds) })
	}
	for i, l := range d.lanes {
		l.output = outputs[i]
		d.work.Go(func() { l.output.Run(d.ctx, l) })
	}
}

// end stops the outputs and closes the cursor. What was confirmed is durable then.
func (d *Delivery) end() error {
	d.stop()
	d.work.Wait()
	err := d.reader.Close()
	d.deadMu.Lock()
	defer d.deadMu.Unlock()
	if d.graves != nil {
		err = errors.Join(err, d.graves.Close())
		d.graves = nil
	}
	return err
}

// dispatch reads for all lanes. Messages with the same key go to the same one.
func (d *Delivery) dispatch(feeds []chan *chunk) {
	chunks := make([]*chunk, len(d.lanes))
	found := make([]spool.Record, records)
	for {
		n, err := d.readRecords(d.ctx, found)
		if err != nil {
			return
		}
		for _, rec := range found[:n] {
			m, ok := d.parse(rec)
			if !ok {
				continue
			}
			i := maphash.Bytes(d.seed, m.Key) % uint64(len(chunks))
			if chunks[i] == nil {
				chunks[i] = d.lanes[i].empty()
			}
			chunks[i].add(rec, m)
		}
		for i, c := range chunks {
			if c == nil {
				continue
			}
			chunks[i] = nil
			c.own()
			select {
			case feeds[i] <- c:
			case <-d.ctx.Done():
				return
			}
		}
	}
}

// read reads for the only lane. Lane.Next calls it.
func (d *Delivery) read(ctx context.Context, l *Lane) (*chunk, error) {
	if l.found == nil {
		l.found = make([]spool.Record, records)
	}
	for {
		n, err := d.readRecords(ctx, l.found)
		if err != nil {
			return nil, err
		}
		c := l.empty()
		for _, rec := range l.found[:n] {
			if m, ok := d.parse(rec); ok {
				c.add(rec, m)
			}
		}
		if len(c.messages) > 0 {
			c.own()
			return c, nil
		}
	}
}

// readRecords reads what there is, and waits for something. The error is what
// ended ctx.
func (d *Delivery) readRecords(ctx context.Context, to []spool.Record) (int, error) {
	for {
		n, err := d.reader.Read(ctx, to)
		var gap *spool.GapError
		switch {
		case err == nil:
			return n, nil
		case ctx.Err() != nil || errors.Is(err, spool.ErrClosed):
			return 0, err
		case errors.As(err, &gap):
			d.lost.Add(gap.Last - gap.First + 1)
			continue
		}
		d.route.logger.Error("the spool cannot be read", "route", d.route.Name, "output", d.name, "err", err)
		if err := sleep(ctx, time.Second); err != nil {
			return 0, err
		}
	}
}

// parse returns the message of a record, unless it is for another output. What is
// no message is made one, so that it can be looked at.
func (d *Delivery) parse(rec spool.Record) (m Message, ok bool) {
	m, err := Parse(rec.Payload)
	if err != nil {
		m = Message{ID: fmt.Appendf(nil, "record-%d", rec.ID), Received: rec.Time, Body: rec.Payload}
	}
	if len(m.Only) > 0 && string(m.Only) != d.name {
		d.skipped.Add(1)
		d.reader.Ack(rec.ID)
		return m, false
	}
	return m, true
}

// add adds a message that is not the chunk's own yet.
func (c *chunk) add(rec spool.Record, m Message) {
	c.messages = append(c.messages, m)
	c.ids = append(c.ids, rec.ID)
	c.size += len(rec.Payload)
}

// own copies what the messages refer to into the chunk.
func (c *chunk) own() {
	if cap(c.arena) < c.size {
		c.arena = make([]byte, 0, c.size)
	}
	keep := func(field *[]byte) {
		if len(*field) > 0 {
			at := len(c.arena)
			c.arena = append(c.arena, *field...)
			*field = c.arena[at:len(c.arena):len(c.arena)]
		}
	}
	for i := range c.messages {
		m := &c.messages[i]
		keep(&m.ID)
		keep(&m.Source)
		keep(&m.Key)
		keep(&m.Cause)
		keep(&m.Body)
		m.Only = nil
	}
}

// acknowledge tells the spool that records are settled. Errors mean that it is
// being closed: they will be delivered again.
func (d *Delivery) acknowledge(ids []uint64) {
	if len(d.lanes) == 1 {
		d.reader.AckThrough(ids[len(ids)-1])
		return
	}
	for _, id := range ids {
		d.reader.Ack(id)
	}
}

func (d *Delivery) deadDir() string {
	return filepath.Join(d.route.deadDir, d.name)
}

// requeueReader is the dead-letter spools' only cursor.
const requeueReader = "requeue"

// openDead returns the dead-letter spool.
func (d *Delivery) openDead() (*spool.Spool, error) {
	d.deadMu.Lock()
	defer d.deadMu.Unlock()
	if d.graves != nil {
		return d.graves, nil
	}
	s, err := spool.Open(d.deadDir(), d.route.dead)
	if err != nil {
		return nil, err
	}
	r, err := s.Reader(requeueReader, spool.ReaderOptions{}) // it keeps the letters
	if err == nil {
		err = r.Close()
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	d.graves = s
	return s, nil
}

// bury puts a message into the dead-letter spool, however long that takes.
func (d *Delivery) bury(ctx context.Context, m Message, cause error) error {
	m.Cause = []byte(cause.Error())
	envelope := m.Append(nil)
	for told := false; ; {
		s, err := d.openDead()
		if err == nil {
			_, err = s.Append(envelope)
		}
		if err == nil {
			d.route.logger.Warn("dead letter", "route", d.route.Name, "output", d.name, "id", string(m.ID), "cause", cause)
			return nil
		}
		if !told {
			d.route.logger.Error("a dead letter cannot be kept: the output waits", "route", d.route.Name, "output", d.name, "err", err)
			told = true
		}
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}

// requeue appends the dead letters to the route's spool again, for this output
// alone, and returns how many.
func (d *Delivery) requeue(ctx context.Context) (n int, err error) {
	graves, err := d.openDead()
	if err != nil {
		return 0, err
	}
	r, err := graves.Reader(requeueReader, spool.ReaderOptions{})
	if err != nil {
		return 0, err
	}
	defer r.Close()
	found := make([]spool.Record, records)
	for end := graves.Stats().Next; ; {
		if s := graves.Stats(); s.Readers[0].Low >= end {
			return n, nil
		}
		k, err := r.Read(ctx, found)
		var gap *spool.GapError
		switch {
		case errors.As(err, &gap):
			continue
		case err != nil:
			return n, err
		}
		envelopes := make([][]byte, k)
		for i, rec := range found[:k] {
			m, _ := d.parse(rec)
			m.Cause, m.Only = nil, []byte(d.name)
			envelopes[i] = m.Append(nil)
		}
		if _, err := d.route.spool.Append(envelopes...); err != nil {
			return n, err
		}
		if err := r.AckThrough(found[k-1].ID); err != nil {
			return n, err
		}
		n += k
	}
}

// sleep waits, unless ctx ends first, which is the error.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// RequeueClosed is Requeue for a route without deliveries: one that was opened for
// that.
func (r *Route) RequeueClosed(ctx context.Context, output string) (int, error) {
	d := &Delivery{route: r, name: output}
	if _, err := os.Stat(d.deadDir()); err != nil {
		return 0, err
	}
	n, err := d.requeue(ctx)
	if d.graves != nil {
		err = errors.Join(err, d.graves.Close())
	}
	return n, err
}
