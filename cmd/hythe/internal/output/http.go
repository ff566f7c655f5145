package output

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/link"
)

// web delivers messages by POST, one batch after the other. What becomes of a batch
// depends on the answer:
//
//	2xx                     delivered
//	400 413 414 415 422     the batch is halved until the message that is not
//	                        wanted has been found; that becomes a dead letter
//	401 403 404 405 407 410 something is wrong with the address or the permission:
//	                        the link has Failed, visibly, and tries seldom
//	408 421 425 429 5xx     sent again after a pause, or what Retry-After says
//	3xx                     as 404: POSTs are not sent elsewhere
//
// A batch that is sent again has the same messages, and the same Idempotency-Key.
type web struct {
	c *config.Output

	retry int // messages in the request that has failed last; 0: it did not. Only deliver uses it
}

func newHTTP(c *config.Output, o Options) (relay.Output, error) {
	w := &web{c: c}
	conf, err := clientTLS(c.TLS)
	if err != nil {
		return nil, err
	}
	switch c.Format {
	case "lines", "ndjson", "single":
	default:
		return nil, fmt.Errorf("no such format: %q", c.Format)
	}
	dial := func(_ context.Context, a link.Attempt) (*poster, error) {
		transport := &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf.Clone(), ForceAttemptHTTP2: true,
			DialContext:         (&net.Dialer{Timeout: time.Duration(c.Timeout), KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}}).DialContext,
			MaxIdleConnsPerHost: 1, IdleConnTimeout: 90 * time.Second, ResponseHeaderTimeout: time.Duration(c.Timeout),
			MaxResponseHeaderBytes: 64 << 10,
		}
		return &poster{web: w, url: a.Endpoint, transport: transport, client: &http.Client{
			Transport: transport, Timeout: time.Duration(c.Timeout),
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}}, nil
	}
	deliver := func(ctx context.Context, p *poster, lane *relay.Lane) error { return p.deliver(ctx, lane) }
	return newLinked(c, o, c.To, dial, deliver), nil
}

// A poster posts to one address.
type poster struct {
	*web
	url       string
	transport *http.Transport
	client    *http.Client
	buf       bytes.Buffer
}

// Close closes the connections.
func (p *poster) Close() error {
	p.transport.CloseIdleConnections()
	return nil
}

// deliver delivers until something is wrong.
func (p *poster) deliver(ctx context.Context, lane *relay.Lane) error {
	most := p.c.BatchMessages
	if p.c.Format == "single" {
		most = 1
	}
	for {
		batch, linger := most, time.Duration(p.c.Linger)
		if p.retry > 0 {
			batch, linger = p.retry, 0
		}
		msgs, err := lane.Next(ctx, batch, int(p.c.BatchBytes), linger)
		if err != nil {
			return err
		}
		if err := p.settle(ctx, lane, msgs); err != nil {
			return err
		}
		p.retry = 0
	}
}

// settle posts messages, and goes on with halves of them if some are not wanted.
func (p *poster) settle(ctx context.Context, lane *relay.Lane, msgs []relay.Message) error {
	err := p.post(ctx, msgs)
	unwanted, ok := errors.AsType[*unwantedError](err)
	switch {
	case err == nil:
		lane.Confirm(len(msgs))
		return nil
	case !ok:
		p.retry = len(msgs)
		return err
	case len(msgs) == 1:
		return lane.Reject(ctx, unwanted)
	}
	half := len(msgs) / 2
	if err := p.settle(ctx, lane, msgs[:half]); err != nil {
		return err
	}
	return p.settle(ctx, lane, msgs[half:])
}

// An unwantedError says that the other side will never take what it was sent.
type unwantedError struct{ text string }

func (e *unwantedError) Error() string { return e.text }

// post posts messages as one request.
func (p *poster) post(ctx context.Context, msgs []relay.Message) error {
	p.buf.Reset()
	kind, err := p.encode(msgs)
	if err != nil {
		return &unwantedError{err.Error()}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(p.buf.Bytes()))
	if err != nil {
		return link.Permanent(err)
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("User-Agent", "hythe")
	req.Header.Set("Idempotency-Key", string(msgs[0].ID)+"+"+strconv.Itoa(len(msgs)))
	if len(msgs) == 1 && len(msgs[0].Key) > 0 && validHeader(msgs[0].Key) {
		req.Header.Set("Hythe-Key", string(msgs[0].Key))
	}
	for name, value := range p.c.Headers {
		req.Header.Set(name, value)
	}
	if p.c.TokenFile != "" {
		b, err := os.ReadFile(p.c.TokenFile)
		if err != nil {
			return err
		}
		line, _, _ := strings.Cut(string(b), "\n")
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(line))
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection can be used again
	return outcome(resp, said)
}

func validHeader(b []byte) bool {
	for _, c := range b {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// outcome makes an error of an answer.
func outcome(resp *http.Response, said []byte) error {
	text := resp.Status
	if said = bytes.TrimSpace(said); len(said) > 0 && utf8.Valid(said) {
		text += ": " + string(said)
	}
	switch code := resp.StatusCode; {
	case code/100 == 2:
		return nil
	case code == 400 || code == 413 || code == 414 || code == 415 || code == 422:
		return &unwantedError{text}
	case code == 408 || code == 421 || code == 425 || code == 429 || code/100 == 5:
		err := errors.New(text)
		if pause, ok := retryAfter(resp.Header.Get("Retry-After"), time.Now()); ok {
			return link.RetryAfter(err, pause)
		}
		return err
	}
	return link.Permanent(errors.New(text))
}

// retryAfter reads a Retry-After, RFC 9110 section 10.2.3: seconds or a date.
func retryAfter(value string, now time.Time) (time.Duration, bool) {
	const most = time.Hour
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, most), true
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(0, at.Sub(now)), most), true
	}
	return 0, false
}

// encode writes messages to p.buf, and returns their type.
func (p *poster) encode(msgs []relay.Message) (kind string, err error) {
	kind = p.c.ContentType
	or := func(usual string) {
		if kind == "" {
			kind = usual
		}
	}
	switch p.c.Format {
	case "single":
		or("application/octet-stream")
		p.buf.Write(msgs[0].Body)
	case "lines":
		or("text/plain; charset=utf-8")
		for i := range msgs {
			if bytes.ContainsAny(msgs[i].Body, "\r\n") {
				return "", errors.New("a message with the end of a line in it cannot be sent as a line")
			}
			p.buf.Write(msgs[i].Body)
			p.buf.WriteByte('\n')
		}
	case "ndjson":
		or("application/x-ndjson")
		enc := json.NewEncoder(&p.buf)
		for i := range msgs {
			if err := enc.Encode(envelope(&msgs[i])); err != nil {
				return "", err
			}
		}
	}
	return kind, nil
}

// A jsonEnvelope is a message with all that is known of it.
type jsonEnvelope struct {
	ID       string    `json:"id"`
	Received time.Time `json:"received"`
	Source   string    `json:"source,omitempty"`
	Key      string    `json:"key,omitempty"`
	Body     *string   `json:"body,omitempty"`        // if it is text
	Base64   string    `json:"body_base64,omitempty"` // if not
}

func envelope(m *relay.Message) jsonEnvelope {
	e := jsonEnvelope{ID: string(m.ID), Received: m.Received.UTC(), Source: string(m.Source), Key: string(m.Key)}
	if utf8.Valid(m.Body) {
		body := string(m.Body)
		e.Body = &body
	} else {
		e.Base64 = base64.StdEncoding.EncodeToString(m.Body)
	}
	return e
}
