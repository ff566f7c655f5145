package link

import (
	"slices"
	"testing"
	"time"
)

// Those that have failed lately come last; in every other respect the order is
// kept, and none is left out.
func TestEndpoints_Round(t *testing.T) {
	names := []string{"a", "b", "c", "d"}
	for bad := range 1 << len(names) {
		all := newEndpoints(names)
		var well, ill []string
		for i, e := range all {
			if bad&(1<<i) != 0 {
				e.failed()
				ill = append(ill, e.name)
			} else {
				well = append(well, e.name)
			}
		}
		var got []string
		for _, e := range all.round(InOrder, time.Minute, middle) {
			got = append(got, e.name)
		}
		if want := append(well, ill...); !slices.Equal(got, want) {
			t.Errorf("%q are tried, want %q", got, want)
		}
	}
}

// RandomOrder draws every order equally often, but for those that are bad.
func TestEndpoints_RandomOrder(t *testing.T) {
	all := newEndpoints([]string{"a", "b", "c"})
	all[0].failed()
	first := make(map[string]int)
	for i := range int64(1000) {
		round := all.round(RandomOrder, time.Minute, func(n int64) int64 { return i % n })
		if len(round) != 3 || round[2] != all[0] {
			t.Fatal("the bad one does not come last")
		}
		first[round[0].name]++
	}
	if first["b"] < 300 || first["c"] < 300 {
		t.Errorf("first came %v", first)
	}
}

// A failure counts for a while, which doubles with each in a row.
func TestEndpoints_BadForAWhile(t *testing.T) {
	e := newEndpoints(nil)[0]
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 32} {
		e.failed()
		e.last = time.Now().Add(-want*time.Minute + time.Second)
		if !e.bad(time.Minute) {
			t.Errorf("after %d failures it is well before %d min", i+1, want)
		}
		e.last = time.Now().Add(-want * time.Minute)
		if e.bad(time.Minute) {
			t.Errorf("after %d failures it is bad after %d min", i+1, want)
		}
	}
}
