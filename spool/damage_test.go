package spool_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe/spool"
	"github.com/hythe-go/hythe/spool/crashfs"
)

// An extent is where a record is.
type extent struct {
	file     string
	from, to int // its header begins at from
}

// A patient is a spool, closed in peace, that is to be damaged.
type patient struct {
	disk    *crashfs.FS
	opts    spool.Options
	records map[uint64][]byte
	where   map[uint64]extent
	through uint64 // what reader "r" acknowledged
	last    uint64
}

const recordHeader = 24

func newPatient(t *testing.T) *patient {
	p := &patient{
		disk: new(crashfs.FS), opts: spool.Options{SegmentBytes: 12 << 10, MaxBytes: -1},
		records: make(map[uint64][]byte), where: make(map[uint64]extent),
	}
	p.opts.FS = p.disk
	s, err := spool.Open(crashDir, p.opts)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(9, 9))
	for serial := uint64(1); serial < 150; {
		var batch [][]byte
		for range 1 + rng.IntN(5) {
			batch = append(batch, makePayload(serial, [...]int{24, 40, 256, 700, 100, 4096, 200, 9000}[rng.IntN(8)%(5+rng.IntN(4))]))
			serial++
		}
		first, err := s.Append(batch...)
		if err != nil {
			t.Fatal(err)
		}
		for i, b := range batch {
			p.records[first+uint64(i)] = b
			p.last = first + uint64(i)
		}
	}
	r, err := s.Reader("r", spool.ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for p.through < 10 {
		records, err := readSome(t.Context(), r, 10)
		if err != nil {
			t.Fatal(err)
		}
		p.through = records[len(records)-1].ID
		if err := r.AckThrough(p.through); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, b := range contents(t, p.disk) {
		if !strings.HasSuffix(name, ".seg") {
			continue
		}
		for id, payload := range p.records {
			if at := bytes.Index(b, payload); at >= 0 {
				p.where[id] = extent{name, at - recordHeader, at + len(payload)}
			}
		}
	}
	for id := range p.records {
		if _, found := p.where[id]; !found && id <= p.through {
			delete(p.records, id) // deleted, with its segment
		}
	}
	if len(p.where) != len(p.records) {
		t.Fatalf("%d of %d records found in the files", len(p.where), len(p.records))
	}
	return p
}

// contents returns all files of the spool.
func contents(t testing.TB, disk *crashfs.FS) map[string][]byte {
	t.Helper()
	entries, err := disk.ReadDir(crashDir)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string][]byte)
	for _, e := range entries {
		f, err := disk.OpenFile(path.Join(crashDir, e.Name()), os.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		size, _ := f.Size()
		b := make([]byte, size)
		if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		f.Close()
		files[e.Name()] = b
	}
	return files
}

// hurt does one random damage to the files, and says which.
func hurt(rng *rand.Rand, files map[string][]byte) string {
	var segs, others []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, ".seg") {
			segs = append(segs, name)
		} else {
			others = append(others, name)
		}
	}
	seg := segs[rng.IntN(len(segs))]
	b := files[seg]
	at := rng.IntN(len(b))
	switch k := rng.IntN(12); k {
	case 0:
		cut := 1 + rng.IntN([...]int{10, 300, len(b)}[rng.IntN(3)])
		cut = min(cut, len(b))
		files[seg] = b[:len(b)-cut]
		return fmt.Sprintf("cut %d bytes off %s", cut, seg)
	case 1:
		garbage := make([]byte, 1+rng.IntN(5000))
		for i := range garbage {
			garbage[i] = byte(rng.Uint32())
		}
		files[seg] = append(b, garbage...)
		return fmt.Sprintf("%d bytes of garbage behind %s", len(garbage), seg)
	case 2:
		from := at &^ 4095
		clear(b[from:min(from+4096, len(b))])
		return fmt.Sprintf("page at %d of %s zeroed", from, seg)
	case 3:
		n := 1 + rng.IntN(20)
		for range n {
			b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
		}
		return fmt.Sprintf("%d bits of %s flipped", n, seg)
	case 4:
		at = rng.IntN(min(100, len(b)))
		b[at] ^= 1 << rng.IntN(8)
		return fmt.Sprintf("a bit at %d of %s flipped", at, seg)
	case 5:
		seg = segs[rng.IntN(len(segs)-1)]
		delete(files, seg)
		return "removed " + seg
	case 6, 7:
		name := others[rng.IntN(len(others))]
		o := files[name]
		switch kind := rng.IntN(4); {
		case kind == 0 || len(o) == 0:
			delete(files, name)
			return "removed " + name
		case kind == 1:
			files[name] = o[:rng.IntN(len(o))]
			return fmt.Sprintf("cut %s to %d bytes", name, len(files[name]))
		case kind == 2:
			clear(o)
			return "zeroed " + name
		default:
			i := rng.IntN(len(o))
			o[i] ^= 1 << rng.IntN(8)
			return fmt.Sprintf("a bit at %d of %s flipped", i, name)
		}
	case 8, 9:
		other := segs[rng.IntN(len(segs))]
		from, to := at&^4095, rng.IntN(len(files[other]))&^4095
		n := min(4096, len(b)-from, len(files[other])-to)
		for i := range n {
			b[from+i], files[other][to+i] = files[other][to+i], b[from+i]
		}
		return fmt.Sprintf("blocks at %d of %s and %d of %s swapped", from, seg, to, other)
	case 10:
		from, n := rng.IntN(len(b)), rng.IntN(3000)
		copied := copy(b[at:], b[from:min(from+n, len(b))])
		return fmt.Sprintf("%d bytes at %d of %s copied to %d", copied, from, seg, at)
	default:
		n := min(1+rng.IntN(9000), len(b)-at)
		for i := range n {
			b[at+i] = byte(rng.Uint32())
		}
		return fmt.Sprintf("%d bytes of garbage at %d of %s", n, at, seg)
	}
}

// After any damage the spool opens, has all records but those that were
// damaged, and says exactly which are lost.
func TestAThousandDamages(t *testing.T) {
	var lost atomic.Int64
	start := time.Now()
	t.Run("seeds", func(t *testing.T) {
		for part := range uint64(4) {
			t.Run(fmt.Sprint(part*250), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { lost.Add(damages(t, part*250, 250)) })
			})
		}
	})
	t.Logf("1000 damages, %d records lost and reported, in %v", lost.Load(), time.Since(start))
}

// damages does n damages from the seed on, each to a spool of its own. It
// returns how many records were lost.
func damages(t *testing.T, from, n uint64) (lost int64) {
	p := newPatient(t)
	image := p.disk.Crash(p.disk.Len(), crashfs.Kept)
	intact := contents(t, image)
	for seed := from; seed < from+n; seed++ {
		files := make(map[string][]byte)
		for name, b := range intact {
			files[name] = bytes.Clone(b)
		}
		rng := rand.New(rand.NewPCG(seed, 5))
		what := hurt(rng, files)
		for range rng.IntN(3) * rng.IntN(2) {
			what += "; " + hurt(rng, files)
		}
		k, err := p.examine(t, image.Crash(0, crashfs.Kept), intact, files)
		if err != nil {
			t.Errorf("damage %d (%s): %v", seed, what, err)
		}
		lost += int64(k)
	}
	return lost
}

// examine puts the damaged files on the disk and checks what the spool makes of
// them.
func (p *patient) examine(t *testing.T, disk *crashfs.FS, intact, files map[string][]byte) (int, error) {
	for name, old := range intact {
		full := path.Join(crashDir, name)
		b, left := files[name]
		switch {
		case !left:
			if err := disk.Remove(full); err != nil {
				t.Fatal(err)
			}
		case !bytes.Equal(old, b):
			f, err := disk.OpenFile(full, os.O_RDWR|os.O_TRUNC, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt(b, 0); err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
	}
	damaged := make(map[uint64]bool)
	for id, e := range p.where {
		b := files[e.file]
		damaged[id] = len(b) < e.to || !bytes.Equal(b[e.from:e.to], intact[e.file][e.from:e.to])
	}
	o := p.opts
	o.FS = disk

	report, err := spool.Verify(crashDir, o)
	if err != nil {
		return 0, fmt.Errorf("Verify: %w", err)
	}
	s, err := spool.Open(crashDir, o)
	if err != nil {
		return 0, fmt.Errorf("Open: %w", err)
	}
	defer s.Close()
	gaps := make(map[uint64]bool)
	got, err := drain(s, "audit", func(g *spool.GapError) bool {
		for id := g.First; id <= g.Last; id++ {
			gaps[id] = true
		}
		return true
	})
	if err != nil {
		return 0, fmt.Errorf("reading: %w", err)
	}
	found := make(map[uint64]bool)
	first, last := ^uint64(0), uint64(0)
	for i, rec := range got {
		first, last = min(first, rec.ID), max(last, rec.ID)
		if want := p.records[rec.ID]; !bytes.Equal(rec.Payload, want) {
			return 0, fmt.Errorf("record %d has a wrong payload: %d bytes, want %d", rec.ID, len(rec.Payload), len(want))
		}
		if i > 0 && rec.ID <= got[i-1].ID {
			return 0, fmt.Errorf("record %d after %d", rec.ID, got[i-1].ID)
		}
		found[rec.ID] = true
	}
	// The cursor may fall back, and never passes what was not acknowledged. Only
	// it knows what was in front of the first segment that is left.
	early := make(map[uint64]bool)
	rest, err := drain(s, "r", func(g *spool.GapError) bool {
		for id := g.First; id <= g.Last; id++ {
			if early[id] = !gaps[id]; early[id] && len(got) > 0 && id > got[0].ID {
				t.Errorf("reader r was told that record %d is lost, another one was not", id)
			}
			gaps[id] = true
		}
		return true
	})
	if err != nil {
		return 0, fmt.Errorf("reading with an old cursor: %w", err)
	}
	again := make(map[uint64]bool)
	for _, rec := range rest {
		again[rec.ID] = true
	}
	for id := range found {
		if id > p.through && !again[id] {
			return 0, fmt.Errorf("record %d was passed over by the cursor at %d", id, p.through)
		}
	}
	lost := 0
	for id := range p.records {
		if id <= p.through && !found[id] {
			continue // acknowledged
		}
		if !found[id] {
			lost++
		}
		switch {
		case !found[id] && !damaged[id]:
			return 0, fmt.Errorf("record %d is lost and was not damaged (it is at %v)", id, p.where[id])
		case !found[id] && !gaps[id] && (id < first && !bytes.Equal(files["r.cursor"], intact["r.cursor"]) ||
			id > last && !bytes.Equal(files["@end.cursor"], intact["@end.cursor"])):
			// What knew of them is gone too: a first segment, or the end of the last.
		case !found[id] != gaps[id]:
			return 0, fmt.Errorf("record %d: lost %v, reported lost %v", id, !found[id], gaps[id])
		}
	}
	for id := range gaps {
		if id <= p.through {
			continue
		}
		if _, known := p.records[id]; !known {
			return 0, fmt.Errorf("record %d, which never was, is reported lost", id)
		}
	}
	told := make(map[uint64]bool)
	for _, g := range report.Gaps {
		for id := g.First; id <= g.Last; id++ {
			told[id] = true
		}
	}
	if !maps.Equal(told, gaps) || report.Records != uint64(len(found)) {
		return 0, fmt.Errorf("Verify found %d and says %v are lost, the reader %d and %v", report.Records, slices.Sorted(maps.Keys(told)), len(found), slices.Sorted(maps.Keys(gaps)))
	}

	id, err := s.Append(probe)
	if known := p.last; err != nil || id <= last || id <= known && bytes.Equal(files["@end.cursor"], intact["@end.cursor"]) {
		return 0, fmt.Errorf("Append = %d, %v; the last id was %d", id, err, known)
	}
	more, err := drain(s, "r", func(*spool.GapError) bool { return true })
	if err != nil || len(more) == 0 || !bytes.Equal(more[len(more)-1].Payload, probe) {
		return 0, fmt.Errorf("the new record is not read: %d records, %v", len(more), err)
	}
	return lost, nil
}
