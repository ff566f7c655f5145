package fcgi

import (
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// appendStatus appends the line that CGI has in place of HTTP's status line: RFC
// 3875, section 6.3.3.
func appendStatus(b []byte, status int) []byte {
	b = append(b, "Status: "...)
	b = strconv.AppendInt(b, int64(status), 10)
	if text := http.StatusText(status); text != "" {
		b = append(b, ' ')
		b = append(b, text...)
	}
	return append(b, "\r\n"...)
}

// appendStatusResponse appends a response that says nothing but its status, in
// one record.
func appendStatusResponse(b []byte, id uint16, status int) []byte {
	text := appendStatus(nil, status)
	text = append(text, "Content-Type: text/plain; charset=utf-8\r\n\r\n"...)
	text = append(text, http.StatusText(status)...)
	return appendRecord(b, typeStdout, id, append(text, '\n'))
}

// appendFields appends header lines, in the order of their names. Fields with a
// name or a value that would make other lines of them are refused, and so are
// those that belong to the web server's own connection with its client.
func (req *request) appendFields(b []byte, h http.Header) []byte {
	var room [16]string
	names := room[:0]
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if isHopByHop(name) {
			continue
		}
		for _, value := range h[name] {
			value = strings.Trim(value, " \t")
			if !isToken(name) || !isFieldValue(value) {
				if !strings.HasPrefix(name, http.TrailerPrefix) {
					req.c.srv.logger().Warn("fcgi: response header refused", slog.String("name", name), slog.String("value", value))
				}
				continue
			}
			b = append(b, name...)
			b = append(b, ": "...)
			b = append(b, value...)
			b = append(b, "\r\n"...)
		}
	}
	return b
}

// isHopByHop reports whether a header field, by its canonical name, is not the
// application's to set.
func isHopByHop(name string) bool {
	switch name {
	case "Status", "Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// isToken reports whether s is a token: RFC 9110, section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		if !isTokenByte(s[i]) {
			return false
		}
	}
	return s != ""
}

func isTokenByte(b byte) bool {
	switch {
	case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		return true
	}
	return strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0
}

// isFieldValue reports whether s has nothing that could end its line.
func isFieldValue(s string) bool {
	return strings.IndexByte(s, '\n') < 0 && strings.IndexByte(s, '\r') < 0 && strings.IndexByte(s, 0) < 0
}
