package output

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/link"
)

// newFile returns the output to a file. A message counts as delivered when it has
// been synced; a batch is synced at once. The file is rotated by size and time, and
// opened again when somebody else has moved it away.
//
// Several outputs, and processes, may append to one file: each locks it for a batch.
func newFile(c *config.Output, o Options) (relay.Output, error) {
	frames, err := fileFraming(c.Framing)
	if err != nil {
		return nil, err
	}
	mode, err := strconv.ParseUint(cmp.Or(c.Mode, "0640"), 8, 9)
	if err != nil {
		return nil, fmt.Errorf("mode: %w", err)
	}
	for _, to := range c.To {
		if _, err := filePath(to); err != nil {
			return nil, err
		}
	}
	tails := make(map[string]int64) // by path, what this process has left. Dial and deliver take turns
	dial := func(_ context.Context, a link.Attempt) (*file, error) {
		path, err := filePath(a.Endpoint)
		if err != nil {
			return nil, err
		}
		f := &file{path: path, c: c, mode: os.FileMode(mode), tails: tails, logger: o.Logger}
		if err := f.open(); err != nil {
			return nil, err
		}
		return f, nil
	}
	deliver := func(ctx context.Context, f *file, lane *relay.Lane) error {
		return deliverTo(ctx, c, frames, lane, f.write)
	}
	return newLinked(c, o, c.To, dial, deliver), nil
}

// filePath returns the path in a destination.
func filePath(to string) (string, error) {
	u, err := url.Parse(to)
	if err != nil {
		return "", err
	}
	path := u.Host + u.Path + u.Opaque
	if path == "" || path[len(path)-1] == '/' {
		return "", fmt.Errorf("%s: a path is needed", to)
	}
	return filepath.FromSlash(path), nil
}

// A file is what messages are written to. One goroutine uses it.
type file struct {
	path   string
	c      *config.Output
	mode   os.FileMode
	tails  map[string]int64
	logger *slog.Logger

	f *os.File // nil: closed
}

var errNotRegular = errors.New("not a regular file")

// open opens the file, or makes it.
func (f *file) open() error {
	file, err := os.OpenFile(f.path, os.O_RDWR|os.O_APPEND, 0)
	if errors.Is(err, fs.ErrNotExist) {
		file, err = f.create()
	}
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = link.Permanent(&fs.PathError{Op: "open", Path: f.path, Err: errNotRegular})
	}
	if err != nil {
		file.Close()
		return err
	}
	f.f = file
	return nil
}

// create makes the file. Its name is durable when create returns.
func (f *file) create() (*os.File, error) {
	file, err := os.OpenFile(f.path, os.O_RDWR|os.O_APPEND|os.O_CREATE, f.mode)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(file.Chmod(f.mode), syncDir(filepath.Dir(f.path))); err != nil { // whatever the umask is
		file.Close()
		return nil, err
	}
	return file, nil
}

// Close closes the file.
func (f *file) Close() error {
	if f.f == nil {
		return nil
	}
	err := f.f.Close()
	f.f = nil
	return err
}

// write writes and syncs b, in a new file if it is time for one.
func (f *file) write(ctx context.Context, b []byte) error {
	for {
		info, err := f.claim(ctx)
		if err != nil {
			return err
		}
		if f.due(info, len(b), time.Now()) || f.strange(info) {
			if err := f.rotate(time.Now()); err != nil {
				return err
			}
			continue
		}
		err = f.append(info.Size(), b)
		unlockFile(f.f)
		return err
	}
}

// claim locks the file that the path leads to.
func (f *file) claim(ctx context.Context) (fs.FileInfo, error) {
	for {
		if f.f == nil {
			if err := f.open(); err != nil {
				return nil, err
			}
		}
		if err := lockFile(ctx, f.f); err != nil {
			return nil, err
		}
		here, err := f.f.Stat()
		if err != nil {
			return nil, err
		}
		if there, err := os.Stat(f.path); err == nil && os.SameFile(here, there) {
			return here, nil
		}
		if err := f.Close(); err != nil { // it was moved away
			return nil, err
		}
	}
}

// due reports whether it is time to rotate. The time is cut into periods of
// RotateEvery, and a file is for one of them: that of its last write.
func (f *file) due(info fs.FileInfo, more int, now time.Time) bool {
	if info.Size() == 0 {
		return false
	}
	if most := int64(f.c.RotateBytes); most > 0 && info.Size()+int64(more) > most {
		return true
	}
	every := time.Duration(f.c.RotateEvery)
	return every > 0 && now.Truncate(every).After(info.ModTime().Truncate(every))
}

// end returns the last byte of every frame; ok is false if there is no such byte.
func (f *file) end() (last byte, ok bool) {
	switch f.c.Framing {
	case "lines", "json":
		return '\n', true
	case "nul":
		return 0, true
	}
	return 0, false
}

// strange reports whether nobody can tell if the file ends with a whole frame: it
// is not as this process has left it, and frames have no visible end.
func (f *file) strange(info fs.FileInfo) bool {
	_, ok := f.end()
	return !ok && info.Size() > 0 && info.Size() != f.tails[f.path]
}

// append writes b whole or, on error, not at all if that can be had. The file is
// locked.
func (f *file) append(size int64, b []byte) error {
	if last, ok := f.end(); ok && size > 0 {
		var found [1]byte
		if _, err := f.f.ReadAt(found[:], size-1); err != nil {
			return err
		}
		if found[0] != last { // torn by a crash: what was not confirmed comes again, whole
			b = bytes.Join([][]byte{{last}, b}, nil)
		}
	}
	n, err := f.f.Write(b)
	if err == nil {
		err = f.f.Sync()
	}
	if err == nil {
		f.tails[f.path] = size + int64(n)
		return nil
	}
	if info, serr := f.f.Stat(); serr == nil && info.Size() == size+int64(n) { // nobody else has written
		err = errors.Join(err, f.f.Truncate(size))
	}
	return err
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, fs.ErrInvalid) {
		return err // the others are filesystems that cannot
	}
	return nil
}
