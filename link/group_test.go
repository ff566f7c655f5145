package link

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestGroup_ShowsAndEndsItsLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		up, down := newPeer(), newPeer()
		down.set("*", errDown)
		b := &Link[*fake]{Name: "b", Dial: up.dial, Group: &g}
		a := &Link[*fake]{Name: "a", Dial: down.dial, Group: &g}
		idle := &Link[*fake]{Name: "idle", Dial: up.dial, Group: &g}
		a.Start()
		mustGet(t, b)
		synctest.Wait()
		var got []string
		for _, s := range g.Links() {
			got = append(got, fmt.Sprint(s.Name, " ", s.Phase, " ", s.Cause))
		}
		if want := []string{"a waiting peer is down", "b up <nil>"}; !slices.Equal(got, want) {
			t.Errorf("the group has %q, want %q", got, want)
		}
		if err := g.Drain(t.Context()); err != nil {
			t.Errorf("Drain = %v", err)
		}
		if left := g.Links(); len(left) > 0 || up.open() > 0 {
			t.Errorf("after Drain there is %v, and %d connections", left, up.open())
		}
		if _, err := idle.Get(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("Get of a link that came later = %v, want ErrClosed", err)
		}
		g.Close()
	})
}

func TestGroup_Close(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		p := newPeer()
		l := &Link[*fake]{Dial: p.dial, Group: &g}
		mustGet(t, l)
		g.Close()
		<-l.Done()
		wantPhase(t, l, Closed)
	})
}

func TestGroup_Pace(t *testing.T) {
	g := Group{Rate: 10, Burst: 3}
	now := time.Now()
	var got []time.Duration
	for range 6 {
		got = append(got, max(g.reserve(now).Sub(now), 0))
	}
	later := now.Add(time.Hour)
	for range 4 {
		got = append(got, max(g.reserve(later).Sub(later), 0))
	}
	ms := time.Millisecond
	want := []time.Duration{0, 0, 0, 100 * ms, 200 * ms, 300 * ms, 0, 0, 0, 100 * ms}
	if !slices.Equal(got, want) {
		t.Errorf("attempts begin after %v, want %v", got, want)
	}
	for _, g := range []*Group{nil, {Rate: -1}} {
		for range 100 {
			if at := g.reserve(now); at.After(now) {
				t.Fatalf("without a pace an attempt begins at %v", at)
			}
		}
	}
}

// herd has n links lose one peer at the same moment, and returns when attempts
// were made during the outage that follows, since the loss.
func herd(t *testing.T, n int, outage time.Duration, g *Group, seed uint64) (at []time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer()
		links := make([]*Link[*fake], n)
		for i := range links {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			links[i] = &Link[*fake]{Dial: p.dial, Group: g, random: rng.Int64N}
			links[i].Start()
		}
		time.Sleep(time.Minute)
		for _, l := range links {
			mustGet(t, l)
		}
		p.set("*", errDown)
		p.began = time.Now()
		p.takeDials()
		for _, l := range links {
			c, _ := l.Conn()
			l.Report(c, errDown)
		}
		time.Sleep(outage)
		for _, d := range p.takeDials() {
			since, _ := time.ParseDuration(d)
			at = append(at, since)
		}
		p.set("*", nil)
		time.Sleep(3 * time.Minute)
		for _, l := range links {
			wantPhase(t, l, Up)
			l.Close()
		}
		for _, l := range links {
			<-l.Done()
		}
	})
	slices.Sort(at)
	return at
}

// worst returns the largest number of attempts in any 100 ms, wherever they
// begin, and the mean.
func worst(at []time.Duration, over time.Duration) (most int, mean float64) {
	for i, first := range at {
		n := 0
		for _, t := range at[i:] {
			if t >= first+100*time.Millisecond {
				break
			}
			n++
		}
		most = max(most, n)
	}
	return most, float64(len(at)) / (float64(over) / float64(100*time.Millisecond))
}

// Two hundred links that lose one peer together do not come back together: no
// 100 ms has three times the mean number of attempts.
//
// With a group's pace that holds over a whole outage. Without one it holds while
// the links make their first attempts, which the pauses spread evenly over 2 s;
// over a whole outage it cannot, since they then lengthen, and the mean falls.
func TestHerd(t *testing.T) {
	const links = 200
	for seed := range uint64(5) {
		paced, mean := worst(herd(t, links, 20*time.Second, new(Group), seed), 20*time.Second)
		t.Logf("in a group, 20 s: at most %d in 100 ms, %.1f in the mean: %.2f times", paced, mean, float64(paced)/mean)
		if float64(paced) >= 3*mean {
			t.Errorf("seed %d, in a group: %d attempts in 100 ms, and %.1f in the mean", seed, paced, mean)
		}
		alone, mean := worst(herd(t, links, 2*time.Second, nil, seed), 2*time.Second)
		t.Logf("alone, 2 s: at most %d in 100 ms, %.1f in the mean: %.2f times", alone, mean, float64(alone)/mean)
		if float64(alone) >= 3*mean {
			t.Errorf("seed %d, by the pauses alone: %d attempts in 100 ms, and %.1f in the mean", seed, alone, mean)
		}
	}
}

// A link that waits for its turn can be seen to, and ends at once.
func TestGroup_CloseWhilePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer()
		p.set("*", errDown)
		g := &Group{Rate: 0.01, Burst: 1}
		first := &Link[*fake]{Dial: p.dial, Group: g}
		second := &Link[*fake]{Dial: p.dial, Group: g}
		first.Start()
		synctest.Wait()
		second.Start()
		st := wantPhase(t, second, Waiting)
		if wait := time.Until(st.Until); wait != 100*time.Second {
			t.Errorf("it waits %v for its turn, want 100s", wait)
		}
		if err := g.Drain(context.Background()); err != nil {
			t.Errorf("Drain = %v", err)
		}
	})
}
