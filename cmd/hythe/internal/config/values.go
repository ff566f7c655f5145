package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// A Duration is written as Go writes it: "1m30s".
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%q is no duration, as 10s or 1h30m are", b)
	}
	if v < 0 {
		return fmt.Errorf("%q is negative", b)
	}
	*d = Duration(v)
	return nil
}

// String writes the duration.
func (d Duration) String() string { return time.Duration(d).String() }

// A Size is a number of bytes: 4096, "64KiB", "1GiB", "10MB". -1 is no limit.
type Size int64

var units = []struct {
	name string
	size float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1},
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(b []byte) error {
	text := strings.TrimSpace(string(b))
	if text == "-1" {
		*s = -1
		return nil
	}
	for _, u := range units {
		number, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || !(v >= 0 && v*u.size <= math.MaxInt64/2) { // NaN is none
			break
		}
		*s = Size(v * u.size)
		return nil
	}
	return fmt.Errorf("%q is no size, as 4096, 64KiB or 10GB are", text)
}

// String writes the size with the largest unit that leaves a whole number.
func (s Size) String() string {
	if s == -1 {
		return "-1"
	}
	for i := 3; i >= 0; i-- {
		if u := int64(units[i].size); s > 0 && int64(s)%u == 0 {
			return fmt.Sprintf("%d %s", int64(s)/u, units[i].name)
		}
	}
	return fmt.Sprintf("%d bytes", int64(s))
}

// Strings is one string or a list of them.
type Strings []string

// UnmarshalText implements encoding.TextUnmarshaler: it is for one string.
func (s *Strings) UnmarshalText(b []byte) error {
	*s = Strings{string(b)}
	return nil
}
