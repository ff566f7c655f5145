package hythe

import "sync"

// SlowPolicy says what happens to a member of a Group whose output queue is
// full when a message is broadcast.
type SlowPolicy uint8

const (
	// SlowCut ends the connection, for the reason Slow.
	SlowCut SlowPolicy = iota

	// SlowDrop keeps the connection and leaves the message out. The member's
	// Dropped counter tells.
	SlowDrop
)

// A Group is a set of connections to which messages are broadcast. It never
// waits for a member. The zero Group is empty and ready to be used. It is safe
// for concurrent use, in hooks too.
type Group[Out any] struct {
	mu      sync.Mutex
	members map[*Stream]func() encoder[Out]
	dropped uint64
}

// encoder is a member's framing. Members with the same one share the bytes.
type encoder[Out any] interface {
	encode(msg Out, mode sendMode, use func([]byte) (bool, error)) error
}

// A Member is a connection that can join a Group: a *Conn[In, Out], for any In.
type Member[Out any] interface {
	codecOut() encoder[Out]
	stream() *Stream
}

func (c *Conn[In, Out]) codecOut() encoder[Out] { return c.framing.Load() }
func (c *Conn[In, Out]) stream() *Stream        { return c.Stream }

// Join adds m to the group until it ends or leave is called. Joining twice is
// joining once.
func (g *Group[Out]) Join(m Member[Out]) (leave func()) {
	s := m.stream()
	g.mu.Lock()
	if g.members == nil {
		g.members = make(map[*Stream]func() encoder[Out])
	}
	_, again := g.members[s]
	g.members[s] = m.codecOut
	g.mu.Unlock()
	leave = func() {
		g.mu.Lock()
		delete(g.members, s)
		g.mu.Unlock()
	}
	if !again {
		s.OnClose(func(error) { leave() })
	}
	return leave
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
// many. Every member gets the messages of all broadcasts in the same order. The
// message is encoded once for each codec in the group. Broadcast never waits:
// what happens to a member that does not keep up is its server's SlowPolicy. It
// returns the codec's error if msg cannot be encoded for some.
func (g *Group[Out]) Broadcast(msg Out, except ...Member[Out]) (sent int, err error) {
	encoded := make(map[encoder[Out]][]byte, 1)
	for {
		// No foreign code runs under the lock, so the encoding is done outside,
		// for the codecs that were found inside.
		missing := g.deliver(encoded, except, &sent)
		if missing == nil {
			return sent, err
		}
		for _, e := range missing {
			var bytes []byte
			if fail := e.encode(msg, sendTry, func(b []byte) (bool, error) {
				bytes = append([]byte(nil), b...)
				return false, nil
			}); fail != nil {
				err = fail
			}
			encoded[e] = bytes
		}
	}
}

// deliver hands the bytes to all members at once, or returns the codecs for
// which they are missing and does nothing.
func (g *Group[Out]) deliver(encoded map[encoder[Out]][]byte, except []Member[Out], sent *int) (missing []encoder[Out]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, of := range g.members {
		if e := of(); encoded[e] == nil {
			if _, tried := encoded[e]; !tried {
				encoded[e] = nil
				missing = append(missing, e)
			}
		}
	}
	if missing != nil {
		return missing
	}
next:
	for s, of := range g.members {
		for _, x := range except {
			if x.stream() == s {
				continue next
			}
		}
		b := encoded[of()]
		if b == nil {
			continue // it could not be encoded
		}
		if s.offer(b) {
			*sent++
		} else if s.srv.Slow == SlowDrop {
			g.dropped++
		} else {
			s.cut(Slow, nil)
		}
	}
	return nil
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
		o.full = true
		if s.has(hasHighWater) {
			s.signal(evHigh)
		}
	}
	s.signal(evFlush)
	return true
}
