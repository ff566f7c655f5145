// Package output has the ways out of a relay. Each is a relay.Output over a link:
// it waits while its destination is away, and sends again what was not confirmed.
package output

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
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

	dialer *link.Dialer // of stream connections; nil: the system's. Tests set it
}

// New returns the output that a configuration, with its defaults, describes.
// Nothing is connected to before it runs. Several destinations of one kind (stream
// connections, HTTP, NATS, files) are one link: the first is preferred, and the
// others stand in.
func New(c *config.Output, o Options) (relay.Output, error) {
	if len(c.To) == 0 {
		return nil, errors.New("no destination")
	}
	kind := kindOf(c.To[0])
	for _, to := range c.To[1:] {
		if kindOf(to) != kind {
			return nil, fmt.Errorf("destinations of different kinds: %s and %s", c.To[0], to)
		}
	}
	switch kind {
	case "stream":
		return newFrames(c, o)
	case "http":
		return newHTTP(c, o)
	case "nats":
		return newNATS(c, o)
	case "file":
		return newFile(c, o)
	case "stdout":
		return newStdout(c, o)
	}
	return nil, fmt.Errorf("no such kind of destination: %q", c.To[0])
}

// kindOf returns the kind of a destination.
func kindOf(to string) string {
	switch scheme, _, _ := strings.Cut(to, ":"); scheme {
	case "tcp", "tls", "unix":
		return "stream"
	case "http", "https":
		return "http"
	case "nats", "tls+nats":
		return "nats"
	default:
		return scheme
	}
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

// address returns where a stream connection goes to: host:port, or a path.
func address(to string) (scheme, address string, err error) {
	u, err := url.Parse(to)
	if err != nil {
		return "", "", err
	}
	switch {
	case u.Scheme == "unix":
		address = u.Host + u.Path + u.Opaque
		if address == "" {
			return "", "", fmt.Errorf("%s: a path is needed", to)
		}
	case u.Port() == "" || u.Hostname() == "":
		return "", "", fmt.Errorf("%s: a host and a port are needed", to)
	default:
		address = u.Host
	}
	return u.Scheme, address, nil
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
