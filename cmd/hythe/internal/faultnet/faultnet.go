// Package faultnet is a TCP proxy for tests that does what networks do: it is slow,
// loses the other side without a word, resets connections, and refuses them.
//
//	p := faultnet.New(t, backend)
//	dial(p.Addr())
//	p.SetLatency(50 * time.Millisecond)
//	p.Stop(faultnet.Both) // half-open: nothing moves, nothing is closed
//	p.Reset()
//
// What the proxy's kernel has acknowledged and the proxy has not passed on is lost
// in a reset, as it is when a real peer dies with input unread.
package faultnet

import (
	"net"
	"sync"
	"testing"
	"time"
)

// A Direction is the way that bytes go.
type Direction uint8

// Directions, which can be added.
const (
	Up   Direction = 1 << iota // from who dials to the target
	Down                       // from the target
	Both = Up | Down
)

// A Proxy passes on connections to a target. Its methods are safe for concurrent
// use, and hold for the connections that there are and for new ones, except where
// they say otherwise.
type Proxy struct {
	listener net.Listener
	work     sync.WaitGroup

	mu       sync.Mutex
	target   string
	latency  time.Duration
	rate     int
	after    int64
	refuse   bool
	closed   bool
	accepted int
	buffer   int
	conns    map[*conn]struct{}
	gates    map[Direction]chan struct{} // closed when bytes may go that way
}

// New returns a proxy on a port of its own of 127.0.0.1. It is closed when the test
// ends.
func New(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	open := make(chan struct{})
	close(open)
	p := &Proxy{
		listener: l, target: target, conns: make(map[*conn]struct{}),
		gates: map[Direction]chan struct{}{Up: open, Down: open},
	}
	p.work.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// Addr returns where to dial.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// SetTarget changes where new connections lead to.
func (p *Proxy) SetTarget(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// SetLatency has all bytes that are read from now on arrive so much later.
func (p *Proxy) SetLatency(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latency = d
}

// SetRate bounds how many bytes per second go each way of a connection. Zero: no
// limit.
func (p *Proxy) SetRate(bytesPerSecond int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate = bytesPerSecond
}

// SetBuffer bounds what the kernel takes of new connections before the proxy reads
// it: little more than so many bytes. Zero: the system's default.
func (p *Proxy) SetBuffer(bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.buffer = bytes
}

// ResetAfter has every new connection reset when so many bytes have gone up. Zero:
// none is.
func (p *Proxy) ResetAfter(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.after = bytes
}

// Refuse has new connections reset at once, or lets them in again.
func (p *Proxy) Refuse(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = on
}

// Stop lets no more bytes through in a direction. Nothing is closed, and who closes
// is not heard of.
func (p *Proxy) Stop(d Direction) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, way := range []Direction{Up, Down} {
		if d&way == 0 {
			continue
		}
		select {
		case <-p.gates[way]:
			p.gates[way] = make(chan struct{})
		default: // it is stopped
		}
	}
}

// Resume ends a Stop.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resume()
}

func (p *Proxy) resume() {
	for _, gate := range p.gates {
		select {
		case <-gate:
		default:
			close(gate)
		}
	}
}

// Reset resets the connections that there are, and returns how many.
func (p *Proxy) Reset() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.end(true)
	}
	return len(p.conns)
}

// CloseConns closes the connections that there are, to both sides, and returns how
// many.
func (p *Proxy) CloseConns() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.end(false)
	}
	return len(p.conns)
}

// Accepted returns how many connections there have been, refused ones included.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// Conns returns how many there are.
func (p *Proxy) Conns() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.resume()
	for c := range p.conns {
		c.end(true)
	}
	p.mu.Unlock()
	p.listener.Close()
	p.work.Wait()
}

func (p *Proxy) accept() {
	for {
		nc, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.accepted++
		refuse, target, buffer := p.refuse, p.target, p.buffer
		p.mu.Unlock()
		client := nc.(*net.TCPConn)
		if refuse {
			client.SetLinger(0)
			client.Close()
			continue
		}
		if buffer > 0 {
			client.SetReadBuffer(buffer)
		}
		p.work.Go(func() { p.serve(client, target) })
	}
}

func (p *Proxy) serve(client *net.TCPConn, target string) {
	nc, err := net.DialTimeout("tcp", target, 10*time.Second)
	if err != nil {
		client.SetLinger(0)
		client.Close()
		return
	}
	c := &conn{p: p, client: client, server: nc.(*net.TCPConn), over: make(chan struct{})}
	p.mu.Lock()
	c.left = p.after
	c.limited = c.left > 0
	p.conns[c] = struct{}{}
	if p.closed {
		c.end(true)
	}
	p.mu.Unlock()
	var ways sync.WaitGroup
	ways.Go(func() { c.pass(Up, c.server, c.client) })
	ways.Go(func() { c.pass(Down, c.client, c.server) })
	ways.Wait()
	c.end(false)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// settings returns what holds now for a direction.
func (p *Proxy) settings(d Direction) (gate chan struct{}, latency time.Duration, rate int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gates[d], p.latency, p.rate
}
