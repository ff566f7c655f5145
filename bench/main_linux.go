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
	"strings"
	"syscall"
	"time"
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
			return serve(args[1:])
		case "load":
			return generate()
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
	dir      string // for sockets
	sockets  int    // made so far
	load     *generatorProcess

	serverCPUs, loadCPUs []int // none: wherever the scheduler puts them
	profiles             string
	markdown             bool
	quick                bool

	rounds               int
	warm, slice          time.Duration
	rest                 time.Duration // before idle memory is read
	nap                  time.Duration // of a handler that blocks
	idle                 int           // connections
	drainIdle, drainBusy int           // connections
}

// measure is the command.
func measure(ctx context.Context, args []string, out, log io.Writer) error {
	b := &bench{ctx: ctx, out: out, log: log, nap: time.Second, drainIdle: 5000, drainBusy: 50}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(log)
	f.Usage = func() {
		fmt.Fprintf(log, "usage: bench [flags]\n\nMeasures hythe beside a standard-library loop. See README.md.\n\n")
		f.PrintDefaults()
		fmt.Fprintf(log, "\nloads:\n")
		for _, l := range loads {
			fmt.Fprintf(log, "  %-10s%s\n", l.name, l.title)
		}
	}
	f.IntVar(&b.rounds, "rounds", 5, "how many `times` each server is measured; loads of few rounds stop at 3")
	f.DurationVar(&b.slice, "slice", time.Second, "how long each measurement takes")
	f.IntVar(&b.idle, "idle", 10000, "idle `connections`, if the descriptor limit allows")
	only := f.String("only", "", "measure only these loads: `names`, separated by commas")
	f.BoolVar(&b.markdown, "md", false, "print the tables in Markdown")
	f.BoolVar(&b.quick, "quick", false, "see that everything works, in a few seconds; the numbers mean nothing")
	pin := f.Bool("pin", false, "give the generator the first processor and the servers the others, by taskset")
	f.StringVar(&b.profiles, "cpuprofile", "", "write a CPU profile of each server and load into this `directory`, which costs them a little")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if b.rounds < 1 || b.slice <= 0 || b.idle < 1 {
		return errors.New("-rounds, -slice and -idle must be above zero")
	}
	chosen, err := chooseLoads(*only)
	if err != nil {
		return err
	}
	b.warm, b.rest = b.slice/4, 1500*time.Millisecond
	if b.quick {
		b.rounds, b.slice, b.warm, b.rest, b.nap = 1, 40*time.Millisecond, 10*time.Millisecond, 30*time.Millisecond, 200*time.Millisecond
		b.idle, b.drainIdle, b.drainBusy = 200, 200, 10
	}
	if *pin {
		if err := b.pin(); err != nil {
			return fmt.Errorf("-pin: %w", err)
		}
	}
	return b.run(chosen, args)
}

// chooseLoads returns the loads with the given names, in the order of all.
func chooseLoads(names string) ([]load, error) {
	if names == "" {
		return loads, nil
	}
	wanted := strings.Split(names, ",")
	var chosen []load
	for _, l := range loads {
		if i := slices.Index(wanted, l.name); i >= 0 {
			chosen = append(chosen, l)
			wanted = slices.DeleteFunc(wanted, func(n string) bool { return n == l.name })
		}
	}
	if len(wanted) > 0 {
		var all []string
		for _, l := range loads {
			all = append(all, l.name)
		}
		return nil, fmt.Errorf("-only: there is no load %q; there are %s", wanted[0], strings.Join(all, ", "))
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
	b.writeHeader(args)
	for i := range chosen {
		r, err := b.measure(&chosen[i])
		if err != nil {
			return err
		}
		b.progress("")
		if err := r.write(b.out, b.markdown, !b.quick); err != nil {
			return err
		}
	}
	return nil
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
func (b *bench) writeHeader(args []string) {
	placed := "unpinned"
	if len(b.loadCPUs) > 0 {
		placed = fmt.Sprintf("generator on processor %v, servers on %v", b.loadCPUs, b.serverCPUs)
	}
	lines := []string{
		"command:    " + commandLine(args),
		"date:       " + time.Now().Format("2006-01-02 15:04 MST"),
		"go:         " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH,
		"kernel:     " + kernel(),
		fmt.Sprintf("processors: %d, %s", runtime.NumCPU(), cpuModel()),
		fmt.Sprintf("rounds:     %d of %v for each server, %s", b.rounds, b.slice, placed),
	}
	if b.quick {
		lines = append(lines, "            -quick: the numbers mean nothing")
	}
	text := strings.Join(lines, "\n") + "\n"
	if b.markdown {
		text = "```\n" + text + "```\n"
	}
	io.WriteString(b.out, text)
}

// commandLine is how to do it again.
func commandLine(args []string) string {
	name := os.Args[0]
	if strings.Contains(name, "go-build") {
		name = "go run ./bench"
	}
	return strings.TrimSpace(name + " " + strings.Join(args, " "))
}
