package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hythe-go/hythe/bench/internal/child"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		os.Exit(1)
	}
}

// run does what the arguments say. The processes that the command starts have a
// word in front that no user writes.
func run(args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "serve":
			return child.Main(args[1:], launch)
		case "load":
			return generate()
		case "attack":
			return attack()
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return measure(ctx, args, os.Stdout, os.Stderr)
}

// A bench is one run of the command.
type bench struct {
	ctx      context.Context
	out, log io.Writer
	dir      string       // for sockets
	sockets  atomic.Int64 // made so far
	load     *generatorProcess

	serverCPUs, loadCPUs []int // none: wherever the scheduler puts them
	profiles             string
	markdown             bool
	quick                bool
	peers                bool // other libraries join the loads of lines
	all                  bool // it is to be a whole document
	provisions           map[string]provided

	rounds      int
	warm, slice time.Duration
	rest        time.Duration // before idle memory is read
	nap         time.Duration // of a handler that blocks
	idle        int           // connections
	kept        int           // HTTP connections
	window      int           // lines in a relay

	drainIdle, drainBusy int // connections

	abuses     []abuse
	abuseTime  time.Duration // how long an attack lasts
	abuseClock time.Duration // hythe's, so that they run out in that time
	abuseBytes int64         // a server that grows by so much is stopped
	together   int           // attacks at once
	suffered   [][]suffering // by abuse and server, once all have been
}

// measure is the command.
func measure(ctx context.Context, args []string, out, log io.Writer) error {
	b := newBench(ctx, out, log)
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(log)
	f.Usage = func() {
		fmt.Fprintf(log, "usage: bench [flags]\n\nMeasures hythe beside other servers. See README.md.\n\n")
		f.PrintDefaults()
		fmt.Fprintf(log, "\nloads:\n")
		for _, l := range loads {
			fmt.Fprintf(log, "  %-10s%s\n", l.name, l.title)
		}
		fmt.Fprintf(log, "\nabuses:\n")
		for _, a := range abuses {
			fmt.Fprintf(log, "  %-10s%s\n", a.kind, a.title)
		}
	}
	f.IntVar(&b.rounds, "rounds", 5, "how many `times` each server is measured; loads of few rounds stop at 3")
	f.DurationVar(&b.slice, "slice", time.Second, "how long each measurement takes")
	f.Func("idle", "idle `connections`, if the descriptor limit allows, or max (default 10000)", b.setIdle)
	only := f.String("only", "", "measure only these loads, or with -abuse these abuses: `names`, separated by commas")
	f.BoolVar(&b.all, "all", false, "measure everything there is: the abuses, and all loads with all peers; about 20 minutes")
	onlyAbuses := f.Bool("abuse", false, "see what bad clients do to the servers, in place of the loads")
	f.BoolVar(&b.peers, "peers", false, "measure gnet, netpoll and nbio as well")
	f.BoolVar(&b.markdown, "md", false, "print the tables in Markdown")
	f.BoolVar(&b.quick, "quick", false, "see that everything works, in a few seconds; the numbers mean nothing")
	pin := f.Bool("pin", false, "give the generator the first processor and the servers the others, by taskset; not with the abuses")
	f.StringVar(&b.profiles, "cpuprofile", "", "write a CPU profile of each server and load into this `directory`, which costs them a little")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if b.rounds < 1 || b.slice <= 0 {
		return errors.New("-rounds and -slice must be above zero")
	}
	var chosen []load
	var err error
	if *onlyAbuses && !b.all {
		b.abuses, err = choose(abuses, *only, func(a abuse) string { return a.kind }, nil)
	} else {
		chosen, err = choose(loads, *only, func(l load) string { return l.name }, func(l load) bool { return b.all || !l.extra })
	}
	if err != nil {
		return err
	}
	if b.all && *only == "" {
		b.abuses = abuses
	}
	b.peers = b.peers || b.all
	b.warm, b.rest = b.slice/4, 1500*time.Millisecond
	if b.quick {
		b.hurry()
	}
	if *pin {
		if err := b.pin(); err != nil {
			return fmt.Errorf("-pin: %w", err)
		}
	}
	return b.run(chosen, args)
}

func newBench(ctx context.Context, out, log io.Writer) *bench {
	return &bench{
		ctx: ctx, out: out, log: log, provisions: make(map[string]provided), nap: time.Second,
		idle: 10_000, kept: 2000, window: 50_000, drainIdle: 5000, drainBusy: 50,
		abuseTime: 3 * time.Second, abuseClock: time.Second, abuseBytes: 1 << 30, together: 1,
	}
}

// hurry has everything be done in a fraction of the time.
func (b *bench) hurry() {
	b.rounds, b.slice, b.warm, b.rest, b.nap = 1, 40*time.Millisecond, 10*time.Millisecond, 30*time.Millisecond, 200*time.Millisecond
	b.idle, b.kept, b.window, b.drainIdle, b.drainBusy = 200, 100, 2000, 200, 10
	b.abuseTime, b.abuseClock, b.abuseBytes, b.together = 500*time.Millisecond, 100*time.Millisecond, 128<<20, 4
}

// setIdle takes the flag -idle.
func (b *bench) setIdle(v string) error {
	if v == "max" {
		b.idle = mostIdle()
		return nil
	}
	n, err := strconv.Atoi(v)
	if err == nil && n < 1 {
		err = errors.New("it must be above zero")
	}
	b.idle = n
	return err
}

// choose returns those of all that have the given names, in the order of all;
// without names, those that are wanted by default.
func choose[T any](all []T, names string, name func(T) string, byDefault func(T) bool) (chosen []T, err error) {
	var wanted []string
	if names != "" {
		wanted = strings.Split(names, ",")
	}
	var known []string
	for _, v := range all {
		known = append(known, name(v))
		i := slices.Index(wanted, name(v))
		if i >= 0 || names == "" && (byDefault == nil || byDefault(v)) {
			chosen = append(chosen, v)
		}
		if i >= 0 {
			wanted = slices.Delete(wanted, i, i+1)
		}
	}
	if len(wanted) > 0 {
		return nil, fmt.Errorf("-only: there is no %q; there are %s", wanted[0], strings.Join(known, ", "))
	}
	return chosen, nil
}

// pin finds the processors to pin to.
func (b *bench) pin() error {
	if _, err := exec.LookPath("taskset"); err != nil {
		return err
	}
	cpus, err := processors()
	if err != nil {
		return err
	}
	if len(cpus) < 2 {
		return errors.New("it needs two processors")
	}
	b.loadCPUs, b.serverCPUs = cpus[:1], cpus[1:]
	return nil
}

func (b *bench) run(chosen []load, args []string) (err error) {
	if b.dir, err = os.MkdirTemp("", "hythe-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if b.profiles != "" {
		if b.profiles, err = filepath.Abs(b.profiles); err != nil {
			return err
		}
		if err := os.MkdirAll(b.profiles, 0o777); err != nil {
			return err
		}
	}
	if b.load, err = b.startGenerator(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.load.stop()) }()
	b.writeHeader(chosen, args)
	if len(b.abuses) > 0 {
		if err := b.abuseTable(); err != nil {
			return err
		}
	}
	var behind []string
	for i := range chosen {
		r, err := b.measure(&chosen[i])
		if err != nil {
			return err
		}
		b.progress("")
		if err := r.write(b.out, b.markdown, !b.quick); err != nil {
			return err
		}
		behind = append(behind, r.behind()...)
	}
	return b.writeBehind(behind)
}

// progress shows what is going on, on a terminal.
func (b *bench) progress(format string, args ...any) {
	f, ok := b.log.(*os.File)
	if !ok {
		return
	}
	if st, err := f.Stat(); err == nil && st.Mode()&os.ModeCharDevice != 0 {
		fmt.Fprintf(f, "\r\x1b[K"+format, args...)
	}
}

// writeHeader says where and how the numbers came about.
func (b *bench) writeHeader(chosen []load, args []string) {
	placed := "unpinned"
	if len(b.loadCPUs) > 0 {
		placed = fmt.Sprintf("generator on processor %v, servers on %v", b.loadCPUs, b.serverCPUs)
	}
	var servers []string
	if len(b.abuses) > 0 {
		servers = abused
	}
	for i := range chosen {
		servers = append(servers, b.serversOf(&chosen[i])...)
	}
	lines := []string{
		"command:    " + commandLine(args),
		"date:       " + time.Now().Format("2006-01-02 15:04 MST"),
		"go:         " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH,
		"kernel:     " + kernel(),
		fmt.Sprintf("processors: %d, %s", runtime.NumCPU(), cpuModel()),
		fmt.Sprintf("rounds:     %d of %v for each server, %s", b.rounds, b.slice, placed),
		"versions:   " + strings.Join(b.versions(servers), ", "),
	}
	if b.quick {
		lines = append(lines, "            -quick: the numbers mean nothing")
	}
	text := strings.Join(lines, "\n") + "\n"
	if b.markdown {
		text = "```\n" + text + "```\n"
		if b.all {
			text = markdownTitle + text
		}
	}
	io.WriteString(b.out, text)
}

const markdownTitle = `# Numbers

What one run of the command below printed. How it measures and what it does not is in
[bench/README.md](../bench/README.md). Less is better for CPU, latency and memory, more for rates. Quote ratios: they compare
neighbours in time.

`

// writeBehind writes where hythe was behind.
func (b *bench) writeBehind(lines []string) error {
	head := "\nWhere hythe is behind by more than 3 %:\n\n"
	if b.markdown {
		head = "\n### Where hythe is behind by more than 3 %\n\n"
	}
	if len(lines) == 0 {
		return nil
	}
	for i, l := range lines {
		if b.markdown {
			lines[i] = "- " + l
		}
	}
	_, err := io.WriteString(b.out, head+strings.Join(lines, "\n")+"\n")
	return err
}

// commandLine is how to do it again.
func commandLine(args []string) string {
	name := os.Args[0]
	if strings.Contains(name, "go-build") {
		name = "go run ./bench"
	}
	return strings.TrimSpace(name + " " + strings.Join(args, " "))
}
