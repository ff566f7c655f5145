package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/hythe-go/hythe/bench/internal/child"
)

// What a job's connections speak.
const (
	protocolHTTP = "http"
	protocolFCGI = "fcgi"
)

// An answerParser returns how long the answer is with which b begins, once all
// of it is there, and 0 before. An error means that it is not the one expected.
type answerParser func(b []byte) (n int, err error)

// ask prepares the request of the job's protocol, the same each time.
func (g *generator) ask() error {
	body := make([]byte, g.job.Body)
	for i := range body {
		body[i] = 'a' + byte(i%26)
	}
	want := body
	if len(body) == 0 {
		want = []byte(child.Greeting)
	}
	switch g.job.Protocol {
	case "":
		return nil
	case protocolHTTP:
		g.request, g.answer = httpRequest(body), httpAnswer(want)
	case protocolFCGI:
		g.request, g.answer = fcgiRequest(body, g.job.Script), fcgiAnswer(want)
	default:
		return fmt.Errorf("load: unknown protocol %q", g.job.Protocol)
	}
	g.unit = uint64(len(g.request))
	return nil
}

func httpRequest(body []byte) []byte {
	method, length := "GET", ""
	if len(body) > 0 {
		method, length = "POST", fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	head := method + " / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: */*\r\n" + length + "\r\n"
	return append([]byte(head), body...)
}

// httpAnswer expects status 200 and a body of known length.
func httpAnswer(want []byte) answerParser {
	return func(b []byte) (int, error) {
		end := bytes.Index(b, []byte("\r\n\r\n"))
		if end < 0 {
			return 0, nil
		}
		end += len("\r\n\r\n")
		if !bytes.HasPrefix(b, []byte("HTTP/1.1 200 ")) {
			return 0, fmt.Errorf("it is %q", b[:end])
		}
		const name = "\r\nContent-Length: "
		at := bytes.Index(b[:end], []byte(name))
		if at < 0 {
			return 0, errors.New("it has no Content-Length")
		}
		digits, _, _ := bytes.Cut(b[at+len(name):end], []byte("\r\n"))
		n, err := strconv.Atoi(string(digits))
		if err != nil {
			return 0, err
		}
		if len(b) < end+n {
			return 0, nil
		}
		if !bytes.Equal(b[end:end+n], want) {
			return 0, fmt.Errorf("its body is not the expected one, but %d bytes", n)
		}
		return end + n, nil
	}
}

// The types of FastCGI records that are used, section 8 of the specification 1.0.
const (
	beginRequest = 1
	endRequest   = 3
	params       = 4
	stdin        = 5
	stdout       = 6
	stderr       = 7
)

func appendRecord(b []byte, kind byte, content []byte) []byte {
	b = append(b, 1, kind, 0, 1)
	b = binary.BigEndian.AppendUint16(b, uint16(len(content)))
	return append(append(b, 0, 0), content...)
}

// fcgiRequest has the parameters that nginx sends, and asks for the connection to
// be kept.
func fcgiRequest(body []byte, script string) []byte {
	method, length := "GET", ""
	if len(body) > 0 {
		method, length = "POST", strconv.Itoa(len(body))
	}
	var pairs []byte
	for pair := range strings.SplitSeq("QUERY_STRING= REQUEST_METHOD="+method+" CONTENT_TYPE= CONTENT_LENGTH="+length+
		" SCRIPT_NAME=/hello REQUEST_URI=/hello DOCUMENT_URI=/hello DOCUMENT_ROOT=/srv/www SERVER_PROTOCOL=HTTP/1.1"+
		" REQUEST_SCHEME=http GATEWAY_INTERFACE=CGI/1.1 SERVER_SOFTWARE=nginx/1.22.1 REMOTE_ADDR=127.0.0.1 REMOTE_PORT=40000"+
		" SERVER_ADDR=127.0.0.1 SERVER_PORT=80 SERVER_NAME=localhost REDIRECT_STATUS=200 SCRIPT_FILENAME="+script+
		" HTTP_HOST=localhost HTTP_USER_AGENT=bench HTTP_ACCEPT=*/*", " ") {
		name, value, _ := strings.Cut(pair, "=")
		pairs = append(append(append(pairs, byte(len(name)), byte(len(value))), name...), value...) // all below 128 bytes
	}
	b := appendRecord(nil, beginRequest, []byte{0, 1, 1, 0, 0, 0, 0, 0})
	b = appendRecord(b, params, pairs)
	b = appendRecord(b, params, nil)
	for len(body) > 0 {
		n := min(len(body), 32<<10)
		b = appendRecord(b, stdin, body[:n])
		body = body[n:]
	}
	return appendRecord(b, stdin, nil)
}

// fcgiAnswer expects a response that ends with want.
func fcgiAnswer(want []byte) answerParser {
	var text []byte
	return func(b []byte) (int, error) {
		text = text[:0]
		for at := 0; len(b) >= at+8; {
			n := int(binary.BigEndian.Uint16(b[at+4:]))
			end := at + 8 + n + int(b[at+6])
			if len(b) < end {
				return 0, nil
			}
			content := b[at+8 : at+8+n]
			switch b[at+1] {
			case stdout:
				text = append(text, content...)
			case stderr:
				if n > 0 {
					return 0, fmt.Errorf("it complains: %q", content)
				}
			case endRequest:
				if n != 8 || content[4] != 0 {
					return 0, fmt.Errorf("END_REQUEST is %v", content)
				}
				head, body, _ := bytes.Cut(text, []byte("\r\n\r\n"))
				if !bytes.Equal(body, want) {
					return 0, fmt.Errorf("its body is not the expected one, but %d bytes behind %q", len(body), head)
				}
				return end, nil
			default:
				return 0, fmt.Errorf("it has a record of type %d", b[at+1])
			}
			at = end
		}
		return 0, nil
	}
}
