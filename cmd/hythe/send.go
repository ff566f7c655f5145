package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/framing"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
)

// sendBatch is how many messages are sent before their acknowledgement is waited
// for.
const sendBatch = 500

// sendCommand sends lines, or whole files, to a relay.
func sendCommand(p *program, ctx context.Context, f *flag.FlagSet, args []string) error {
	to := f.String("to", "http://127.0.0.1:7080/in", "where to: `URL` with http:, https:, tcp: or unix:")
	name := f.String("framing", "hythe", "of tcp: and unix:; only with hythe, the default, are messages acknowledged")
	key := f.String("key", "", "ordering key of all messages")
	whole := f.Bool("whole", false, "each file is one message, not each line")
	timeout := f.Duration("timeout", 30*time.Second, "for connecting, and for each acknowledgement")
	if err := parse(f, args); err != nil {
		return err
	}
	u, err := url.Parse(*to)
	if err != nil {
		return errUsage{err}
	}
	var s sender
	switch u.Scheme {
	case "http", "https":
		s = &httpSender{url: *to, key: *key, client: &http.Client{Timeout: *timeout}}
	case "tcp", "unix":
		s, err = dialSender(ctx, u, *name, *key, *timeout)
	default:
		err = usage("-to: %q is no http:, https:, tcp: or unix: URL", *to)
	}
	if err != nil {
		return err
	}
	defer s.Close()

	var sent int
	send := func(messages [][]byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.send(ctx, messages); err != nil {
			return fmt.Errorf("%d messages %s, then: %w", sent, s.done(), err)
		}
		sent += len(messages)
		return nil
	}
	files := f.Args()
	if len(files) == 0 {
		files = []string{"-"}
	}
	for _, file := range files {
		if err := p.readMessages(file, *whole, send); err != nil {
			return err
		}
	}
	fmt.Fprintf(p.stderr, "hythe: %d messages %s\n", sent, s.done())
	return nil
}

// readMessages calls send with what is in a file, some messages at a time.
func (p *program) readMessages(file string, whole bool, send func([][]byte) error) error {
	r := p.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		r = f
	}
	if whole {
		b, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		return send([][]byte{b})
	}
	lines := bufio.NewReaderSize(r, 64<<10)
	var batch [][]byte
	for {
		line, err := lines.ReadBytes('\n')
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 {
			batch = append(batch, line)
		}
		if len(batch) == sendBatch || len(batch) > 0 && (err != nil || lines.Buffered() == 0) {
			if err := send(batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// A sender sends messages.
type sender interface {
	send(ctx context.Context, messages [][]byte) error
	done() string // what is true of messages for which send has returned nil
	io.Closer
}

// httpSender posts messages.
type httpSender struct {
	url, key string
	client   *http.Client
	ids      *relay.IDs
}

func (s *httpSender) done() string { return "acknowledged" }
func (s *httpSender) Close() error { s.client.CloseIdleConnections(); return nil }

func (s *httpSender) send(ctx context.Context, messages [][]byte) error {
	if s.ids == nil {
		s.ids = relay.NewIDs()
	}
	body, kind := bytes.Join(messages, []byte("\n")), "text/plain"
	if len(messages) == 1 {
		kind = "application/octet-stream"
	}
	key := s.ids.Append(nil, s.ids.Reserve(1))
	for tries := 0; ; tries++ {
		wait, err := s.post(ctx, body, kind, string(key))
		if err == nil || wait < 0 || tries == 5 {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
	}
}

// post posts once. A negative wait means that trying again is of no use.
func (s *httpSender) post(ctx context.Context, body []byte, kind, id string) (wait time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return -1, err
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Idempotency-Key", id)
	if s.key != "" {
		req.Header.Set("Hythe-Key", s.key)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return time.Second, err
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	switch {
	case resp.StatusCode/100 == 2:
		return 0, nil
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		wait = time.Duration(max(1, min(seconds, 60))) * time.Second
	default:
		wait = -1
	}
	return wait, fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(said))
}

// streamSender sends framed messages over a connection.
type streamSender struct {
	conn    net.Conn
	framing string
	key     []byte
	timeout time.Duration
	ids     *relay.IDs
	encode  func(dst, msg []byte) ([]byte, error)
	buf     []byte
	sent    uint64
	acked   uint64
}

func dialSender(ctx context.Context, u *url.URL, name, key string, timeout time.Duration) (*streamSender, error) {
	address := u.Host
	if u.Scheme == "unix" {
		address = u.Host + u.Path + u.Opaque
	}
	s := &streamSender{framing: name, key: []byte(key), timeout: timeout, ids: relay.NewIDs()}
	if name != "hythe" {
		c, err := framing.New(name, 1<<30)
		if err != nil {
			return nil, errUsage{err}
		}
		s.encode = c.Append
	}
	var err error
	s.conn, err = (&net.Dialer{Timeout: timeout}).DialContext(ctx, u.Scheme, address)
	return s, err
}

func (s *streamSender) done() string {
	if s.framing == "hythe" {
		return "acknowledged"
	}
	return "sent (framing " + s.framing + " has no acknowledgements here)"
}

// Close waits until the relay has read everything.
func (s *streamSender) Close() error {
	if c, ok := s.conn.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil {
		s.conn.SetReadDeadline(time.Now().Add(s.timeout))
		io.Copy(io.Discard, s.conn)
	}
	return s.conn.Close()
}

func (s *streamSender) send(_ context.Context, messages [][]byte) error {
	s.buf = s.buf[:0]
	number := s.ids.Reserve(len(messages))
	for i, body := range messages {
		var err error
		if s.encode != nil {
			s.buf, err = s.encode(s.buf, body)
		} else {
			m := relay.Message{ID: s.ids.Append(nil, number+uint64(i)), Received: time.Now(), Source: []byte("hythe-send"), Key: s.key, Body: body}
			at := len(s.buf)
			s.buf = m.Append(append(s.buf, 0, 0, 0, 0))
			binary.BigEndian.PutUint32(s.buf[at:], uint32(len(s.buf)-at-4))
		}
		if err != nil {
			return err
		}
	}
	s.conn.SetDeadline(time.Now().Add(s.timeout))
	if _, err := s.conn.Write(s.buf); err != nil {
		return err
	}
	s.sent += uint64(len(messages))
	for s.framing == "hythe" && s.acked < s.sent {
		var ack [12]byte
		if _, err := io.ReadFull(s.conn, ack[:]); err != nil {
			return fmt.Errorf("no acknowledgement: %w", err)
		}
		if binary.BigEndian.Uint32(ack[:]) != 8 {
			return errors.New("no acknowledgement: it does not speak hythe's framing")
		}
		s.acked = binary.BigEndian.Uint64(ack[4:])
	}
	return nil
}

// envelopeJSON writes a message as JSON, for tail and spool export.
func envelopeJSON(m *relay.Message, record uint64) []byte {
	e := struct {
		Record   uint64    `json:"record"`
		ID       string    `json:"id"`
		Received time.Time `json:"received"`
		Source   string    `json:"source,omitempty"`
		Key      string    `json:"key,omitempty"`
		Cause    string    `json:"cause,omitempty"`
		Body     string    `json:"body"`
	}{record, string(m.ID), m.Received.UTC(), string(m.Source), string(m.Key), string(m.Cause), strings.ToValidUTF8(string(m.Body), "\uFFFD")}
	b, err := json.Marshal(e)
	if err != nil {
		return nil
	}
	return append(b, '\n')
}
