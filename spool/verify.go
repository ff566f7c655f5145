package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A Report is what Verify has found.
type Report struct {
	Segments []SegmentReport
	Cursors  []CursorReport
	Records  uint64 // that can be read
	Bytes    int64  // of their payloads
	First    uint64 // the first of them
	Next     uint64 // the next id
	Gaps     []GapError
}

// Whole reports whether nothing is missing that was ever durable.
func (r Report) Whole() bool {
	return !slices.ContainsFunc(r.Gaps, func(g GapError) bool { return g.Reason != Unfinished })
}

// A SegmentReport describes one segment.
type SegmentReport struct {
	Name    string
	First   uint64 // its first record's id, by its name
	Bytes   int64  // of the file
	Created time.Time
	Records uint64 // that can be read. Not set by List
	Damages []Damage
}

// A CursorReport describes one reader's cursor.
type CursorReport struct {
	Name    string
	Low     uint64 // the oldest record that is not acknowledged
	Damaged bool   // and so it will begin anew
}

// List says which segments and cursors a spool has, without reading records. o
// matters for its FS only. It changes nothing and needs no lock: when the
// directory is in use, the answer is a little old.
func List(dir string, o Options) (Report, error) {
	v, err := look(dir, o)
	return v.Report, err
}

// Verify reads the whole spool and says what is in it and what is missing. It
// changes nothing and needs no lock: when the directory is in use, what is being
// written counts as Unfinished. Of o it needs the FS, and Overflow and MaxAge to
// know whether records may have been deleted unread: they are damaged otherwise.
func Verify(dir string, o Options) (Report, error) {
	v, err := look(dir, o)
	if err != nil {
		return v.Report, err
	}
	for i, g := range v.segs {
		n := uint64(0)
		err := v.read(i, func(_ Record) bool { n++; return true })
		if err != nil {
			return v.Report, fmt.Errorf("spool: %s: %w", g.name, err)
		}
		v.Segments[i].Records = n
		v.Records += n
	}
	v.finish()
	return v.Report, nil
}

// Export returns the records from the id from up to and including the id to, in
// order, as Verify would count them. 0 stands for the first and the last. Missing
// ones are passed over with a *GapError, whole even if it begins before from or
// ends behind to; those that the spool deletes meanwhile without. Any other error
// is the last thing. The payload is good until the next step.
func Export(dir string, o Options, from, to uint64) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		v, err := look(dir, o)
		if err != nil {
			yield(Record{}, err)
			return
		}
		if to == 0 {
			to = unknown
		}
		from = max(from, 1)
		gaps := 0
		going := true
		tell := func() {
			for ; going && gaps < len(v.Gaps); gaps++ {
				if g := v.Gaps[gaps]; g.Last >= from && g.First <= to {
					going = yield(Record{}, &g)
				}
			}
		}
		for i := range v.segs {
			if i+1 < len(v.segs) && v.segs[i+1].first <= from {
				v.want = max(v.want, v.segs[i+1].first)
				continue
			}
			err := v.read(i, func(rec Record) bool {
				tell()
				if going && rec.ID >= from && rec.ID <= to {
					going = yield(rec, nil)
				}
				return going && rec.ID < to
			})
			if err != nil && going {
				yield(Record{}, fmt.Errorf("spool: %w", err))
				return
			}
			if !going || v.want > to {
				return
			}
		}
		v.finish()
		tell()
	}
}

// A survey is a look at a spool from outside.
type survey struct {
	Report
	dir   string
	fs    FS
	segs  []*segment
	marks uint64 // the next id, by the cursors
	want  uint64 // the id that comes next
	batch uint64 // where the last batch of the segment at hand began

	deletes Reason // why segments may be missing at the beginning; 0: they may not
}

func look(dir string, o Options) (*survey, error) {
	v := &survey{dir: dir, fs: o.FS, deletes: o.deletes()}
	if v.fs == nil {
		v.fs = osFS{}
	}
	// The spool may be in use. What the cursors say now is there when the segments
	// are looked at, and what those begin with is not beyond the cursors then.
	if err := v.readCursors(); err != nil {
		return v, err
	}
	segs, _, err := findSegments(v.fs, dir)
	if err != nil {
		return v, fmt.Errorf("spool: %w", err)
	}
	now := time.Now()
	for _, g := range segs {
		if err := g.load(v.fs, dir, now); errors.Is(err, fs.ErrNotExist) {
			continue // it has been deleted meanwhile
		} else if err != nil {
			return v, fmt.Errorf("spool: %w", err)
		}
		v.segs = append(v.segs, g)
		v.Segments = append(v.Segments, SegmentReport{Name: g.name, First: g.first, Bytes: g.end.Load(), Created: g.created})
	}
	marks := v.marks
	if err := v.readCursors(); err != nil {
		return v, err
	}
	v.marks = marks
	for len(v.segs) > 1 && v.want != unknown && v.segs[1].first <= v.want {
		v.segs, v.Segments = v.segs[1:], v.Segments[1:] // everybody has passed it: it is about to be deleted
	}
	if len(v.segs) > 0 {
		v.First, v.Next = v.segs[0].first, v.segs[len(v.segs)-1].first
		v.want = min(v.want, v.First)
	}
	for n := len(v.segs) - 1; n > 0 && v.onlyName(v.segs[n]); n-- {
		v.segs, v.Segments = v.segs[:n], v.Segments[:n]
	}
	if v.want == unknown {
		v.want = 1
	}
	v.Next = max(v.Next, v.marks, 1)
	return v, nil
}

// onlyName reports whether nothing of a segment can be read but its name, so that
// Open would remove it.
func (v *survey) onlyName(g *segment) bool {
	if !g.blank {
		return false
	}
	f, err := v.fs.OpenFile(filepath.Join(v.dir, g.name), os.O_RDONLY, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	t, err := g.tail(f)
	return err == nil && t.end == 0
}

// unknown is an id that no record has.
const unknown = ^uint64(0)

// readCursors reads the cursors.
func (v *survey) readCursors() error {
	entries, err := v.fs.ReadDir(v.dir)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	v.Cursors, v.marks, v.want = nil, 0, unknown
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), cursorSuffix)
		if !ok || name != endMark && validName(name) != nil {
			continue
		}
		f, err := v.fs.OpenFile(filepath.Join(v.dir, e.Name()), os.O_RDONLY, 0)
		if err != nil {
			continue // it has been forgotten
		}
		_, low, whole := readSlots(f, name)
		f.Close()
		v.marks = max(v.marks, low)
		if name == endMark {
			continue
		}
		v.Cursors = append(v.Cursors, CursorReport{name, low, whole == 0})
		if whole == 2 { // nothing behind it was deleted in peace
			v.want = min(v.want, max(low, 1))
		}
	}
	return nil
}

// read goes through the records of a segment, and notes what is missing in it
// and in front of it.
func (v *survey) read(i int, each func(Record) bool) error {
	g := v.segs[i]
	f, err := v.fs.OpenFile(filepath.Join(v.dir, g.name), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if i+1 < len(v.segs) { // it has been deleted meanwhile
			v.want = max(v.want, v.segs[i+1].first)
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	limit, doubt := unknown, uint64(0)
	if i+1 < len(v.segs) {
		limit, doubt = v.segs[i+1].first, v.segs[i+1].doubt
	} else {
		t, err := g.tail(f)
		if err != nil {
			return err
		}
		v.Next = max(v.Next, t.next)
		if v.batch = t.batch; v.marks <= v.batch {
			doubt = v.batch
		}
	}
	if before := v.want; before < g.first {
		v.missing(before, g.first, g.doubt)
		if i == 0 && v.deletes != 0 {
			v.Gaps[0].Reason = v.deletes
		}
	}
	sc := g.scan(f)
	defer func() { v.Segments[i].Damages = withName(sc.damages, g.name) }()
	var nanos int64
	for {
		h, b, err := sc.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		switch {
		case h.kind == kindBatch:
			nanos, _, _ = parseBatch(b)
		case h.kind != kindMessage || h.id < v.want:
		case h.id >= limit: // never durable
			v.missing(v.want, limit, doubt)
			return nil
		default:
			if h.id > v.want {
				v.missing(v.want, h.id, doubt)
			}
			v.want = h.id + 1
			v.Next = max(v.Next, v.want)
			v.Bytes += int64(h.length)
			if !each(Record{ID: h.id, Time: time.Unix(0, nanos), Payload: b}) {
				return nil
			}
		}
	}
	if limit != unknown {
		v.missing(v.want, limit, doubt)
	}
	return nil
}

// finish notes what is missing at the end.
func (v *survey) finish() {
	if v.want < v.marks {
		v.missing(v.want, v.marks, 0)
	}
	if v.want < v.Next {
		v.missing(v.want, v.Next, max(v.batch, 1))
	}
}

// missing notes that the records from first up to next are missing. Those from
// doubt on, if it is not 0, may never have been durable.
func (v *survey) missing(first, next, doubt uint64) {
	if first >= next {
		return
	}
	v.want = next
	why := Damaged
	if doubt > 0 && first >= doubt {
		why = Unfinished
	}
	v.Gaps = append(v.Gaps, GapError{First: first, Last: next - 1, Reason: why})
}

func withName(damages []Damage, name string) []Damage {
	for i := range damages {
		damages[i].Segment = name
	}
	return damages
}
