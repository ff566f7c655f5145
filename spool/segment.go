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
	g.created = now
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
	g.doubt = info.doubt
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

// tail finds what is behind the last message of a segment that was not written
// by this process: the next id, and where its last batch began.
func (g *segment) tail(fsys FS, dir string) (next, lastBatch uint64, err error) {
	f, err := fsys.OpenFile(filepath.Join(dir, g.name), os.O_RDONLY, 0)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	next = g.first
	sc := g.scan(f)
	for {
		h, b, err := sc.skip(func(h header) bool {
			if h.kind == kindMessage {
				next = max(next, h.id+1)
			}
			return h.kind == kindBatch
		})
		if err == io.EOF {
			return next, lastBatch, nil
		}
		if err != nil {
			return 0, 0, err
		}
		switch h.kind {
		case kindMessage: // behind a batch record that was damaged
			next = max(next, h.id+1)
		case kindBatch:
			if _, count, ok := parseBatch(b); ok && h.id >= lastBatch {
				lastBatch = h.id
				next = max(next, h.id+uint64(count)) // its ids are never used again
			}
		}
	}
}
