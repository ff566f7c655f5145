package httpd_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hythe-go/hythe/httpd"
)

// A headCase is a request as it may come, and what may become of it.
type headCase struct {
	name    string
	section string // of RFC 9112, unless it says another
	raw     string // for /first
	want    string // outcomes that are right, with "|" between; the first is ours
	host    string // what the handler must see, if not empty
	body    string // the same
}

// What can become of a case. Behind it on the wire stands a good request for
// /second, which must be answered exactly once or not at all.
//
//	served    both were answered 200
//	last      the first was, and then the connection was closed
//	400 …     the first was refused with this status, and the connection closed
//	bad body  the handler was told that the body is broken; then closed
//	closed    closed without a word
//
// Anything else is a desync: the handler saw a request that nobody sent.

// served says what has been served on one connection.
type served struct {
	mu   sync.Mutex
	from map[string][]*seen // by the client's address
}

type seen struct {
	method, uri, host, body string
	err                     error
}

func (s *served) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	s.from[r.RemoteAddr] = append(s.from[r.RemoteAddr], &seen{r.Method, r.RequestURI, r.Host, string(body), err})
	s.mu.Unlock()
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
	}
	io.WriteString(w, "ok")
}

func (s *served) take(from net.Addr) []*seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.from[from.String()]
	delete(s.from, from.String())
	return all
}

const (
	goodBefore = "GET /before HTTP/1.1\r\nHost: good.example\r\n\r\n"
	goodSecond = "GET /second HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\n\r\n"
)

// The ways in which each case is sent.
var deliveries = []struct {
	name string
	send sender
}{
	{"at once", func(nc net.Conn, _ *bufio.Reader, raw string) (bool, error) {
		_, err := io.WriteString(nc, raw+goodSecond)
		return false, err
	}},
	{"byte by byte", func(nc net.Conn, _ *bufio.Reader, raw string) (bool, error) {
		if len(raw) > 2000 {
			return false, errTooLong
		}
		for i := range len(raw) {
			if _, err := nc.Write([]byte{raw[i]}); err != nil {
				return false, err
			}
		}
		_, err := io.WriteString(nc, goodSecond)
		return false, err
	}},
	{"behind a good one", func(nc net.Conn, _ *bufio.Reader, raw string) (bool, error) {
		_, err := io.WriteString(nc, goodBefore+raw+goodSecond)
		return true, err
	}},
	{"on a moored connection", func(nc net.Conn, br *bufio.Reader, raw string) (bool, error) {
		if _, err := io.WriteString(nc, goodBefore); err != nil {
			return true, err
		}
		if _, err := br.Peek(1); err != nil {
			return true, err
		}
		time.Sleep(10 * moorAfter) // more than likely moored; right or wrong does not depend on it
		_, err := io.WriteString(nc, raw+goodSecond)
		return true, err
	}},
}

var errTooLong = errors.New("too long for this delivery")

const moorAfter = 5 * time.Millisecond

func TestCorpus(t *testing.T) {
	t.Parallel()
	cases := slices.Concat(lineCases, hostCases, fieldCases, lengthCases, codingCases, chunkCases, connectionCases)
	if len(cases) < 80 {
		t.Errorf("only %d cases", len(cases))
	}
	handler := &served{from: make(map[string][]*seen)}
	at := startSite(t, handler, func(s *httpd.Server) {
		s.MaxHeaderBytes = 16 << 10
		s.MoorAfter = moorAfter
	})
	// All are sent first, many at a time, since most of it is waiting.
	var mu sync.Mutex
	errs := make([][]string, len(cases)) // guarded by mu
	room := make(chan struct{}, 32)
	var all sync.WaitGroup
	for i, c := range cases {
		for _, d := range deliveries {
			room <- struct{}{}
			all.Go(func() {
				// Each has a name of its own for what it asks, "/first" and more, since
				// the kernel gives the same port to several of them.
				first := fmt.Sprintf("first-%d-%s", i, d.name[:2])
				if err := c.check(at, handler, first, d.send); err != "" {
					mu.Lock()
					errs[i] = append(errs[i], d.name+": "+err)
					mu.Unlock()
				}
				<-room
			})
		}
	}
	all.Wait()
	handler.mu.Lock()
	defer handler.mu.Unlock()
	for from, late := range handler.from {
		t.Errorf("a handler was called after its client %s had seen the end: %s", from, describe(late))
	}
	names := make(map[string]bool)
	for i, c := range cases {
		if names[c.name] {
			t.Errorf("two cases are called %q", c.name)
		}
		names[c.name] = true
		t.Run(c.name, func(t *testing.T) {
			for _, err := range errs[i] {
				t.Errorf("%s: %s", c.section, err)
			}
		})
	}
}

type sender func(nc net.Conn, br *bufio.Reader, raw string) (before bool, err error)

// check sends the case in one way, and says what is wrong with what became of it.
func (c *headCase) check(at net.Addr, handler *served, first string, send sender) string {
	got, all := c.run(at, handler, first, send)
	switch {
	case got == "":
		return ""
	case !slices.Contains(strings.Split(c.want, "|"), got):
		return fmt.Sprintf("%s, want %s", got, c.want)
	case len(all) == 0 || got == "bad body":
		return ""
	case c.host != "" && all[0].host != c.host:
		return fmt.Sprintf("the handler saw the host %q, want %q", all[0].host, c.host)
	case c.body != "" && all[0].body != c.body:
		return fmt.Sprintf("the handler saw the body %q, want %q", all[0].body, c.body)
	}
	return ""
}

// run sends the case and says what became of it, and what the handler saw of it.
func (c *headCase) run(at net.Addr, handler *served, first string, send sender) (string, []*seen) {
	nc, err := net.Dial("tcp", at.String())
	if err != nil {
		return err.Error(), nil
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(15 * time.Second))
	br := bufio.NewReader(nc)
	before, err := send(nc, br, strings.ReplaceAll(c.raw, "first", first))
	if err == errTooLong {
		return "", nil
	}
	nc.(*net.TCPConn).CloseWrite() // an error of writing is seen in what is read
	answers, err := io.ReadAll(br)
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return fmt.Sprintf("hangs after %q", answers), nil
	}
	all := handler.take(nc.LocalAddr())
	statuses := parseAnswers(answers, all)
	if before {
		if len(all) == 0 || all[0].uri != "/before" || len(statuses) == 0 || statuses[0] != "200" {
			return fmt.Sprintf("the good one before was lost: %v, answers %v", describe(all), statuses), all
		}
		all, statuses = all[1:], statuses[1:]
	}
	return outcome(first, all, statuses), all
}

// outcome puts what was seen and what was answered in one word.
func outcome(name string, all []*seen, statuses []string) string {
	desync := fmt.Sprintf("DESYNC: the handler saw %s, answers %v to %s", describe(all), statuses, name)
	for i, s := range all {
		first, second := strings.Contains(s.uri, name) || s.uri == "*", s.uri == "/second"
		if i == 0 && !first || i == 1 && !second || i > 1 {
			return desync
		}
	}
	switch {
	case len(all) == 2 && all[0].err == nil && slices.Equal(statuses, []string{"200", "200"}):
		return "served"
	case len(all) == 1 && all[0].err == nil && slices.Equal(statuses, []string{"200"}):
		return "last"
	case len(all) == 1 && all[0].err != nil && len(statuses) <= 1:
		return "bad body"
	case len(all) == 0 && len(statuses) == 1: // 200 to "OPTIONS *", which handlers do not see
		return statuses[0]
	case len(all) == 0 && len(statuses) == 0:
		return "closed"
	}
	return desync
}

func describe(all []*seen) string {
	var b strings.Builder
	for _, s := range all {
		fmt.Fprintf(&b, "[%s %s %.40q %v]", s.method, s.uri, s.body, s.err)
	}
	return b.String()
}

// parseAnswers returns the statuses of final answers, and "garbage" for the rest.
func parseAnswers(b []byte, to []*seen) (statuses []string) {
	r := bufio.NewReader(bytes.NewReader(b))
	for {
		if _, err := r.Peek(1); err != nil {
			return statuses
		}
		method := "GET"
		if len(statuses) < len(to) {
			method = to[len(statuses)].method
		}
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			return append(statuses, "garbage")
		}
		if resp.StatusCode < 200 {
			continue
		}
		statuses = append(statuses, strconv.Itoa(resp.StatusCode))
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err != nil {
			return append(statuses, "broken off")
		}
		if resp.Close {
			if rest, _ := io.ReadAll(r); len(rest) > 0 {
				return append(statuses, "garbage")
			}
		}
	}
}

// head joins lines to a request head.
func head(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

// post is a request with a body and these header fields.
func post(body string, fields ...string) string {
	return head(append([]string{"POST /first HTTP/1.1", "Host: good.example"}, fields...)...) + body
}

// smuggled is a whole request of 46 bytes, for places where none is.
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: good.example\r\n\r\n"
