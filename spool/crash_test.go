package spool_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe/spool"
	"github.com/hythe-go/hythe/spool/crashfs"
)

// crashSteps is how much is done in a workload before it is crashed everywhere.
const crashSteps = 60

// A crashCase is a workload whose every prefix is crashed.
type crashCase struct {
	name  string
	opts  spool.Options
	disk  func() *crashfs.FS
	fresh bool           // Open makes the directory
	hook  func(w *world) // before the first step
}

func crashCases() []crashCase {
	tiny := spool.Options{SegmentBytes: 6 << 10, MaxBytes: -1, CursorDelay: time.Hour}
	bounded := tiny
	bounded.MaxBytes = 48 << 10
	dropping := bounded
	dropping.MaxBytes, dropping.Overflow = 72<<10, spool.DropOldest
	eager := tiny
	eager.CursorAcks = 1
	failing := func(w *world) {
		w.failing = true
		w.disk.SetHook(func(c crashfs.Call) error {
			if c.Op == crashfs.Sync && c.N%11 == 7 {
				return syscall.EIO
			}
			if c.Op == crashfs.Write && c.N%37 == 30 {
				return &crashfs.Short{N: int(c.Size) / 2, Err: syscall.EIO}
			}
			return nil
		})
	}
	plain := func() *crashfs.FS { return new(crashfs.FS) }
	return []crashCase{
		{name: "posix", opts: tiny, disk: plain},
		{name: "new directory", opts: bounded, disk: plain, fresh: true},
		{name: "journaled", opts: bounded, disk: func() *crashfs.FS { return &crashfs.FS{Journaled: true} }},
		{name: "stale blocks", opts: eager, disk: func() *crashfs.FS { return &crashfs.FS{Stale: true} }},
		{name: "drop oldest", opts: dropping, disk: func() *crashfs.FS { return &crashfs.FS{Journaled: true, Stale: true} }},
		{name: "failing", opts: tiny, disk: plain, hook: failing},
		{name: "failing, evicted", opts: bounded, disk: func() *crashfs.FS { return &crashfs.FS{Evict: true} }, hook: failing},
	}
}

// Whatever a power failure leaves, at whatever moment, the spool opens, has all
// that it acknowledged, and nothing else.
func TestEveryCrashPoint(t *testing.T) {
	var points, again atomic.Int64
	start := time.Now()
	t.Run("cases", func(t *testing.T) {
		for _, c := range crashCases() {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				for seed := range uint64(2) {
					synctest.Test(t, func(t *testing.T) {
						a, b := c.crash(t, seed)
						points.Add(a)
						again.Add(b)
					})
				}
			})
		}
	})
	t.Logf("%d crash points, and %d crashes while recovering from them, in %v", points.Load(), again.Load(), time.Since(start))
	if points.Load() < 10_000 && !t.Failed() {
		t.Errorf("%d crash points, want at least 10,000", points.Load())
	}
}

// crash runs the workload and crashes it everywhere.
func (c *crashCase) crash(t *testing.T, seed uint64) (points, again int64) {
	disk := c.disk()
	if !c.fresh { // as a program's state directory is, it was there long before
		if err := errors.Join(disk.MkdirAll(crashDir, 0o700), disk.SyncDir("/")); err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t, seed, disk, c.opts)
	w.openReader("one", 16)
	w.openReader("two", 16)
	if c.hook != nil {
		c.hook(w)
	}
	for range crashSteps {
		w.step()
	}
	w.disk.SetHook(nil)
	w.closeSpool()

	log := disk.Log(disk.Len())
	for at := range disk.Len() + 1 {
		e := w.h.era(at)
		outcomes := crashfs.Outcome(7)
		if w.disk.Unsynced(at) == 0 {
			outcomes = 1
		}
		// The process dies, and the machine while the next one recovers.
		if at%16 == 0 || strings.HasSuffix(log[max(at-1, 0)], "failed") {
			points++
			killed := w.disk.Kill(at)
			seen, err := e.recovered(killed, c.opts)
			if err != nil {
				t.Fatalf("kill at %d: %v\n%s", at, err, tail(w.disk, at))
			}
			for at2 := range killed.Len() + 1 {
				again++
				if _, err := e.after(seen, at2).recovered(killed.Crash(at2, crashfs.Outcome(at2%9)), c.opts); err != nil {
					t.Fatalf("kill at %d, crash at %d of the recovery, outcome %d: %v\n%s\nthen\n%s",
						at, at2, at2%9, err, tail(w.disk, at), tail(killed, at2))
				}
			}
		}
		for o := range outcomes {
			points++
			left := w.disk.Crash(at, o)
			seen, err := e.recovered(left, c.opts)
			if err != nil {
				t.Fatalf("crash at %d, outcome %d: %v\n%s", at, o, err, tail(w.disk, at))
			}
			if (uint64(at)+uint64(o))%61 != 0 {
				continue
			}
			for at2 := range left.Len() + 1 {
				again++
				o2 := crashfs.Outcome(at2 % 9)
				if _, err := e.after(seen, at2).recovered(left.Crash(at2, o2), c.opts); err != nil {
					t.Fatalf("crash at %d, outcome %d, then at %d of the recovery, outcome %d: %v\n%s\nthen\n%s",
						at, o, at2, o2, err, tail(w.disk, at), tail(left, at2))
				}
			}
		}
	}
	return points, again
}

// tail returns the end of a disk's log.
func tail(disk *crashfs.FS, at int) string {
	from := max(at-15, 0)
	var b strings.Builder
	for i, line := range disk.Log(at)[from:] {
		fmt.Fprintf(&b, "%5d %s\n", from+i, line)
	}
	return b.String()
}
