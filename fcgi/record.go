package fcgi

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The wire format: FastCGI 1.0, sections 3 to 5 and 8. All numbers are
// big-endian.

const version = 1

// recordType is the kind of a record.
type recordType uint8

const (
	typeBegin recordType = 1 + iota
	typeAbort
	typeEnd
	typeParams
	typeStdin
	typeStdout
	typeStderr
	typeData
	typeGetValues
	typeGetValuesResult
	typeUnknown
)

// The roles of an application, section 6.
const (
	roleResponder  = 1
	roleAuthorizer = 2
	roleFilter     = 3
)

// flagKeepConn in a BEGIN_REQUEST says that the connection outlives the request.
const flagKeepConn = 1

// The protocol status of an END_REQUEST, section 5.5.
const (
	statusComplete      = 0 // the request was answered
	statusCantMultiplex = 1 // not beside the others on this connection
	statusOverloaded    = 2 // out of some resource
	statusUnknownRole   = 3 // not a role of this application
)

// The names that a GET_VALUES may ask for, section 4.1.
const (
	nameMaxConns  = "FCGI_MAX_CONNS"
	nameMaxReqs   = "FCGI_MAX_REQS"
	nameMultiplex = "FCGI_MPXS_CONNS"
)

const (
	headerBytes = 8
	controlBody = 8     // the body of BEGIN_REQUEST, END_REQUEST and UNKNOWN_TYPE
	maxContent  = 65535 // of one record

	// pieceContent is how much of a stream is put into one record: a multiple
	// of 8, so that no padding is needed, and with its header no more than a
	// Stream queues as a whole.
	pieceContent = 32<<10 - headerBytes
)

var padding [8]byte

// appendHeader appends the header of a record that is padded to a multiple of 8
// bytes, as section 3.3 recommends.
func appendHeader(dst []byte, kind recordType, id uint16, content int) []byte {
	return append(dst, version, byte(kind), byte(id>>8), byte(id), byte(content>>8), byte(content), byte(-content&7), 0)
}

// appendRecord appends a record. content has at most maxContent bytes.
func appendRecord(dst []byte, kind recordType, id uint16, content []byte) []byte {
	dst = appendHeader(dst, kind, id, len(content))
	dst = append(dst, content...)
	return append(dst, padding[:-len(content)&7]...)
}

// appendStream appends a piece of a stream, in as many records as it needs:
// none if it is empty, since an empty record is the stream's end.
func appendStream(dst []byte, kind recordType, id uint16, content []byte) []byte {
	for len(content) > 0 {
		n := min(len(content), pieceContent)
		dst = appendRecord(dst, kind, id, content[:n])
		content = content[n:]
	}
	return dst
}

// appendBegin appends a BEGIN_REQUEST, section 5.1.
func appendBegin(dst []byte, id, role uint16, flags uint8) []byte {
	dst = appendHeader(dst, typeBegin, id, controlBody)
	return append(dst, byte(role>>8), byte(role), flags, 0, 0, 0, 0, 0)
}

// appendEnd appends an END_REQUEST, section 5.5.
func appendEnd(dst []byte, id uint16, appStatus uint32, protocolStatus uint8) []byte {
	dst = appendHeader(dst, typeEnd, id, controlBody)
	dst = binary.BigEndian.AppendUint32(dst, appStatus)
	return append(dst, protocolStatus, 0, 0, 0)
}

// appendUnknownType appends an UNKNOWN_TYPE, section 4.2.
func appendUnknownType(dst []byte, kind recordType) []byte {
	dst = appendHeader(dst, typeUnknown, 0, controlBody)
	return append(dst, byte(kind), 0, 0, 0, 0, 0, 0, 0)
}

// A record is a record, or a piece of one: those of a stream are handed out as
// their bytes come, since the borders of a stream's records mean nothing. Other
// records are whole.
type record struct {
	kind    recordType
	id      uint16
	content []byte // borrowed: valid until the bytes it was decoded from change
	first   bool   // nothing of the record came before
	end     bool   // the record is empty, which ends a stream
}

// A decoder turns bytes into records. It needs no memory of its own: what it
// cannot use yet stays with the caller. The zero decoder is at the beginning of
// a record.
type decoder struct {
	kind    recordType
	padding uint8 // bytes that are to be skipped after the content
	id      uint16
	content uint16 // bytes of the record that have not come
	begun   bool   // some of its content has been handed out
}

// errShort asks for more bytes.
var errShort = errors.New("fcgi: more bytes are needed")

// errVersion is a record of another version, or no record at all. Nothing that
// follows can be understood.
type errVersion byte

func (v errVersion) Error() string {
	return fmt.Sprintf("fcgi: record of version %d, want %d", byte(v), version)
}

// next decodes one record or one piece of a stream's record at the beginning of
// src. n is how many bytes of src are done with, also when there is an error.
func (d *decoder) next(src []byte) (n int, r record, err error) {
	if d.content == 0 {
		n = min(int(d.padding), len(src))
		d.padding -= uint8(n)
		src = src[n:]
		if d.padding > 0 {
			return n, r, errShort
		}
		if len(src) > 0 && src[0] != version {
			return n, r, errVersion(src[0])
		}
		if len(src) < headerBytes {
			return n, r, errShort
		}
		kind := recordType(src[1])
		content := int(binary.BigEndian.Uint16(src[4:]))
		if !kind.streams() && len(src) < headerBytes+content {
			return n, r, errShort
		}
		d.kind, d.id = kind, binary.BigEndian.Uint16(src[2:])
		d.content, d.padding, d.begun = uint16(content), src[6], false
		src = src[headerBytes:]
		n += headerBytes
		if content == 0 {
			return n, record{kind: d.kind, id: d.id, first: true, end: true}, nil
		}
	}
	if len(src) == 0 {
		return n, r, errShort
	}
	k := min(int(d.content), len(src))
	d.content -= uint16(k)
	first := !d.begun
	d.begun = true
	return n + k, record{kind: d.kind, id: d.id, content: src[:k:k], first: first}, nil
}

// between reports whether the bytes so far have ended with a whole record.
func (d *decoder) between() bool { return d.content == 0 && d.padding == 0 }

// streams reports whether the records are pieces of a stream, section 3.3.
// Unknown ones count as such: they are ignored, and need not be whole for that.
func (k recordType) streams() bool {
	switch k {
	case typeBegin, typeAbort, typeEnd, typeGetValues, typeGetValuesResult, typeUnknown:
		return false
	}
	return true
}
