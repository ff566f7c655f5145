package fcgi

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// readHeader reads to the end of the response's header, and makes a response of
// it whose Body reads on.
func (x *exchange) readHeader() (*http.Response, error) {
	x.reading.take()
	defer x.reading.give()
	limit := or(x.t.HeaderBytes, 256<<10)
	var head []byte
	for {
		p, err := x.next()
		if err != nil {
			if err == io.EOF {
				err = fmt.Errorf("%w: it has ended inside its header", ErrBadResponse)
			}
			return nil, err
		}
		from := max(0, len(head)-3)
		head = append(head, p...)
		end := headerEnd(head, from)
		if end > limit || end < 0 && len(head) > limit {
			return nil, fmt.Errorf("%w: a header of more than %d bytes", ErrBadResponse, limit)
		}
		if end >= 0 {
			resp, err := parseHeader(head[:end])
			if err != nil {
				return nil, err
			}
			x.addBody(resp, head[end:])
			return resp, nil
		}
	}
}

// headerEnd returns where the body begins, behind the first empty line that
// ends after from. It is negative if there is none. Lines end with LF or CRLF.
func headerEnd(b []byte, from int) int {
	if bytes.HasPrefix(b, []byte("\n")) {
		return 1
	}
	if bytes.HasPrefix(b, []byte("\r\n")) {
		return 2
	}
	for i := from; i < len(b); i++ {
		if b[i] != '\n' {
			continue
		}
		rest := b[i+1:]
		if bytes.HasPrefix(rest, []byte("\n")) {
			return i + 2
		}
		if bytes.HasPrefix(rest, []byte("\r\n")) {
			return i + 3
		}
	}
	return -1
}

// parseHeader makes a response of a CGI header: RFC 3875, section 6.3.
func parseHeader(head []byte) (*http.Response, error) {
	fields, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(head))).ReadMIMEHeader()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadResponse, err)
	}
	resp := &http.Response{
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        http.Header(fields),
		StatusCode:    http.StatusOK,
		ContentLength: -1,
	}
	for name, values := range resp.Header {
		for _, value := range values {
			if !isToken(name) || !isFieldValue(value) {
				return nil, fmt.Errorf("%w: field %q", ErrBadResponse, name)
			}
		}
	}
	reason := ""
	if status := resp.Header.Get("Status"); status != "" {
		code, text, _ := strings.Cut(status, " ")
		n, err := strconv.Atoi(code)
		if err != nil || n < 200 || n > 999 || len(code) != 3 {
			return nil, fmt.Errorf("%w: Status %q", ErrBadResponse, status)
		}
		resp.StatusCode, reason = n, strings.TrimSpace(text)
	} else if resp.Header.Get("Location") != "" {
		resp.StatusCode = http.StatusFound // RFC 3875, section 6.2.3
	}
	delete(resp.Header, "Status")
	if reason == "" {
		reason = http.StatusText(resp.StatusCode)
	}
	resp.Status = strings.TrimSpace(strconv.Itoa(resp.StatusCode) + " " + reason)
	if lengths := resp.Header["Content-Length"]; len(lengths) > 0 {
		n, err := parseLength(lengths[0])
		if err != nil || n < 0 || len(lengths) > 1 {
			return nil, fmt.Errorf("%w: Content-Length %q", ErrBadResponse, lengths)
		}
		resp.ContentLength = n
	}
	return resp, nil
}

// addBody gives a response its body, of which first has come.
func (x *exchange) addBody(resp *http.Response, first []byte) {
	resp.Request = x.req
	b := &responseBody{x: x, first: first, left: resp.ContentLength}
	if x.req.Method == http.MethodHead || !hasBody(resp.StatusCode) {
		b.left = 0
		if x.req.Method != http.MethodHead {
			resp.ContentLength = 0
		}
	}
	b.whole.Store(b.left == 0)
	resp.Body = b
}

// A responseBody is the Body of a response.
type responseBody struct {
	x     *exchange
	first []byte      // what is not read yet of the last piece
	left  int64       // bytes to come by the header; negative: it does not say
	err   error       // what Read returns from now on
	whole atomic.Bool // left is 0
}

// Read reads what comes next. It reports io.EOF when the application has ended
// the request, and io.ErrUnexpectedEOF if that was sooner than Content-Length
// says. Bytes behind that length are dropped.
func (b *responseBody) Read(p []byte) (n int, err error) {
	b.x.reading.take()
	defer b.x.reading.give()
	if len(p) == 0 {
		return 0, nil
	}
	if b.err == nil {
		b.err = b.x.abandoned() // what is left of first is no longer ours
	}
	for b.err == nil {
		if b.left >= 0 && int64(len(b.first)) > b.left {
			b.first = b.first[:b.left]
		}
		if len(b.first) > 0 {
			n = copy(p, b.first)
			b.first = b.first[n:]
			if b.left > 0 {
				b.left -= int64(n)
				b.whole.Store(b.left == 0)
			}
			return n, nil
		}
		b.first, b.err = b.x.next()
		if b.err == io.EOF && b.left > 0 {
			b.err = io.ErrUnexpectedEOF
		}
		if b.err != nil && b.err != io.EOF {
			b.err = b.x.abandon(b.err, 0)
		}
	}
	return 0, b.err
}

// Close aborts the request if the response has not been read to its end. One
// whose end is only a matter of time is given some.
func (b *responseBody) Close() error {
	var patience time.Duration
	if b.whole.Load() {
		patience = b.x.t.abortTimeout()
	}
	b.x.abandon(http.ErrBodyReadAfterClose, patience)
	return nil
}

// AppStatus returns the application status that a Transport's response has ended
// with: section 5.5. There is none before its Body has been read to the end.
// PHP says 0, programs of this package what SetAppStatus said, and not 0 when
// the handler panicked, so that the response may not be whole.
func AppStatus(resp *http.Response) (status uint32, ok bool) {
	b, ok := resp.Body.(*responseBody)
	if !ok {
		return 0, false
	}
	b.x.mu.Lock()
	defer b.x.mu.Unlock()
	return b.x.status, b.x.finished
}
