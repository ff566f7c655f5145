package spool

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"
)

// A segment is one of the files with records. Every byte of it is written once:
// what may have failed is never written over, and a new process begins a new
// segment.
type segment struct {
	name  string
	seq   uint64 // later ones overrule earlier ones
	first uint64 // id of its first message
	salt  uint64
	end   atomic.Int64 // of what is durable and may be read

	created time.Time // has a monotonic reading
	doubt   uint64    // see segmentInfo
	blank   bool      // its first record cannot be read
}

// findSegments lists the segments of a directory, oldest first, without those
// that later ones overrule: left over from writes that failed.
func findSegments(fsys FS, dir string) (segs []*segment, overruled []string, err error) {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		if seq, first, salt, ok := parseSegmentName(e.Name()); ok {
			segs = append(segs, &segment{name: e.Name(), seq: seq, first: first, salt: salt})
		}
	}
	slices.SortFunc(segs, func(a, b *segment) int { return cmp.Compare(a.seq, b.seq) })
	for i := len(segs) - 2; i >= 0; i-- {
		if segs[i].first >= segs[i+1].first {
			overruled = append(overruled, segs[i].name)
			segs = slices.Delete(segs, i, i+1)
		}
	}
	return segs, overruled, nil
}

// load reads a segment's size and its first record. A damaged one says nothing,
// which does no harm: the name says what is needed.
func (g *segment) load(fsys FS, dir string, now time.Time) error {
	f, err := fsys.OpenFile(filepath.Join(dir, g.name), os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return err
	}
	g.end.Store(size)
	g.created, g.blank = now, true
	b := make([]byte, headerSize+segmentInfoSize)
	if n, _ := f.ReadAt(b, 0); n < len(b) {
		return nil
	}
	h, ok := getHeader(b, g.salt, 0)
	if !ok || h.kind != kindSegment || h.length < segmentInfoSize || checksumOf(f, h) != h.sum {
		return nil
	}
	info, _ := parseSegmentInfo(b[headerSize:])
	if info.version > version {
		return fmt.Errorf("%w: %s has version %d", ErrVersion, g.name, info.version)
	}
	// The wall clock is asked once; from then on time is monotonic.
	g.created = now.Add(-max(0, now.Sub(time.Unix(0, info.created))))
	g.doubt, g.blank = info.doubt, false
	return nil
}

// checksumOf is the checksum of the first record's payload. Later versions may
// have made it longer.
func checksumOf(f io.ReaderAt, h header) uint32 {
	b := make([]byte, min(h.length, 4<<10))
	f.ReadAt(b, headerSize)
	return checksum(b)
}

// scan returns a scanner of what may be read of the segment.
func (g *segment) scan(f io.ReaderAt) scanner {
	return scanner{file: f, salt: g.salt, end: g.end.Load()}
}

// A tail is what is behind the last message of a segment that was not written by
// this process.
type tail struct {
	next  uint64 // the next id
	batch uint64 // the first id of the last batch
	off   int64  // where that batch begins
	end   int64  // behind the last record that is whole
}

// tail finds out how the segment ends.
func (g *segment) tail(f io.ReaderAt) (tail, error) {
	t := tail{next: g.first, batch: g.first}
	covered := g.first // ids below belong to batches that were seen
	message := func(h header, off int64) {
		if h.id >= covered { // the record that began its batch is damaged
			t.batch, t.off = covered, t.end
			covered = ^uint64(0)
		}
		t.next = max(t.next, h.id+1)
		t.end = off + int64(headerSize+h.length)
	}
	sc := g.scan(f)
	for {
		h, b, err := sc.skip(func(h header) bool {
			if h.kind == kindMessage {
				message(h, sc.off)
			}
			return h.kind == kindBatch
		})
		if err == io.EOF {
			return t, nil
		}
		if err != nil {
			return t, err
		}
		off := sc.off - int64(headerSize+h.length)
		switch h.kind {
		case kindMessage: // behind a batch record that is damaged
			message(h, off)
		case kindBatch:
			if _, count, ok := parseBatch(b); ok && h.id >= t.batch {
				t.batch, t.off = h.id, off
				covered = h.id + uint64(count)
				t.next = max(t.next, covered) // its ids are never used again
			}
			t.end = sc.off
		}
	}
}

// fasten makes the last batch durable, which a process that was killed may have
// written and not synced, or not been able to sync. The kernel may take such
// pages for clean, so the same bytes are written once more.
func (g *segment) fasten(f File, t tail) error {
	buf := make([]byte, min(t.end-t.off, 1<<20))
	for off := t.off; off < t.end; {
		b := buf[:min(int64(len(buf)), t.end-off)]
		_, err := f.ReadAt(b, off)
		if err != nil && err != io.EOF { // what is good of it, a page at a time
			b = b[:min(int64(len(b)), pageBytes-off%pageBytes)]
			_, err = f.ReadAt(b, off)
		}
		if err == nil || err == io.EOF {
			if _, err := f.WriteAt(b, off); err != nil {
				return err
			}
		}
		off += int64(len(b))
	}
	return f.Sync()
}
