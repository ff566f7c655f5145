package admin

import (
	"strings"
	"testing"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/status"
)

func drawn(points ...status.Point) chart {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i := range points {
		points[i].At = now.Add(points[i].At.Sub(time.Time{}) * -1)
	}
	return newChart("c", "Messages", "messages per second", perSecond, &status.Snapshot{Now: now, History: points},
		measure{"taken", func(p *status.Point) float64 { return p.In }}, measure{"delivered", func(p *status.Point) float64 { return p.Out }})
}

// ago makes a point so old.
func ago(d time.Duration, in, out float64) status.Point {
	return status.Point{At: time.Time{}.Add(d), In: in, Out: out}
}

func TestChart_PutsPointsWhereTheyBelong(t *testing.T) {
	c := drawn(ago(6*time.Minute, 9999, 0), ago(5*time.Minute, 50, 0), ago(150*time.Second, 100, 10), ago(0, 25, 40))
	if got, want := c.Series[0].Line, "M0.0 50.0L300.0 0.0L600.0 75.0"; got != want {
		t.Errorf("line %s, want %s", got, want)
	}
	if got, want := c.Series[0].Area, "M0.0 50.0L300.0 0.0L600.0 75.0L600.0 100L0.0 100Z"; got != want {
		t.Errorf("area %s, want %s", got, want)
	}
	if got := strings.Join(c.Y, " "); got != "100 50 0" {
		t.Errorf("axis %s", got)
	}
	if want := "taken: now 25/s, at most 100/s, on average 58.3/s. delivered: now 40/s, at most 40/s, on average 16.7/s."; c.Caption != want {
		t.Errorf("in words: %s", c.Caption)
	}
}

func TestChart_TableHasTheSame(t *testing.T) {
	c := drawn(ago(59*time.Second, 10, 0), ago(31*time.Second, 20, 1), ago(29*time.Second, 30, 2), ago(0, 40, 4))
	var got []string
	for _, r := range c.Rows {
		got = append(got, strings.ReplaceAll(r.From, "\u00a0", " ")+": "+strings.Join(r.Values, " "))
	}
	if got, want := strings.Join(got, "; "), "0 s – 30 s ago: 35/s 3/s; 30 s – 1 min ago: 15/s 0.5/s"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestChart_OfNothing(t *testing.T) {
	c := drawn()
	if c.Series[0].Line != "" || c.Series[0].Area != "" || len(c.Rows) != 0 || c.Y[0] != "10" {
		t.Errorf("%+v", c)
	}
}

func TestNice(t *testing.T) {
	for top, want := range map[float64]float64{0: 10, 0.3: 10, 10: 10, 10.1: 15, 99: 100, 100: 100, 101: 150, 8001: 10000, 420000: 500000} {
		if got := nice(top); got != want {
			t.Errorf("nice(%v) is %v, want %v", top, got, want)
		}
	}
}
