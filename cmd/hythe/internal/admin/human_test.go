package admin

import (
	"strings"
	"testing"
	"time"
)

func TestHumanUnits(t *testing.T) {
	day := 24 * time.Hour
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct{ got, want string }{
		{count(0), "0"}, {count(999), "999"}, {count(uint64(1000)), "1,000"}, {count(uint64(18446744073709551615)), "18,446,744,073,709,551,615"}, {count(-1234), "-1,234"}, {count(-123), "-123"},
		{short(0), "0"}, {short(7.5), "7.5"}, {short(950), "950"}, {short(999.9), "1k"}, {short(1500), "1.5k"}, {short(20e6), "20M"}, {short(3e12), "3T"},
		{perSecond(0), "0/s"}, {perSecond(0.25), "0.25/s"}, {perSecond(9.999), "10/s"}, {perSecond(99.96), "100/s"}, {perSecond(412.4), "412/s"}, {perSecond(150000.4), "150,000/s"},
		{size(0), "0 B"}, {size(1023), "1023 B"}, {size(1024), "1 KiB"}, {size(int64(1536)), "1.5 KiB"}, {size(uint64(1<<20 - 1)), "1 MiB"}, {size(uint64(10 << 30)), "10 GiB"}, {size(uint64(1<<64 - 1)), "16384 PiB"},
		{span(0), "0 s"}, {span(-time.Second), "0 s"}, {span(400 * time.Millisecond), "0.4 s"}, {span(59*time.Second + 999*time.Millisecond), "59 s"},
		{span(time.Minute), "1 min"}, {span(185 * time.Second), "3 min 5 s"}, {span(2*time.Hour + 59*time.Second), "2 h"}, {span(2*day + 4*time.Hour), "2 d 4 h"},
		{moment(now.Add(-time.Hour), now), "11:00:00"}, {moment(now.Add(-13*time.Hour), now), "2026-02-28 23:00:00"},
		{moment(now.In(time.FixedZone("x", 3600)), now), "12:00:00"},
	} {
		if got := strings.ReplaceAll(c.got, "\u00a0", " "); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
