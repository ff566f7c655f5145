package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/spool"
)

// spoolCommand looks into spools, and mends them.
func spoolCommand(p *program, ctx context.Context, f *flag.FlagSet, args []string) error {
	c := spools{p: p}
	c.where.add(f)
	c.where.addData(f)
	c.where.addAdmin(f)
	f.StringVar(&c.dead, "dead", "", "export, forget: of the dead letters of this `OUTPUT` instead")
	f.StringVar(&c.format, "format", "lines", "export: "+strings.Join(formats, ", "))
	f.Uint64Var(&c.from, "from", 0, "export: the first record (default the oldest)")
	f.Uint64Var(&c.to, "to", 0, "export: the last record (default the newest)")
	others, err := parse(f, args)
	if err != nil {
		return err
	}
	if len(others) == 0 {
		return usage("one of ls, verify, export, requeue, forget is needed")
	}
	if err := c.where.load(); err != nil {
		return err
	}
	what, others := others[0], others[1:]
	need := func(n int, words string) error {
		if len(others) != n {
			return usage("spool %s: %s", what, words)
		}
		return nil
	}
	switch what {
	case "ls":
		if err = need(0, "it takes no arguments"); err == nil {
			err = c.list()
		}
	case "verify":
		err = c.verify(others)
	case "export":
		if err = need(1, "a route is needed"); err == nil {
			err = c.export(others[0])
		}
	case "requeue":
		if err = need(2, "a route and an output are needed"); err == nil {
			err = c.requeue(ctx, others[0], others[1])
		}
	case "forget":
		if err = need(2, "a route and the name of a cursor are needed"); err == nil {
			err = c.forget(others[0], others[1])
		}
	default:
		err = usage("spool: there is no %q, but ls, verify, export, requeue and forget", what)
	}
	return err
}

// spools are those of one relay.
type spools struct {
	p        *program
	where    whereFlags
	dead     string
	format   string
	from, to uint64
}

// A spoolDir is where a spool is.
type spoolDir struct{ route, dead, dir string }

// name says what the spool is.
func (d spoolDir) name() string {
	if d.dead != "" {
		return d.route + ", dead letters of " + d.dead
	}
	return d.route
}

// dir returns the directory of a route's spool, or of its dead letters.
func (c *spools) dir(route string) string {
	if c.dead != "" {
		return filepath.Join(c.where.data, "dead", route, c.dead)
	}
	return filepath.Join(c.where.data, "routes", route)
}

// all returns the spools that there are.
func (c *spools) all() (list []spoolDir, err error) {
	routes, err := os.ReadDir(filepath.Join(c.where.data, "routes"))
	if err != nil {
		return nil, err
	}
	for _, r := range routes {
		list = append(list, spoolDir{r.Name(), "", filepath.Join(c.where.data, "routes", r.Name())})
		outputs, err := os.ReadDir(filepath.Join(c.where.data, "dead", r.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, o := range outputs {
			list = append(list, spoolDir{r.Name(), o.Name(), filepath.Join(c.where.data, "dead", r.Name(), o.Name())})
		}
	}
	return list, nil
}

// options returns what decides whether records may be gone by right: the
// configuration's, if there is one.
func (c *spools) options(d spoolDir) (o spool.Options) {
	if c.where.cfg == nil || d.dead != "" || c.where.cfg.Route[d.route] == nil {
		return o
	}
	s := c.where.cfg.Route[d.route].Spool
	o.MaxAge = time.Duration(s.MaxAge)
	if s.Overflow == "drop-oldest" {
		o.Overflow = spool.DropOldest
	}
	return o
}

// list shows the spools with their cursors.
func (c *spools) list() error {
	all, err := c.all()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(c.p.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "SPOOL\tSEGMENTS\tBYTES\tCURSOR\tBACKLOG")
	for _, d := range all {
		report, err := spool.List(d.dir, spool.Options{})
		if err != nil {
			return fmt.Errorf("%s: %w", d.name(), err)
		}
		next, err := end(d.dir, report)
		if err != nil {
			return fmt.Errorf("%s: %w", d.name(), err)
		}
		var bytes int64
		for _, s := range report.Segments {
			bytes += s.Bytes
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t", d.name(), len(report.Segments), bytes)
		for n, cursor := range report.Cursors {
			if n > 0 {
				fmt.Fprint(w, "\t\t\t")
			}
			backlog := fmt.Sprint(next - min(cursor.Low, next))
			if cursor.Damaged {
				backlog = "damaged: it begins anew"
			}
			fmt.Fprintf(w, "%s\t%s\n", cursor.Name, backlog)
		}
		if len(report.Cursors) == 0 {
			fmt.Fprintln(w, "\t")
		}
	}
	return w.Flush()
}

// verify reads the spools of some routes, or of all, and says what is missing.
func (c *spools) verify(routes []string) error {
	all, err := c.all()
	if err != nil {
		return err
	}
	for _, r := range routes {
		if !slices.ContainsFunc(all, func(d spoolDir) bool { return d.route == r }) {
			return fmt.Errorf("there is no spool of a route %q in %s", r, c.where.data)
		}
	}
	bad := 0
	for _, d := range all {
		if len(routes) > 0 && !slices.Contains(routes, d.route) {
			continue
		}
		report, err := spool.Verify(d.dir, c.options(d))
		if err != nil {
			return fmt.Errorf("%s: %w", d.name(), err)
		}
		fmt.Fprintf(c.p.stdout, "%s: %d messages, %d bytes\n", d.name(), report.Records, report.Bytes)
		for _, gap := range report.Gaps {
			fmt.Fprintf(c.p.stdout, "  %d to %d: %v\n", gap.First, gap.Last, gap.Reason)
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

// export writes what is in a spool.
func (c *spools) export(route string) error {
	if !slices.Contains(formats, c.format) {
		return usage("-format: %q is none of %s", c.format, strings.Join(formats, ", "))
	}
	if _, err := os.Stat(c.dir(route)); err != nil {
		return err
	}
	w := bufio.NewWriter(c.p.stdout)
	damaged := false
	for rec, err := range spool.Export(c.dir(route), c.options(spoolDir{route: route, dead: c.dead}), c.from, c.to) {
		if gap, ok := errors.AsType[*spool.GapError](err); ok {
			fmt.Fprintf(c.p.stderr, "hythe: %v\n", gap)
			damaged = damaged || gap.Reason == spool.Damaged
			continue
		}
		if err == nil {
			err = show(w, rec, c.format)
		}
		if err != nil {
			return errors.Join(err, w.Flush())
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if damaged {
		return errors.New("messages are missing")
	}
	return nil
}

// requeue takes dead letters up again or, if the relay is running, has it do so.
func (c *spools) requeue(ctx context.Context, route, output string) error {
	n, err := c.requeueHere(ctx, route, output)
	if err == nil {
		fmt.Fprintf(c.p.stdout, "%d dead letters were requeued; they are delivered when the relay runs.\n", n)
	}
	if !errors.Is(err, spool.ErrLocked) {
		return err
	}
	client, err := c.where.client()
	if err != nil {
		return err
	}
	defer client.close()
	said, err := client.do(ctx, http.MethodPost, "/requeue?"+url.Values{"route": {route}, "output": {output}}.Encode())
	if err != nil {
		return fmt.Errorf("the relay is running and has to do it itself: %w", err)
	}
	_, err = c.p.stdout.Write(said)
	return err
}

// requeueHere requeues while the relay does not run.
func (c *spools) requeueHere(ctx context.Context, route, output string) (int, error) {
	dir, dead := filepath.Join(c.where.data, "routes", route), filepath.Join(c.where.data, "dead", route)
	if _, err := os.Stat(dir); err != nil {
		return 0, err
	}
	if _, err := os.Stat(filepath.Join(dead, output)); errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%s has no dead letters of %s", route, output)
	}
	unbounded := spool.Options{MaxBytes: -1, MaxRecord: 1 << 30} // what is in it already is not to be refused
	r, err := relay.OpenRoute(route, relay.RouteOptions{Dir: dir, DeadDir: dead, Spool: unbounded, Dead: unbounded})
	if err != nil {
		return 0, err
	}
	n, err := r.RequeueClosed(ctx, output)
	return n, errors.Join(err, r.Close())
}

// forget removes a cursor, so that it keeps nothing any more.
func (c *spools) forget(route, cursor string) error {
	dir := c.dir(route)
	if _, err := os.Stat(dir); err != nil {
		return err
	}
	s, err := spool.Open(dir, spool.Options{MaxBytes: -1})
	if errors.Is(err, spool.ErrLocked) {
		return fmt.Errorf("stop the relay first: %w", err)
	}
	if err != nil {
		return err
	}
	var backlog uint64
	for _, r := range s.Stats().Readers {
		if r.Name == cursor {
			backlog = r.Backlog
		}
	}
	err = errors.Join(s.Forget(cursor), s.Close())
	if err == nil {
		fmt.Fprintf(c.p.stdout, "%s was forgotten, with %d messages that it had not delivered.\n", cursor, backlog)
	}
	return err
}
