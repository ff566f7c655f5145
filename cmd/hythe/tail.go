package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hythe-go/hythe/spool"
)

// followEvery is how often tail looks for more.
const followEvery = 200 * time.Millisecond

// tailCommand shows the last messages of a spool, and follows it. It reads the
// files, beside the relay that may be running.
func tailCommand(p *program, ctx context.Context, f *flag.FlagSet, args []string) error {
	var where whereFlags
	where.add(f)
	where.addData(f)
	last := f.Uint64("n", 10, "how many of the messages that are there; those that were delivered may be gone")
	follow := f.Bool("f", false, "go on with those that come, until a signal")
	format := f.String("format", "lines", strings.Join(formats, ", "))
	others, err := parse(f, args)
	switch {
	case err != nil:
		return err
	case len(others) > 1:
		return usage("one route is enough")
	case !slices.Contains(formats, *format):
		return usage("-format: %q is none of %s", *format, strings.Join(formats, ", "))
	}
	if err := where.load(); err != nil {
		return err
	}
	if len(others) == 0 {
		there, err := os.ReadDir(filepath.Join(where.data, "routes"))
		if err != nil {
			return err
		}
		if len(there) != 1 {
			return usage("one route is needed; there are %d", len(there))
		}
		others = []string{there[0].Name()}
	}
	dir := filepath.Join(where.data, "routes", others[0])
	report, err := spool.List(dir, spool.Options{})
	if err != nil {
		return err
	}
	next, err := end(dir, report)
	if err != nil {
		return err
	}
	next = max(report.First, next-min(next, *last), 1)
	for {
		if next, err = p.showFrom(dir, next, *format); err != nil || !*follow {
			return err
		}
		for before := report; slices.Equal(sizes(before), sizes(report)); { // what has not grown is not read
			select {
			case <-time.After(followEvery):
			case <-ctx.Done():
				return nil
			}
			if report, err = spool.List(dir, spool.Options{}); err != nil {
				return err
			}
		}
	}
}

// sizes are what changes when something was appended.
func sizes(r spool.Report) (list []int64) {
	for _, s := range r.Segments {
		list = append(list, int64(s.First), s.Bytes)
	}
	return list
}

// end returns the id behind the last record of a spool, of which List has said how
// it begins.
func end(dir string, report spool.Report) (next uint64, err error) {
	next = max(report.Next, 1)
	for rec, err := range spool.Export(dir, spool.Options{}, next, 0) {
		if _, gap := errors.AsType[*spool.GapError](err); err != nil && !gap {
			return next, err
		}
		if err == nil {
			next = rec.ID + 1
		}
	}
	return next, nil
}

// showFrom shows the records from the id on, and returns the id behind them.
func (p *program) showFrom(dir string, from uint64, format string) (next uint64, err error) {
	w := bufio.NewWriter(p.stdout)
	next = from
	for rec, err := range spool.Export(dir, spool.Options{}, from, 0) {
		if _, gap := errors.AsType[*spool.GapError](err); gap {
			continue // or it is being written
		}
		if err == nil {
			err = show(w, rec, format)
		}
		if err != nil {
			return next, err
		}
		next = rec.ID + 1
	}
	return next, w.Flush()
}
