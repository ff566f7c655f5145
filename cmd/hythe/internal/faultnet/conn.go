package faultnet

import (
	"io"
	"net"
	"sync"
	"time"
)

// A conn is a connection through a proxy: two of them.
type conn struct {
	p              *Proxy
	client, server *net.TCPConn
	limited        bool
	left           int64 // bytes that may still go up, if limited. Only pass uses it

	once sync.Once
	over chan struct{} // closed when it has been ended
}

// end closes both connections.
func (c *conn) end(reset bool) {
	c.once.Do(func() {
		close(c.over)
		if reset {
			c.client.SetLinger(0)
			c.server.SetLinger(0)
		}
		c.client.Close()
		c.server.Close()
	})
}

// A chunk is some bytes on their way.
type chunk struct {
	bytes []byte
	err   error     // what ends the stream behind them
	at    time.Time // when they arrive
}

// pass passes on what comes one way, until its end.
func (c *conn) pass(d Direction, to, from *net.TCPConn) {
	chunks := make(chan chunk, 64)
	var write sync.WaitGroup
	write.Go(func() { c.write(d, to, chunks) })
	defer write.Wait()
	defer close(chunks)
	for {
		gate, _, rate := c.p.settings(d)
		if !c.wait(gate) {
			return
		}
		size := int64(16 << 10)
		if rate > 0 {
			size = min(size, int64(max(1, rate/20)))
		}
		if d == Up && c.limited {
			size = min(size, c.left)
		}
		buf := make([]byte, size)
		n, err := from.Read(buf)
		_, latency, _ := c.p.settings(d)
		select {
		case chunks <- chunk{buf[:n], err, time.Now().Add(latency)}:
		case <-c.over:
			return
		}
		if err != nil {
			return
		}
		if d == Up && c.limited {
			if c.left -= int64(n); c.left == 0 {
				return // write resets, when all of it has gone up
			}
		}
	}
}

// write writes what pass has read.
func (c *conn) write(d Direction, to *net.TCPConn, chunks <-chan chunk) {
	for next := range chunks {
		gate, _, rate := c.p.settings(d)
		if !c.sleep(time.Until(next.at)) || !c.wait(gate) {
			return
		}
		_, err := to.Write(next.bytes)
		switch {
		case next.err == io.EOF:
			to.CloseWrite()
			return
		case err != nil, next.err != nil:
			c.end(true)
			return
		}
		if rate > 0 && !c.sleep(time.Duration(len(next.bytes))*time.Second/time.Duration(rate)) {
			return
		}
	}
	if d == Up && c.limited && c.left == 0 {
		c.client.SetLinger(0) // the target gets what has gone up
		c.end(false)
	}
}

// wait waits for a gate to open.
func (c *conn) wait(gate <-chan struct{}) bool {
	select {
	case <-gate:
		return true
	case <-c.over:
		return false
	}
}

func (c *conn) sleep(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.over:
		return false
	}
}
