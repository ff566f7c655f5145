package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
)

// A sample is what one slice of one server gave, by metric.
type sample map[string]float64

// others is the metric of how many processors everybody else used meanwhile.
const others = "others"

// disturbed is from how much of a processor used by others on a slice is not
// trusted.
const disturbed = 0.3

// A column of a table shows the median of a metric; with over, the median of
// its ratio to that server's in the same round.
type column struct {
	head, metric string
	over         string
	digits       int
}

// A goal is a number to reach: one of atLeast and atMost is set.
type goal struct {
	server, metric  string
	what            string
	over            string
	atLeast, atMost float64
}

// A topic is what a table is about.
type topic struct {
	name, title string
	servers     []string
	columns     []column
	goals       []goal
}

// results are all samples of a topic.
type results struct {
	*topic
	rounds []map[string]sample // by server
	left   map[string]error    // servers that were left out, and why
	notes  []string
}

// leaveOut has a server be left out from now on.
func (r *results) leaveOut(server string, why error) {
	if r.left == nil {
		r.left = make(map[string]error)
	}
	r.left[server] = why
	text, _, _ := strings.Cut(why.Error(), "\n")
	r.notes = append(r.notes, server+" is left out: "+text)
}

// values returns a server's values of a metric, one for each round, or their
// ratios to those of the server over. Rounds in which others disturbed one of
// the two are left out if half of all remain, and two at least.
func (r *results) values(server, metric, over string) []float64 {
	var all, clean []float64
	for _, round := range r.rounds {
		one, ok := round[server]
		if !ok {
			continue
		}
		v, noise := one[metric], one[others]
		if over != "" {
			base, ok := round[over]
			if !ok || base[metric] == 0 {
				continue
			}
			v /= base[metric]
			noise = max(noise, base[others])
		}
		all = append(all, v)
		if noise <= disturbed {
			clean = append(clean, v)
		}
	}
	if len(clean) >= max(2, (len(all)+1)/2) {
		return clean
	}
	return all
}

// disturbedSlices counts the slices that others disturbed, and all.
func (r *results) disturbedSlices() (bad, all int) {
	for _, round := range r.rounds {
		for _, one := range round {
			if all++; one[others] > disturbed {
				bad++
			}
		}
	}
	return bad, all
}

// quantile returns the value at the fraction q of the way through the sorted
// values, between neighbours where it falls between them; NaN if there is none.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	v := slices.Sorted(slices.Values(values))
	at := q * float64(len(v)-1)
	i := int(at)
	if i+1 == len(v) {
		return v[i]
	}
	return v[i] + (at-float64(i))*(v[i+1]-v[i])
}

func median(values []float64) float64 { return quantile(values, 0.5) }

// cell is what the table shows for a server in a column.
func (r *results) cell(server string, c column) string {
	v := r.values(server, c.metric, c.over)
	switch {
	case len(v) == 0:
		return "-"
	case c.over == "":
		return grouped(median(v), c.digits)
	case server == c.over:
		return "1"
	case len(v) < 3:
		return fmt.Sprintf("%.2f", median(v))
	}
	return fmt.Sprintf("%.2f (%.2f–%.2f)", median(v), quantile(v, 0.25), quantile(v, 0.75))
}

// grouped writes a number with so many digits after the point, and a comma
// between thousands.
func grouped(v float64, digits int) string {
	s := fmt.Sprintf("%.*f", digits, v)
	whole, rest, _ := strings.Cut(s, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if rest != "" {
		whole += "." + rest
	}
	return sign + whole
}

// table returns the rows, the first with the heads.
func (r *results) table() [][]string {
	head := []string{"server"}
	for _, c := range r.columns {
		head = append(head, c.head)
	}
	rows := [][]string{head}
	for _, server := range r.servers {
		row := []string{server}
		for _, c := range r.columns {
			row = append(row, r.cell(server, c))
		}
		rows = append(rows, row)
	}
	return rows
}

// verdicts returns a sentence for each of the goals.
func (r *results) verdicts() (lines []string) {
	for _, g := range r.goals {
		v := median(r.values(g.server, g.metric, g.over))
		if math.IsNaN(v) {
			continue // one of the two was not measured
		}
		sign, want, met := "≤", g.atMost, v <= g.atMost
		if g.atLeast != 0 {
			sign, want, met = "≥", g.atLeast, v >= g.atLeast
		}
		verdict := "missed"
		if met {
			verdict = "met"
		}
		what := g.what
		if g.over != "" {
			what += " ÷ " + g.over + "'s"
		}
		lines = append(lines, fmt.Sprintf("goal %s: %s: %s %s %g, measured %.3g", verdict, g.server, what, sign, want, v))
	}
	return lines
}

// lessIsBetter says so of the metrics by which servers are compared.
var lessIsBetter = map[string]bool{"cpu": true, "rss": true, "collected": true, "p99": true, "rate": false, "mb": true}

// behind returns a sentence for each metric in which other servers are better,
// by more than 3 %, than the first of ours, which has the table's first row.
func (r *results) behind() (lines []string) {
	if len(r.servers) == 0 || !strings.HasPrefix(r.servers[0], "hythe") {
		return nil
	}
	ours := r.servers[0]
	for _, c := range r.columns {
		less, known := lessIsBetter[c.metric]
		if !known || c.over != "" {
			continue
		}
		var better []string
		for _, other := range r.servers[1:] {
			v := median(r.values(other, c.metric, ours))
			if other == copyServer || strings.HasPrefix(other, "hythe") || math.IsNaN(v) {
				continue
			}
			if less && v < 0.97 || !less && v > 1.03 {
				better = append(better, fmt.Sprintf("%s %.2f", other, v))
			}
		}
		if len(better) > 0 {
			lines = append(lines, fmt.Sprintf("%s: %s, in units of %s's: %s", r.name, c.head, ours, strings.Join(better, "; ")))
		}
	}
	return lines
}

// write writes the table, in Markdown or aligned by spaces.
func (r *results) write(to io.Writer, markdown, goals bool) error {
	w := new(strings.Builder)
	rows := r.table()
	if markdown {
		fmt.Fprintf(w, "\n### %s: %s\n\n", r.name, r.title)
		for i, row := range rows {
			fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
			if i == 0 {
				fmt.Fprintf(w, "|---|%s\n", strings.Repeat("--:|", len(row)-1))
			}
		}
		fmt.Fprintln(w)
	} else {
		fmt.Fprintf(w, "\n%s: %s\n\n", r.name, r.title)
		width := 0
		for _, row := range rows {
			width = max(width, len(row[0]))
		}
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		for _, row := range rows {
			row[0] += strings.Repeat(" ", width-len(row[0])) // names go left
			fmt.Fprintf(t, "%s\t\n", strings.Join(row, "\t"))
		}
		t.Flush()
		fmt.Fprintln(w)
	}
	mark := ""
	if markdown {
		mark = "- "
	}
	if goals {
		for _, g := range r.verdicts() {
			fmt.Fprintf(w, "%s%s\n", mark, g)
		}
	}
	for _, note := range r.notes {
		fmt.Fprintf(w, "%s%s\n", mark, note)
	}
	if bad, all := r.disturbedSlices(); bad > 0 {
		fmt.Fprintf(w, "%sduring %d of %d slices others used more than %g of a processor\n", mark, bad, all, disturbed)
	}
	_, err := io.WriteString(to, w.String())
	return err
}
