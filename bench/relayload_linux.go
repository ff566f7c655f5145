package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/hythe-go/hythe/bench/internal/child"
)

// What is sent to relays: lines of 256 bytes, as syslog has them, on few
// connections.
const (
	relaySenders  = 4
	relayLine     = 256
	relayPrefix   = "<13>1 2026-01-01T00:00:00Z h a - - - id="
	relayDigits   = 12
	relayBatch    = 200 // lines in a write
	relayPatience = 20 * time.Second
)

// A relayed is the lines that are on their way through a relay.
type relayed struct {
	patience time.Duration // how long nothing may arrive
	window   int           // how many lines may be inside of the relay, so that a slow one has an end too

	mu      sync.Mutex
	moved   *sync.Cond // tells of arrived, of err
	sent    int
	arrived int
	seen    []bool // by number
	twice   int
	last    int64 // when the last line arrived
	err     error
}

func newRelayed(patience time.Duration, window int) *relayed {
	r := &relayed{patience: patience, window: window}
	r.moved = sync.NewCond(&r.mu)
	return r
}

// relay sends lines through a relay for a slice, and waits until all of them have
// arrived.
func (j *job) relay(result *outcome, stage func(string) error) error {
	l, err := net.Listen("tcp", j.Sink)
	if err != nil {
		return err
	}
	r := newRelayed(relayPatience, j.Window)
	var sinks sync.WaitGroup
	sinks.Go(func() { serveOn(l, func(c net.Conn) { r.sink(c) }) })
	defer sinks.Wait()
	defer l.Close()
	var senders []net.Conn
	defer func() { hangUp(senders) }()
	for range relaySenders {
		c, err := net.Dial("tcp", j.Addr)
		if err != nil {
			return err
		}
		senders = append(senders, c)
	}
	if err := r.pass(senders, 0); err != nil { // the relay connects
		return err
	}
	if err := r.pass(senders, j.Warm); err != nil {
		return err
	}
	if err := stage(stageReady); err != nil {
		return err
	}
	before := r.arrived
	start := child.Clock()
	if err := measured(result, func() error { return r.pass(senders, j.Slice) }); err != nil {
		return err
	}
	result.Lines, result.Elapsed = int64(r.arrived-before), time.Duration(r.last-start)
	result.Twice = int64(r.twice)
	if err := stage(stageDone); err != nil {
		return err
	}
	hangUp(senders)
	return stage(stageClosed)
}

// pass sends lines for so long, a batch on each connection at least, and waits
// for the last to arrive.
func (r *relayed) pass(senders []net.Conn, during time.Duration) error {
	end := time.Now().Add(during)
	var work sync.WaitGroup
	for _, c := range senders {
		work.Go(func() {
			pad := bytes.Repeat([]byte{'x'}, relayLine)
			var b []byte
			for first := true; first || time.Now().Before(end); first = false {
				at, err := r.room()
				b = b[:0]
				for i := range relayBatch {
					start := len(b)
					b = append(b, relayPrefix...)
					b = fmt.Appendf(b, "%0*d ", relayDigits, at+i)
					b = append(b, pad[:relayLine-1-(len(b)-start)]...)
					b = append(b, '\n')
				}
				if err == nil {
					_, err = c.Write(b)
				}
				if err != nil {
					r.fail(err)
					return
				}
			}
		})
	}
	work.Wait()
	_, err := r.wait(0)
	return err
}

// room waits until there is room for a batch in the window, and returns the
// number of its first line.
func (r *relayed) room() (int, error) { return r.wait(relayBatch) }

// wait waits until n more lines may be sent, or, without any, until all have
// arrived. It returns the number of the first of them.
func (r *relayed) wait(n int) (first int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.err == nil && (n > 0 && r.sent+n-r.arrived > r.window || n == 0 && r.arrived < r.sent) {
		arrived := r.arrived
		alarm := time.AfterFunc(r.patience, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.arrived == arrived && r.err == nil {
				r.err = fmt.Errorf("nothing arrived for %v, and %d lines are missing", r.patience, r.sent-r.arrived)
				r.moved.Broadcast()
			}
		})
		r.moved.Wait()
		alarm.Stop()
	}
	first = r.sent
	r.sent += n
	r.seen = append(r.seen, make([]bool, n)...)
	return first, r.err
}

func (r *relayed) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
	r.moved.Broadcast()
}

// sink takes what arrives on a connection.
func (r *relayed) sink(c net.Conn) {
	defer c.Close()
	in := bufio.NewReaderSize(c, 256<<10)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		lines := []int{}
		for {
			n, err := relayNumber(line)
			if err != nil {
				r.fail(err)
				return
			}
			lines = append(lines, n)
			if rest, _ := in.Peek(in.Buffered()); bytes.IndexByte(rest, '\n') < 0 {
				break
			}
			line, _ = in.ReadSlice('\n')
		}
		r.arrive(lines)
	}
}

// relayNumber returns the number of a line, and checks the rest.
func relayNumber(line []byte) (int, error) {
	rest, ok := bytes.CutPrefix(line, []byte(relayPrefix))
	if !ok || len(line) != relayLine {
		return 0, fmt.Errorf("%q arrived", line)
	}
	return strconv.Atoi(string(rest[:relayDigits]))
}

func (r *relayed) arrive(lines []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range lines {
		switch {
		case n >= len(r.seen):
			r.err = fmt.Errorf("line %d arrived before it was sent", n)
		case r.seen[n]:
			r.twice++
		default:
			r.seen[n] = true
			r.arrived++
		}
	}
	r.last = child.Clock()
	r.moved.Broadcast()
}
