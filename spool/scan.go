package spool

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
)

// A scanner goes through the records of one segment. Where a header is damaged
// it looks for the next one that is not.
type scanner struct {
	file io.ReaderAt
	salt uint64
	off  int64 // of what comes next
	end  int64 // of what may be read

	buf     []byte // what was read ahead
	bufOff  int64  // its offset
	damages []Damage
}

// A Damage is a piece of a segment that cannot be read.
type Damage struct {
	Segment string // file name
	Offset  int64
	Bytes   int64
}

// chunkBytes is how much is read ahead.
const chunkBytes = 256 << 10

// next returns the next record that is whole, and io.EOF behind the last one.
// The payload is good until the next call. Any other error is the file's; the
// scanner stays where it was.
func (s *scanner) next() (header, []byte, error) {
	for {
		h, err := s.header()
		if err != nil {
			return h, nil, err
		}
		b, err := s.bytes(headerSize+h.length, false)
		if err != nil {
			return h, nil, err
		}
		if len(b) < headerSize+h.length { // cut off
			s.damaged(s.off, int64(len(b)))
			s.off = s.end
			return h, nil, io.EOF
		}
		if checksum(b[headerSize:]) != h.sum {
			s.damaged(s.off, int64(len(b)))
			s.off += int64(len(b))
			continue
		}
		s.off += int64(len(b))
		return h, b[headerSize:], nil
	}
}

// ahead is next for a record that was read ahead, so that what was returned
// before stays good. ok is false, and nothing has happened, if there is none that
// is whole.
func (s *scanner) ahead() (h header, payload []byte, ok bool) {
	at := s.off - s.bufOff
	if at < 0 || at+headerSize > int64(len(s.buf)) {
		return h, nil, false
	}
	h, ok = getHeader(s.buf[at:], s.salt, s.off)
	begin := at + headerSize
	end := begin + int64(h.length)
	if !ok || end > int64(len(s.buf)) || checksum(s.buf[begin:end]) != h.sum {
		return h, nil, false
	}
	s.off += end - at
	return h, s.buf[begin:end], true
}

// skip is next without a look at payloads that are not asked for by want.
func (s *scanner) skip(want func(h header) bool) (header, []byte, error) {
	for {
		h, err := s.header()
		if err != nil {
			return h, nil, err
		}
		if want(h) {
			return s.next()
		}
		s.off += int64(headerSize + h.length)
	}
}

// header returns the next header without passing it.
func (s *scanner) header() (header, error) {
	for bad := int64(-1); ; {
		b, err := s.bytes(headerSize, true)
		if err != nil || len(b) < headerSize {
			if err == nil {
				err = io.EOF
				if bad < 0 && s.off < s.end {
					bad = s.off
				}
				if bad >= 0 {
					s.damaged(bad, s.end-bad)
				}
				s.off = s.end
			}
			return header{}, err
		}
		h, ok := getHeader(b, s.salt, s.off)
		if ok && s.off+headerSize+int64(h.length) <= s.end {
			if bad >= 0 {
				s.damaged(bad, s.off-bad)
			}
			return h, nil
		}
		if bad < 0 {
			bad = s.off
		}
		s.off += 1 + int64(toMagic(b[1:]))
	}
}

// toMagic returns how far it is to the next place in b where a header may begin.
func toMagic(b []byte) int {
	var m [2]byte
	binary.LittleEndian.PutUint16(m[:], magic)
	if i := bytes.Index(b, m[:]); i >= 0 {
		return i
	}
	return max(len(b)-1, 0) // the last byte may be the first of two
}

// bytes returns n bytes from s.off on, or all that there are up to s.end if some
// is set and there are fewer. The result is good until the next call.
func (s *scanner) bytes(n int, some bool) ([]byte, error) {
	at := s.off - s.bufOff
	if at >= 0 && at+int64(n) <= int64(len(s.buf)) {
		if some {
			return s.buf[at:], nil
		}
		return s.buf[at : at+int64(n)], nil
	}
	want := int(min(int64(max(n, chunkBytes)), s.end-s.off))
	s.buf, s.bufOff = slices.Grow(s.buf[:0], want)[:want], s.off
	k, err := s.file.ReadAt(s.buf, s.off)
	if err != nil && err != io.EOF {
		k, err = s.salvage(err)
	}
	s.buf = s.buf[:k]
	switch {
	case err != nil && err != io.EOF:
		s.buf = s.buf[:0]
		return nil, err
	case k >= n:
	default: // the file is shorter than it should be, or this is the end
		s.end = s.off + int64(k)
		n = k
	}
	if some {
		n = k
	}
	return s.buf[:n], nil
}

// pageBytes is the least that a disk fails to read, and the system with it.
const pageBytes = 4 << 10

// salvage reads what can be read of a piece for which the disk has an error. The
// rest is left to the checksums. If there is nothing in more than the last page
// it returns the error, since it may well be that the disk as a whole does not
// answer.
func (s *scanner) salvage(failed error) (n int, err error) {
	pages, good := 0, false
	clear(s.buf)
	for n < len(s.buf) {
		piece := s.buf[n:min(len(s.buf), n+pageBytes-int((s.off+int64(n))%pageBytes))]
		k, err := s.file.ReadAt(piece, s.off+int64(n))
		good = good || err == nil && k > 0
		if err == io.EOF {
			n += k
			break
		}
		n += len(piece)
		pages++
	}
	if !good && pages == 1 {
		k, _ := s.file.ReadAt(make([]byte, 1), 0)
		good = k > 0 && s.off >= pageBytes
	}
	if !good {
		return 0, failed
	}
	return n, nil
}

func (s *scanner) damaged(off, n int64) {
	if n > 0 {
		s.damages = append(s.damages, Damage{Offset: off, Bytes: n})
	}
}
