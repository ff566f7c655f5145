package output

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay/relaytest"
	"github.com/hythe-go/hythe/link"
)

// settings returns a configuration with the defaults, but for short pauses.
func settings(to ...string) *config.Output {
	return &config.Output{
		To: to, Framing: "lines", BatchMessages: 1000, BatchBytes: 1 << 20, Lanes: 1,
		Timeout: config.Duration(30 * time.Second), Retry: config.Duration(time.Millisecond), RetryMax: config.Duration(time.Millisecond),
		RotateBytes: 64 << 20, Mode: "0640",
	}
}

// deliver has an output deliver what is put into the fixture.
func deliver(t testing.TB, c *config.Output, o Options) (*relaytest.Fixture, relay.Output) {
	t.Helper()
	var out relay.Output
	f := relaytest.NewWith(t, 1, func(int) (relay.Output, error) {
		var err error
		o.Name = cmp.Or(o.Name, "test")
		if out, err = New(c, o); err != nil {
			return nil, err
		}
		switch l := out.(type) { // they retry much faster than link lets them
		case *relay.Linked[net.Conn]:
			l.L.Throttle.Attempts = -1
		case *relay.Linked[*file]:
			l.L.Throttle.Attempts = -1
		}
		return out, nil
	})
	return f, out
}

// sequence returns messages from, from+1 … to-1.
func sequence(from, to int) []string {
	bodies := make([]string, 0, to-from)
	for i := from; i < to; i++ {
		bodies = append(bodies, fmt.Sprintf("message %07d", i))
	}
	return bodies
}

// settled waits until everything is delivered or dead.
func settled(t testing.TB, f *relaytest.Fixture) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := f.WaitSettled(ctx); err != nil {
		t.Fatalf("%v: %d delivered, %d left", err, f.Delivered(), f.Backlog())
	}
}

// eventually waits for what nothing tells of.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20s: %s", what)
		}
	}
}

// A sink is a server that keeps the lines that it gets.
type sink struct {
	l    net.Listener
	work sync.WaitGroup

	mu    sync.Mutex
	lines []string            // guarded by mu
	torn  []string            // without an end. Guarded by mu
	conns map[net.Conn]string // guarded by mu
	count int                 // connections so far. Guarded by mu
}

func newSink(t testing.TB, l net.Listener) *sink {
	t.Helper()
	s := &sink{l: l, conns: make(map[net.Conn]string)}
	s.work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns[c] = ""
			s.count++
			s.mu.Unlock()
			s.work.Go(func() { s.read(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.cut()
		s.work.Wait()
	})
	return s
}

func (s *sink) read(c net.Conn) {
	defer c.Close()
	r := bufio.NewReaderSize(c, 64<<10)
	for {
		line, err := r.ReadString('\n')
		s.mu.Lock()
		switch {
		case err == nil:
			s.lines = append(s.lines, strings.TrimSuffix(line, "\n"))
		case line != "":
			s.torn = append(s.torn, line)
		}
		if err != nil {
			delete(s.conns, c)
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
	}
}

// cut closes all connections.
func (s *sink) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

func (s *sink) got() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.lines...)
}

func (s *sink) accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

func listen(t testing.TB, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// expectAll checks that all of want has come, each for the first time in order,
// and returns how many have come more than once.
func expectAll(t testing.TB, got, want []string) (again int) {
	t.Helper()
	place := make(map[string]int, len(want))
	for i, line := range want {
		place[line] = i
	}
	next := 0
	for _, line := range got {
		i, ok := place[line]
		switch {
		case !ok:
			t.Fatalf("%q was never sent", line)
		case i > next:
			t.Fatalf("%q came when %d had come, %d are missing", line, next, i-next)
		case i == next:
			next++
		default:
			again++
		}
	}
	if next != len(want) {
		t.Fatalf("%d of %d came", next, len(want))
	}
	return again
}

// A hythePeer takes envelopes, and acknowledges them when it is told to.
type hythePeer struct {
	net.Conn
	r *bufio.Reader
}

func newHythePeer(c net.Conn) *hythePeer { return &hythePeer{c, bufio.NewReaderSize(c, 64<<10)} }

// next reads a message.
func (p *hythePeer) next() (relay.Message, error) {
	var size [4]byte
	if _, err := io.ReadFull(p.r, size[:]); err != nil {
		return relay.Message{}, err
	}
	envelope := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(p.r, envelope); err != nil {
		return relay.Message{}, err
	}
	return relay.Parse(envelope)
}

// ack acknowledges n messages in all.
func (p *hythePeer) ack(n uint64) error {
	_, err := p.Write(binary.BigEndian.AppendUint64([]byte{0, 0, 0, 8}, n))
	return err
}

// phase returns what an output's link does.
func phase(o relay.Output) link.Phase {
	s, _ := o.Link()
	return s.Phase
}
