package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hythe-go/hythe/bench/internal/child"
)

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
	j.Addr, j.Script = s.addr(j.Network), s.script
	if err := b.load.tell(j); err != nil {
		return nil, err
	}
	if err := b.load.stage(stageReady, j.Warm+replyTime); err != nil {
		return nil, err
	}
	all := machineTime()
	before, err := s.ask(child.Usage)
	if err != nil {
		return nil, err
	}
	if err := b.load.goOn(); err != nil {
		return nil, err
	}
	if err := b.load.stage(stageDone, j.Slice+b.nap+replyTime); err != nil {
		return nil, err
	}
	after, err := s.ask(child.Usage)
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
	return b.idled(s, job{Mode: modeIdle, Network: "tcp", Addr: s.tcp, Conns: min(b.idle, mostIdle())})
}

// mostIdle is how many connections there can be.
func mostIdle() int { return descriptors() - spareDescriptors }

// spareDescriptors are those that a server and the generator have for other
// things.
const spareDescriptors = 200

// keepSlice returns what measures the memory of connections that are kept.
func keepSlice(j job) func(*bench, *server) (sample, error) {
	return func(b *bench, s *server) (sample, error) {
		j := j
		j.Addr, j.Conns = s.tcp, min(b.kept, mostIdle())
		return b.idled(s, j)
	}
}

// idled measures the memory of connections on which nothing happens any more.
func (b *bench) idled(s *server, j job) (sample, error) {
	n := j.Conns
	if err := b.load.tell(j); err != nil {
		return nil, err
	}
	if err := b.load.stage(stageReady, replyTime); err != nil {
		return nil, err
	}
	time.Sleep(b.rest)
	before, err := s.ask(child.Usage)
	if err != nil {
		return nil, err
	}
	slab := slabBytes()
	if err := b.load.goOn(); err != nil {
		return nil, err
	}
	if err := b.load.stage(stageDone, time.Minute+time.Duration(n)*time.Millisecond); err != nil {
		return nil, err
	}
	time.Sleep(b.rest)
	slab = slabBytes() - slab
	asIs, err := s.ask(child.Usage)
	if err != nil {
		return nil, err
	}
	time.Sleep(b.rest)
	idle, err := s.ask(child.Usage)
	if err != nil {
		return nil, err
	}
	collected, err := s.ask(child.Collect)
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
		"slab":      float64(slab) / float64(n),
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
	drained, err := s.ask(child.Drain)
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

// million says what the memory of idle connections comes to with many more of
// them.
func million(r *results) []string {
	const gib = 1 << 30
	var each []string
	var conns, kernel []float64
	for _, server := range r.servers {
		if n := median(r.values(server, "conns", "")); n > 0 {
			conns = append(conns, n)
			kernel = append(kernel, r.values(server, "slab", "")...)
			each = append(each, fmt.Sprintf("%s %.2g GiB", server, 1e6*median(r.values(server, "rss", ""))/gib))
		}
	}
	if len(each) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("extrapolated from %s connections, not measured: a million would take %s, and %.2g GiB of the kernel's for both ends",
		grouped(slices.Min(conns), 0), strings.Join(each, ", "), 1e6*median(kernel)/gib)}
}

// relaySlice measures a relay.
func relaySlice(b *bench, s *server) (sample, error) {
	one, err := b.echoed(s, job{Mode: modeRelay, Network: "tcp", Sink: s.sink, Window: b.window, Warm: b.warm, Slice: 3 * b.slice})
	if err != nil {
		return nil, err
	}
	used, err := s.ask(child.Usage)
	one["mb"] = float64(used.RSS) / 1e6
	return one, err
}
