package output

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/link"
)

// newFile returns the output to a file. A message counts as delivered when it has
// been synced. The file is rotated by size and age, and opened again when somebody
// else has moved it away.
func newFile(c *config.Output, o Options) (relay.Output, error) {
	frames, err := fileFraming(c.Framing)
	if err != nil {
		return nil, err
	}
	mode, err := strconv.ParseUint(cmp.Or(c.Mode, "0640"), 8, 12)
	if err != nil {
		return nil, fmt.Errorf("mode: %w", err)
	}
	var paths []string
	for _, to := range c.To {
		u, err := url.Parse(to)
		if err != nil {
			return nil, err
		}
		paths = append(paths, u.Host+u.Path+u.Opaque)
	}
	dial := func(_ context.Context, a link.Attempt) (*file, error) {
		f := &file{path: a.Endpoint, c: c, mode: os.FileMode(mode)}
		return f, f.open()
	}
	deliver := func(ctx context.Context, f *file, lane *relay.Lane) error {
		return deliverTo(ctx, c, frames, lane, f.write)
	}
	return newLinked(c, o, paths, dial, deliver), nil
}

// A file is what messages are written to. One goroutine uses it.
type file struct {
	path string
	c    *config.Output
	mode os.FileMode

	f      *os.File
	size   int64
	opened time.Time
	looked time.Time // when it was last looked whether path still leads to f
}

// open opens the file, or makes it. If what is in it ends within a line, as it may
// after a crash, the line is ended: what was not confirmed comes again, whole.
func (f *file) open() error {
	file, err := os.OpenFile(f.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, f.mode)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return err
	}
	f.f, f.size, f.opened, f.looked = file, info.Size(), time.Now(), time.Now()
	if f.size > 0 && f.c.Framing == "lines" {
		var last [1]byte
		if _, err := file.ReadAt(last[:], f.size-1); err == nil && last[0] != '\n' {
			return f.append([]byte("\n"))
		}
	}
	return syncDir(filepath.Dir(f.path))
}

// Close closes the file.
func (f *file) Close() error {
	if f.f == nil {
		return nil
	}
	return f.f.Close()
}

// write writes and syncs b, in a new file if it is time for one.
func (f *file) write(b []byte) error {
	now := time.Now()
	if every := time.Duration(f.c.RotateEvery); f.size > 0 &&
		(f.c.RotateBytes > 0 && f.size+int64(len(b)) > int64(f.c.RotateBytes) || every > 0 && now.Sub(f.opened) >= every) {
		if err := f.rotate(now); err != nil {
			return err
		}
	}
	if now.Sub(f.looked) >= time.Second {
		f.looked = now
		here, err := f.f.Stat()
		if err != nil {
			return err
		}
		if there, err := os.Stat(f.path); err != nil || !os.SameFile(here, there) {
			f.f.Close()
			if err := f.open(); err != nil {
				return err
			}
		}
	}
	return f.append(b)
}

// append writes b whole or, on error, not at all if that can be had.
func (f *file) append(b []byte) error {
	_, err := f.f.Write(b)
	if err == nil {
		err = f.f.Sync()
	}
	if err != nil {
		return errors.Join(err, f.f.Truncate(f.size))
	}
	f.size += int64(len(b))
	return nil
}

// rotate gives the file a name with the time, and begins a new one.
func (f *file) rotate(now time.Time) error {
	if err := f.f.Close(); err != nil {
		return err
	}
	ext := filepath.Ext(f.path)
	base := strings.TrimSuffix(f.path, ext) + "-" + now.UTC().Format("20060102T150405.000")
	to := base + ext
	for n := 1; ; n++ {
		if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			break
		}
		to = fmt.Sprintf("%s.%d%s", base, n, ext)
	}
	if err := os.Rename(f.path, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := f.open(); err != nil {
		return err
	}
	return f.prune()
}

// prune deletes the oldest of the rotated files that are too many.
func (f *file) prune() error {
	if f.c.Keep <= 0 {
		return nil
	}
	ext := filepath.Ext(f.path)
	rotated, err := filepath.Glob(strings.TrimSuffix(f.path, ext) + "-[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]T*" + ext)
	if err != nil {
		return err
	}
	slices.Sort(rotated)
	for _, old := range rotated[:max(0, len(rotated)-f.c.Keep)] {
		if err := os.Remove(old); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	d.Sync() // some filesystems cannot
	return nil
}
