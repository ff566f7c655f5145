package spool

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// The format is described in docs/spool-format.md.

const (
	version    = 1
	magic      = 0x59a9
	headerSize = 24

	segmentSuffix = ".seg"
	cursorSuffix  = ".cursor"
)

// A kind says what a record is.
type kind uint8

const (
	kindSegment kind = iota + 1 // the first of a segment
	kindBatch                   // begins what is written at once
	kindMessage
)

// A header precedes every record's payload.
type header struct {
	kind   kind
	length int
	id     uint64 // of a message; of the first message behind the others
	sum    uint32 // of the payload
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// headerSum is the checksum of a header, which is good at one place only: its
// segment is known by its salt.
func headerSum(b []byte, salt uint64, off int64) uint32 {
	return crc32.Update(placeSum(salt, off), castagnoli, b[:20])
}

// placeSum is the checksum of the salt and the offset, eight bytes each. It goes
// byte by byte, since an array for crc32 would have to be allocated.
func placeSum(salt uint64, off int64) uint32 {
	sum := ^uint32(0)
	for _, v := range [2]uint64{salt, uint64(off)} {
		for range 8 {
			sum = castagnoli[byte(sum)^byte(v)] ^ sum>>8
			v >>= 8
		}
	}
	return ^sum
}

// putHeader writes a header to b, for the offset off.
func putHeader(b []byte, h header, salt uint64, off int64) {
	_ = b[headerSize-1]
	binary.LittleEndian.PutUint16(b, magic)
	b[2], b[3] = byte(h.kind), 0
	binary.LittleEndian.PutUint32(b[4:], uint32(h.length))
	binary.LittleEndian.PutUint64(b[8:], h.id)
	binary.LittleEndian.PutUint32(b[16:], h.sum)
	binary.LittleEndian.PutUint32(b[20:], headerSum(b, salt, off))
}

// getHeader reads the header that was written for the offset off. ok is false
// when there is none, or it is damaged.
func getHeader(b []byte, salt uint64, off int64) (h header, ok bool) {
	_ = b[headerSize-1]
	if binary.LittleEndian.Uint16(b) != magic || binary.LittleEndian.Uint32(b[20:]) != headerSum(b, salt, off) {
		return h, false
	}
	return header{
		kind:   kind(b[2]),
		length: int(binary.LittleEndian.Uint32(b[4:])),
		id:     binary.LittleEndian.Uint64(b[8:]),
		sum:    binary.LittleEndian.Uint32(b[16:]),
	}, true
}

// A segmentInfo is the payload of a segment's first record.
type segmentInfo struct {
	version uint32
	doubt   uint64 // ids from here to the segment's first may never have been durable; 0: none
	created int64  // Unix time in nanoseconds
}

const segmentInfoSize = 20

func (i segmentInfo) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, i.version)
	b = binary.LittleEndian.AppendUint64(b, i.doubt)
	return binary.LittleEndian.AppendUint64(b, uint64(i.created))
}

func parseSegmentInfo(b []byte) (i segmentInfo, ok bool) {
	if len(b) < segmentInfoSize {
		return i, false
	}
	return segmentInfo{
		version: binary.LittleEndian.Uint32(b),
		doubt:   binary.LittleEndian.Uint64(b[4:]),
		created: int64(binary.LittleEndian.Uint64(b[12:])),
	}, true
}

// batchSize is the size of a batch record's payload: the time at which the batch
// was written, and how many messages it has.
const batchSize = 12

func putBatch(b []byte, nanos int64, count int) {
	binary.LittleEndian.PutUint64(b, uint64(nanos))
	binary.LittleEndian.PutUint32(b[8:], uint32(count))
}

func parseBatch(b []byte) (nanos int64, count uint32, ok bool) {
	if len(b) < batchSize {
		return 0, 0, false
	}
	return int64(binary.LittleEndian.Uint64(b)), binary.LittleEndian.Uint32(b[8:]), true
}

// segmentName makes a segment's file name. What it says is safe from damage to
// the file.
func segmentName(seq, first, salt uint64) string {
	return fmt.Sprintf("%010d-%020d-%016x%s", seq, first, salt, segmentSuffix)
}

func parseSegmentName(name string) (seq, first, salt uint64, ok bool) {
	rest, is := strings.CutSuffix(name, segmentSuffix)
	parts := strings.Split(rest, "-")
	if !is || len(parts) != 3 {
		return 0, 0, 0, false
	}
	seq, err1 := strconv.ParseUint(parts[0], 10, 64)
	first, err2 := strconv.ParseUint(parts[1], 10, 64)
	salt, err3 := strconv.ParseUint(parts[2], 16, 64)
	ok = err1 == nil && err2 == nil && err3 == nil && first > 0 && name == segmentName(seq, first, salt)
	return seq, first, salt, ok
}
