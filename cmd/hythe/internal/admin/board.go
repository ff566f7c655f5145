package admin

import (
	"bytes"
	"html/template"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/status"
	"github.com/hythe-go/hythe/link"
)

const (
	// fresh is how long the parts are good for, so that many who look cost
	// little more than one.
	fresh = 900 * time.Millisecond

	// maxRows is how many connections the page lists.
	maxRows = 25
)

// partNames are the parts of the page that change, by their ids.
var partNames = []string{"head", "tiles", "problems", "charts", "inputs", "routes", "conns", "closed"}

// A board draws the page's parts, for all who look, and remembers the counters of
// the time before, which rates are made of.
type board struct {
	src   Source
	files string // identifies the assets, for their addresses

	mu     sync.Mutex
	shared *template.Template // guarded by mu
	drawn  map[string]string  // guarded by mu
	at     time.Time          // when that was. Guarded by mu
	last   sample             // guarded by mu
	rates  map[string]float64 // since the sample before. Guarded by mu
}

// A sample has what rates are made of.
type sample struct {
	at     time.Time
	counts map[string]uint64
}

// A view is what the templates are given.
type view struct {
	status.Snapshot
	Charts []chart
	rates  map[string]float64 // by the keys of sample.counts
}

// parts returns the parts' HTML by id, and the page's title as "title". It must
// not be changed.
func (b *board) parts() (map[string]string, error) {
	b.mu.Lock() // also while drawing: who comes meanwhile gets the same
	defer b.mu.Unlock()
	if b.drawn != nil && time.Since(b.at) < fresh {
		return b.drawn, nil
	}
	v := view{Snapshot: b.src.Snapshot()}
	v.Charts = []chart{
		newChart("rate", "Messages", "messages per second", perSecond, &v.Snapshot,
			measure{"taken", func(p *status.Point) float64 { return p.In }},
			measure{"delivered", func(p *status.Point) float64 { return p.Out }}),
		newChart("backlog", "Backlog", "messages", func(f float64) string { return count(uint64(f)) }, &v.Snapshot,
			measure{"waiting", func(p *status.Point) float64 { return float64(p.Backlog) }}),
	}
	if v.Now.Sub(b.last.at) > fresh/2 { // else it would be mere noise
		now := sample{v.Now, counts(&v.Snapshot)}
		b.rates, b.last = now.since(b.last), now
	}
	v.rates = b.rates
	t, err := b.templates()
	if err != nil {
		return nil, err
	}
	drawn := map[string]string{"title": v.Title()}
	var buf bytes.Buffer
	for _, name := range partNames {
		buf.Reset()
		if err := t.ExecuteTemplate(&buf, name, &v); err != nil {
			return nil, err
		}
		drawn[name] = buf.String()
	}
	b.drawn, b.at = drawn, time.Now()
	return drawn, nil
}

// outdate has the parts be drawn anew when they are asked for next.
func (b *board) outdate() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drawn = nil
}

// page returns the whole page. The notice is what has just been done.
func (b *board) page(notice string) ([]byte, error) {
	parts, err := b.parts()
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	t := b.shared
	b.mu.Unlock()
	data := struct {
		Title, Files, Notice string
		Part                 map[string]template.HTML
	}{parts["title"], b.files, notice, make(map[string]template.HTML)}
	for _, name := range partNames {
		data.Part[name] = template.HTML(parts[name]) // html/template has made it
	}
	var buf bytes.Buffer
	err = t.ExecuteTemplate(&buf, "page", data)
	return buf.Bytes(), err
}

// templates returns the parsed templates. b.mu is held.
func (b *board) templates() (*template.Template, error) {
	if b.shared != nil {
		return b.shared, nil
	}
	t, err := template.New("").Funcs(template.FuncMap{
		"count": count, "short": short, "size": size, "span": span, "rate": perSecond, "moment": moment, "tone": tone,
		"until": func(t, now time.Time) string { return span(t.Sub(now)) },
		"add":   func(a, b int) int { return a + b },
	}).ParseFS(assets, "assets/*.html")
	b.shared = t
	return t, err
}

// counts returns all counters that have a rate.
func counts(s *status.Snapshot) map[string]uint64 {
	m := make(map[string]uint64)
	for _, in := range s.Inputs {
		m["input "+in.Name], m["bytes "+in.Name] = in.Messages, in.Bytes
	}
	for _, r := range s.Routes {
		m["route "+r.Name] = r.In
		for _, d := range r.Deliveries {
			m["output "+r.Name+" "+d.Output] = d.Delivered
		}
	}
	return m
}

// since returns the rates between two samples: none if the first one is no more
// than a memory.
func (s sample) since(before sample) map[string]float64 {
	rates := make(map[string]float64)
	span := s.at.Sub(before.at)
	if span <= 0 || span > time.Minute {
		return rates
	}
	for key, n := range s.counts {
		if was, ok := before.counts[key]; ok && n >= was {
			rates[key] = float64(n-was) / span.Seconds()
		}
	}
	return rates
}

// Rate returns the rate of a counter in words; nothing if it is not known yet.
func (v *view) Rate(words ...string) string {
	if f, ok := v.rates[strings.Join(words, " ")]; ok {
		return perSecond(f)
	}
	return ""
}

// ByteRate is Rate of an input's bytes.
func (v *view) ByteRate(input string) string {
	if f, ok := v.rates["bytes "+input]; ok {
		return size(uint64(f)) + "/s"
	}
	return ""
}

// Title returns the page's title, which says whether to look.
func (v *view) Title() string {
	switch n := len(v.Problems); {
	case v.Draining:
		return "Draining – hythe"
	case n == 1:
		return "1 problem – hythe"
	case n > 1:
		return count(n) + " problems – hythe"
	}
	return "All is well – hythe"
}

// State returns the daemon's state in words.
func (v *view) State() string {
	words, _, _ := strings.Cut(v.Title(), " – ")
	return words
}

// Tone returns the daemon's state as a class.
func (v *view) Tone() string {
	switch {
	case len(unready(&v.Snapshot)) > 0:
		return "bad"
	case len(v.Problems) > 0:
		return "warn"
	}
	return "good"
}

// Latest returns the last second.
func (v *view) Latest() (p status.Point) {
	if n := len(v.History); n > 0 {
		p = v.History[n-1]
	}
	return p
}

// OpenConns returns how many connections there are, also those not listed.
func (v *view) OpenConns() (n int) {
	for _, in := range v.Inputs {
		n += in.Conns
	}
	return n
}

// Listed returns the connections that the page lists.
func (v *view) Listed() []status.Conn { return v.Conns[:min(len(v.Conns), maxRows)] }

// Waiting returns the backlog of all deliveries.
func (v *view) Waiting() (n uint64) {
	for _, r := range v.Routes {
		for _, d := range r.Deliveries {
			n += d.Backlog
		}
	}
	return n
}

// DeadLetters returns how many dead letters there are.
func (v *view) DeadLetters() (n uint64) {
	for _, r := range v.Routes {
		for _, d := range r.Deliveries {
			n += d.DeadLetters
		}
	}
	return n
}

// A reason says how many connections have ended for it.
type reason struct {
	Name string
	N    uint64
}

// Ended returns the reasons of an input, the most frequent first.
func (v *view) Ended(in status.Input) (list []reason) {
	for _, name := range slices.Sorted(maps.Keys(in.Reasons)) {
		if n := in.Reasons[name]; n > 0 {
			list = append(list, reason{name, n})
		}
	}
	slices.SortStableFunc(list, func(a, b reason) int {
		switch {
		case a.N > b.N:
			return -1
		case a.N < b.N:
			return 1
		}
		return 0
	})
	return list
}

// Full returns how full a spool is, in hundredths.
func (v *view) Full(s status.Spool) int64 {
	if s.MaxBytes <= 0 {
		return 0
	}
	return min(100, max(0, s.Bytes*100/s.MaxBytes))
}

// tone returns a link's phase as a class.
func tone(phase string) string {
	switch phase {
	case link.Up.String():
		return "good"
	case link.Connecting.String(), link.Waiting.String():
		return "warn"
	case link.Failed.String():
		return "bad"
	}
	return "calm"
}
