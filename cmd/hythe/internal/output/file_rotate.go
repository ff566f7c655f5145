package output

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// stampLayout is how the time is written in the names of rotated files: a.log becomes
// a-20261121T101112.log, in UTC. The second in that second is a-20261121T101112-2.log.
const stampLayout = "20060102T150405"

// rotate gives the file a name with the time. The file is locked, and closed
// afterwards.
func (f *file) rotate(now time.Time) error {
	olds, err := f.rotated()
	if err != nil {
		return err
	}
	next := old{now.UTC().Format(stampLayout), 1}
	for _, o := range olds {
		if o.stamp == next.stamp {
			next.number = max(next.number, o.number+1)
		}
	}
	if err := os.Rename(f.path, next.of(f.path)); err != nil {
		return err
	}
	if err := errors.Join(f.Close(), syncDir(filepath.Dir(f.path))); err != nil {
		return err
	}
	if f.c.Keep > 0 {
		olds = append(olds, next)
		slices.SortFunc(olds, func(a, b old) int {
			return cmp.Or(strings.Compare(a.stamp, b.stamp), a.number-b.number)
		})
		for _, o := range olds[:max(0, len(olds)-f.c.Keep)] {
			if err := os.Remove(o.of(f.path)); err != nil && f.logger != nil {
				f.logger.Error("an old file cannot be deleted", "err", err)
			}
		}
	}
	return nil
}

// An old file is one that was rotated.
type old struct {
	stamp  string
	number int // in its second, from 1 on
}

// of returns the name of the old file that was once name.
func (o old) of(name string) string {
	ext := filepath.Ext(name)
	name = strings.TrimSuffix(name, ext) + "-" + o.stamp
	if o.number > 1 {
		name += "-" + strconv.Itoa(o.number)
	}
	return name + ext
}

// rotated returns the rotated files that there are.
func (f *file) rotated() (olds []old, err error) {
	entries, err := os.ReadDir(filepath.Dir(f.path))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if o, ok := parseOld(filepath.Base(f.path), e.Name()); ok {
			olds = append(olds, o)
		}
	}
	return olds, nil
}

// parseOld reports whether a file is a rotated one of name, and which.
func parseOld(name, file string) (o old, ok bool) {
	ext := filepath.Ext(name)
	rest, ok := strings.CutPrefix(file, strings.TrimSuffix(name, ext)+"-")
	if !ok {
		return old{}, false
	}
	if rest, ok = strings.CutSuffix(rest, ext); !ok {
		return old{}, false
	}
	stamp, number, _ := strings.Cut(rest, "-")
	if _, err := time.Parse(stampLayout, stamp); err != nil {
		return old{}, false
	}
	o = old{stamp, 1}
	if number != "" {
		o.number, _ = strconv.Atoi(number)
	}
	return o, o.of(name) == file
}
