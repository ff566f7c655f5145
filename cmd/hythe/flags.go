package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/listen"
)

const usage = `Hythe takes lines from TCP and Unix sockets and writes them to one place.

Usage: hythe [flags]

  -listen endpoint  where lines come from; may be repeated
                    (default tcp://127.0.0.1:7000)
                      tcp://host:port   tcp://:7000 takes all addresses
                      unix:///path      unix:///run/hythe.sock?mode=0660
                      systemd:name      a socket passed by systemd
                      fd:3              an inherited descriptor
  -to destination   where lines go: tcp://host:port, unix:///path, or - for
                    standard output (default -)
  -max-line bytes   the longest line; a longer one ends its connection
                    (default 65536)
  -drain duration   how long lines and connections get to finish after a signal
                    (default 15s)
  -v                log every connection to standard error
  -version          print the version and exit
  -h                print this and exit

Without flags, lines for port 7000 of this machine go to standard output:

  hythe &
  printf 'hello\n' | nc -N 127.0.0.1 7000

SIGTERM or SIGINT drains and prints a report; a second one ends at once. A
destination that is slow makes the senders wait. One that is gone is tried again
every 1 to 30 seconds; lines given to the kernel before that may be lost.

Exit status: 0 every line was written, 1 something failed, 2 wrong flags.
`

// maxLineBytes is the most that -max-line may be: what package codec allows.
const maxLineBytes = 1 << 30

// options is the command line, checked.
type options struct {
	listen  []listen.Endpoint
	to      listen.Endpoint // zero: standard output
	maxLine int
	drain   time.Duration
	verbose bool
	version bool
	help    bool
}

// parse reads the command line. The error tells every mistake, not only the
// first.
func parse(args []string) (options, error) {
	o := options{maxLine: codec.DefaultMax, drain: 15 * time.Second}
	var problems []error
	flags := flag.NewFlagSet("hythe", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	flags.Func("listen", "", func(s string) error {
		e, err := listen.Parse(s)
		if err != nil {
			problems = append(problems, fmt.Errorf("-listen: %w", err))
		}
		o.listen = append(o.listen, e)
		return nil
	})
	flags.Func("to", "", func(s string) (err error) {
		if o.to, err = parseDestination(s); err != nil {
			problems = append(problems, fmt.Errorf("-to: %w", err))
		}
		return nil
	})
	flags.IntVar(&o.maxLine, "max-line", o.maxLine, "")
	flags.DurationVar(&o.drain, "drain", o.drain, "")
	flags.BoolVar(&o.verbose, "v", false, "")
	flags.BoolVar(&o.version, "version", false, "")

	// Package flag stops at a mistake, so it is started again behind it.
	for rest := args; len(rest) > 0; {
		err := flags.Parse(rest)
		rest = flags.Args()
		switch {
		case errors.Is(err, flag.ErrHelp):
			o.help = true
			return o, nil
		case err != nil:
			problems = append(problems, err)
			unknown := strings.HasPrefix(err.Error(), "flag provided but not defined")
			if unknown && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
				rest = rest[1:] // most likely its value
			}
		case len(rest) > 0:
			problems = append(problems, fmt.Errorf("unexpected argument %q", rest[0]))
			rest = rest[1:]
		}
	}
	if o.maxLine < 1 || o.maxLine > maxLineBytes {
		problems = append(problems, fmt.Errorf("-max-line: %d is not between 1 and %d", o.maxLine, maxLineBytes))
	}
	if o.drain < 0 {
		problems = append(problems, fmt.Errorf("-drain: %v is negative", o.drain))
	}
	if len(o.listen) == 0 {
		o.listen = []listen.Endpoint{{Scheme: listen.SchemeTCP, Host: "127.0.0.1", Service: "7000"}}
	}
	return o, errors.Join(problems...)
}

// parseDestination reads the value of -to.
func parseDestination(s string) (listen.Endpoint, error) {
	if s == "-" {
		return listen.Endpoint{}, nil
	}
	e, err := listen.Parse(s)
	if err != nil {
		return e, err
	}
	where := listen.Endpoint{Scheme: e.Scheme, Host: e.Host, Service: e.Service, Path: e.Path}
	switch e.Scheme {
	case listen.SchemeTCP, listen.SchemeTCP4, listen.SchemeTCP6:
		if e.Service == "0" {
			return e, fmt.Errorf("%q: port 0 cannot be connected to", s)
		}
	case listen.SchemeUnix:
	default:
		return e, fmt.Errorf("%q: want tcp://host:port, unix:///path or -", s)
	}
	if e != where {
		return e, fmt.Errorf("%q: options are for -listen", s)
	}
	return e, nil
}
