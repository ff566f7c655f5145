// Hythe passes messages on, and loses none that it has acknowledged.
//
//	hythe                                     # lines, HTTP and FastCGI in, standard output out
//	printf 'hello\n' | nc -N 127.0.0.1 7000   # try it
//	curl -d hello http://127.0.0.1:7080/in    # answered when it is on disk
//
//	hythe run -listen tcp://:7000 -to tcp://logs.example:7001   # a pipeline in a line
//	hythe run -config /etc/hythe/hythe.toml                     # anything else
//
// The commands are
//
//	run      take messages in and deliver them (what hythe alone does)
//	check    say what a configuration does, and what it promises
//	send     send messages to a relay, and wait for its acknowledgement
//	tail     show the messages in a route's spool, and those that come
//	spool    look into spools: ls, verify, export, requeue, forget
//	top      show what a running relay does
//	version  say which hythe this is
//
// hythe COMMAND -h explains each. Guides are in docs: hythe.1.md,
// configuration.md, operating-the-relay.md.
//
// # Signals
//
// SIGTERM and SIGINT drain: what has come is spooled and acknowledged, what can be
// delivered is, for as long as the configuration's drain says, and the rest stays
// in the spool for the next start. A second one ends at once. SIGHUP has the
// configuration read again; no listener is closed for it.
//
// # Exit status
//
//	0  everything went well; messages may be left in the spool
//	1  something failed: an endpoint could not be bound, a connection had to be
//	   cut, messages were not acknowledged
//	2  the command line, or the configuration, was wrong
//
// or, after a second signal, 128 and the signal's number.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
)

// The exit statuses.
const (
	exitOK = iota
	exitFailed
	exitUsage
)

func main() {
	signal.Ignore(syscall.SIGPIPE) // writing to a closed standard output is an error like any other
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() { // as long as the process
		<-signals
		cancel()
		second := <-signals
		os.Exit(128 + int(second.(syscall.Signal)))
	}()
	p := &program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	os.Exit(p.run(ctx, os.Args[1:]))
}

// A program is hythe with the files that it has.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	hangups        <-chan os.Signal // for tests; nil: SIGHUP
}

// A command is one of hythe's.
type command struct {
	name string
	args string // how they are written
	what string
	run  func(p *program, ctx context.Context, f *flag.FlagSet, args []string) error
}

func commands() []command {
	return []command{
		{"run", "[-config FILE | -listen ENDPOINT ... -to URL -data DIR]", "take messages in and deliver them", runCommand},
		{"check", "[-config FILE | flags of run]", "say what a configuration does, and what it promises", checkCommand},
		{"send", "[-to URL] [-framing F] [-key K] [FILE ...]", "send messages to a relay, and wait for its acknowledgement", sendCommand},
		{"tail", "[-config FILE | -data DIR] [-n N] [-f] ROUTE", "show the messages in a route's spool, and those that come", tailCommand},
		{"spool", "ls|verify|export|requeue|forget [-config FILE | -data DIR] [ROUTE [OUTPUT]]", "look into spools, and mend them", spoolCommand},
		{"top", "[-config FILE | -admin URL]", "show what a running relay does", topCommand},
		{"version", "", "say which hythe this is", versionCommand},
	}
}

// errUsage is for a command line that is wrong.
type errUsage struct{ error }

func usage(format string, args ...any) error { return errUsage{fmt.Errorf(format, args...)} }

// run is the program: it returns the exit status.
func (p *program) run(ctx context.Context, args []string) int {
	notes := log.New(p.stderr, "hythe: ", 0)
	name := "run"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	if name == "help" {
		if len(args) == 0 {
			p.help()
			return exitOK
		}
		name, args = args[0], []string{"-h"}
	}
	list := commands()
	i := slices.IndexFunc(list, func(c command) bool { return c.name == name })
	if i < 0 {
		notes.Printf("there is no command %q%s; hythe help lists them", name, suggestion(name, list))
		return exitUsage
	}
	c := list[i]
	f := flag.NewFlagSet("hythe "+c.name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	err := c.run(p, ctx, f, args)
	var wrong errUsage
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(p.stdout, "usage: hythe %s %s\n\n%s.\n\n", c.name, c.args, strings.ToUpper(c.what[:1])+c.what[1:])
		f.SetOutput(p.stdout)
		f.PrintDefaults()
		return exitOK
	}
	if errors.Is(err, syscall.EPIPE) {
		return exitFailed // as a reader of standard output that leaves, head say, expects
	}
	for line := range strings.Lines(err.Error()) {
		notes.Print(strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "hythe: "))
	}
	if errors.As(err, &wrong) {
		notes.Printf("hythe %s -h explains", c.name)
		return exitUsage
	}
	return exitFailed
}

// parse reads the flags of a command, which may be before, between and behind its
// other arguments. It returns those.
func parse(f *flag.FlagSet, args []string) (others []string, err error) {
	for {
		switch err := f.Parse(args); {
		case errors.Is(err, flag.ErrHelp):
			return nil, err
		case err != nil:
			return nil, errUsage{err}
		}
		rest := f.Args()
		if n := len(args) - len(rest); len(rest) == 0 || n > 0 && args[n-1] == "--" {
			return append(others, rest...), nil
		}
		others, args = append(others, rest[0]), rest[1:]
	}
}

// suggestion names the command that may have been meant.
func suggestion(name string, list []command) string {
	for _, c := range list {
		if strings.HasPrefix(c.name, name) || strings.HasPrefix(name, c.name) || distance(name, c.name) <= 2 {
			return fmt.Sprintf(" (%s?)", c.name)
		}
	}
	return ""
}

// distance is how many letters have to be put in, taken out or replaced to make b
// of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			corner, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, corner+cost)
		}
	}
	return row[len(b)]
}

func (p *program) help() {
	fmt.Fprint(p.stdout, "Hythe passes messages on, and loses none that it has acknowledged.\n\n")
	for _, c := range commands() {
		fmt.Fprintf(p.stdout, "  hythe %-8s %s\n", c.name, c.what)
	}
	fmt.Fprint(p.stdout, "\nhythe alone runs with built-in settings; hythe COMMAND -h explains each command.\n")
}

func versionCommand(p *program, _ context.Context, f *flag.FlagSet, args []string) error {
	if _, err := parse(f, args); err != nil {
		return err
	}
	fmt.Fprintln(p.stdout, "hythe", version())
	return nil
}

// version says which hythe this is.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown version)"
	}
	return fmt.Sprintf("%s (%s)", info.Main.Version, info.GoVersion)
}
