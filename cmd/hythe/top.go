package main

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"time"
	"unicode"

	"golang.org/x/term"

	"github.com/hythe-go/hythe/cmd/hythe/internal/status"
)

// topCommand shows what a running relay does.
func topCommand(p *program, ctx context.Context, f *flag.FlagSet, args []string) error {
	var where whereFlags
	where.add(f)
	where.addAdmin(f)
	every := f.Duration("every", time.Second, "how often to look")
	if others, err := parse(f, args); err != nil {
		return err
	} else if len(others) > 0 {
		return usage("%q: a flag is missing in front of it", others[0])
	}
	if err := where.load(); err != nil {
		return err
	}
	client, err := where.client()
	if err != nil {
		return err
	}
	defer client.close()
	t := &top{p: p, client: client}
	out, ok := p.stdout.(*os.File)
	if !ok || !term.IsTerminal(int(out.Fd())) {
		return t.once(ctx)
	}
	return t.live(ctx, out, *every)
}

// top is a view of one relay.
type top struct {
	p      *program
	client *adminClient
	last   status.Snapshot // what was shown before; its Now is zero at first
}

// once shows one moment.
func (t *top) once(ctx context.Context) error {
	s, err := t.client.snapshot(ctx)
	if err != nil {
		return err
	}
	_, err = t.p.stdout.Write(t.page(s, math.MaxInt))
	return err
}

// live shows the relay until q, or ctx ends.
func (t *top) live(ctx context.Context, out *os.File, every time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if in, ok := t.p.stdin.(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		old, err := term.MakeRaw(int(in.Fd()))
		if err != nil {
			return err
		}
		defer term.Restore(int(in.Fd()), old)
		go func() { // until the end of the process, at the latest
			var key [1]byte
			for {
				if _, err := in.Read(key[:]); err != nil || key[0] == 'q' || key[0] == 3 {
					cancel()
					return
				}
			}
		}()
	}
	const enter, leave, home, rest = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l", "\x1b[H", "\x1b[J"
	fmt.Fprint(out, enter)
	defer fmt.Fprint(out, leave)
	ticker := time.NewTicker(max(every, 100*time.Millisecond))
	defer ticker.Stop()
	for {
		width, height, err := term.GetSize(int(out.Fd()))
		if err != nil {
			return err
		}
		var page []byte
		if s, err := t.client.snapshot(ctx); err == nil {
			page = t.page(s, width)
		} else if ctx.Err() == nil {
			page = fmt.Appendf(nil, "%s\n", printable(err.Error()))
		}
		lines := bytes.SplitAfter(page, []byte("\n"))
		page = bytes.Join(lines[:min(len(lines), max(height, 1)-1)], nil)
		out.Write(append(append([]byte(home), bytes.ReplaceAll(page, []byte("\n"), []byte("\x1b[K\r\n"))...), rest...))
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// page writes a snapshot as text, with rates since the one before.
func (t *top) page(s status.Snapshot, width int) []byte {
	var b bytes.Buffer
	p := func(format string, args ...any) {
		line := []rune(printable(fmt.Sprintf(format, args...)))
		b.WriteString(string(line[:min(len(line), width)]))
		b.WriteByte('\n')
	}
	before, span := t.last, s.Now.Sub(t.last.Now).Seconds()
	t.last = s
	rate := func(now, then uint64) string {
		if before.Now.IsZero() || span <= 0 || now < then {
			return "-"
		}
		return fmt.Sprintf("%.0f/s", float64(now-then)/span)
	}
	p("hythe %s, up %v, pid %d, data %s", s.Version, s.Now.Sub(s.Started).Round(time.Second), s.PID, s.Data)
	if n := len(s.History); n > 0 {
		now := s.History[n-1]
		p("%.0f messages/s in, %.0f/s out, %d not delivered, %d connections", now.In, now.Out, now.Backlog, now.Conns)
	}
	for _, problem := range s.Problems {
		p("! %s: %s", problem.Part, problem.What)
	}
	p("")
	p("%-16s %-8s %8s %12s %12s %10s", "INPUT", "PROTOCOL", "CONNS", "MESSAGES", "RATE", "REFUSED")
	for i, in := range s.Inputs {
		var then uint64
		if i < len(before.Inputs) && before.Inputs[i].Name == in.Name {
			then = before.Inputs[i].Messages
		}
		p("%-16s %-8s %8d %12d %12s %10d", in.Name, in.Protocol, in.Conns, in.Messages, rate(in.Messages, then), in.Refused)
	}
	p("")
	p("%-16s %-16s %10s %12s %10s %8s  %s", "ROUTE", "OUTPUT", "BACKLOG", "RATE", "OLDEST", "DEAD", "LINK")
	for i, r := range s.Routes {
		if len(r.Deliveries) == 0 {
			p("%-16s %-16s", r.Name, "(discarded)")
		}
		for k, v := range r.Deliveries {
			var then uint64
			if i < len(before.Routes) && before.Routes[i].Name == r.Name && k < len(before.Routes[i].Deliveries) {
				then = before.Routes[i].Deliveries[k].Delivered
			}
			oldest := "-"
			if v.Backlog > 0 {
				oldest = r.Spool.Oldest.Round(time.Second).String()
			}
			p("%-16s %-16s %10d %12s %10s %8d  %s", r.Name, v.Output, v.Backlog, rate(v.Delivered, then),
				oldest, v.DeadLetters, linkText(v.Lanes, s.Now))
		}
	}
	return b.Bytes()
}

// printable replaces what a terminal would obey: causes come from elsewhere.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '·'
	}, s)
}

// linkText says how a delivery's connections are.
func linkText(lanes []status.Lane, now time.Time) string {
	up := 0
	var worst *status.Link
	for _, l := range lanes {
		switch {
		case l.Link == nil || l.Link.Phase == "up":
			up++
		default:
			worst = l.Link
		}
	}
	if worst == nil {
		return "up"
	}
	text := worst.Phase
	if len(lanes) > 1 {
		text += fmt.Sprintf(" (%d of %d up)", up, len(lanes))
	}
	if !worst.Until.IsZero() {
		text += fmt.Sprintf(", next in %v", max(0, worst.Until.Sub(now)).Round(time.Second))
	}
	return text + ": " + cmp.Or(worst.Cause, "not tried yet")
}
