// Package output has the ways out of a relay. Each is a relay.Output over a link:
// it waits while its destination is away, and sends again what was not confirmed.
package output

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/link"
)

// Options are what an output needs beside its configuration.
type Options struct {
	Name   string // what the link is called
	Group  *link.Group
	Logger *slog.Logger
	Stdout io.Writer
}

// New returns the output that a configuration describes. Nothing is connected to
// before it runs.
func New(c *config.Output, o Options) (relay.Output, error) {
	if len(c.To) == 0 {
		return nil, fmt.Errorf("no destination")
	}
	scheme, _, _ := strings.Cut(c.To[0], ":")
	for _, to := range c.To {
		if s, _, _ := strings.Cut(to, ":"); s != scheme {
			return nil, fmt.Errorf("destinations of different kinds: %s and %s", scheme, s)
		}
	}
	switch scheme {
	case "tcp", "tls", "unix":
		return newFrames(c, o, scheme)
	case "http", "https":
		return newHTTP(c, o)
	case "nats", "tls+nats":
		return newNATS(c, o)
	case "file":
		return newFile(c, o)
	case "stdout":
		return newStdout(c, o)
	}
	return nil, fmt.Errorf("no such kind of destination: %q", c.To[0])
}

// newLinked returns an output over a link with the configuration's clocks.
func newLinked[C any](c *config.Output, o Options, endpoints []string,
	dial func(context.Context, link.Attempt) (C, error), deliver func(context.Context, C, *relay.Lane) error,
) *relay.Linked[C] {
	first, most := time.Duration(c.Retry), time.Duration(c.RetryMax)
	return &relay.Linked[C]{
		L: &link.Link[C]{
			Name: o.Name, Dial: dial, Endpoints: endpoints, Timeout: time.Duration(c.Timeout),
			Backoff: link.Backoff{First: first, Max: max(first, most)},
			Probe:   min(5*time.Minute, 5*max(first, most)),
			Group:   o.Group, Logger: o.Logger,
		},
		Deliver: deliver,
	}
}

// endpoints returns where to connect to: host:port, or a path.
func endpoints(c *config.Output) (list []string, err error) {
	for _, to := range c.To {
		u, err := url.Parse(to)
		if err != nil {
			return nil, err
		}
		if u.Scheme == "unix" {
			list = append(list, u.Host+u.Path+u.Opaque)
			continue
		}
		if u.Port() == "" || u.Hostname() == "" {
			return nil, fmt.Errorf("%s: a host and a port are needed", to)
		}
		list = append(list, u.Host)
	}
	return list, nil
}

// clientTLS returns the side of TLS that connects.
func clientTLS(c *config.TLS) (*tls.Config, error) {
	conf := new(tls.Config)
	if c == nil {
		return conf, nil
	}
	conf.ServerName = c.ServerName
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, err
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate", c.CA)
		}
	}
	if c.Cert == "" {
		return conf, nil
	}
	if _, err := tls.LoadX509KeyPair(c.Cert, c.Key); err != nil {
		return nil, err
	}
	conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key) // it may have been renewed
		return &pair, err
	}
	return conf, nil
}
