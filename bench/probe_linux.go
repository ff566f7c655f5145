package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hythe-go/hythe/bench/internal/child"
)

// A probe is the well-behaved clients beside an attack: some that are connected
// before it begins and send a line every few milliseconds, and one that
// connects again and again. A line counts from when it was due.
type probe struct {
	addr string
	tls  bool
	stop context.Context

	mu              sync.Mutex
	resident, fresh histogram
	lost            int     // of the resident connections
	tried           int     // connections of the one that connects
	refused         int     // those of them that failed
	worked          []int64 // when the others had their answer, by child.Clock
}

const (
	probeConns = 4
	probeGap   = 10 * time.Millisecond
	newGap     = 20 * time.Millisecond
	newPatient = time.Second // how long a new connection may take
)

// start connects and begins. All ends with stop; work waits for it.
func (p *probe) start(work *sync.WaitGroup) error {
	for i := range probeConns {
		c, err := p.dial()
		if err != nil {
			return err
		}
		work.Go(func() { p.residentOn(c, i) })
	}
	work.Go(p.newcomers)
	return nil
}

func (p *probe) dial() (net.Conn, error) {
	d := net.Dialer{Timeout: newPatient}
	c, err := d.DialContext(p.stop, "tcp", p.addr)
	if err == nil && p.tls {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	return c, err
}

// residentOn sends lines on a connection until stop.
func (p *probe) residentOn(c net.Conn, i int) {
	defer c.Close()
	defer context.AfterFunc(p.stop, func() { c.SetDeadline(time.Now()) })()
	line := batchOf(1)
	for due := time.Now().Add(probeGap * time.Duration(i) / probeConns); ; due = due.Add(probeGap) {
		from := due
		if wait := time.Until(due); wait > 0 {
			select {
			case <-time.After(wait):
			case <-p.stop.Done():
				return
			}
			from = time.Now() // that the timer was late is not the server's doing
		}
		err := roundTripOf(c, line)
		p.mu.Lock()
		p.resident.add(time.Since(from)) // also that of an answer for which the time was too short
		if err != nil {
			for late := due.Add(probeGap); time.Since(late) > 0; late = late.Add(probeGap) {
				p.resident.add(time.Since(late)) // and of lines that could not even be sent
			}
			if p.stop.Err() == nil {
				p.lost++
			}
		}
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// roundTripOf has a line echoed.
func roundTripOf(c net.Conn, line []byte) error {
	if _, err := c.Write(line); err != nil {
		return err
	}
	got := make([]byte, len(line))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != string(line) {
		return fmt.Errorf("%q came back, want %q", got, line)
	}
	return nil
}

// newcomers connects, has a line echoed and hangs up, again and again.
func (p *probe) newcomers() {
	line := batchOf(1)
	for p.stop.Err() == nil {
		start := time.Now()
		err := func() error {
			c, err := p.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			c.SetDeadline(start.Add(newPatient))
			defer context.AfterFunc(p.stop, func() { c.SetDeadline(time.Now()) })()
			return roundTripOf(c, line)
		}()
		p.mu.Lock()
		if p.stop.Err() == nil || err == nil {
			p.tried++
			if err != nil {
				p.refused++
			} else {
				p.worked = append(p.worked, child.Clock())
				p.fresh.add(time.Since(start))
			}
		}
		p.mu.Unlock()
		select {
		case <-time.After(time.Until(start.Add(newGap))):
		case <-p.stop.Done():
		}
	}
}
