package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
)

// sendTries is how often a request is made before it counts as failed.
const sendTries = 6

// An httpSender posts messages. Each request has an Idempotency-Key, so that one
// whose answer was lost can be made again.
type httpSender struct {
	url, key, token string
	client          *http.Client
	ids             *relay.IDs
}

func newHTTPSender(url, key, tokenFile string, timeout time.Duration) (*httpSender, error) {
	s := &httpSender{url: url, key: key, ids: relay.NewIDs()}
	if tokenFile != "" {
		var err error
		if s.token, err = config.Token(tokenFile); err != nil {
			return nil, err
		}
	}
	s.client = &http.Client{
		Transport: http.DefaultTransport.(*http.Transport).Clone(), Timeout: timeout,
		// A redirected POST may become a GET, whose 200 would mean nothing.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s, nil
}

func (s *httpSender) done() string { return "acknowledged" }

func (s *httpSender) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

func (s *httpSender) send(ctx context.Context, messages [][]byte) (int, error) {
	body, kind := bytes.Join(messages, []byte("\n")), "text/plain"
	if len(messages) == 1 {
		kind = "application/octet-stream"
	}
	id := string(s.ids.Append(nil, s.ids.Reserve(1)))
	for tries := 1; ; tries++ {
		wait, err := s.post(ctx, body, kind, id)
		switch {
		case err == nil:
			return len(messages), nil
		case wait < 0 || tries == sendTries:
			return 0, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return 0, err
		}
	}
}

// post posts once. After an error it is to be tried again after wait, unless that
// is negative.
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
	if s.token != "" {
		req.Header.Set("Authorization", "Bearer "+s.token)
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
	case resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode/100 == 5:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		wait = time.Duration(max(1, min(seconds, 60))) * time.Second
	default:
		wait = -1
	}
	return wait, fmt.Errorf("%s: %s: %s", s.url, resp.Status, bytes.TrimSpace(said))
}
