package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// What of a measurement is worth a word.
const (
	muchBusy  = 0.5 // processors
	manyLines = 10
	slow      = 50 * time.Millisecond
)

// verdict says in a few words how the server fared.
func (s *suffering) verdict() string {
	var w []string
	say := func(format string, args ...any) { w = append(w, fmt.Sprintf(format, args...)) }
	switch {
	case s.stopped > 0:
		say("**%s after %s**", size(s.grown), short(s.stopped))
		return strings.Join(w, "; ")
	case s.died > 0:
		say("**process dies** after %s (%s)", short(s.died), s.words)
		return strings.Join(w, "; ")
	}
	if s.abuse.holds {
		switch d := s.damage; {
		case d.Ended == d.Opened && d.Ended > 0:
			say("cut after %s", short(d.After))
		case d.Ended > 0:
			say("%d of %d cut after %s", d.Ended, d.Opened, short(d.After))
		default:
			say("not cut")
		}
	}
	if s.abuse.kind == "panic" {
		say("%d of %d connections end", s.damage.Ended, s.damage.Opened)
	}
	if s.abuse.kind == "files" {
		worked := s.probe.worked
		again := slices.IndexFunc(worked, func(at int64) bool { return at >= s.damage.Relief })
		switch {
		case again < 0:
			say("**accepts nobody any more**")
		case s.probe.refused > 0 || s.probe.fresh.max > slow:
			say("accepts again after %s", short(time.Duration(worked[again]-s.damage.Relief)))
		default:
			say("goes on accepting")
		}
	}
	if s.abuse.kind == "flood" || s.abuse.kind == "reset" {
		say("%s connections", grouped(float64(s.damage.Opened), 0))
	}
	say("+%s", size(s.grown))
	if s.busy > muchBusy || s.abuse.kind == "files" {
		say("%.0f %% of a processor", 100*s.busy)
	}
	if s.lines > manyLines {
		say("%s lines logged", grouped(float64(s.lines), 0))
	}
	say("%s", s.others())
	if s.clear {
		say("no TLS")
	}
	return strings.Join(w, "; ")
}

// others says what the well-behaved clients noticed.
func (s *suffering) others() string {
	p := s.probe
	p99 := "p99 " + short(p.resident.quantile(0.99))
	if p.resident.quantile(0.99) > slow {
		p99 = "**" + p99 + "**"
	}
	if p.lost > 0 {
		p99 += fmt.Sprintf(", **%d of %d lost**", p.lost, probeConns)
	}
	if p.refused > 0 {
		p99 += fmt.Sprintf(", %d of %d new ones fail", p.refused, p.tried)
	} else if q := p.fresh.quantile(0.99); q > slow {
		p99 += ", new ones " + short(q)
	}
	return p99
}

// short writes a duration with two digits or so.
func short(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", millis(d))
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", millis(d))
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

func size(n int64) string {
	if n >= 1<<30 {
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// writeAbuses writes the table: in Markdown with a column for each server, else
// with a line for each.
func (b *bench) writeAbuses(servers []string, rows [][]suffering, notes []string) error {
	w := new(strings.Builder)
	head := fmt.Sprintf("abuse: What bad clients do in %v, and what well-behaved ones beside them notice", b.abuseTime)
	notes = append(notes,
		fmt.Sprintf("hythe's clocks for handshakes, first lines, lines and stalled output are set to %v, so that they run out within the time; the defaults are 10 to 60 s. Nothing else is configured anywhere", b.abuseClock),
		fmt.Sprintf("a server that has grown by %s is stopped", size(b.abuseBytes)),
		"+ is by how much the server's memory grew at most; p99 is that of lines that 4 other connections send, 100 a second each")
	if b.markdown {
		fmt.Fprintf(w, "\n### %s\n\n| | %s |\n|---|%s\n", head, strings.Join(servers, " | "), strings.Repeat("---|", len(servers)))
		for i, row := range rows {
			fmt.Fprintf(w, "| %s |", b.abuses[i].title)
			for k := range row {
				fmt.Fprintf(w, " %s |", row[k].verdict())
			}
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w)
		for _, n := range notes {
			fmt.Fprintf(w, "- %s\n", n)
		}
	} else {
		fmt.Fprintf(w, "\n%s\n", head)
		for i, row := range rows {
			fmt.Fprintf(w, "\n%s\n", b.abuses[i].title)
			for k := range row {
				fmt.Fprintf(w, "  %-15s%s\n", servers[k], strings.ReplaceAll(row[k].verdict(), "**", ""))
			}
		}
		fmt.Fprintln(w)
		for _, n := range notes {
			fmt.Fprintln(w, n)
		}
	}
	_, err := io.WriteString(b.out, w.String())
	return err
}
