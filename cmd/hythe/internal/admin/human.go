package admin

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// count writes a whole number with its thousands apart.
func count(n any) string {
	s := fmt.Sprint(n)
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 && s[i-1] != '-' {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// short writes a number in few characters: 950, 1.5k, 20M.
func short(f float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if f >= unit.size*0.9995 {
			return digits(f/unit.size) + unit.name
		}
	}
	return digits(f)
}

// digits writes a number with three digits, but never less than the whole one.
func digits(f float64) string {
	switch {
	case f >= 99.95 || f == math.Trunc(f):
		return strconv.FormatFloat(f, 'f', 0, 64)
	case f >= 9.995:
		return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0")
	}
	return strings.TrimRight(strings.TrimRight(strconv.FormatFloat(f, 'f', 2, 64), "0"), ".")
}

// perSecond writes a rate.
func perSecond(f float64) string {
	if f >= 1000 {
		return count(uint64(math.Round(f))) + "/s"
	}
	return digits(f) + "/s"
}

// size writes a number of bytes: 512 B, 1.5 MiB.
func size(n any) string {
	f, err := strconv.ParseFloat(fmt.Sprint(n), 64)
	if err != nil {
		return fmt.Sprint(n)
	}
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	i := 0
	for f >= 1023.5 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return digits(f) + "\u00a0" + units[i]
}

// span writes a time in two units at most: 12 s, 3 min 5 s, 2 d 4 h.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	d = max(d, 0)
	switch {
	case d < time.Second && d > 0:
		return digits(math.Round(float64(d)/float64(time.Second)*10)/10) + "\u00a0s"
	case d < time.Minute:
		return fmt.Sprintf("%d\u00a0s", d/time.Second)
	case d < time.Hour:
		return pair(d/time.Minute, "min", d%time.Minute/time.Second, "s")
	case d < day:
		return pair(d/time.Hour, "h", d%time.Hour/time.Minute, "min")
	}
	return pair(d/day, "d", d%day/time.Hour, "h")
}

func pair(a time.Duration, unit string, b time.Duration, small string) string {
	s := fmt.Sprintf("%d\u00a0%s", a, unit)
	if b > 0 {
		s += fmt.Sprintf("\u00a0%d\u00a0%s", b, small)
	}
	return s
}

// moment writes a time of the day, with the day if that is not now's.
func moment(t, now time.Time) string {
	t = t.In(now.Location())
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.DateTime)
}
