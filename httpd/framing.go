package httpd

import (
	"bytes"
	"strconv"
)

// A framing follows the messages that a client sends, to know where each ends,
// and refuses heads that another reader may understand differently. It does not
// judge what net/http refuses itself: then it is lost, and lets everything
// through.
type framing struct {
	at   place
	head []byte // an unfinished head, or an unfinished line of a chunked body
	left int64  // of a body, or a chunk's data

	lost    bool
	broken  bool // a body is malformed: nothing behind it can be trusted
	lastOne bool // the connection is to end with this message
}

type place uint8

const (
	inHead place = iota
	inBody
	inChunkSize
	inChunkData
	inChunkEnd
	inTrailer
)

// maxHead is how much of a head is looked at. net/http has a lower limit.
const maxHead = 2 << 20

// inBody reports whether what comes next belongs to a body.
func (f *framing) inBody() bool { return f.at != inHead && !f.lost }

// between reports whether what comes next begins a message, if need be behind
// empty lines.
func (f *framing) between() bool {
	return f.at == inHead && !f.lost && len(bytes.TrimLeft(f.head, emptyLines)) == 0
}

// next is told what has come, and returns how much of it belongs to the message
// at hand. bad says why its head is to be refused.
func (f *framing) next(b []byte) (n int, bad string) {
	for n < len(b) && !f.lost && !f.broken {
		began := f.at
		k, bad := f.step(b[n:])
		if bad != "" {
			return n, bad
		}
		n += k
		if f.at == inHead && len(f.head) == 0 && (began != inHead || k > 0) && !f.lost {
			return n, ""
		}
	}
	if f.lost {
		f.head = nil
		return len(b), ""
	}
	return n, ""
}

// step goes on in the place where the message is.
func (f *framing) step(b []byte) (n int, bad string) {
	switch f.at {
	case inHead:
		return f.inHead(b)
	case inBody, inChunkData:
		n = int(min(int64(len(b)), f.left))
		if f.left -= int64(n); f.left == 0 {
			if f.at == inBody {
				f.at = inHead
			} else {
				f.at = inChunkEnd
			}
		}
		return n, ""
	}
	line, n, whole := f.line(b)
	if !whole {
		return n, ""
	}
	switch f.at {
	case inChunkEnd:
		f.at = inChunkSize
		f.broken = len(line) > 0
	case inTrailer:
		if len(line) == 0 {
			f.at = inHead
		} else {
			f.broken = bytes.IndexByte(line, ':') <= 0
		}
	case inChunkSize:
		digits, _, _ := bytes.Cut(line, []byte(";"))
		size, err := strconv.ParseInt(string(bytes.TrimRight(digits, " \t")), 16, 64)
		switch {
		case err != nil || size < 0:
			f.broken = true
		case size == 0:
			f.at = inTrailer
		default:
			f.at, f.left = inChunkData, size
		}
	}
	if f.broken {
		return 0, "" // net/http is not to take the line for something else
	}
	return n, ""
}

// line completes a line of a chunked body.
func (f *framing) line(b []byte) (line []byte, n int, whole bool) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		if f.head = append(f.head, b...); len(f.head) > maxHead {
			f.broken = true
		}
		return nil, len(b), false
	}
	line = b[:i]
	if len(f.head) > 0 {
		line = append(f.head, line...)
		f.head = f.head[:0]
	}
	return bytes.TrimSuffix(line, []byte("\r")), i + 1, true
}

// inHead looks for the end of a head, and at the head.
func (f *framing) inHead(b []byte) (n int, bad string) {
	head, kept := b, len(f.head)
	if kept > 0 {
		f.head = append(f.head, b...)
		head = f.head
	}
	empty := len(head) - len(bytes.TrimLeft(head, emptyLines)) // net/http lets them pass behind a POST
	end := headEnd(head, max(empty, kept-2))
	if end < 0 {
		switch {
		case len(head) > maxHead:
			f.lost = true
		case kept == 0:
			f.head = append(f.head[:0], b...)
		}
		return len(b), ""
	}
	h := parseHead(head[empty:end])
	if h.bad == "" && !h.odd {
		f.lastOne = f.lastOne || h.close
		switch {
		case h.chunked:
			f.at = inChunkSize
		case h.length > 0:
			f.at, f.left = inBody, h.length
		}
	}
	f.lost = h.odd
	if kept > 0 {
		f.head = nil
	}
	return end - kept, h.bad
}

// headEnd returns the index behind the empty line that ends a head, -1 if there
// is none. from is where to look from.
func headEnd(b []byte, from int) int {
	for {
		i := bytes.IndexByte(b[from:], '\n')
		if i < 0 {
			return -1
		}
		from += i + 1
		switch rest := b[from:]; {
		case len(rest) > 0 && rest[0] == '\n':
			return from + 1
		case len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
			return from + 2
		}
	}
}

// A parsedHead is what matters of a head.
type parsedHead struct {
	length  int64
	chunked bool
	close   bool   // the connection is to end with this message
	odd     bool   // net/http refuses it, or it is not HTTP/1
	bad     string // why it is to be refused
}

// parseHead reads a head as far as framing goes. RFC 9112 has a request with both
// lengths, and one with a coding in HTTP/1.0, be refused or its connection ended
// (6.1), and what is wrong with Host refused (3.2).
func parseHead(b []byte) (h parsedHead) {
	line, b := cutLine(b)
	method, target, version := splitRequestLine(line)
	if version == nil {
		h.odd = true
		return h
	}
	if !bytes.HasPrefix(version, []byte("HTTP/1.")) { // "PRI * HTTP/2.0" as well
		h.odd = true
		return h
	}
	if bad := badTarget(method, target); bad != "" {
		h.bad = bad
		return h
	}
	old := string(version) == "HTTP/1.0"
	lengths, codings, keepAlive := 0, 0, false
	important := false // the line before is one that matters
	for {
		line, b = cutLine(b)
		if len(line) == 0 {
			break
		}
		if line[0] == ' ' || line[0] == '\t' {
			if important {
				h.bad = "folded header"
				return h
			}
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.Trim(value, " \t")
		important = false
		switch len(name) {
		case len("Host"):
			if fold(name, "host") {
				important = true
				if badHost(value) {
					h.bad = "malformed Host header"
					return h
				}
			}
		case len("Connection"):
			if fold(name, "connection") {
				for option := range bytes.SplitSeq(value, []byte(",")) {
					option = bytes.Trim(option, " \t")
					h.close = h.close || fold(option, "close")
					keepAlive = keepAlive || fold(option, "keep-alive")
				}
			}
		case len("Content-Length"):
			if fold(name, "content-length") {
				important = true
				lengths++
				n, err := strconv.ParseUint(string(value), 10, 63)
				if err != nil || lengths > 1 && int64(n) != h.length {
					h.odd = true // net/http says so
				}
				h.length = int64(n)
			}
		case len("Transfer-Encoding"):
			if fold(name, "transfer-encoding") {
				important = true
				codings++
				h.chunked = fold(value, "chunked")
			}
		}
	}
	h.close = h.close && keepAlive // otherwise net/http sees to it
	switch {
	case lengths > 0 && codings > 0:
		h.bad = "both Content-Length and Transfer-Encoding"
	case codings > 0 && old:
		h.bad = "Transfer-Encoding in HTTP/1.0"
	case codings > 1 || codings == 1 && !h.chunked:
		h.odd = true
	}
	return h
}

// cutLine cuts off the first line, without its end.
func cutLine(b []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(b, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), rest
}

func splitRequestLine(line []byte) (method, target, version []byte) {
	method, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok {
		return nil, nil, nil
	}
	i := bytes.LastIndexByte(rest, ' ')
	if i < 0 {
		return nil, nil, nil
	}
	return method, rest[:i], rest[i+1:]
}

// badTarget says what is wrong with a target's form, RFC 9112 section 3.2.
func badTarget(method, target []byte) string {
	switch {
	case len(target) == 0 || target[0] == '/' || string(method) == "CONNECT" || string(target) == "*":
		return ""
	case bytes.Contains(target, []byte("://")):
		return ""
	}
	return "authority form of target"
}

// badHost reports whether a Host header has a port that is none.
func badHost(host []byte) bool {
	if i := bytes.LastIndexByte(host, ']'); i >= 0 {
		host = host[i+1:]
	}
	i := bytes.IndexByte(host, ':')
	if i < 0 {
		return false
	}
	for _, c := range host[i+1:] {
		if c < '0' || c > '9' {
			return true
		}
	}
	return false
}

// fold reports whether b is the lower-case word s, in whatever case.
func fold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range len(s) {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != s[i] {
			return false
		}
	}
	return true
}
