package main

import (
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Every abuse of every server is measured, and what is said of it is what was
// seen. Hythe survives them all, within bounds; of the others only that is
// checked which makes a measurement that sees nothing fail, and two of them may
// have changed. A cell that is not as it should be, which on a busy machine may be
// for want of time, is measured again, alone and at full length.
func TestAbuse(t *testing.T) {
	t.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0") // or each process ends a second late
	var out strings.Builder
	b := newBench(t.Context(), &out, io.Discard)
	b.hurry()
	b.abuses = abuses
	b.dir = t.TempDir()
	if err := b.abuseTable(); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + out.String())
	checkLeftOut(t, out.String())
	patient := newBench(t.Context(), io.Discard, io.Discard)
	patient.dir, patient.abuseBytes = t.TempDir(), b.abuseBytes
	surprises := 0
	for i, row := range b.suffered {
		for k := range row {
			s, name := &row[k], abused[k]
			bad := wrong(s, name)
			if bad == "" {
				continue
			}
			t.Logf("again: %s: %s: %s: %s", abuses[i].title, name, bad, s.verdict())
			s = new(suffering)
			if err := patient.abuse(&abuses[i], name, s); err != nil {
				t.Fatal(err)
			}
			if bad := wrong(s, name); bad != "" {
				t.Logf("still: %s: %s: %s: %s, %+v", abuses[i].title, name, bad, s.verdict(), s.damage)
				if surprises++; name == stringsServer || surprises > 2 {
					t.Fail()
				}
			}
		}
	}
}

// wrong says what is not as it should be.
func wrong(s *suffering, server string) string {
	d, p := &s.damage, s.probe
	alive := s.died == 0 && s.stopped == 0
	if alive && p.resident.n == 0 {
		return "the probe did nothing"
	}
	if server == stringsServer {
		most := int64(64 << 20)
		if raceEnabled {
			most += int64(runtime.GOMAXPROCS(0)) << 20 // the race detector's own, for each processor
		}
		switch {
		case !alive:
			return "it is gone"
		case s.grown > most:
			return "it has grown"
		case p.lost > 0:
			return "it dropped others"
		case s.abuse.holds && d.Ended < d.Opened && s.abuse.kind != "flood", s.abuse.holds && d.Ended == 0: // a flood goes on to the end
			return "bad connections live"
		}
	}
	ok := true
	switch s.abuse.kind + " " + server {
	case "noread " + gnetServer, "noread " + netpollServer, "noread " + nbioServer:
		ok = s.stopped > 0
	case "noread " + standardServer:
		ok = alive && d.Opened == 1 && d.Ended == 0
	case "drip " + standardServer:
		ok = d.Opened == 100 && d.Ended == 0
	case "stall " + nbioServer:
		ok = s.clear && d.Opened == 200
	case "files " + standardServer:
		ok = s.died > 0 && strings.Contains(s.words, "too many open files")
	case "files " + stringsServer:
		ok = d.Relief > 0 && len(p.worked) > 0 && p.worked[len(p.worked)-1] > d.Relief
	case "panic " + gnetServer, "panic " + nbioServer, "panic " + standardServer:
		ok = s.died > 0 && s.words == "panic: a handler panics"
	case "panic " + stringsServer:
		ok = d.Ended > 1 && d.Ended == d.Opened
	case "giant " + netpollServer:
		ok = s.grown > 16<<20
	case "reset " + stringsServer:
		ok = d.Opened > 100
	case "flood " + stringsServer:
		ok = d.Opened > 500
	case "blocked " + gnetServer:
		ok = p.resident.max > 100*time.Millisecond
	}
	if !ok {
		return "it is not what was expected"
	}
	return ""
}

func TestVerdict(t *testing.T) {
	fine, noticed := &probe{tried: 10}, &probe{tried: 10, refused: 3, lost: 1}
	for range 100 {
		fine.resident.add(400 * time.Microsecond)
		noticed.resident.add(2 * time.Second)
	}
	held := &abuse{kind: "noread", holds: true}
	files := &abuse{kind: "files"}
	for _, tt := range []struct {
		s    suffering
		want string
	}{
		{suffering{abuse: held, died: 1500 * time.Millisecond, words: "panic: oh"}, "**process dies** after 1.5 s (panic: oh)"},
		{suffering{abuse: held, stopped: 700 * time.Millisecond, grown: 1 << 30}, "**1.0 GiB after 700 ms**"},
		{suffering{abuse: held, damage: damage{Opened: 1, Ended: 1, After: 2 * time.Second}, grown: 3 << 19, probe: fine}, "cut after 2.0 s; +1.5 MiB; p99 0.4 ms"},
		{suffering{abuse: held, damage: damage{Opened: 9, Ended: 4, After: 20 * time.Millisecond}, probe: fine, busy: 1.5}, "4 of 9 cut after 20 ms; +0.0 MiB; 150 % of a processor; p99 0.4 ms"},
		{suffering{abuse: held, damage: damage{Opened: 9}, probe: noticed, lines: 1200, clear: true}, "not cut; +0.0 MiB; 1,200 lines logged; **p99 2.0 s**, **1 of 4 lost**, 3 of 10 new ones fail; no TLS"},
		{suffering{abuse: files, damage: damage{Relief: 5e9}, probe: noticed}, "**accepts nobody any more**; +0.0 MiB; 0 % of a processor; **p99 2.0 s**, **1 of 4 lost**, 3 of 10 new ones fail"},
	} {
		if got := tt.s.verdict(); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
	noticed.worked = []int64{4e9, 5e9 + 30e6}
	s := suffering{abuse: files, damage: damage{Relief: 5e9}, probe: noticed}
	if got, want := s.verdict(), "accepts again after 30 ms; "; !strings.HasPrefix(got, want) {
		t.Errorf("got %s, want %s…", got, want)
	}
}

func TestComplaints(t *testing.T) {
	var c complaints
	io.WriteString(&c, "2026/11/21 11:39:49 first\n2026/11/21 11:39:50 second\n")
	if n, words := c.read(); n != 2 || words != "second" {
		t.Errorf("read = %d, %q", n, words)
	}
	io.WriteString(&c, "panic: it\n\ngoroutine 1\n")
	io.WriteString(&c, strings.Repeat("x\n", 20<<10))
	if n, words := c.read(); n != 5+20<<10 || words != "panic: it" {
		t.Errorf("read = %d, %q", n, words)
	}
}
