package loop

import (
	"math"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Available says whether this system has loops.
const Available = true

// A Set is a group of loops that share the connections of one server. Make one
// with New; end it with Close.
type Set struct {
	loops []*Loop
	turn  atomic.Uint32 // round robin
	nodes [1 << 10]atomic.Pointer[page]
	pages sync.Mutex // held to add a page
	epoch time.Time

	closing  atomic.Bool
	done     sync.WaitGroup // every goroutine of the set
	watching sync.WaitGroup

	lent      lentTurns
	dogAsleep atomic.Bool
	dogWake   chan struct{} // one place; closed by nobody
	dogStop   chan struct{} // closed by Close
}

// page is a part of the table from descriptors to nodes.
type page [1 << 12]atomic.Pointer[Node]

// A Loop is one epoll set and what its leader works on.
type Loop struct {
	// state's low bit says that the leader is inside a turn; the rest counts
	// turns. The watchdog takes the loop away by changing it.
	state atomic.Uint64
	_     [56]byte // what follows is not written to at each turn by others

	set      *Set
	epfd     int
	wakefd   int
	lend     int         // turns still to be run on goroutines of their own
	evs      []event     // the batch at hand
	next     int         // evs[next:count] is still to be told
	count    int         //
	run      []*Node     // scheduled turns at hand
	due      []*Node     // expired nodes at hand
	late     atomic.Bool // a lent turn was late: go on lending
	cur      *Node       // whose turn is running; read by the watchdog once it has won
	yielded  int64       // when the leader last let other goroutines run
	file     *os.File    // the epoll set
	raw      syscall.RawConn
	look     func(uintptr) bool // poll, made once
	deadline int64              // file's read deadline
	parked   atomic.Bool
	parkedTo atomic.Int64 // until when, at the latest

	wakeMu sync.Mutex
	wake   []*Node // guarded by wakeMu
	wheel  *wheel
}

// A Node is a task's place in its loop. Tasks embed it and touch it through
// its methods only.
type Node struct {
	task   Task
	loop   *Loop
	fd     int
	timing timing
}

// event is struct epoll_event, which is packed on amd64.
type event = unix.EpollEvent

const (
	batch       = 256
	lendTurns   = 32  // after a turn that was late
	lendMore    = 256 // after one of those was late too
	interest    = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET
	dogPatience = 20 // looks at which nothing had happened, before the watchdog sleeps
	quietLook   = 4 * LateAfter
)

// New starts a set of n loops; 0 means one for each processor. Its clock counts
// from epoch. Its goroutines run until Close.
func New(n int, epoch time.Time) (*Set, error) {
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	s := &Set{epoch: epoch, dogWake: make(chan struct{}, 1), dogStop: make(chan struct{})}
	for range n {
		l, err := newLoop(s)
		if err != nil {
			for _, l := range s.loops {
				l.free()
			}
			return nil, err
		}
		s.loops = append(s.loops, l)
	}
	for _, l := range s.loops {
		s.done.Go(l.lead)
	}
	s.watching.Go(s.watch)
	return s, nil
}

func newLoop(s *Set) (*Loop, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(epfd, true); err != nil {
		unix.Close(epfd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	wakefd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epfd)
		return nil, os.NewSyscallError("eventfd", err)
	}
	l := &Loop{set: s, deadline: math.MaxInt64, epfd: epfd, wakefd: wakefd, evs: make([]event, batch), due: make([]*Node, 0, batch), wheel: newWheel()}
	// The epoll set itself waits in the runtime's poller; see park.
	l.file = os.NewFile(uintptr(epfd), "epoll")
	raw, err := l.file.SyscallConn()
	if err != nil {
		l.free()
		return nil, err
	}
	l.raw, l.look = raw, l.poll
	if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, wakefd, &event{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(wakefd)}); err != nil {
		l.free()
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	return l, nil
}

func (l *Loop) free() {
	l.file.Close()
	unix.Close(l.wakefd)
}

// Close ends the set's goroutines and waits for them, a blocked turn's too. No
// node may be left in it.
func (s *Set) Close() {
	if s.closing.Swap(true) {
		return
	}
	close(s.dogStop)
	for _, l := range s.loops {
		l.interrupt()
	}
	s.watching.Wait()
	s.done.Wait()
	for _, l := range s.loops {
		l.free()
	}
}

// Now is the set's clock: nanoseconds since its epoch.
func (s *Set) Now() int64 { return int64(time.Since(s.epoch)) }

// slot is the place of a descriptor in the table.
func (s *Set) slot(fd int) *atomic.Pointer[Node] {
	p := s.nodes[fd>>12].Load()
	if p == nil {
		s.pages.Lock()
		if p = s.nodes[fd>>12].Load(); p == nil {
			p = new(page)
			s.nodes[fd>>12].Store(p)
		}
		s.pages.Unlock()
	}
	return &p[fd&(1<<12-1)]
}

// Prepare chooses one of the loops for the task with the non-blocking
// descriptor fd. From then on turns can be scheduled, but no event comes. A task
// that comes back with another descriptor stays with its loop, where an event
// may still be under way to it.
func (s *Set) Prepare(n *Node, task Task, fd int) {
	if n.task == nil {
		n.task = task
		n.loop = s.loops[s.turn.Add(1)%uint32(len(s.loops))]
	}
	n.fd = fd
}

// Add has the loop tell of events from now on. It soon tells that the
// descriptor is writable, whatever else there is.
func (n *Node) Add() error {
	s, fd := n.loop.set, n.fd
	if fd>>12 >= len(s.nodes) {
		return os.NewSyscallError("epoll_ctl", unix.EMFILE)
	}
	s.slot(fd).Store(n)
	ev := event{Events: interest, Fd: int32(fd)}
	if err := unix.EpollCtl(n.loop.epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		s.slot(fd).Store(nil)
		return os.NewSyscallError("epoll_ctl", err)
	}
	return nil
}

// Remove takes the descriptor back from its loop, which must be done before it
// is closed. The task may still be told of an event that is under way, and a
// turn that was scheduled before still runs.
func (n *Node) Remove() {
	n.loop.wheel.disarm(n)
	n.loop.set.slot(n.fd).Store(nil)
	unix.EpollCtl(n.loop.epfd, unix.EPOLL_CTL_DEL, n.fd, nil)
}

// Schedule has the loop run a turn of the task soon. It never blocks. The
// caller sees to it that a node is not scheduled twice before it has run.
func (n *Node) Schedule() {
	l := n.loop
	l.wakeMu.Lock()
	l.wake = append(l.wake, n)
	l.wakeMu.Unlock()
	if l.parked.Load() {
		l.interrupt()
	}
}

// Arm has the loop tell the task of Expired at the time when on the set's
// clock, or up to a tenth of a second later. The earliest call counts. After
// that event the task must arm itself again, since the time may also have been
// an early guess: it compares clocks itself.
func (n *Node) Arm(when int64) {
	if at := n.timing.armed.Load(); at != 0 && at <= when {
		return
	}
	l := n.loop
	l.wheel.arm(n, when, l.set.Now())
	if l.parked.Load() && l.wheel.nextAt.Load() < l.parkedTo.Load() {
		l.interrupt()
	}
}

// Now is the clock that Arm uses.
func (n *Node) Now() int64 { return n.loop.set.Now() }

var one = []byte{1, 0, 0, 0, 0, 0, 0, 0}

// interrupt ends the leader's wait.
func (l *Loop) interrupt() { unix.Write(l.wakefd, one) }

var (
	leaders = sync.Pool{New: func() any { return &Worker{Buf: make([]byte, leaderBuf)} }}
	lenders = sync.Pool{New: func() any { return &Worker{Buf: make([]byte, lentBuf)} }}
)

// lead runs the loop until the set closes or the watchdog takes the loop away.
func (l *Loop) lead() {
	w := leaders.Get().(*Worker)
	leading := true
	defer func() {
		if leading && !l.set.closing.Load() {
			// The turn ended its goroutine (runtime.Goexit). The connection's
			// own code has dealt with it; the loop needs another leader.
			if l.state.CompareAndSwap(w.state, w.state+1) {
				l.set.done.Go(l.lead)
			}
		}
	}()
	for leading && !l.set.closing.Load() {
		leading = l.work(w)
	}
	leading = false
	leaders.Put(w)
}

// work does what is at hand, or waits. It reports whether the caller still
// leads the loop.
func (l *Loop) work(w *Worker) bool {
	switch {
	case l.next < l.count:
		ev := &l.evs[l.next]
		l.next++
		if n := l.set.slot(int(ev.Fd)).Load(); n != nil {
			return l.turn(w, n, events(ev.Events))
		}
	case len(l.run) > 0:
		n := l.run[len(l.run)-1]
		l.run[len(l.run)-1] = nil
		l.run = l.run[:len(l.run)-1]
		return l.turn(w, n, 0)
	case len(l.due) > 0:
		n := l.due[len(l.due)-1]
		l.due[len(l.due)-1] = nil
		l.due = l.due[:len(l.due)-1]
		return l.turn(w, n, Expired)
	default:
		l.collect(w)
	}
	return true
}

// turn runs one turn of n's task; no events mean a scheduled one. It reports
// whether the caller still leads the loop.
func (l *Loop) turn(w *Worker, n *Node, ev Events) bool {
	if l.lend > 0 {
		if l.lend--; l.lend == 0 && l.late.Swap(false) {
			l.lend = lendMore
		}
		l.set.done.Go(func() { l.lent(n, ev) })
		return true
	}
	l.cur = n
	s := l.state.Load() + 1
	w.state = s
	l.state.Store(s)
	if ev == 0 {
		n.task.Run(w)
	} else {
		n.task.Ready(w, ev)
	}
	return l.state.CompareAndSwap(s, s+1)
}

// lent runs a turn on a goroutine of its own. After a turn that was late the
// next ones are lent out, because blocking handlers come in numbers, and to
// find each of them out would cost the others a millisecond each.
func (l *Loop) lent(n *Node, ev Events) {
	w := lenders.Get().(*Worker)
	w.Now = l.set.Now()
	turn := lentTurn{node: n}
	l.set.lent.enter(&turn)
	defer func() { // also when the turn ends its goroutine
		if l.set.lent.leave(&turn) {
			l.late.Store(true)
		}
	}()
	if ev == 0 {
		n.task.Run(w)
	} else {
		n.task.Ready(w, ev)
	}
	lenders.Put(w)
}

// lentTurns are the turns that have goroutines of their own, for the watchdog.
type lentTurns struct {
	mu    sync.Mutex
	first *lentTurn
	tick  uint64
}

// lentTurn is one of them; guarded by lentTurns.mu.
type lentTurn struct {
	node       *Node
	next, prev *lentTurn
	since      uint64 // tick
	late       bool   // it was told
}

func (ts *lentTurns) enter(t *lentTurn) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t.since, t.next = ts.tick, ts.first
	if t.next != nil {
		t.next.prev = t
	}
	ts.first = t
}

// leave reports whether the turn was late.
func (ts *lentTurns) leave(t *lentTurn) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if t.next != nil {
		t.next.prev = t.prev
	}
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		ts.first = t.next
	}
	return t.late
}

// look returns the turns that were there a tick ago and were not told yet, and
// whether there are any at all.
func (ts *lentTurns) look() (late []*Node, any bool) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for t := ts.first; t != nil; t = t.next {
		if !t.late {
			any = true
			if t.since < ts.tick {
				t.late = true
				late = append(late, t.node)
			}
		}
	}
	ts.tick++
	return late, any
}

// collect gathers the next work: scheduled turns, expired nodes, events. It
// waits only when there is none.
func (l *Loop) collect(w *Worker) {
	l.wakeMu.Lock()
	l.run, l.wake = l.wake, l.run[:0]
	l.wakeMu.Unlock()

	w.Now = l.set.Now()
	if w.Now-l.yielded > int64(LateAfter) || l.lend > 0 {
		runtime.Gosched() // a busy loop never blocks, and others want the processor
		w.Now = l.set.Now()
		l.yielded = w.Now
	}
	if w.Now >= l.wheel.nextAt.Load() {
		l.due = l.wheel.expired(l.due[:0], w.Now)
	}
	l.next = 0
	l.count = pollNow(l.epfd, l.evs)
	if l.count+len(l.run)+len(l.due) == 0 {
		l.park(w)
	}
}

// park waits for events: in the runtime's poller and not in epoll_wait. A thread
// that waits in a system call of its own keeps its processor from the runtime
// for up to ten milliseconds, in which nobody may look after the program's other
// connections and timers.
func (l *Loop) park(w *Worker) {
	until := l.wheel.nextAt.Load()
	l.parkedTo.Store(until)
	l.parked.Store(true)
	l.wakeMu.Lock()
	idle := len(l.wake) == 0
	l.wakeMu.Unlock()
	// Whoever adds work looks at parked after it, and we look for work after
	// setting parked: one of us sees the other.
	if idle && l.wheel.nextAt.Load() >= until && !l.set.closing.Load() {
		if until != l.deadline {
			l.deadline = until
			var at time.Time
			if until != math.MaxInt64 {
				at = l.set.epoch.Add(time.Duration(until))
			}
			l.file.SetReadDeadline(at)
		}
		l.raw.Read(l.look) // the deadline is the only error
		w.Now = l.set.Now()
	}
	l.parked.Store(false)
	if l.count > 0 && l.set.dogAsleep.Load() && l.set.dogAsleep.CompareAndSwap(true, false) {
		l.set.dogWake <- struct{}{}
	}
}

func events(e uint32) (ev Events) {
	if e&unix.EPOLLIN != 0 {
		ev |= Readable
	}
	if e&unix.EPOLLOUT != 0 {
		ev |= Writable
	}
	if e&unix.EPOLLRDHUP != 0 {
		ev |= Readable | PeerDone
	}
	if e&(unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		ev |= Readable | Writable | Hangup
	}
	return ev
}

// watch is the watchdog. It looks at all loops now and then and takes those away
// whose leader is still inside the turn that it was in a look before. While some
// leader is inside a turn, as in a busy server always, it looks every LateAfter;
// else every quietLook, since its own waking costs something as well. It sleeps
// while nothing happens.
func (s *Set) watch() {
	seen := make([]uint64, len(s.loops))
	timer := time.NewTimer(LateAfter)
	defer timer.Stop()
	for quiet := 0; ; {
		select {
		case <-timer.C:
		case <-s.dogStop:
			return
		}
		late, busy := s.lent.look()
		for _, n := range late {
			s.done.Go(n.task.Late)
		}
		moved := busy
		for i, l := range s.loops {
			state := l.state.Load()
			if state&1 == 1 && state == seen[i] && l.state.CompareAndSwap(state, state+3) {
				// The old leader's own compare-and-swap will fail. Until then
				// it touches nothing of the loop.
				s.succeed(l)
			}
			busy = busy || state&1 == 1
			moved = moved || state != seen[i] || !l.parked.Load()
			seen[i] = state
		}
		if moved {
			quiet = 0
		} else if quiet++; quiet > dogPatience {
			s.dogAsleep.Store(true)
			select {
			case <-s.dogWake:
			case <-s.dogStop:
				return
			}
			quiet, busy = 0, true
		}
		if busy {
			timer.Reset(LateAfter)
		} else {
			timer.Reset(quietLook)
		}
	}
}

// succeed starts a new leader for a loop that has been taken away.
func (s *Set) succeed(l *Loop) {
	late := l.cur
	l.lend = lendTurns
	s.done.Go(func() {
		late.task.Late()
		l.lead()
	})
}

// poll looks for events once. It is what the runtime's poller calls.
func (l *Loop) poll(uintptr) (found bool) {
	l.count = pollNow(l.epfd, l.evs)
	return l.count > 0
}
