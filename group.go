package hythe

import (
	"errors"
	"net"
	"slices"
	"sync"
)

// SlowPolicy says what happens to a member of a Group whose output queue is
// full when a message is broadcast.
type SlowPolicy uint8

const (
	// SlowCut ends the connection, for the reason Slow.
	SlowCut SlowPolicy = iota

	// SlowDrop keeps the connection and leaves the message out. Group.Dropped
	// counts them.
	SlowDrop
)

// A Group is a set of connections to which messages are broadcast. It never
// waits for a member. The zero Group is empty and ready to be used. It is safe
// for concurrent use, in hooks too.
type Group[Out any] struct {
	mu      sync.Mutex
	members map[*Stream]member[Out]
	dropped uint64
}

type member[Out any] struct {
	Member[Out]
	forget func() bool // takes the OnClose function back
}

// A Member is a connection that can join a Group: a *Conn[In, Out], for any In.
type Member[Out any] interface {
	TrySend(msg Out) error
	encoder() encoder[Out]
	stream() *Stream
}

// encoder is a member's framing. Members with the same one share the bytes.
type encoder[Out any] interface {
	encode(msg Out) ([]byte, error)
	perConn() bool
}

func (f *framing[In, Out]) perConn() bool { return f.stateful }

func (c *Conn[In, Out]) encoder() encoder[Out] { return c.framing.Load() }
func (c *Conn[In, Out]) stream() *Stream       { return c.Stream }

// Join adds m to the group until it ends or leave is called. Joining twice is
// joining once.
func (g *Group[Out]) Join(m Member[Out]) (leave func()) {
	s := m.stream()
	leave = func() { g.leave(s) }
	g.mu.Lock()
	if g.members == nil {
		g.members = make(map[*Stream]member[Out])
	}
	_, again := g.members[s]
	if !again {
		g.members[s] = member[Out]{Member: m}
	}
	g.mu.Unlock()
	if again {
		return leave
	}
	forget := s.OnClose(func(error) { g.leave(s) })
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, still := g.members[s]; still {
		g.members[s] = member[Out]{m, forget}
	}
	return leave
}

func (g *Group[Out]) leave(s *Stream) {
	g.mu.Lock()
	m := g.members[s]
	delete(g.members, s)
	g.mu.Unlock()
	if m.forget != nil {
		m.forget()
	}
}

// Len returns the number of members.
func (g *Group[Out]) Len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.members)
}

// Dropped returns how many messages were left out for slow members.
func (g *Group[Out]) Dropped() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.dropped
}

// Broadcast sends msg to every member but those in except, and returns to how
// many. It never waits: what happens to a member that does not keep up is its
// server's SlowPolicy. It returns the codec's error if msg cannot be encoded for
// some.
//
// The message is encoded once for each codec in the group, and all members get
// the messages of all broadcasts in the same order. Codecs that keep state for a
// connection encode for it alone, after the others; the order of broadcasts that
// run at the same time is then each member's own.
func (g *Group[Out]) Broadcast(msg Out, except ...Member[Out]) (sent int, err error) {
	encoded := make(map[encoder[Out]][]byte, 1)
	for {
		// No foreign code runs under the lock, so the encoding is done outside,
		// for the codecs that were found inside.
		missing, alone := g.deliver(encoded, except, &sent)
		for _, m := range alone {
			switch fail := m.TrySend(msg); {
			case fail == nil:
				sent++
			case errors.Is(fail, ErrFull):
				g.slow(m.stream())
			case !errors.Is(fail, net.ErrClosed):
				err = fail
			}
		}
		if missing == nil {
			return sent, err
		}
		for _, e := range missing {
			b, fail := e.encode(msg)
			if fail != nil {
				b, err = nil, fail
			}
			encoded[e] = b
		}
	}
}

// deliver hands the bytes to all members at once, but those in alone, which are
// to be sent to one by one; or returns the codecs for which bytes are missing
// and does nothing.
func (g *Group[Out]) deliver(encoded map[encoder[Out]][]byte, except []Member[Out], sent *int) (missing []encoder[Out], alone []Member[Out]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range g.members {
		e := m.encoder()
		if _, have := encoded[e]; !have && !e.perConn() {
			encoded[e] = nil
			missing = append(missing, e)
		}
	}
	if missing != nil {
		return missing, nil
	}
	for s, m := range g.members {
		switch {
		case slices.ContainsFunc(except, func(x Member[Out]) bool { return x.stream() == s }):
		case m.encoder().perConn():
			alone = append(alone, m)
		case encoded[m.encoder()] == nil: // it could not be encoded
		case s.offer(encoded[m.encoder()]):
			*sent++
		case s.srv.Slow == SlowDrop:
			g.dropped++
		default:
			s.cut(Slow, nil)
		}
	}
	return nil, alone
}

// slow deals with a member that has no room.
func (g *Group[Out]) slow(s *Stream) {
	if s.srv.Slow != SlowDrop {
		s.cut(Slow, nil)
		return
	}
	g.mu.Lock()
	g.dropped++
	g.mu.Unlock()
}

// shareBytes is the size from which members share a message's bytes.
const shareBytes = 1 << 10

// offer queues b, which nobody may change any more, if there is room, and has a
// turn see it off. It reports whether b was taken or is not wanted any more.
func (s *Stream) offer(b []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := &s.out
	switch {
	case o.closed:
		return true
	case s.congested():
		return false
	case len(b) >= shareBytes:
		o.q.AppendShared(b)
	default:
		o.q.Append(b)
	}
	if !o.full && o.q.Len() >= s.srv.settings().HighWater {
		s.filled()
	}
	s.signal(evFlush)
	return true
}
