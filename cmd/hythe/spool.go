package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/spool"
)

// spoolCommand looks into spools, and mends them.
func spoolCommand(p *program, ctx context.Context, f *flag.FlagSet, args []string) error {
	if len(args) == 0 {
		return usage("one of ls, verify, export, requeue, forget is needed")
	}
	what := args[0]
	data := f.String("data", "./hythe-data", "`DIR` of the spools")
	dead := f.String("dead", "", "look into the dead letters of this `OUTPUT` instead")
	format := f.String("format", "lines", "of export: lines, ndjson")
	admin := f.String("admin", "http://127.0.0.1:7070", "`URL` of the running daemon's admin address, for requeue")
	if what == "-h" || what == "-help" || what == "--help" {
		return flag.ErrHelp
	}
	if err := parse(f, args[1:]); err != nil {
		return err
	}
	route, output := f.Arg(0), f.Arg(1)
	dir := filepath.Join(*data, "routes", route)
	if *dead != "" {
		dir = filepath.Join(*data, "dead", route, *dead)
	}
	if what != "ls" && what != "verify" && route == "" {
		return usage("spool %s: a route is needed", what)
	}
	switch what {
	case "ls":
		return p.listSpools(*data)
	case "verify":
		return p.verifySpools(*data, route)
	case "export":
		return p.export(dir, *format)
	case "requeue":
		if output == "" {
			return usage("spool requeue: an output is needed behind the route")
		}
		return p.requeue(ctx, *admin, *data, route, output)
	case "forget":
		if output == "" {
			return usage("spool forget: the name of a cursor is needed behind the route")
		}
		return p.forget(dir, output)
	}
	return usage("spool: there is no %q", what)
}

// spools returns the directories of all spools, by what they are.
func spools(data string) (names, dirs []string, err error) {
	routes, err := os.ReadDir(filepath.Join(data, "routes"))
	if err != nil {
		return nil, nil, err
	}
	for _, r := range routes {
		names, dirs = append(names, r.Name()), append(dirs, filepath.Join(data, "routes", r.Name()))
		outputs, err := os.ReadDir(filepath.Join(data, "dead", r.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, err
		}
		for _, o := range outputs {
			names = append(names, r.Name()+", dead letters of "+o.Name())
			dirs = append(dirs, filepath.Join(data, "dead", r.Name(), o.Name()))
		}
	}
	return names, dirs, nil
}

func (p *program) listSpools(data string) error {
	names, dirs, err := spools(data)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(p.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "SPOOL\tSEGMENTS\tBYTES\tCURSOR\tBACKLOG")
	for i, dir := range dirs {
		report, err := spool.List(dir, spool.Options{})
		if err != nil {
			return fmt.Errorf("%s: %w", names[i], err)
		}
		var bytes int64
		for _, s := range report.Segments {
			bytes += s.Bytes
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t", names[i], len(report.Segments), bytes)
		for n, c := range report.Cursors {
			if n > 0 {
				fmt.Fprint(w, "\t\t\t")
			}
			backlog := fmt.Sprint(report.Next - min(c.Low, report.Next))
			if c.Damaged {
				backlog = "damaged: begins anew"
			}
			fmt.Fprintf(w, "%s\t%s\n", c.Name, backlog)
		}
		if len(report.Cursors) == 0 {
			fmt.Fprintln(w, "\t")
		}
	}
	return w.Flush()
}

func (p *program) verifySpools(data, route string) error {
	names, dirs, err := spools(data)
	if err != nil {
		return err
	}
	bad := 0
	for i, dir := range dirs {
		if route != "" && names[i] != route && !strings.HasPrefix(names[i], route+",") {
			continue
		}
		report, err := spool.Verify(dir, spool.Options{})
		if err != nil {
			return fmt.Errorf("%s: %w", names[i], err)
		}
		fmt.Fprintf(p.stdout, "%s: %d messages, %d bytes\n", names[i], report.Records, report.Bytes)
		for _, gap := range report.Gaps {
			fmt.Fprintf(p.stdout, "  %d to %d: %v\n", gap.First, gap.Last, gap.Reason)
		}
		if !report.Whole() {
			bad++
		}
	}
	if bad > 0 {
		return fmt.Errorf("messages are missing from %d spools", bad)
	}
	return nil
}

func (p *program) export(dir, format string) error {
	if format != "lines" && format != "ndjson" {
		return usage("-format: %q is none of lines, ndjson", format)
	}
	var damaged int
	for rec, err := range spool.Export(dir, spool.Options{}, 0, 0) {
		var gap *spool.GapError
		switch {
		case errors.As(err, &gap):
			fmt.Fprintf(p.stderr, "hythe: %v\n", gap)
			damaged++
			continue
		case err != nil:
			return err
		}
		if err := p.show(rec, format); err != nil {
			return err
		}
	}
	if damaged > 0 {
		return errors.New("messages are missing")
	}
	return nil
}

// show writes a record.
func (p *program) show(rec spool.Record, format string) error {
	m, err := relay.Parse(rec.Payload)
	if err != nil {
		m = relay.Message{Received: rec.Time, Body: rec.Payload}
	}
	if format == "ndjson" {
		_, err = p.stdout.Write(envelopeJSON(&m, rec.ID))
		return err
	}
	_, err = p.stdout.Write(append(bytes.Clone(m.Body), '\n'))
	return err
}

// requeue has the running daemon take dead letters up again, or does it itself if
// none is running.
func (p *program) requeue(ctx context.Context, admin, data, route, output string) error {
	n, err := requeueHere(ctx, data, route, output)
	if !errors.Is(err, spool.ErrLocked) {
		if err == nil {
			fmt.Fprintf(p.stdout, "%d messages taken up again; they are delivered when the relay runs\n", n)
		}
		return err
	}
	u := strings.TrimSuffix(admin, "/") + "/requeue?" + url.Values{"route": {route}, "output": {output}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u, nil)
	if err != nil {
		return errUsage{err}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("the relay is running, and does not answer: %w", err)
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if resp.StatusCode/100 > 3 {
		return fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(said))
	}
	fmt.Fprintln(p.stdout, "taken up again")
	return nil
}

// requeueHere requeues while no daemon runs.
func requeueHere(ctx context.Context, data, route, output string) (int, error) {
	dir := filepath.Join(data, "routes", route)
	if _, err := os.Stat(dir); err != nil {
		return 0, err
	}
	r, err := relay.OpenRoute(route, relay.RouteOptions{Dir: dir, DeadDir: filepath.Join(data, "dead", route)})
	if err != nil {
		return 0, err
	}
	n, err := r.RequeueClosed(ctx, output)
	return n, errors.Join(err, r.Close())
}

func (p *program) forget(dir, cursor string) error {
	if _, err := os.Stat(dir); err != nil {
		return err
	}
	s, err := spool.Open(dir, spool.Options{})
	if errors.Is(err, spool.ErrLocked) {
		return fmt.Errorf("the relay is running: %w", err)
	}
	if err != nil {
		return err
	}
	err = errors.Join(s.Forget(cursor), s.Close())
	if err == nil {
		fmt.Fprintf(p.stdout, "%s holds nothing back any more\n", cursor)
	}
	return err
}

// tailCommand shows the last messages of a spool, and follows it.
func tailCommand(p *program, ctx context.Context, f *flag.FlagSet, args []string) error {
	data := f.String("data", "./hythe-data", "`DIR` of the spools")
	last := f.Uint64("n", 10, "how many of the messages that are there")
	follow := f.Bool("f", false, "go on with those that come")
	format := f.String("format", "lines", "lines, ndjson")
	if err := parse(f, args); err != nil {
		return err
	}
	if f.NArg() != 1 {
		return usage("one route is needed")
	}
	dir := filepath.Join(*data, "routes", f.Arg(0))
	report, err := spool.List(dir, spool.Options{})
	if err != nil {
		return err
	}
	next, err := p.tailFrom(dir, nth(dir, report, *last), *format)
	for err == nil && *follow {
		select {
		case <-time.After(200 * time.Millisecond):
			next, err = p.tailFrom(dir, next, *format)
		case <-ctx.Done():
			return nil
		}
	}
	return err
}

// nth returns the id of the record that is the n-th from the end.
func nth(dir string, report spool.Report, n uint64) uint64 {
	next := report.Next
	for rec, err := range spool.Export(dir, spool.Options{}, max(1, next-min(next, 1)), 0) {
		if err == nil {
			next = max(next, rec.ID+1)
		}
	}
	return max(1, next-min(next-1, n))
}

// tailFrom shows the records from the id on, and returns the id behind them.
func (p *program) tailFrom(dir string, from uint64, format string) (next uint64, err error) {
	next = from
	for rec, err := range spool.Export(dir, spool.Options{}, from, 0) {
		var gap *spool.GapError
		if errors.As(err, &gap) {
			continue // or it is being written
		}
		if err != nil {
			return next, err
		}
		if err := p.show(rec, format); err != nil {
			return next, err
		}
		next = rec.ID + 1
	}
	return next, nil
}
