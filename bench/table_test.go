package main

import (
	"errors"
	"math"
	"strings"
	"testing"
)

func TestQuantileOfValues(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		q      float64
		want   float64
	}{
		{[]float64{3}, 0.5, 3},
		{[]float64{3, 1}, 0.5, 2},
		{[]float64{9, 1, 5}, 0.5, 5},
		{[]float64{9, 1, 5}, 0, 1},
		{[]float64{9, 1, 5}, 1, 9},
		{[]float64{4, 1, 2, 3, 5}, 0.25, 2},
	} {
		if got := quantile(tt.values, tt.q); got != tt.want {
			t.Errorf("quantile(%v, %v) = %v, want %v", tt.values, tt.q, got, tt.want)
		}
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("median of nothing = %v, want NaN", got)
	}
}

func TestGrouped(t *testing.T) {
	for _, tt := range []struct {
		v      float64
		digits int
		want   string
	}{
		{0, 0, "0"}, {999, 0, "999"}, {1000, 0, "1,000"}, {1234567, 0, "1,234,567"}, {-1234, 0, "-1,234"}, {-123, 0, "-123"}, {1234.567, 2, "1,234.57"}, {0.05, 1, "0.1"},
	} {
		if got := grouped(tt.v, tt.digits); got != tt.want {
			t.Errorf("grouped(%v, %d) = %q, want %q", tt.v, tt.digits, got, tt.want)
		}
	}
}

func TestResults(t *testing.T) {
	// The machine is twice as fast in the second round, and somebody else had
	// it in the last.
	r := &results{
		topic: &topic{
			name:    "some",
			title:   "Something",
			servers: []string{"a", "base"},
			columns: []column{{head: "CPU", metric: "cpu", digits: 1}, {head: "ratio", metric: "cpu", over: "base"}},
			goals: []goal{
				{server: "a", metric: "cpu", what: "CPU", over: "base", atMost: 0.5},
				{server: "a", metric: "cpu", what: "CPU", atLeast: 7},
			},
		},
		rounds: []map[string]sample{
			{"a": {"cpu": 4}, "base": {"cpu": 8}},
			{"a": {"cpu": 2}, "base": {"cpu": 4}},
			{"a": {"cpu": 3}, "base": {"cpu": 6}},
			{"a": {"cpu": 900}, "base": {"cpu": 6, others: 1}},
		},
	}
	var out strings.Builder
	if err := r.write(&out, true, true); err != nil {
		t.Fatal(err)
	}
	want := `
### some: Something

| server | CPU | ratio |
|---|--:|--:|
| a | 3.5 | 0.50 (0.50–0.50) |
| base | 6.0 | 1 |

- goal met: a: CPU ÷ base's ≤ 0.5, measured 0.5
- goal missed: a: CPU ≥ 7, measured 3.5
- during 1 of 8 slices others used more than 0.3 of a processor
`
	if got := out.String(); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	out.Reset()
	if err := r.write(&out, false, false); err != nil {
		t.Fatal(err)
	}
	want = `
some: Something

  server  CPU             ratio
  a       3.5  0.50 (0.50–0.50)
  base    6.0                 1

during 1 of 8 slices others used more than 0.3 of a processor
`
	if got := out.String(); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// What others do better is told, whichever way better is, and only that.
func TestBehind(t *testing.T) {
	r := &results{
		topic: &topic{
			name:    "some",
			servers: []string{"hythe", "quick", "same", copyServer, "gone"},
			columns: []column{{head: "CPU", metric: "cpu"}, {head: "ratio", metric: "cpu", over: "same"}, {head: "lines/s", metric: "rate"}, {head: "connections", metric: "conns"}},
		},
		rounds: []map[string]sample{
			{"hythe": {"cpu": 4, "rate": 9, "conns": 1}, "quick": {"cpu": 2, "rate": 18, "conns": 2}, "same": {"cpu": 4.1, "rate": 8.9}, copyServer: {"cpu": 1}},
			{"hythe": {"cpu": 8, "rate": 9, "conns": 1}, "quick": {"cpu": 4, "rate": 9, "conns": 2}, "same": {"cpu": 8, "rate": 9.1}, copyServer: {"cpu": 1}},
		},
	}
	got := strings.Join(r.behind(), "\n")
	if want := "some: CPU, in units of hythe's: quick 0.50\nsome: lines/s, in units of hythe's: quick 1.50"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	r.topic.servers = []string{"quick", "hythe"}
	if got := r.behind(); got != nil {
		t.Errorf("the first is not ours: got %q", got)
	}
}

// A goal with a peer that was not measured is neither met nor missed, and a table
// says who was left out and why.
func TestLeaveOut(t *testing.T) {
	r := &results{
		topic: &topic{
			name: "some", title: "Something",
			servers: []string{"a"},
			columns: []column{{head: "CPU", metric: "cpu"}, {head: "ratio", metric: "cpu", over: "peer"}},
			goals:   []goal{{server: "a", metric: "cpu", what: "CPU", over: "peer", atMost: 1}},
		},
		rounds: []map[string]sample{{"a": {"cpu": 4}}},
	}
	r.leaveOut("peer", errors.New("it is not there\nat all"))
	var out strings.Builder
	if err := r.write(&out, true, true); err != nil {
		t.Fatal(err)
	}
	const want = `
### some: Something

| server | CPU | ratio |
|---|--:|--:|
| a | 4 | - |

- peer is left out: it is not there
`
	if got := out.String(); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}
