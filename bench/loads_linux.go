package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// A load is what is done to servers, and what is measured meanwhile.
type load struct {
	topic
	fresh bool // each slice has a server process of its own
	few   bool // a slice takes long: three rounds are enough
	slice func(b *bench, s *server) (sample, error)
}

var (
	allServers = []string{bytesServer, stringsServer, talkServer, goroutineServer, standardServer}

	lineColumns = []column{
		{head: "CPU µs/line", metric: "cpu", digits: 2},
		{head: "× standard", metric: "cpu", over: standardServer},
		{head: "lines/s", metric: "rate"},
		{head: "× standard", metric: "rate", over: standardServer},
		{head: "p50 µs", metric: "p50"},
		{head: "p99 µs", metric: "p99"},
	}
	pacedColumns = []column{
		{head: "CPU µs/line", metric: "cpu", digits: 2},
		{head: "× standard", metric: "cpu", over: standardServer},
		{head: "lines/s", metric: "rate"},
		{head: "p50 µs", metric: "p50"},
		{head: "p99 µs", metric: "p99"},
		{head: "max µs", metric: "max"},
	}
)

// loads are all there are, in the order of the tables.
var loads = []load{
	{
		topic: topic{
			name:    "echo64",
			title:   "Echo of 64-byte lines, 64 connections, one line on its way on each",
			servers: allServers,
			columns: lineColumns,
		},
		slice: echoSlice(job{Network: "tcp", Conns: 64}),
	},
	{
		topic: topic{
			name:    "echo1000",
			title:   "The same, 1,000 connections",
			servers: allServers,
			columns: lineColumns,
		},
		slice: echoSlice(job{Network: "tcp", Conns: 1000}),
	},
	{
		topic: topic{
			name:    "pipeline",
			title:   "64 connections, 32 lines on their way on each",
			servers: append(append([]string(nil), allServers...), copyServer),
			columns: []column{
				{head: "CPU µs/line", metric: "cpu", digits: 3},
				{head: "× standard", metric: "cpu", over: standardServer},
				{head: "× copy", metric: "cpu", over: copyServer},
				{head: "lines/s", metric: "rate"},
				{head: "× standard", metric: "rate", over: standardServer},
				{head: "× copy", metric: "rate", over: copyServer},
			},
			goals: []goal{
				{server: bytesServer, metric: "rate", what: "lines/s", over: copyServer, atLeast: 0.8},
				{server: stringsServer, metric: "rate", what: "lines/s", over: copyServer, atLeast: 0.6},
			},
		},
		slice: echoSlice(job{Network: "tcp", Conns: 64, Depth: 32}),
	},
	{
		topic: topic{
			name:    "unix",
			title:   "Echo over a Unix socket, 64 connections, one line on its way on each",
			servers: allServers,
			columns: lineColumns,
		},
		slice: echoSlice(job{Network: "unix", Conns: 64}),
	},
	{
		topic: topic{
			name:    "paced",
			title:   "64 connections, a quiet 5,000 lines/s together",
			servers: allServers,
			columns: pacedColumns,
		},
		slice: echoSlice(job{Network: "tcp", Conns: 64, Rate: 5000}),
	},
	{
		topic: topic{
			name:    "churn",
			title:   "Connect, echo one line, close: 64 at a time",
			servers: allServers,
			columns: []column{
				{head: "CPU µs/connection", metric: "cpu", digits: 1},
				{head: "× standard", metric: "cpu", over: standardServer},
				{head: "connections/s", metric: "rate"},
				{head: "× standard", metric: "rate", over: standardServer},
				{head: "p99 µs", metric: "p99"},
			},
		},
		slice: echoSlice(job{Mode: modeChurn, Network: "tcp", Conns: 64}),
	},
	{
		topic: topic{
			name:    "idle",
			title:   "Resident memory of an idle connection, after one echo",
			servers: []string{bytesServer, talkServer, goroutineServer, standardServer},
			columns: []column{
				{head: "connections", metric: "conns"},
				{head: "bytes/connection", metric: "rss"},
				{head: "after a collection", metric: "collected"},
				{head: "× standard", metric: "rss", over: standardServer},
				{head: "idle CPU ms/s", metric: "idleCPU", digits: 1},
			},
			goals: []goal{
				{server: bytesServer, metric: "rss", what: "bytes per connection", atMost: 512},
				{server: talkServer, metric: "rss", what: "bytes per connection", atMost: 4608},
			},
		},
		fresh: true,
		few:   true,
		slice: idleSlice,
	},
	{
		topic: topic{
			name:    "blocked",
			title:   "8 handlers asleep for 1 s at a time; latency of 64 other connections at 20,000 lines/s together",
			servers: allServers,
			columns: pacedColumns,
			goals: []goal{
				{server: bytesServer, metric: "p99", what: "µs p99", atMost: 500},
				{server: talkServer, metric: "p99", what: "µs p99", atMost: 500},
			},
		},
		few:   true,
		slice: blockedSlice,
	},
	{
		topic: topic{
			name:    "drain",
			title:   "Drain of idle connections and busy ones, whose handlers sleep for 1 s",
			servers: []string{bytesServer, talkServer, goroutineServer},
			columns: []column{
				{head: "idle", metric: "idle"},
				{head: "busy", metric: "busy"},
				{head: "ms until all idle ones are closed", metric: "closed", digits: 1},
				{head: "ms from last answer to Drain's return", metric: "return", digits: 2},
			},
			goals: []goal{
				{server: bytesServer, metric: "closed", what: "ms until all idle ones are closed", atMost: 50},
				{server: bytesServer, metric: "return", what: "ms from last answer to return", atMost: 1},
				{server: talkServer, metric: "closed", what: "ms until all idle ones are closed", atMost: 50},
				{server: talkServer, metric: "return", what: "ms from last answer to return", atMost: 1},
			},
		},
		fresh: true,
		few:   true,
		slice: drainSlice,
	},
}

// echoSlice returns what measures a slice of lines, or connections, echoed.
func echoSlice(j job) func(*bench, *server) (sample, error) {
	return func(b *bench, s *server) (sample, error) {
		j := j
		if j.Mode == "" {
			j.Mode = modeEcho
		}
		j.Warm, j.Slice = b.warm, b.slice
		return b.echoed(s, j)
	}
}

func blockedSlice(b *bench, s *server) (sample, error) {
	return b.echoed(s, job{Mode: modeEcho, Network: "tcp", Conns: 64, Rate: 20000, Blockers: 8, Warm: b.warm, Slice: 3 * b.slice})
}

// echoed runs a slice and accounts for it.
func (b *bench) echoed(s *server, j job) (sample, error) {
	j.Addr = s.addr(j.Network)
	if err := b.load.tell(j); err != nil {
		return nil, err
	}
	if err := b.load.stage(stageReady, j.Warm+replyTime); err != nil {
		return nil, err
	}
	all := machineTime()
	before, err := s.ask(doUsage)
	if err != nil {
		return nil, err
	}
	if err := b.load.goOn(); err != nil {
		return nil, err
	}
	if err := b.load.stage(stageDone, j.Slice+b.nap+replyTime); err != nil {
		return nil, err
	}
	after, err := s.ask(doUsage)
	if err != nil {
		return nil, err
	}
	all = machineTime() - all
	result, err := b.close()
	if err != nil {
		return nil, err
	}
	if result.Lines == 0 {
		return nil, fmt.Errorf("%s: no line came back", s.name)
	}
	used := after.CPU - before.CPU
	return sample{
		"cpu":  micros(used) / float64(result.Lines),
		"rate": float64(result.Lines) / result.Elapsed.Seconds(),
		"p50":  micros(result.P50),
		"p99":  micros(result.P99),
		"max":  micros(result.Max),
		others: (all - used - result.CPU).Seconds() / result.Elapsed.Seconds(),
	}, nil
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// close has the generator close its connections, and returns the result.
func (b *bench) close() (result outcome, err error) {
	if err := b.load.goOn(); err != nil {
		return result, err
	}
	if err := b.load.stage(stageClosed, replyTime); err != nil {
		return result, err
	}
	if err := b.load.goOn(); err != nil {
		return result, err
	}
	return b.load.outcome(replyTime)
}

// idleSlice measures the memory of idle connections.
func idleSlice(b *bench, s *server) (sample, error) {
	n := min(b.idle, descriptors()-200)
	if err := b.load.tell(job{Mode: modeIdle, Network: "tcp", Addr: s.tcp, Conns: n}); err != nil {
		return nil, err
	}
	if err := b.load.stage(stageReady, replyTime); err != nil {
		return nil, err
	}
	time.Sleep(b.rest)
	before, err := s.ask(doUsage)
	if err != nil {
		return nil, err
	}
	if err := b.load.goOn(); err != nil {
		return nil, err
	}
	if err := b.load.stage(stageDone, time.Minute); err != nil {
		return nil, err
	}
	time.Sleep(b.rest)
	asIs, err := s.ask(doUsage)
	if err != nil {
		return nil, err
	}
	time.Sleep(b.rest)
	idle, err := s.ask(doUsage)
	if err != nil {
		return nil, err
	}
	collected, err := s.ask(doCollect)
	if err != nil {
		return nil, err
	}
	if _, err := b.close(); err != nil {
		return nil, err
	}
	return sample{
		"conns":     float64(n),
		"rss":       float64(asIs.RSS-before.RSS) / float64(n),
		"collected": float64(collected.RSS-before.RSS) / float64(n),
		"idleCPU":   millis(idle.CPU-asIs.CPU) / b.rest.Seconds(),
	}, nil
}

// drainSlice measures a drain, and checks that it does what it promises.
func drainSlice(b *bench, s *server) (sample, error) {
	idle, busy := b.drainIdle, b.drainBusy
	idle = min(idle, descriptors()-200-busy)
	if err := b.load.tell(job{Mode: modeDrain, Network: "tcp", Addr: s.tcp, Conns: idle + busy, Busy: busy}); err != nil {
		return nil, err
	}
	if err := b.load.stage(stageReady, time.Minute); err != nil {
		return nil, err
	}
	if err := b.load.goOn(); err != nil {
		return nil, err
	}
	drained, err := s.ask(doDrain)
	if err != nil {
		return nil, err
	}
	if err := b.load.stage(stageDone, replyTime); err != nil {
		return nil, err
	}
	result, err := b.close()
	if err != nil {
		return nil, err
	}
	if drained.Idle != idle || drained.Finished != busy || drained.Cut != 0 || result.Answers != busy {
		return nil, fmt.Errorf("%s: of %d idle and %d busy connections the report says %d idle, %d finished, %d cut, and %d answers came",
			s.name, idle, busy, drained.Idle, drained.Finished, drained.Cut, result.Answers)
	}
	return sample{
		"idle":   float64(idle),
		"busy":   float64(busy),
		"closed": millis(time.Duration(result.IdleClosed - drained.Called)),
		"return": millis(time.Duration(drained.Returned - result.LastAnswer)),
	}, nil
}

func (s *server) addr(network string) string {
	if network == "unix" {
		return s.unix
	}
	return s.tcp
}

// measure runs a load: round after round, each with one slice of every server,
// and each beginning with another one.
func (b *bench) measure(l *load) (_ *results, err error) {
	rounds := b.rounds
	if l.few {
		rounds = min(rounds, 3)
	}
	r := &results{topic: &l.topic, rounds: make([]map[string]sample, rounds)}
	var servers []*server
	defer func() {
		for _, s := range servers {
			err = errors.Join(err, s.stop())
		}
	}()
	if !l.fresh {
		for _, name := range l.servers {
			s, err := b.startServer(name)
			if err != nil {
				return nil, err
			}
			servers = append(servers, s)
			if err := b.profile(s, l); err != nil {
				return nil, err
			}
		}
	}
	for round := range rounds {
		r.rounds[round] = make(map[string]sample)
		for i := range l.servers {
			at := (round + i) % len(l.servers)
			b.progress("%s: round %d of %d: %s", l.name, round+1, rounds, l.servers[at])
			var one sample
			var err error
			if l.fresh {
				one, err = b.freshSlice(l, l.servers[at])
			} else {
				one, err = l.slice(b, servers[at])
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", l.name, err)
			}
			r.rounds[round][l.servers[at]] = one
		}
	}
	for _, s := range servers {
		if b.profiles != "" {
			if _, err := s.ask(doEndProfile); err != nil {
				return nil, err
			}
		}
	}
	return r, nil
}

func (b *bench) freshSlice(l *load, name string) (sample, error) {
	s, err := b.startServer(name)
	if err != nil {
		return nil, err
	}
	one, err := l.slice(b, s)
	return one, errors.Join(err, s.stop())
}

// profile has the server write a CPU profile, if that is asked for.
func (b *bench) profile(s *server, l *load) error {
	if b.profiles == "" {
		return nil
	}
	name := l.name + "-" + strings.ReplaceAll(s.name, " ", "-") + ".prof"
	_, err := s.ask(doProfile, filepath.Join(b.profiles, name))
	return err
}
