package spool_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe/spool"
	"github.com/hythe-go/hythe/spool/crashfs"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// record makes a record as docs/spool-format.md describes it, with code of its
// own.
func record(salt uint64, off int, kind byte, id uint64, payload []byte) []byte {
	le := binary.LittleEndian
	b := []byte{0xa9, 0x59, kind, 0}
	b = le.AppendUint32(b, uint32(len(payload)))
	b = le.AppendUint64(b, id)
	b = le.AppendUint32(b, crc32.Checksum(payload, castagnoli))
	place := le.AppendUint64(le.AppendUint64(nil, salt), uint64(off))
	b = le.AppendUint32(b, crc32.Checksum(append(place, b...), castagnoli))
	return append(b, payload...)
}

// segmentOfVersion makes a segment that has only its first record.
func segmentOfVersion(salt uint64, version uint32) []byte {
	return record(salt, 0, 1, 1, segmentInfo(version, 0, time.Unix(1_000_000_000, 0)))
}

func segmentInfo(version uint32, doubt uint64, created time.Time) []byte {
	le := binary.LittleEndian
	return le.AppendUint64(le.AppendUint64(le.AppendUint32(nil, version), doubt), uint64(created.UnixNano()))
}

func batchInfo(at time.Time, count uint32) []byte {
	le := binary.LittleEndian
	return le.AppendUint32(le.AppendUint64(nil, uint64(at.UnixNano())), count)
}

// The bytes on the disk are those of docs/spool-format.md, made independently.
func TestFormat_IsAsDescribed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk crashfs.FS
		s := open(t, "q", spool.Options{FS: &disk})
		start := time.Now()
		add(t, s, "hello", "")
		time.Sleep(time.Second)
		add(t, s, "again")
		s.Close()

		name := segments(t, &disk, "q")[0]
		salt, ok := parseSalt(name)
		if !ok || !strings.HasPrefix(filepath.Base(name), "0000000001-00000000000000000001-") {
			t.Fatalf("the segment is %q", name)
		}
		var want []byte
		put := func(kind byte, id uint64, payload []byte) {
			want = append(want, record(salt, len(want), kind, id, payload)...)
		}
		put(1, 1, segmentInfo(1, 0, start))
		put(2, 1, batchInfo(start, 2))
		put(3, 1, []byte("hello"))
		put(3, 2, nil)
		put(2, 3, batchInfo(start.Add(time.Second), 1))
		put(3, 3, []byte("again"))
		if got := files(t, &disk)[filepath.Base(name)]; !bytes.Equal(got, want) {
			t.Errorf("the segment is\n%x, want\n%x", got, want)
		}
	})
}

// slot makes a cursor's slot as docs/spool-format.md describes it.
func slot(name string, turn, low uint64) []byte {
	b := binary.LittleEndian.AppendUint32([]byte("hycr"), 1)
	b = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, turn), low)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(append([]byte(name), b...), castagnoli))
}

// A cursor is written in turn to its two slots, so that one is always whole.
func TestFormat_CursorIsAsDescribed(t *testing.T) {
	var disk crashfs.FS
	s := open(t, "q", spool.Options{FS: &disk})
	r := reader(t, s, "worker")
	add(t, s, texts(1, 4)...)
	want(t, r, 1, texts(1, 4)...)
	last := [2][]byte{slot("worker", 0, 1), slot("worker", 1, 1)}
	for id := uint64(1); ; id++ {
		b := files(t, &disk)["worker.cursor"]
		if len(b) != 4096+28 || !bytes.Equal(b[:28], last[0]) || !bytes.Equal(b[4096:], last[1]) {
			t.Fatalf("before %d is acknowledged the cursor is %x and %x, want %x and %x", id, b[:28], b[4096:], last[0], last[1])
		}
		if id == 5 {
			break
		}
		r.Ack(id)
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		last[(id+1)%2] = slot("worker", id+1, id+1)
	}
	s.Close()
	if b := files(t, &disk)["@end.cursor"]; !bytes.Equal(b[4096:], slot("@end", 1, 5)) {
		t.Errorf("the end is %x", b[4096:])
	}
}

// parseSalt reads the salt in a segment's name.
func parseSalt(name string) (uint64, bool) {
	parts := strings.Split(strings.TrimSuffix(filepath.Base(name), ".seg"), "-")
	if len(parts) != 3 {
		return 0, false
	}
	var salt uint64
	for _, c := range parts[2] {
		i := strings.IndexRune("0123456789abcdef", c)
		if i < 0 {
			return 0, false
		}
		salt = salt<<4 | uint64(i)
	}
	return salt, len(parts[2]) == 16
}

// Files that are not the spool's are left alone.
func TestOpen_IgnoresOtherFiles(t *testing.T) {
	dir := t.TempDir()
	others := []string{"notes.txt", "1-1-1.seg", "0000000001-00000000000000000000-0123456789abcdef.seg", "x y.cursor", ".cursor", "0000000001-00000000000000000001-0123456789ABCDEF.seg"}
	for _, name := range others {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, dir, spool.Options{})
	add(t, s, "a")
	r := reader(t, s, "r")
	want(t, r, 1, "a")
	r.Ack(1)
	s.Close()
	for _, name := range others {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != "mine" {
			t.Errorf("%s is %q, %v", name, b, err)
		}
	}
}

// A payload that is a piece of the same segment, at the place where it is, is
// not taken for records when the header before it is damaged.
func TestFormat_PayloadThatLooksLikeRecords(t *testing.T) {
	var disk crashfs.FS
	s := open(t, "q", spool.Options{FS: &disk})
	add(t, s, "a", "b")
	name := segments(t, &disk, "q")[0]
	add(t, s, string(files(t, &disk)[filepath.Base(name)])) // records, but of another place
	add(t, s, "c")
	at := int64(44 + 36 + 25 + 25 + 36) // the header of record 3
	flip(t, &disk, name, at+4)
	r := reader(t, s, "r")
	want(t, r, 1, "a", "b")
	wantGap(t, r, 3, 3, spool.Damaged)
	want(t, r, 4, "c")
}
