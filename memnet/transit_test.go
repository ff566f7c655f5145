package memnet

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestTransit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // as a half's
		var woken int
		var tr transit
		tr.wake = func() {
			mu.Lock()
			defer mu.Unlock()
			woken++
			tr.land()
			tr.arm()
		}
		send := func(end int64, delay time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			tr.send(end, delay)
		}
		start := time.Now()
		at := func(ms int, want int64) {
			t.Helper()
			time.Sleep(time.Until(start.Add(time.Duration(ms) * time.Millisecond)))
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			tr.land()
			if tr.arrived != want {
				t.Errorf("after %d ms %d places have arrived, want %d", ms, tr.arrived, want)
			}
		}

		send(1, 0)
		at(0, 1)
		send(2, 10*time.Millisecond)
		send(3, 10*time.Millisecond) // the same flight
		if len(tr.flights) != 1 {
			t.Errorf("%d flights for two sends of one instant, want 1", len(tr.flights))
		}
		at(4, 1)
		send(4, 20*time.Millisecond)
		at(5, 1)
		send(5, 0) // must not overtake
		at(9, 1)
		at(10, 3)
		at(23, 3)
		at(24, 5)
		if woken != 2 {
			t.Errorf("woken %d times, want 2", woken)
		}
		if tr.flights != nil {
			t.Error("flights are held though all have arrived")
		}

		send(6, time.Millisecond)
		mu.Lock()
		tr.stop()
		mu.Unlock()
		at(30, 5)
		if woken != 2 {
			t.Errorf("woken %d times after stop, want 2", woken)
		}
	})
}
