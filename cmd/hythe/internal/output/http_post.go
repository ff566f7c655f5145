package output

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
)

// Bounds of what is read of an answer.
const (
	maxSaid    = 512
	maxAnswer  = 64 << 10
	answerTime = time.Second // behind the header
)

// post posts messages as one request. Errors that are an *unwantedError,
// a *hopelessError or a *laterError say what to do; others are to be tried again.
func (p *poster) post(ctx context.Context, msgs []relay.Message) error {
	body, err := p.encode(msgs)
	if err != nil {
		return &unwantedError{err.Error()}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, time.Duration(p.c.Timeout), errNoAnswer)
	defer cancel()
	req, err := p.request(ctx, msgs, body)
	if err != nil {
		return err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		if context.Cause(ctx) == errNoAnswer {
			return errNoAnswer
		}
		return err
	}
	defer resp.Body.Close()
	defer time.AfterFunc(answerTime, cancel).Stop()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, maxSaid))
	io.CopyN(io.Discard, resp.Body, maxAnswer) // so that the connection can be used again
	if resp.StatusCode == http.StatusRequestEntityTooLarge && len(msgs) > 1 {
		p.most = min(p.most, max(1, len(body)/2))
	}
	return outcome(resp, said)
}

var errNoAnswer = errors.New("no answer in time")

func (p *poster) request(ctx context.Context, msgs []relay.Message, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url.String(), bytes.NewReader(body))
	if err != nil {
		return nil, hopeless("%w", err)
	}
	req.Header.Set("Content-Type", p.contentType())
	req.Header.Set("User-Agent", "hythe")
	req.Header.Set("Idempotency-Key", idempotencyKey(msgs))
	if p.c.Format == "single" {
		m := &msgs[0]
		if len(m.ID) <= 128 && headerSafe(m.ID) {
			req.Header.Set("Idempotency-Key", string(m.ID)) // so it keeps its id in a relay
		}
		for name, value := range map[string][]byte{headerKey: m.Key, headerSource: m.Source} {
			if headerSafe(value) {
				req.Header.Set(name, string(value))
			}
		}
		req.Header.Set(headerReceived, m.Received.UTC().Format(time.RFC3339Nano))
	}
	if msgs[0].Again && len(body) > 64<<10 {
		// A server that refuses a large body and hangs up while it comes is heard
		// if it is asked before.
		req.Header.Set("Expect", "100-continue")
	}
	for name, value := range p.c.Headers {
		req.Header.Set(name, value)
		if http.CanonicalHeaderKey(name) == "Host" {
			req.Host = value
		}
	}
	if p.c.TokenFile != "" {
		token, err := config.Token(p.c.TokenFile) // again each time: it may have changed
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return req, nil
}

// headerSafe reports whether a header's value can be b.
func headerSafe(b []byte) bool {
	for _, c := range b {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return len(b) > 0 && b[0] != ' ' && b[len(b)-1] != ' '
}

// outcome makes an error of an answer.
func outcome(resp *http.Response, said []byte) error {
	text := resp.Status
	if to := resp.Header.Get("Location"); resp.StatusCode/100 == 3 && to != "" {
		text += " to " + to
	}
	if said = bytes.TrimSpace(bytes.ToValidUTF8(said, nil)); len(said) > 0 {
		text += ": " + string(said)
	}
	switch code := resp.StatusCode; {
	case code/100 == 2:
		return nil
	case code == 400 || code == 413 || code == 415 || code == 422:
		return &unwantedError{text}
	case code == 408 || code == 409 || code == 421 || code == 425 || code == 429 || code/100 == 5:
		if pause := retryAfter(resp.Header.Get("Retry-After"), time.Now()); pause > 0 {
			return &laterError{text, pause}
		}
		return errors.New(text)
	}
	return hopeless("%s", text)
}

// maxRetryAfter bounds what a server may ask for.
const maxRetryAfter = time.Hour

// retryAfter reads a Retry-After, RFC 9110 section 10.2.3: seconds or a date. Zero
// means that there is none to obey.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(0, at.Sub(now)), maxRetryAfter)
	}
	return 0
}

func (p *poster) contentType() string {
	switch {
	case p.c.ContentType != "":
		return p.c.ContentType
	case p.c.Format == "single":
		return "application/octet-stream"
	case p.c.Format == "ndjson":
		return "application/x-ndjson"
	}
	return "text/plain; charset=utf-8"
}

// errTwoLines is why a message cannot be sent with format lines.
var errTwoLines = errors.New("a message with the end of a line in it cannot be sent as a line")

// encode returns the body of a request. It is not used again: the transport may
// still read it after an answer that came early.
func (p *poster) encode(msgs []relay.Message) ([]byte, error) {
	if p.c.Format == "single" {
		return bytes.Clone(msgs[0].Body), nil
	}
	size := 0
	for i := range msgs {
		size += len(msgs[i].Body) + 1
	}
	if p.c.Format == "lines" {
		body := make([]byte, 0, size)
		for i := range msgs {
			if bytes.ContainsAny(msgs[i].Body, "\r\n") {
				return nil, errTwoLines
			}
			body = append(append(body, msgs[i].Body...), '\n')
		}
		return body, nil
	}
	body := bytes.NewBuffer(make([]byte, 0, size+128*len(msgs)))
	enc := json.NewEncoder(body)
	enc.SetEscapeHTML(false)
	for i := range msgs {
		if err := enc.Encode(msgs[i].JSON()); err != nil {
			return nil, err
		}
	}
	return body.Bytes(), nil
}
