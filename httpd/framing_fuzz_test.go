package httpd

import (
	"bytes"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A recording is a connection from which what was recorded is read.
type recording struct {
	*bytes.Reader
	closed chan struct{}
}

func (c *recording) Write(b []byte) (int, error)        { return len(b), nil }
func (c *recording) WriteTo(w io.Writer) (int64, error) { return 0, errors.ErrUnsupported }
func (c *recording) Close() error                       { close(c.closed); return nil }
func (c *recording) LocalAddr() net.Addr                { return &net.TCPAddr{} }
func (c *recording) RemoteAddr() net.Addr               { return &net.TCPAddr{} }
func (c *recording) SetDeadline(time.Time) error        { return nil }
func (c *recording) SetReadDeadline(time.Time) error    { return nil }
func (c *recording) SetWriteDeadline(time.Time) error   { return nil }

// endsAt returns where net/http says that the first request of b ends, and false
// if it does not take it for a whole request.
func endsAt(b []byte) (at int, ok bool) {
	c := &recording{bytes.NewReader(b), make(chan struct{})}
	srv := &http.Server{
		ErrorLog: log.New(io.Discard, "", 0),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				return
			}
			nc, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			at, ok = len(b)-c.Len()-rw.Reader.Buffered(), true
			nc.Close()
		}),
	}
	srv.Serve(&single{nc: c, addr: c.LocalAddr()})
	<-c.closed
	return at, ok
}

// follow has a framing look at b in pieces, and returns where the first message
// ends; -1 if it does not.
func follow(f *framing, b []byte, piece int) (at int, refused bool) {
	for at < len(b) {
		part := b[at:min(len(b), at+piece)]
		n, bad := f.next(part)
		at += n
		switch {
		case bad != "" || f.broken:
			return at, true
		case f.lost:
			return len(b), false
		case f.between() && len(f.head) == 0:
			return at, false
		}
	}
	return -1, false
}

// What net/http takes for a request ends for the framing where it ends for
// net/http, or is refused.
func FuzzFraming(f *testing.F) {
	const host = "Host: x\r\n"
	for _, s := range []string{
		"GET / HTTP/1.1\r\n" + host + "\r\nGET /2 HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\n" + "Host: x\n\nGET",
		"POST / HTTP/1.1\r\n" + host + "Content-Length: 3\r\n\r\nabcGET / ",
		"POST / HTTP/1.1\r\n" + host + "content-length:\t3 \r\nContent-Length: 3\r\n\r\nabcGET / ",
		"POST / HTTP/1.1\r\n" + host + "Content-Length: 3, 3\r\n\r\nabcGET / ",
		"POST / HTTP/1.1\r\n" + host + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nabc",
		"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nTrail: er\r\n\r\nGET / HTTP/1.1\r\n\r\n",
		"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding:\tChunked\r\n\r\n3 \r\nabc\r\n00\r\n\r\nrest\r\n\r\n",
		"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\nrest\r\n\r\n",
		"POST / HTTP/1.1\r\n" + host + "Content-Length:\r\n 3\r\n\r\nabcdef",
		"POST / HTTP/1.1\r\n" + host + "X: a\r\n b\r\nContent-Length: 3\r\n\r\nabcdef",
		"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\nGET",
		"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.0\r\nContent-Length: +3\r\n\r\nabc",
		"POST / HTTP/1.1\r\n" + host + "Content-Length: \r\n\r\nabc",
		"CONNECT x:1 HTTP/1.1\r\n" + host + "\r\nrest",
		"GET http://x/ HTTP/1.1\r\n" + host + "\r\nrest",
		"GET /a b HTTP/1.1\r\n" + host + "\r\nrest",
		"GET / HTTP/1.1\r\n" + host + "Content-Length : 3\r\n\r\nabc",
		"GET / HTTP/1.1\r\nHost: x:1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nabc",
		"GET / HTTP/1.1\r\r\n" + host + "\r\nrest",
		"GET / HTTP/1.1\r\n" + host + "X: a\rContent-Length: 3\r\n\r\nabc",
		"\r\nGET / HTTP/1.1\r\n" + host + "\r\nrest",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		f.Add([]byte(s), uint16(1))
		f.Add([]byte(s), uint16(4096))
	}
	f.Fuzz(func(t *testing.T, b []byte, piece uint16) {
		if bytes.HasPrefix(b, []byte("PRI ")) {
			return // HTTP/2, or what net/http takes for it
		}
		want, ok := endsAt(b)
		if !ok {
			return
		}
		var fr framing
		at, refused := follow(&fr, b, max(1, int(piece)))
		switch {
		case refused:
			if at > want {
				t.Errorf("%q: refused only behind byte %d, and the request ends at %d", b, at, want)
			}
		case at != want:
			t.Errorf("%q: ends at %d, for net/http at %d", b, at, want)
		}
	})
}

// However a message comes to pieces, it ends in the same place.
func FuzzFramingPieces(f *testing.F) {
	f.Add([]byte("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a\r\nabc\r\n0\r\nA: b\r\n\r\nrest"), uint16(3))
	f.Fuzz(func(t *testing.T, b []byte, piece uint16) {
		var one, whole framing
		at, refused := follow(&one, b, max(1, int(piece)))
		wantAt, wantRefused := follow(&whole, b, len(b)+1)
		if refused != wantRefused || at != wantAt && !refused {
			t.Errorf("%q in pieces of %d: %d %v, whole: %d %v", b, piece, at, refused, wantAt, wantRefused)
		}
	})
}

// What is refused is told why.
func TestFraming_RefusesWhatTwoReadersUnderstandDifferently(t *testing.T) {
	for head, want := range map[string]string{
		"POST / HTTP/1.1\nHost: x\nContent-Length: 1\nTransfer-Encoding: chunked\n\n": "both Content-Length and Transfer-Encoding",
		"POST / HTTP/1.0\nTransfer-Encoding: chunked\n\n":                             "Transfer-Encoding in HTTP/1.0",
		"POST / HTTP/1.1\nHost: x\nTransfer-Encoding:\n chunked\n\n":                  "folded header",
		"GET / HTTP/1.1\nHost: x:y\n\n":                                               "malformed Host header",
		"GET x:80 HTTP/1.1\nHost: x:80\n\n":                                           "authority form of target",
	} {
		head = strings.ReplaceAll(head, "\n", "\r\n")
		var f framing
		if _, bad := f.next([]byte(head)); bad != want {
			t.Errorf("%q: %q, want %q", head, bad, want)
		}
	}
}
