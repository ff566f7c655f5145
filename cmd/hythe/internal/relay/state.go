package relay

import (
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/status"
	"github.com/hythe-go/hythe/link"
	"github.com/hythe-go/hythe/spool"
)

// Status describes the route, but for what only the configuration knows.
func (r *Route) Status(now time.Time) status.Route {
	s := status.Route{Name: r.Name}
	if r.discard {
		r.mu.Lock()
		defer r.mu.Unlock()
		s.In = r.discarded
		return s
	}
	st := r.spool.Stats()
	s.In = st.Next - r.first
	s.Spool = status.Spool{
		Dir: r.dir, Bytes: st.Bytes, MaxBytes: r.options.MaxBytes,
		Commits: st.Commits, Failures: st.Failures, Refused: st.Refused,
	}
	if st.Trouble != nil {
		s.Spool.Trouble = st.Trouble.Error()
	}
	backlogs := make(map[string]uint64)
	for _, c := range st.Readers {
		backlogs[c.Name] = c.Backlog
		s.Spool.Records = max(s.Spool.Records, c.Backlog)
	}
	for _, d := range r.all() {
		ds := d.status()
		ds.Backlog = backlogs[d.name]
		age := d.age(now)
		if ds.Backlog > 0 && age == 0 { // it has read none of it yet
			age = st.Age
		}
		s.Spool.Oldest = max(s.Spool.Oldest, age)
		s.Deliveries = append(s.Deliveries, ds)
	}
	return s
}

// Orphans returns the cursors that belong to no delivery, and what each keeps.
func (r *Route) Orphans() map[string]uint64 {
	if r.spool == nil {
		return nil
	}
	orphans := make(map[string]uint64)
	for _, c := range r.spool.Stats().Readers {
		if !c.Open {
			orphans[c.Name] = c.Backlog
		}
	}
	return orphans
}

func (d *Delivery) status() status.Delivery {
	s := status.Delivery{
		Output: d.name, Start: d.start,
		Delivered: d.delivered.Load(), Dead: d.dead.Load(), Lost: d.lost.Load(), Skipped: d.skipped.Load(), Again: d.again.Load(),
	}
	if graves := d.openGraves(); graves != nil {
		for _, c := range graves.Stats().Readers {
			s.DeadLetters = c.Backlog
		}
	}
	for _, l := range d.lanes {
		s.Lanes = append(s.Lanes, l.status())
	}
	return s
}

// openGraves returns the dead-letter spool if it is open.
func (d *Delivery) openGraves() *spool.Spool {
	d.deadMu.Lock()
	defer d.deadMu.Unlock()
	return d.graves
}

func (l *Lane) status() status.Lane {
	l.mu.Lock()
	s := status.Lane{Outstanding: l.outstanding, Error: l.trouble}
	l.mu.Unlock()
	if st, ok := l.output.Link(); ok {
		s.Link = &status.Link{Phase: st.Phase.String(), Endpoint: st.Endpoint, Since: st.Since, Until: st.Until, Attempt: st.Attempt}
		if st.Cause != nil {
			s.Link.Cause = st.Cause.Error()
		}
	}
	return s
}

// backlog returns how many messages are not settled.
func (d *Delivery) backlog() uint64 {
	for _, c := range d.route.spool.Stats().Readers {
		if c.Name == d.name {
			return c.Backlog
		}
	}
	return 0
}

// moving reports whether a lane is connected.
func (d *Delivery) moving() bool {
	for _, l := range d.lanes {
		if s, ok := l.output.Link(); !ok || s.Phase == link.Up {
			return true
		}
	}
	return false
}

// age returns how old the oldest message is that was read and is not settled.
func (d *Delivery) age(now time.Time) (age time.Duration) {
	for _, l := range d.lanes {
		l.mu.Lock()
		if len(l.chunks) > 0 {
			c := l.chunks[0]
			age = max(age, now.Sub(c.messages[c.settled].Received))
		}
		l.mu.Unlock()
	}
	return age
}
