package output

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/link"
)

// web delivers messages by POST, one batch after the other. What becomes of a batch
// depends on the answer:
//
//	2xx                      delivered
//	400 413 415 422          the batch is halved until the message that is not
//	                         wanted has been found; that becomes a dead letter
//	408 409 421 425 429 5xx  sent again after a pause, or what Retry-After says
//	none, or not in time     the same
//	anything else            something is wrong with the address or the permission:
//	                         the link has Failed, visibly, and tries seldom
//
// That includes 3xx: a batch, and what authorizes it, goes to no place that the
// configuration does not name. 409 is how a server says that it still works on the
// first copy of a request that came twice.
//
// A batch that is sent again has the same messages, and the same Idempotency-Key.
type web struct {
	c        *config.Output
	dialer   link.Dialer
	urls     map[string]*url.URL // by endpoint, which does not show the password
	verdicts verdicts

	retry int // messages in the request that failed last; 0: it did not. deliver only
}

func newHTTP(c *config.Output, o Options) (relay.Output, error) {
	out, err := newWeb(c, o)
	if err != nil {
		return nil, err // and no nil in an interface
	}
	return out, nil
}

func newWeb(c *config.Output, o Options) (*relay.Linked[*poster], error) {
	w := &web{c: c}
	if o.dialer != nil {
		w.dialer = *o.dialer
	}
	switch c.Format {
	case "lines", "ndjson", "single":
	default:
		return nil, fmt.Errorf("no such format: %q", c.Format)
	}
	if _, err := clientTLS(c.TLS); err != nil {
		return nil, err
	}
	if c.TokenFile != "" {
		if _, err := config.Token(c.TokenFile); err != nil {
			return nil, err
		}
	}
	var names []string
	var err error
	if names, w.urls, err = redacted(c.To); err != nil {
		return nil, err
	}
	return newLinked(c, o, names, w.dial, func(ctx context.Context, p *poster, lane *relay.Lane) error {
		return w.verdicts.of(p.endpoint, p.deliver(ctx, lane))
	}), nil
}

// redacted returns the destinations as they may be shown, and what is meant.
func redacted(to []string) (names []string, urls map[string]*url.URL, err error) {
	urls = make(map[string]*url.URL)
	for _, to := range to {
		u, err := url.Parse(to)
		if err != nil {
			return nil, nil, errors.Unwrap(err) // the whole has the password
		}
		if u.Hostname() == "" {
			return nil, nil, fmt.Errorf("%s: a host is needed", u.Redacted())
		}
		names = append(names, u.Redacted())
		urls[u.Redacted()] = u
	}
	return names, urls, nil
}

// A poster posts to one address.
type poster struct {
	*web
	endpoint  string
	url       *url.URL
	transport *http.Transport
	client    *http.Client
	closed    context.Context // ends with Close
	close     context.CancelFunc

	most int // bytes in a request; it becomes less when the server says so. deliver only

	mu    sync.Mutex
	first net.Conn // that dial made, for the first request. Guarded by mu
}

// unused is how long the first connection waits for a request: servers do not wait
// long for one.
const unused = 5 * time.Second

// dial connects, so that a link that is up has a server that is there.
func (w *web) dial(ctx context.Context, a link.Attempt) (*poster, error) {
	if err := w.verdicts.pass(a.Endpoint); err != nil {
		return nil, err
	}
	conf, err := clientTLS(w.c.TLS)
	if err != nil {
		return nil, err
	}
	p := &poster{web: w, endpoint: a.Endpoint, url: w.urls[a.Endpoint], most: int(w.c.BatchBytes)}
	p.closed, p.close = context.WithCancel(context.Background())
	p.transport = &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: p.connect, TLSClientConfig: conf, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: 1, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		DisableCompression: true, ExpectContinueTimeout: time.Second,
	}
	p.client = &http.Client{
		Transport:     p.transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if proxy, err := http.ProxyFromEnvironment(&http.Request{URL: p.url}); err != nil || proxy != nil {
		return p, err
	}
	port := p.url.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[p.url.Scheme]
	}
	conn, err := p.connect(ctx, "tcp", net.JoinHostPort(p.url.Hostname(), port))
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.first = conn
	time.AfterFunc(unused, p.dropFirst)
	return p, nil
}

// connect is the transport's. It uses the first connection if it is new.
func (p *poster) connect(ctx context.Context, _, address string) (net.Conn, error) {
	p.mu.Lock()
	conn := p.first
	p.first = nil
	p.mu.Unlock()
	if conn != nil {
		return conn, nil
	}
	return p.dialer.TCP(ctx, link.Attempt{Endpoint: address})
}

func (p *poster) dropFirst() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first != nil {
		p.first.Close()
		p.first = nil
	}
}

// Close has deliver return, when it has an answer, and closes the connections.
func (p *poster) Close() error {
	p.close()
	p.dropFirst()
	p.transport.CloseIdleConnections()
	return nil
}

// deliver delivers until something is wrong.
func (p *poster) deliver(ctx context.Context, lane *relay.Lane) error {
	defer p.transport.CloseIdleConnections()
	next, cancel := whichever(ctx, p.closed)
	defer cancel()
	for {
		most, bytes, linger := p.c.BatchMessages, p.most, time.Duration(p.c.Linger)
		if p.c.Format == "single" {
			most, linger = 1, 0
		}
		if p.retry > 0 { // the same messages as before
			most, bytes, linger = p.retry, math.MaxInt, 0
		}
		msgs, err := lane.Next(next, most, bytes, linger)
		if err != nil {
			return err
		}
		p.retry = 0
		if err := p.settle(ctx, lane, msgs); err != nil {
			return err
		}
	}
}

// settle posts messages, and goes on with halves of them if some are not wanted.
func (p *poster) settle(ctx context.Context, lane *relay.Lane, msgs []relay.Message) error {
	err := p.post(ctx, msgs)
	unwanted, ok := err.(*unwantedError)
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

// idempotencyKey names a batch: the same for the same messages in the same order,
// and another for any others. It is made of all ids because batches that begin with
// the same message, and are as long, may be others after a restart.
func idempotencyKey(msgs []relay.Message) string {
	h := sha256.New()
	var b []byte
	for i := range msgs {
		b = append(binary.AppendUvarint(b[:0], uint64(len(msgs[i].ID))), msgs[i].ID...)
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(b[:0])[:16])
}
