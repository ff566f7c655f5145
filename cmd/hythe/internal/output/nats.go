package output

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/link"
)

// stream delivers messages to a NATS JetStream stream, a batch at a time. A message
// counts as delivered when the stream has acknowledged it; how durable it is then is
// for the server's settings to say. Nats-Msg-Id is the message's id, by which the
// stream drops what it gets twice within its duplicate window.
//
// When a message fails that may be taken later (nobody answers for the subject, the
// stream is full), it is sent again with all behind it, over a new connection, once
// the rest of its batch is decided. Those behind it may have been taken meanwhile:
// with batches of one message order is kept even then.
type stream struct {
	c        *config.Output
	name     string
	urls     map[string]*url.URL // by endpoint, which does not show the password
	verdicts verdicts
}

// The headers that messages are sent with.
const (
	headerKey      = "Hythe-Key"
	headerSource   = "Hythe-Source"
	headerReceived = "Hythe-Received"
)

func newNATS(c *config.Output, o Options) (relay.Output, error) {
	s := &stream{c: c, name: "hythe " + o.Name}
	switch {
	case c.Subject == "":
		return nil, errors.New("subject: a subject is needed")
	case strings.ContainsAny(c.Subject, " \t\r\n*>"):
		return nil, fmt.Errorf("subject: %q is none to publish to", c.Subject)
	}
	if _, err := clientTLS(c.TLS); err != nil {
		return nil, err
	}
	names, urls, err := redacted(c.To)
	if err != nil {
		return nil, err
	}
	s.urls = urls
	return newLinked(c, o, names, s.dial, func(ctx context.Context, p *publisher, lane *relay.Lane) error {
		return s.verdicts.of(p.endpoint, p.deliver(ctx, lane))
	}), nil
}

// A publisher is a connection to a server.
type publisher struct {
	*stream
	endpoint string
	nc       *nats.Conn
	js       jetstream.JetStream
	futures  []jetstream.PubAckFuture

	broken context.Context // ends with the connection, and says why
	end    context.CancelCauseFunc
}

// Close closes the connection.
func (p *publisher) Close() error {
	p.end(net.ErrClosed)
	p.nc.Close()
	return nil
}

// dial connects, and looks whether there is a stream to publish to. The client
// library does not connect again by itself.
func (s *stream) dial(ctx context.Context, a link.Attempt) (*publisher, error) {
	if err := s.verdicts.pass(a.Endpoint); err != nil {
		return nil, err
	}
	p := &publisher{stream: s, endpoint: a.Endpoint}
	p.broken, p.end = context.WithCancelCause(context.Background())
	broken := func(err error) {
		p.end(err)
		a.Report(err)
	}
	timeout := time.Duration(s.c.Timeout)
	options := []nats.Option{
		nats.Name(s.name), nats.Timeout(timeout), nats.NoReconnect(), nats.IgnoreDiscoveredServers(),
		nats.SetCustomDialer(natsDialer{ctx}), nats.SkipHostLookup(),
		nats.PingInterval(10 * time.Second), nats.MaxPingsOutstanding(2),
		nats.ClosedHandler(func(nc *nats.Conn) {
			err := nc.LastError()
			if err == nil {
				err = nats.ErrConnectionClosed
			}
			broken(err)
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrPermissionViolation) { // it takes the place of an answer
				broken(&hopelessError{err})
			}
		}),
	}
	u := *s.urls[a.Endpoint]
	if scheme, secure := strings.CutPrefix(u.Scheme, "tls+"); secure || s.c.TLS != nil {
		conf, err := clientTLS(s.c.TLS)
		if err != nil {
			return nil, err
		}
		options = append(options, nats.Secure(conf))
		u.Scheme = scheme
	}
	if s.c.Credentials != "" {
		if _, err := os.Stat(s.c.Credentials); err != nil {
			return nil, link.Permanent(err)
		}
		options = append(options, nats.UserCredentials(s.c.Credentials))
	}
	var err error
	if p.nc, err = nats.Connect(u.String(), options...); err != nil {
		for _, refused := range []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired} {
			if errors.Is(err, refused) {
				return nil, link.Permanent(err)
			}
		}
		return nil, err
	}
	p.js, err = jetstream.New(p.nc, jetstream.WithPublishAsyncMaxPending(max(s.c.BatchMessages, 1)), jetstream.WithPublishAsyncTimeout(timeout))
	if err == nil {
		err = p.check(ctx)
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// natsDialer makes an attempt's TCP connection.
type natsDialer struct{ ctx context.Context }

// Dial implements nats.CustomDialer.
func (d natsDialer) Dial(_, address string) (net.Conn, error) {
	return link.TCP(d.ctx, link.Attempt{Endpoint: address})
}

// check looks whether there is a stream to publish to.
func (p *publisher) check(ctx context.Context) (err error) {
	ctx, cancel := whichever(ctx, p.broken)
	defer cancel()
	switch {
	case p.c.Stream != "":
		_, err = p.js.Stream(ctx, p.c.Stream)
	case !strings.Contains(p.c.Subject, "{"):
		_, err = p.js.StreamNameBySubject(ctx, p.c.Subject)
	}
	switch {
	case err != nil && p.broken.Err() != nil:
		if err := context.Cause(p.broken); errors.Is(err, nats.ErrPermissionViolation) {
			return link.Permanent(err)
		}
		return context.Cause(p.broken)
	case errors.Is(err, jetstream.ErrStreamNotFound) && p.c.Stream != "":
		return link.Permanent(fmt.Errorf("there is no stream %s: %w", p.c.Stream, err))
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return link.Permanent(fmt.Errorf("no stream takes %s: %w", p.c.Subject, err))
	case errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return link.Permanent(err)
	}
	return err
}

// deliver publishes one batch after the other. What the library has running for
// that ends with the connection.
func (p *publisher) deliver(ctx context.Context, lane *relay.Lane) error {
	ctx, cancel := whichever(ctx, p.broken)
	defer cancel()
	for {
		msgs, err := lane.Next(ctx, p.c.BatchMessages, int(p.c.BatchBytes), time.Duration(p.c.Linger))
		if err != nil {
			return err
		}
		if err := p.publish(msgs); err != nil {
			return err
		}
		if err := p.settle(ctx, lane); err != nil {
			return err
		}
	}
}

// publish sends messages.
func (p *publisher) publish(msgs []relay.Message) error {
	p.futures = p.futures[:0]
	// Trying again is not for the library to do: later messages would overtake.
	options := []jetstream.PublishOpt{jetstream.WithRetryAttempts(0)}
	if p.c.Stream != "" {
		options = append(options, jetstream.WithExpectStream(p.c.Stream))
	}
	for i := range msgs {
		future, err := p.js.PublishMsgAsync(p.message(&msgs[i]), options...)
		if errors.Is(err, nats.ErrMaxPayload) {
			future, err = tooLarge{err}, nil
		}
		if err != nil {
			return err
		}
		p.futures = append(p.futures, future)
	}
	return nil
}

// settle waits, in order, for what becomes of the messages that were published.
func (p *publisher) settle(ctx context.Context, lane *relay.Lane) error {
	acked := 0
	defer func() { lane.Confirm(acked) }()
	for i, future := range p.futures {
		var err error
		select {
		case <-future.Ok():
			acked++
			continue
		default:
			lane.Confirm(acked)
			acked = 0
		}
		select {
		case <-future.Ok():
			acked++
		case err = <-future.Err():
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if unwanted(err) {
			err = lane.Reject(ctx, err)
		}
		if err != nil {
			p.await(ctx, p.futures[i+1:]) // none of them is to overtake this one later
			return verdictOf(err)
		}
	}
	return nil
}

// await waits until all of futures are decided, which each is in time.
func (p *publisher) await(ctx context.Context, futures []jetstream.PubAckFuture) {
	for _, future := range futures {
		select {
		case <-future.Ok():
		case <-future.Err():
		case <-ctx.Done():
			return
		}
	}
}

// unwanted reports whether a message will never be taken.
func unwanted(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return errors.Is(err, nats.ErrMaxPayload) || ok && api.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum
}

// Error codes of the server that the library has no names for.
const (
	streamNotMatch = 10060 // the subject belongs to another stream
	streamSealed   = 10109
)

// verdictOf makes a hopelessError of what somebody has to mend. Everything else,
// a full stream too, may be otherwise soon.
func verdictOf(err error) error {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		switch api.ErrorCode {
		case jetstream.JSErrCodeStreamNotFound, streamNotMatch, streamSealed:
			return &hopelessError{err}
		}
	}
	return err
}

// tooLarge is the future of a message that the library did not send.
type tooLarge struct{ err error }

func (r tooLarge) Ok() <-chan *jetstream.PubAck { return nil }
func (r tooLarge) Msg() *nats.Msg               { return nil }

func (r tooLarge) Err() <-chan error {
	c := make(chan error, 1)
	c <- r.err
	return c
}

// message makes a message for NATS. Its data is the lane's.
func (s *stream) message(m *relay.Message) *nats.Msg {
	msg := nats.NewMsg(s.subject(m))
	msg.Data = m.Body
	msg.Header.Set(jetstream.MsgIDHeader, headerValue(m.ID))
	msg.Header.Set(headerReceived, m.Received.UTC().Format(time.RFC3339Nano))
	if len(m.Source) > 0 {
		msg.Header.Set(headerSource, headerValue(m.Source))
	}
	if len(m.Key) > 0 {
		msg.Header.Set(headerKey, headerValue(m.Key))
	}
	return msg
}

// headerValue puts spaces for what a header cannot have.
func headerValue(b []byte) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, string(b)))
}

// subject fills in the configuration's subject.
func (s *stream) subject(m *relay.Message) string {
	if !strings.Contains(s.c.Subject, "{") {
		return s.c.Subject
	}
	input, _, _ := strings.Cut(string(m.Source), " ")
	return strings.NewReplacer("{source}", token(string(m.Source)), "{key}", token(string(m.Key)), "{input}", token(input)).Replace(s.c.Subject)
}

// maxToken bounds a token: the server reads 4 KiB of a line that has the subject.
const maxToken = 256

// token makes one token of a subject of any text: letters, digits, - and _ stay as
// they are, everything else becomes _.
func token(s string) string {
	if s == "" {
		return "_"
	}
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-':
			return r
		}
		return '_'
	}, s[:min(len(s), maxToken)])
}
