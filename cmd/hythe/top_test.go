package main

import (
	"strings"
	"testing"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/status"
)

func TestTop_Page(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	s := status.Snapshot{
		Version: "v1", Started: at.Add(-time.Hour), Now: at, PID: 7, Data: "/data",
		Problems: []status.Problem{{Part: "route all, output far", What: "waiting: refused\x1b[2J by\nthe peer"}},
		Inputs:   []status.Input{{Name: "lines", Protocol: "frames", Conns: 3, Messages: 100, Refused: 1}},
		Routes: []status.Route{{Name: "all", Spool: status.Spool{Oldest: 90 * time.Second}, Deliveries: []status.Delivery{
			{Output: "far", Backlog: 10, Delivered: 90, DeadLetters: 2, Lanes: []status.Lane{
				{Link: &status.Link{Phase: "up"}},
				{Link: &status.Link{Phase: "waiting", Until: at.Add(2 * time.Second), Cause: "refused"}},
			}},
			{Output: "stdout", Delivered: 100, Lanes: []status.Lane{{}}},
		}}, {Name: "noise"}},
		History: []status.Point{{In: 5, Out: 4, Backlog: 10, Conns: 3}},
	}
	var view top
	want := `hythe v1, up 1h0m0s, pid 7, data /data
5 messages/s in, 4/s out, 10 not delivered, 3 connections
! route all, output far: waiting: refused·[2J by·the peer

INPUT            PROTOCOL    CONNS     MESSAGES         RATE    REFUSED
lines            frames          3          100            -          1

ROUTE            OUTPUT              BACKLOG         RATE     OLDEST     DEAD  LINK
all              far                      10            -      1m30s        2  waiting (1 of 2 up), next in 2s: refused
all              stdout                    0            -          -        0  up
noise            (discarded)     
`
	if got := string(view.page(s, 200)); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	s.Now = at.Add(2 * time.Second)
	s.Inputs = []status.Input{{Name: "lines", Protocol: "frames", Messages: 200}}
	got := string(view.page(s, 70))
	if !strings.Contains(got, "50/s") {
		t.Errorf("no rate:\n%s", got)
	}
	for line := range strings.Lines(got) {
		if len([]rune(line)) > 71 {
			t.Errorf("too wide: %s", line)
		}
	}
}
