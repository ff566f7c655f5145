package link

import (
	"runtime"
	"sync"
	"weak"
)

// A Subscriber is told when the link gets and loses its connection. The two
// calls alternate, beginning with Connected, and never overlap; each subscriber
// has a goroutine of its own while there is something to say, so that it may
// block, and call every method of the link. One that is slow is not told of
// connections that have come and gone meanwhile, but of every Connected it hears
// the end. A panic is reported as an Event; the subscription goes on.
type Subscriber[C any] interface {
	Connected(c C)
	Disconnected(cause error)
}

// Funcs makes a Subscriber of functions, which may be nil. Every *Funcs is a
// subscriber of its own.
type Funcs[C any] struct {
	OnConnected    func(c C)
	OnDisconnected func(cause error)
}

// Connected calls OnConnected.
func (f *Funcs[C]) Connected(c C) {
	if f.OnConnected != nil {
		f.OnConnected(c)
	}
}

// Disconnected calls OnDisconnected.
func (f *Funcs[C]) Disconnected(cause error) {
	if f.OnDisconnected != nil {
		f.OnDisconnected(cause)
	}
}

// Subscribe starts the link and has s told of its connections, at once of the
// one that there is. After cancel no further call begins, not even the
// Disconnected that would be due. A value that is subscribed twice is told
// once, until both have been cancelled. A link that ends tells everybody, and
// forgets them.
func (l *Link[C]) Subscribe(s Subscriber[C]) (cancel func()) {
	var key any = s
	if !same(s, s) {
		key = new(int) // it cannot be compared, and so is like no other
	}
	return l.subscribe(key, func() Subscriber[C] { return s })
}

// SubscribeWeak is [Link.Subscribe] that does not keep s alive: when the rest of
// the program has let go of s, and the collector has noticed, the subscription
// is gone. The connections that s is given must not hold s.
func SubscribeWeak[T, C any, S interface {
	*T
	Subscriber[C]
}](l *Link[C], s S) (cancel func()) {
	w := weak.Make((*T)(s))
	cancel = l.subscribe(w, func() Subscriber[C] {
		if p := w.Value(); p != nil {
			return S(p)
		}
		return nil
	})
	runtime.AddCleanup((*T)(s), func(cancel func()) { cancel() }, cancel)
	return cancel
}

// A subscription is one subscriber of a link.
type subscription[C any] struct {
	link *Link[C]
	key  any
	get  func() Subscriber[C] // nil when it has been collected

	// Guarded by link.mu.
	refs    int
	running bool // there is a goroutine that delivers

	told *up[C] // of which Connected was told, and not yet its end. Delivering goroutine only
}

func (l *Link[C]) subscribe(key any, get func() Subscriber[C]) (cancel func()) {
	l.Start()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return func() {}
	}
	s := l.subs[key]
	if s == nil {
		s = &subscription[C]{link: l, key: key, get: get}
		if l.subs == nil {
			l.subs = make(map[any]*subscription[C])
		}
		l.subs[key] = s
		s.wake()
	}
	s.refs++
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if s.refs--; s.refs == 0 {
			delete(l.subs, key)
		}
	})
}

// subscribersSee has all subscribers told of u; nil: of its loss.
func (l *Link[C]) subscribersSee(u *up[C]) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.target == u {
		return
	}
	l.target = u
	for _, s := range l.subs {
		s.wake()
	}
}

// wake has s told what it does not know. link.mu is held.
func (s *subscription[C]) wake() {
	if !s.running && s.told != s.link.target {
		s.running = true
		s.link.work.Go(s.deliver)
	}
}

// deliver tells s what it does not know.
func (s *subscription[C]) deliver() {
	returned := false
	defer func() {
		if !returned { // the subscriber has ended the goroutine
			s.link.work.Go(s.deliver)
		}
	}()
	for {
		s.link.mu.Lock()
		target := s.link.target
		if s.refs == 0 || s.told == target {
			s.running = false
			s.link.mu.Unlock()
			returned = true
			return
		}
		s.link.mu.Unlock()
		call(func() error { s.next(target); return nil }, s.link.panicked)
	}
}

// next makes the next call.
func (s *subscription[C]) next(target *up[C]) {
	told := s.told
	if told == nil {
		s.told = target
	} else {
		s.told = nil
	}
	sub := s.get()
	switch {
	case sub == nil:
	case told == nil:
		sub.Connected(target.conn)
	default:
		sub.Disconnected(told.cause)
	}
}
