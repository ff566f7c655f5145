package httpd_test

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
)

// Frames of HTTP/2, RFC 9113 section 6.
const (
	dataFrame    = 0
	headersFrame = 1
	resetFrame   = 3
	settings     = 4
	windowUpdate = 8

	endStream  = 0x1
	endHeaders = 0x4
)

// An h2Client speaks HTTP/2 by hand.
type h2Client struct{ *rawClient }

// speakH2 begins with an INITIAL_WINDOW_SIZE.
func speakH2(c *rawClient, window uint32) h2Client {
	c.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	h := h2Client{c}
	h.frame(settings, 0, 0, binary.BigEndian.AppendUint32([]byte{0, 4}, window))
	return h
}

func (c h2Client) frame(kind, flags byte, stream uint32, payload []byte) {
	c.Helper()
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	c.send(string(append(binary.BigEndian.AppendUint32(b, stream), payload...)))
}

// get and post ask for a path; post has a body.
func (c h2Client) get(stream uint32, path string) {
	c.frame(headersFrame, endHeaders|endStream, stream, h2Head(0x82, path))
}

func (c h2Client) post(stream uint32, path string) {
	c.frame(headersFrame, endHeaders, stream, h2Head(0x83, path))
}

// h2Head is a request's header by RFC 7541: indexed fields, and two literals.
func h2Head(method byte, path string) []byte {
	head := []byte{method, 0x86, 0x01, 1, 'h', 0x04, byte(len(path))}
	return append(head, path...)
}

func (c h2Client) grow(stream, window uint32) {
	c.frame(windowUpdate, 0, stream, binary.BigEndian.AppendUint32(nil, window))
}

// next reads a frame; what of the connection's own there is is passed over.
func (c h2Client) next() (kind, flags byte, stream uint32, payload string) {
	c.Helper()
	for {
		var head [9]byte
		if _, err := io.ReadFull(c.r, head[:]); err != nil {
			c.Fatalf("no frame: %v", err)
		}
		b := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(c.r, b); err != nil {
			c.Fatal(err)
		}
		kind, flags, stream = head[3], head[4], binary.BigEndian.Uint32(head[5:])
		if kind == dataFrame || kind == headersFrame || kind == resetFrame {
			return kind, flags, stream, string(b)
		}
	}
}

// wantAnswer reads the answer of a stream, and what there is of others before.
func (c h2Client) wantAnswer(stream uint32, want string) {
	c.Helper()
	var got strings.Builder
	for {
		kind, flags, of, payload := c.next()
		if of != stream {
			continue
		}
		if kind == resetFrame {
			c.Fatalf("stream %d was reset after %q", stream, got.String())
		}
		if kind == dataFrame {
			got.WriteString(payload)
		}
		if flags&endStream != 0 {
			break
		}
	}
	if got.String() != want {
		c.Fatalf("stream %d: got %q, want %q", stream, got.String(), want)
	}
}

// untilReset reads until a stream is reset, and returns how many bytes it got of
// it and how long that took.
func (c h2Client) untilReset(stream uint32) (n int, took time.Duration) {
	c.Helper()
	for began := time.Now(); ; {
		kind, flags, of, payload := c.next()
		switch {
		case of != stream:
		case kind == resetFrame:
			return n, time.Since(began)
		case flags&endStream != 0:
			c.Fatalf("stream %d has ended in peace", stream)
		case kind == dataFrame:
			n += len(payload)
		}
	}
}

// inMemoryH2 has a test speak to a server on one connection, in clear or not.
func inMemoryH2(t *testing.T, s *httpd.Server, secure bool, window uint32, test func(t *testing.T, c h2Client)) {
	synctest.Test(t, func(t *testing.T) {
		srv := &hythe.Server{Service: s, Timeouts: hythe.Timeouts{Lifetime: -1}}
		if secure {
			srv.TLS = s.TLSConfig(testTLS(t))
		}
		c := inMemory(t, srv)()
		c.nc.SetDeadline(time.Time{})
		if secure {
			c = talk(t, tls.Client(c.nc, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}))
		}
		test(t, speakH2(c, window))
		c.nc.Close()
	})
}
