package admin

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/status"
)

// The charts' own coordinates. The page stretches them to the width there is.
const (
	chartWidth  = 600.0
	chartHeight = 100.0
	chartSpan   = 5 * time.Minute
)

// A chart is drawn by the template: lines in SVG, the axes' texts in HTML, so that
// they stay as large as they are whatever the width.
type chart struct {
	ID      string
	Title   string
	Unit    string // of the upright axis
	Y       []string
	X       []string
	Series  []series
	Rows    []chartRow // the same for those who do not see the lines
	Caption string     // says in words what there is to see
}

// A series is one line of a chart.
type series struct {
	Name string
	Now  string
	Line string // SVG path
	Area string // the same, closed
}

// A chartRow is the mean of half a minute.
type chartRow struct {
	From   string
	Values []string
}

// A measure is what a series shows.
type measure struct {
	name  string
	value func(p *status.Point) float64
}

// newChart draws the measures of the last five minutes.
func newChart(id, title, unit string, write func(float64) string, s *status.Snapshot, measures ...measure) chart {
	c := chart{ID: id, Title: title, Unit: unit, X: []string{"5 min ago", "4", "3", "2", "1", "now"}}
	points := s.History
	for len(points) > 0 && s.Now.Sub(points[0].At) > chartSpan {
		points = points[1:]
	}
	top := 0.0
	for i := range points {
		for _, m := range measures {
			top = max(top, m.value(&points[i]))
		}
	}
	top = nice(top)
	c.Y = []string{short(top), short(top / 2), "0"}
	var words []string
	for _, m := range measures {
		line, now, peak, sum := strings.Builder{}, 0.0, 0.0, 0.0
		var first, last float64
		for i := range points {
			p := &points[i]
			x := chartWidth * (1 - float64(s.Now.Sub(p.At))/float64(chartSpan))
			now = m.value(p)
			peak, sum = max(peak, now), sum+now
			verb := byte('L')
			if i == 0 {
				verb, first = 'M', x
			}
			last = x
			fmt.Fprintf(&line, "%c%.1f %.1f", verb, x, chartHeight*(1-now/top))
		}
		v := series{Name: m.name, Now: write(now), Line: line.String()}
		if v.Line != "" {
			v.Area = fmt.Sprintf("%sL%.1f %.0fL%.1f %.0fZ", v.Line, last, chartHeight, first, chartHeight)
			words = append(words, fmt.Sprintf("%s: now %s, at most %s, on average %s", m.name, v.Now, write(peak), write(sum/float64(len(points)))))
		}
		c.Series = append(c.Series, v)
	}
	if len(words) == 0 {
		words = []string{"There are no measurements yet"}
	}
	c.Caption = strings.Join(words, ". ") + "."
	c.Rows = rows(points, s.Now, write, measures)
	return c
}

// rows has the means of half minutes, the last first.
func rows(points []status.Point, now time.Time, write func(float64) string, measures []measure) (list []chartRow) {
	const step = 30 * time.Second
	for age := step; age <= chartSpan; age += step {
		sums, n := make([]float64, len(measures)), 0.0
		for i := range points {
			p := &points[i]
			if a := now.Sub(p.At); a >= age-step && a < age {
				n++
				for k, m := range measures {
					sums[k] += m.value(p)
				}
			}
		}
		if n == 0 {
			continue
		}
		row := chartRow{From: span(age-step) + " – " + span(age) + " ago"}
		for _, sum := range sums {
			row.Values = append(row.Values, write(sum/n))
		}
		list = append(list, row)
	}
	return list
}

// nice returns the upper end of an axis: a digit or 15 and zeros, and 10 at least.
func nice(top float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(max(top, 10))))
	for _, f := range []float64{1, 1.5, 2, 3, 4, 5, 6, 8} {
		if top <= f*unit {
			return max(f*unit, 10)
		}
	}
	return 10 * unit
}
