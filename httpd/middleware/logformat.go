package middleware

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
)

// Common writes entries in the Common Log Format, a line and a Write each.
// Writes do not overlap; an error of w's is nobody's business, and not reported.
//
// Whatever a client says is escaped as Apache does, so that it can neither forge
// a line nor a field, and shortened to 2 KiB a field.
func Common(w io.Writer) func(*Entry) { return lines(w, appendCommon) }

// Combined is Common with the Referer and the User-Agent behind.
func Combined(w io.Writer) func(*Entry) {
	return lines(w, func(b []byte, e *Entry) []byte {
		b = appendCommon(b, e)
		b = appendQuoted(append(b, ' '), shorten(e.Request.Referer()))
		return appendQuoted(append(b, ' '), shorten(e.Request.UserAgent()))
	})
}

// Slog gives entries to a logger, at level Info, with the attributes that an
// Entry has: method, uri, proto, host, remote, user, route, id, status, bytes,
// duration, cut, hijacked, referer and agent. Empty ones are left out. For JSON
// take a slog.JSONHandler.
func Slog(l *slog.Logger) func(*Entry) {
	return func(e *Entry) {
		r := e.Request
		attrs := make([]slog.Attr, 0, 15)
		text := func(key, value string) {
			if value != "" {
				attrs = append(attrs, slog.String(key, shorten(value)))
			}
		}
		text("method", r.Method)
		text("uri", r.RequestURI)
		text("proto", r.Proto)
		text("host", r.Host)
		text("remote", r.RemoteAddr)
		text("user", e.User)
		text("route", r.Pattern)
		text("id", r.Header.Get(requestID))
		attrs = append(attrs,
			slog.Int("status", e.Status),
			slog.Int64("bytes", e.Bytes),
			slog.Duration("duration", e.Duration))
		if e.Cut {
			attrs = append(attrs, slog.Bool("cut", true))
		}
		if e.Hijacked {
			attrs = append(attrs, slog.Bool("hijacked", true))
		}
		text("referer", r.Referer())
		text("agent", r.UserAgent())
		// The request's own context may have ended, which must not lose the line.
		l.LogAttrs(context.WithoutCancel(r.Context()), slog.LevelInfo, "request", attrs...)
	}
}

func lines(w io.Writer, format func([]byte, *Entry) []byte) func(*Entry) {
	var mu sync.Mutex
	return func(e *Entry) {
		line := append(format(make([]byte, 0, 256), e), '\n')
		mu.Lock()
		defer mu.Unlock()
		w.Write(line)
	}
}

func appendCommon(b []byte, e *Entry) []byte {
	r := e.Request
	b = appendWord(b, remoteHost(r))
	b = append(b, " - "...)
	b = appendWord(b, e.User)
	b = e.Start.AppendFormat(b, " [02/Jan/2006:15:04:05 -0700] ")
	b = appendQuoted(b, requestLine(r))
	b = append(b, ' ')
	if e.Status == 0 {
		b = append(b, '-')
	} else {
		b = strconv.AppendInt(b, int64(e.Status), 10)
	}
	b = append(b, ' ')
	if e.Bytes == 0 {
		return append(b, '-')
	}
	return strconv.AppendInt(b, e.Bytes, 10)
}

func requestLine(r *http.Request) string {
	return shorten(r.Method) + " " + shorten(r.RequestURI) + " " + r.Proto
}

// remoteHost is the client's address without its port.
func remoteHost(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return host
	}
	return r.RemoteAddr
}

// maxField is how many bytes of what a client says are logged.
const maxField = 2 << 10

func shorten(s string) string {
	if len(s) > maxField {
		return s[:maxField] + "..."
	}
	return s
}

// appendWord appends a field that ends with the next blank.
func appendWord(b []byte, s string) []byte {
	if s == "" {
		return append(b, '-')
	}
	return appendEscaped(b, shorten(s), ' ')
}

// appendQuoted appends a field in quotes.
func appendQuoted(b []byte, s string) []byte {
	if s == "" {
		return append(b, `"-"`...)
	}
	return append(appendEscaped(append(b, '"'), s, '"'), '"')
}

// appendEscaped appends s with nothing in it but visible ASCII and blanks, and
// with end escaped.
func appendEscaped(b []byte, s string, end byte) []byte {
	const hex = "0123456789abcdef"
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\\' || c == '"':
			b = append(b, '\\', c)
		case c < ' ' || c > '~' || c == end:
			b = append(b, '\\', 'x', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return b
}
