package spool_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"testing"
	"time"

	"github.com/hythe-go/hythe/spool"
	"github.com/hythe-go/hythe/spool/crashfs"
)

var fuzzTime = time.Unix(1_000_000_000, 0)

const fuzzSegment = "q/0000000001-00000000000000000001-0123456789abcdef.seg"

// place puts a file onto the disk.
func place(t testing.TB, disk *crashfs.FS, name string, b []byte) {
	t.Helper()
	if err := disk.MkdirAll("q", 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := disk.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
}

// goodSegment is a segment with three records, in two batches.
func goodSegment() (b []byte) {
	const salt = 0x0123456789abcdef
	put := func(kind byte, id uint64, payload []byte) { b = append(b, record(salt, len(b), kind, id, payload)...) }
	put(1, 1, segmentInfo(1, 0, fuzzTime))
	put(2, 1, batchInfo(fuzzTime, 2))
	put(3, 1, []byte("one"))
	put(3, 2, []byte("two"))
	put(2, 3, batchInfo(fuzzTime, 1))
	put(3, 3, []byte("three"))
	return b
}

// mend gives everything from off on that may be a header the checksum of one, so
// that fuzzing gets past it. Ids stay below 1<<62: there will not be more.
func mend(b []byte, off int) {
	for ; off+24 <= len(b); off++ {
		if b[off] == 0xa9 && b[off+1] == 0x59 {
			b[off+15] &= 0x3f
			salted := binary.LittleEndian.AppendUint64(nil, 0x0123456789abcdef)
			salted = append(binary.LittleEndian.AppendUint64(salted, uint64(off)), b[off:off+20]...)
			binary.LittleEndian.PutUint32(b[off+20:], crc32.Checksum(salted, castagnoli))
		}
	}
}

// Whatever is in a segment, with and without good records in front of it, the
// spool opens; readers, Verify and Export come to an end and agree; and no
// payload comes that was not written as a record.
func FuzzSegment(f *testing.F) {
	good := goodSegment()
	f.Add([]byte(nil))
	f.Add(good)
	f.Add(good[:len(good)-2])
	f.Add(good[44:])
	f.Add(append(bytes.Clone(good), good...))
	f.Add(bytes.Repeat([]byte{0xa9, 0x59}, 100))
	f.Add(record(0x0123456789abcdef, len(good), 3, 1<<63, []byte("far")))
	f.Add(record(0x0123456789abcdef, len(good), 2, 4, batchInfo(fuzzTime, 1<<31)))
	f.Add(record(0x0123456789abcdef, len(good), 7, 4, []byte("of a kind to come")))
	f.Fuzz(func(t *testing.T, b []byte) {
		for i := range 4 {
			prefix := good
			if i%2 == 0 {
				prefix = nil
			}
			content := append(bytes.Clone(prefix), b...)
			if i >= 2 {
				mend(content, len(prefix))
			}
			disk := new(crashfs.FS)
			place(t, disk, fuzzSegment, content)
			o := spool.Options{FS: disk}
			rep, err := spool.Verify("q", o)
			if errors.Is(err, spool.ErrVersion) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			exported := uint64(0)
			for rec, err := range spool.Export("q", o, 0, 0) {
				if _, ok := errors.AsType[*spool.GapError](err); ok {
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if exported++; !bytes.Contains(content, rec.Payload) {
					t.Errorf("record %d has the payload %q, which is not in the file", rec.ID, rec.Payload)
				}
			}
			s, err := spool.Open("q", o)
			if err != nil {
				t.Fatal(err)
			}
			r := reader(t, s, "r")
			read, last := uint64(0), uint64(0)
			for {
				rec, err := glance(r)
				if err == errNothing {
					break
				}
				if gap, ok := errors.AsType[*spool.GapError](err); ok {
					if gap.First != last+1 || gap.Last < gap.First {
						t.Fatalf("%v after %d", gap, last)
					}
					last = gap.Last
					continue
				}
				if err != nil || rec.ID != last+1 {
					t.Fatalf("record %d after %d, %v", rec.ID, last, err)
				}
				if err := r.Ack(rec.ID); err != nil {
					t.Fatal(err)
				}
				read, last = read+1, rec.ID
				if prefix != nil && read <= 3 && string(rec.Payload) != []string{"one", "two", "three"}[read-1] {
					t.Fatalf("record %d is %q", rec.ID, rec.Payload)
				}
			}
			if read != rep.Records || exported != rep.Records || prefix != nil && read < 3 {
				t.Errorf("the reader has %d records, Export %d, Verify %d", read, exported, rep.Records)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Whatever is in a cursor, the spool opens, and its reader begins somewhere
// between the oldest record and the end.
func FuzzCursor(f *testing.F) {
	disk := new(crashfs.FS)
	s := open(f, "q", spool.Options{FS: disk})
	add(f, s, texts(1, 5)...)
	r := reader(f, s, "r")
	want(f, r, 1, texts(1, 5)...)
	r.AckThrough(2)
	s.Close()
	whole := files(f, disk)["r.cursor"]
	f.Add([]byte(nil))
	f.Add(whole)
	f.Add(whole[:4096])
	f.Add(whole[:100])
	f.Add(append(make([]byte, 4096), whole[4096:]...))
	f.Fuzz(func(t *testing.T, b []byte) {
		disk := disk.Crash(disk.Len(), crashfs.Kept)
		place(t, disk, "q/r.cursor", b)
		o := spool.Options{FS: disk}
		rep, err := spool.Verify("q", o)
		if err != nil {
			t.Fatal(err)
		}
		s, err := spool.Open("q", o)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		low := s.Stats().Readers[0].Low
		if low < 1 || low > s.Stats().Next || rep.Cursors[0].Damaged && low != 1 {
			t.Fatalf("the reader is at %d of %d", low, s.Stats().Next)
		}
		if low <= 5 {
			want(t, reader(t, s, "r"), low, texts(int(low), 5)...)
		}
		if id := add(t, s, "more"); id < 6 {
			t.Errorf("the id %d was given twice", id)
		}
	})
}
