package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/hythe-go/hythe/bench/internal/child"
)

// A job is what the measuring process asks of the load generator: one slice.
type job struct {
	Mode     string        // one of the constants below
	Network  string        // of the server
	Addr     string        // of the server
	Protocol string        // what is sent: protocolHTTP, protocolFCGI; lines otherwise
	Body     int           // bytes of a request's body; 0: none, and a greeting is the answer
	Script   string        // protocolFCGI: SCRIPT_FILENAME
	TLS      bool          // modeKeep
	Sink     string        // modeRelay: where the lines arrive
	Window   int           // modeRelay: how many lines may be on their way
	Conns    int           // connections
	Depth    int           // lines on their way on each connection; 0: one
	Rate     float64       // modeEcho: lines a second of all together; 0: as many as there can be
	Blockers int           // modeEcho: further connections whose handlers sleep
	Busy     int           // modeDrain: how many of Conns have a handler that sleeps
	Warm     time.Duration // modeEcho, modeChurn: before the slice
	Slice    time.Duration // modeEcho, modeChurn
}

const (
	modeEcho  = "echo"
	modeChurn = "churn"
	modeIdle  = "idle"
	modeDrain = "drain"
	modeKeep  = "keep"  // as modeIdle, with an HTTP request in place of a line
	modeRelay = "relay" // lines go in and arrive elsewhere
)

// An outcome is a message of the load generator. With a Stage it waits, doing
// nothing, for a word before it goes on; the one without a Stage is the result.
type outcome struct {
	Stage string
	Err   string

	Lines         int64 // answered; connections, in modeChurn
	Elapsed       time.Duration
	CPU           time.Duration // the load generator's own
	P50, P99, Max time.Duration // from a line's sending to its answer
	IdleClosed    int64         // modeDrain: when the last idle connection was closed, by clock
	LastAnswer    int64         // modeDrain: when the last answer came, by clock
	Answers       int           // modeDrain
	Twice         int64         // modeRelay: lines that arrived more than once
}

const (
	stageReady  = "ready"  // connected and warmed up, nothing is on its way
	stageDone   = "done"   // the slice is over, nothing is on its way, all is still connected
	stageClosed = "closed" // all connections are closed
)

// generate is the load generator's process. It ends when its standard input does.
func generate() error {
	runtime.LockOSThread()
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var j job
		if err := in.Decode(&j); err != nil {
			return nil // our parent has finished, or is gone
		}
		stage := func(name string) error {
			if err := out.Encode(outcome{Stage: name}); err != nil {
				return err
			}
			var word string
			return in.Decode(&word)
		}
		result, err := j.run(stage)
		if err != nil {
			result.Err = err.Error()
		}
		if err := out.Encode(result); err != nil {
			return err
		}
		debug.FreeOSMemory()
	}
}

func (j *job) run(stage func(string) error) (result outcome, err error) {
	j.Depth = max(j.Depth, 1)
	switch j.Mode {
	case modeKeep:
		return result, j.keep(stage)
	case modeRelay:
		err = j.relay(&result, stage)
		return result, err
	}
	g, err := newGenerator(j)
	if err != nil {
		return result, err
	}
	defer g.close()
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a slice allocates next to nothing
	var run func(*outcome, func(string) error) error
	switch j.Mode {
	case modeEcho:
		run = g.echo
	case modeChurn:
		run = g.churn
	case modeIdle:
		run = g.idle
	case modeDrain:
		run = g.drain
	default:
		return result, fmt.Errorf("load: unknown mode %q", j.Mode)
	}
	if err := run(&result, stage); err != nil {
		return result, fmt.Errorf("load: %s: %w", j.Mode, err)
	}
	result.P50, result.P99, result.Max = g.latency.quantile(0.5), g.latency.quantile(0.99), g.latency.max
	g.close()
	return result, stage(stageClosed)
}

// measured calls run and notes what it took.
func measured(result *outcome, run func() error) error {
	before, err := child.CPUTime()
	if err != nil {
		return err
	}
	start := child.Clock()
	if err := run(); err != nil {
		return err
	}
	result.Elapsed = time.Duration(child.Clock() - start)
	after, err := child.CPUTime()
	result.CPU = after - before
	return err
}

// echo has lines go there and back on all connections, for a slice.
func (g *generator) echo(result *outcome, stage func(string) error) error {
	j := g.job
	if err := g.connect(j.Conns + j.Blockers); err != nil {
		return err
	}
	for i := range j.Blockers {
		g.clients[j.Conns+i].blocks = true
	}
	if err := g.flow(j.Warm, 0); err != nil {
		return err
	}
	if err := stage(stageReady); err != nil {
		return err
	}
	g.latency, g.lines = histogram{}, 0
	if err := measured(result, func() error { return g.flow(j.Slice, j.Blockers) }); err != nil {
		return err
	}
	result.Lines, result.Elapsed = g.lines, time.Duration(g.lastLine-g.began)
	return stage(stageDone)
}

// flow keeps the connections busy for a while, the given number of blockers
// too, and then waits for the answers on their way.
func (g *generator) flow(during time.Duration, blockers int) error {
	j := g.job
	g.began = child.Clock()
	g.lastLine = g.began
	end := g.began + int64(during)
	g.feeding = true
	if j.Rate == 0 {
		for i := range g.clients[:j.Conns] {
			if err := g.send(&g.clients[i], j.Depth, g.began); err != nil {
				return err
			}
		}
	}
	for i := range blockers {
		if err := g.send(&g.clients[j.Conns+i], 1, g.began); err != nil {
			return err
		}
	}
	var pace pacer
	if j.Rate > 0 {
		pace = pacer{start: g.began, gap: 1e9 / j.Rate}
	}
	for {
		now := child.Clock()
		if g.feeding && now >= end {
			g.feeding = false
			for i := range g.clients { // a line that never went out has waited as well
				if c := &g.clients[i]; c.owed > 0 {
					g.latency.add(time.Duration(now - c.owedSince))
					c.owed = 0
				}
			}
		}
		if !g.feeding && g.waiting == 0 {
			return nil
		}
		if g.feeding && j.Rate > 0 {
			if err := g.paced(&pace, now); err != nil {
				return err
			}
		}
		// A paced generator watches the clock all the time: the kernel's timers
		// are too coarse.
		if err := g.events(j.Rate == 0 || !g.feeding, g.answered); err != nil {
			return err
		}
	}
}

// A pacer says when lines are due: each connection's at equal distances.
type pacer struct {
	start int64
	gap   float64 // nanoseconds from one line to the next, of all connections
	n     int64   // lines that were due so far
}

// tooLate is how far the generator itself may fall behind before it gives the
// lines up. What the server delays is never given up.
const tooLate = 20 * time.Millisecond

// paced sends what is due. A line whose connection still waits for its last
// answer is sent when that has come, and counts from when it was due.
func (g *generator) paced(p *pacer, now int64) error {
	if behind := now - p.due(); behind > int64(tooLate) {
		p.start += behind
	}
	for ; p.due() <= now; p.n++ {
		c := &g.clients[p.n%int64(g.job.Conns)]
		if c.made > c.done {
			if c.owed == 0 {
				c.owedSince = p.due()
			}
			c.owed++
			continue
		}
		if err := g.send(c, 1, child.Clock()); err != nil {
			return err
		}
	}
	return nil
}

func (p *pacer) due() int64 { return p.start + int64(float64(p.n)*p.gap) }

// answered takes the answers that have come on a connection and sends more.
func (g *generator) answered(c *client) error {
	n, err := g.receive(c)
	if err != nil || n == 0 {
		return err
	}
	now := child.Clock()
	if !c.blocks {
		for i := c.done - n; i < c.done; i++ {
			g.latency.add(time.Duration(now - c.since[i%c.depth]))
		}
		g.lines += int64(n)
		g.lastLine = now
	}
	switch {
	case !g.feeding:
	case g.job.Rate == 0 || c.blocks:
		return g.send(c, int(n), now)
	case c.owed > 0:
		since := c.owedSince
		c.owed--
		c.owedSince += int64(1e9 / g.job.Rate * float64(g.job.Conns))
		return g.send(c, 1, since)
	}
	return nil
}

// churn has Conns connections at a time made, used for one line, and closed.
func (g *generator) churn(result *outcome, stage func(string) error) error {
	g.clients = make([]client, g.job.Conns)
	run := func(during time.Duration) error {
		g.feeding = true
		end := child.Clock() + int64(during)
		for i := range g.clients {
			if err := g.open(i); err != nil {
				return err
			}
			if err := g.send(&g.clients[i], 1, g.clients[i].opened); err != nil {
				return err
			}
		}
		for g.waiting > 0 {
			if g.feeding && child.Clock() >= end {
				g.feeding = false
			}
			if err := g.events(true, g.churned); err != nil {
				return err
			}
		}
		return nil
	}
	if err := run(g.job.Warm); err != nil {
		return err
	}
	time.Sleep(settle) // the server may still be closing connections
	if err := stage(stageReady); err != nil {
		return err
	}
	g.latency, g.lines = histogram{}, 0
	if err := measured(result, func() error { return run(g.job.Slice) }); err != nil {
		return err
	}
	result.Lines = g.lines
	time.Sleep(settle)
	return stage(stageDone)
}

// settle is how long a server is given to finish what no answer shows.
const settle = 30 * time.Millisecond

func (g *generator) churned(c *client) error {
	n, err := g.receive(c)
	if err != nil || n == 0 {
		return err
	}
	g.latency.add(time.Duration(child.Clock() - c.opened))
	g.lines++
	i := c.index
	g.hangUp(c)
	if !g.feeding {
		return nil
	}
	if err := g.open(i); err != nil {
		return err
	}
	return g.send(&g.clients[i], 1, g.clients[i].opened)
}

// idle connects, has one line echoed on each connection, and leaves them be.
func (g *generator) idle(_ *outcome, stage func(string) error) error {
	const warm = 64 // connections that are closed again, so that the server has what it needs once
	if err := g.connectAndEcho(min(warm, g.job.Conns)); err != nil {
		return err
	}
	for i := range g.clients {
		g.hangUp(&g.clients[i])
	}
	time.Sleep(settle)
	if err := stage(stageReady); err != nil {
		return err
	}
	if err := g.connectAndEcho(g.job.Conns); err != nil {
		return err
	}
	return stage(stageDone)
}

// connectAndEcho makes n connections and has one line echoed on each.
func (g *generator) connectAndEcho(n int) error {
	g.clients = make([]client, n)
	g.feeding = false
	const together = 256 // fewer than wait in any listener's queue
	for done := 0; done < n; {
		upTo := min(done+together, n)
		for ; done < upTo; done++ {
			if err := g.open(done); err != nil {
				return err
			}
			if err := g.send(&g.clients[done], 1, child.Clock()); err != nil {
				return err
			}
		}
		for g.waiting > 0 {
			if err := g.events(true, g.answered); err != nil {
				return err
			}
		}
	}
	return nil
}

// errGone is what receive returns at the end of the server's output.
var errGone = errors.New("the server closed the connection")

// drain watches a server drain: Conns connections have had a line echoed, and
// the first Busy of them wait for the answer to another one.
func (g *generator) drain(result *outcome, stage func(string) error) error {
	if err := g.connectAndEcho(g.job.Conns); err != nil {
		return err
	}
	for i := range g.job.Busy {
		c := &g.clients[i]
		c.blocks = true
		if err := g.send(c, 1, child.Clock()); err != nil {
			return err
		}
	}
	time.Sleep(settle) // until all of them sleep
	if err := stage(stageReady); err != nil {
		return err
	}
	left := len(g.clients)
	for left > 0 {
		err := g.events(true, func(c *client) error {
			if c.ended {
				return nil
			}
			n, err := g.receive(c)
			if n > 0 {
				result.LastAnswer = child.Clock()
				result.Answers++
			}
			switch {
			case err != errGone:
				return err
			case c.made > c.done:
				return errors.New("the server closed a connection to which it owed an answer")
			case !c.blocks:
				result.IdleClosed = child.Clock() // closing our end can wait
			default:
				g.hangUp(c)
			}
			c.ended = true // its events may go on
			left--
			return nil
		})
		if err != nil {
			return err
		}
	}
	return stage(stageDone)
}
