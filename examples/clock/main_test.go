package main

import (
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/hythe-go/hythe/examples/internal/extest"
)

func TestClock(t *testing.T) {
	srv := newServer()
	at := extest.Start(t, srv)
	london, tokyo, nobody := extest.Dial(t, at), extest.Dial(t, at), extest.Dial(t, at)
	london.Send("Europe/London")
	tokyo.Send("Asia/Tokyo", "Middle-earth/Shire")
	if got := tokyo.Line(); got != "error: unknown time zone Middle-earth/Shire" {
		t.Errorf("got %q", got)
	}
	london.Send("Nowhere") // its answer says that the line before was dealt with
	london.Line()
	nobody.Send("Nowhere")
	nobody.Line()

	for hour := range 3 {
		tick(srv, time.Date(2026, 7, 1, 20+hour, 30, 0, 0, time.UTC))
	}
	london.Expect("2026-07-01T21:30:00+01:00", "2026-07-01T22:30:00+01:00", "2026-07-01T23:30:00+01:00")
	tokyo.Expect("2026-07-02T05:30:00+09:00", "2026-07-02T06:30:00+09:00", "2026-07-02T07:30:00+09:00")
	nobody.Expect("2026-07-01T20:30:00Z", "2026-07-01T21:30:00Z", "2026-07-01T22:30:00Z")
}
