package output

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/link"
)

// stream delivers messages to a NATS JetStream stream. A message counts as
// delivered when the stream has acknowledged it; how durable it is then is for the
// server's settings to say. Nats-Msg-Id is the message's id, by which the stream
// drops what it gets twice within its duplicate window.
type stream struct {
	c *config.Output
}

// The headers of published messages.
const (
	headerKey      = "Hythe-Key"
	headerSource   = "Hythe-Source"
	headerReceived = "Hythe-Received"
)

func newNATS(c *config.Output, o Options) (relay.Output, error) {
	s := &stream{c: c}
	switch {
	case c.Subject == "":
		return nil, errors.New("subject: a subject is needed")
	case strings.ContainsAny(c.Subject, " \t\r\n*>"):
		return nil, fmt.Errorf("subject: %q is none to publish to", c.Subject)
	}
	conf, err := clientTLS(c.TLS)
	if err != nil {
		return nil, err
	}
	dial := func(ctx context.Context, a link.Attempt) (*nats.Conn, error) {
		options := []nats.Option{
			nats.Name("hythe " + o.Name), nats.NoReconnect(), nats.Timeout(time.Duration(c.Timeout)),
			nats.PingInterval(10 * time.Second), nats.MaxPingsOutstanding(2),
			nats.ClosedHandler(func(nc *nats.Conn) {
				err := nc.LastError()
				if err == nil {
					err = errPeerClosed
				}
				a.Report(err)
			}),
		}
		url, secure := strings.CutPrefix(a.Endpoint, "tls+")
		if secure {
			options = append(options, nats.Secure(conf.Clone()))
		}
		if c.Credentials != "" {
			options = append(options, nats.UserCredentials(c.Credentials))
		}
		nc, err := nats.Connect(url, options...)
		switch {
		case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked):
			return nil, link.Permanent(err)
		case err != nil:
			return nil, err
		}
		return nc, nil
	}
	out := newLinked(c, o, c.To, dial, s.deliver)
	out.L.OnUp = s.check
	out.L.Discard = func(nc *nats.Conn) { nc.Close() }
	return out, nil
}

// check looks whether there is a stream to publish to.
func (s *stream) check(ctx context.Context, nc *nats.Conn) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	if s.c.Stream != "" {
		_, err = js.Stream(ctx, s.c.Stream)
	} else if !strings.Contains(s.c.Subject, "{") {
		_, err = js.StreamNameBySubject(ctx, s.c.Subject)
	}
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return link.Permanent(fmt.Errorf("no stream takes %s: %w", s.c.Subject, err))
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return link.Permanent(err)
	}
	return err
}

// deliver publishes one batch after the other.
func (s *stream) deliver(ctx context.Context, nc *nats.Conn, lane *relay.Lane) error {
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(max(s.c.BatchMessages, 1)), jetstream.WithPublishAsyncTimeout(time.Duration(s.c.Timeout)))
	if err != nil {
		return err
	}
	defer js.CleanupPublisher()
	futures := make([]jetstream.PubAckFuture, 0, s.c.BatchMessages)
	for {
		msgs, err := lane.Next(ctx, s.c.BatchMessages, int(s.c.BatchBytes), time.Duration(s.c.Linger))
		if err != nil {
			return err
		}
		futures = futures[:0]
		for i := range msgs {
			future, err := js.PublishMsgAsync(s.message(&msgs[i]), publishOptions(s.c)...)
			if errors.Is(err, nats.ErrMaxPayload) {
				future, err = refused{err}, nil
			}
			if err != nil {
				return err
			}
			futures = append(futures, future)
		}
		for _, future := range futures {
			if err := s.settle(ctx, lane, future); err != nil {
				return err
			}
		}
	}
}

func publishOptions(c *config.Output) []jetstream.PublishOpt {
	if c.Stream == "" {
		return nil
	}
	return []jetstream.PublishOpt{jetstream.WithExpectStream(c.Stream)}
}

// refused is the future of a message that the client library did not send.
type refused struct{ err error }

func (r refused) Ok() <-chan *jetstream.PubAck { return nil }
func (r refused) Msg() *nats.Msg               { return nil }

func (r refused) Err() <-chan error {
	c := make(chan error, 1)
	c <- r.err
	return c
}

// settle waits for what becomes of the oldest message.
func (s *stream) settle(ctx context.Context, lane *relay.Lane, future jetstream.PubAckFuture) error {
	select {
	case <-future.Ok():
		lane.Confirm(1)
		return nil
	case err := <-future.Err():
		api, ok := errors.AsType[*jetstream.APIError](err)
		switch {
		case errors.Is(err, nats.ErrMaxPayload), ok && api.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum:
			return lane.Reject(ctx, err)
		case errors.Is(err, nats.ErrPermissionViolation), ok && api.ErrorCode == jetstream.JSErrCodeStreamNotFound:
			return link.Permanent(err)
		}
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// message makes a message for NATS.
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

// headerValue leaves out what a header cannot have.
func headerValue(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r == '\r' || r == '\n' {
			return ' '
		}
		return r
	}, string(b))
}

// subject fills in the configuration's subject.
func (s *stream) subject(m *relay.Message) string {
	if !strings.Contains(s.c.Subject, "{") {
		return s.c.Subject
	}
	input, _, _ := strings.Cut(string(m.Source), " ")
	return strings.NewReplacer("{source}", token(string(m.Source)), "{key}", token(string(m.Key)), "{input}", token(input)).Replace(s.c.Subject)
}

// token makes one token of a subject of any text.
func token(s string) string {
	if s == "" {
		return "_"
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == '.' || r == '*' || r == '>' || r == 0x7f {
			return '_'
		}
		return r
	}, s)
}
