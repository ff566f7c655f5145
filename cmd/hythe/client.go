package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/status"
	"github.com/hythe-go/hythe/listen"
)

// whereFlags say which relay a command is about.
type whereFlags struct {
	file, data, admin, token string

	cfg *config.Config // of file; nil: none was given
}

func (w *whereFlags) add(f *flag.FlagSet) {
	f.StringVar(&w.file, "config", "", "`FILE` of the relay's configuration, which says where its data and its admin address are")
}

func (w *whereFlags) addData(f *flag.FlagSet) {
	f.StringVar(&w.data, "data", "", "`DIR` of the spools (default ./hythe-data)")
}

func (w *whereFlags) addAdmin(f *flag.FlagSet) {
	f.StringVar(&w.admin, "admin", "", "`URL` of the relay's admin address: http:, https:, tcp: or unix: (default tcp://127.0.0.1:7070)")
	f.StringVar(&w.token, "token-file", "", "`FILE` with the bearer token of the admin address, if it wants one")
}

// load fills in what the configuration says, and the defaults.
func (w *whereFlags) load() error {
	cfg := config.Default()
	if w.file != "" {
		var err error
		if cfg, err = config.Load(w.file); err != nil {
			return errUsage{err}
		}
		w.cfg = cfg
	}
	if w.data == "" {
		w.data = cfg.Data
	}
	if w.admin == "" {
		w.admin = cfg.Admin.Listen
		if cfg.Admin.TLS != nil {
			w.admin = "https" + strings.TrimPrefix(w.admin, "tcp")
		}
	}
	if w.token == "" {
		w.token = cfg.Admin.TokenFile
	}
	return nil
}

// An adminClient asks a relay's admin address.
type adminClient struct {
	base   string // URL without a path
	token  string
	client http.Client
}

// client returns a client for the admin address.
func (w *whereFlags) client() (*adminClient, error) {
	c := &adminClient{base: strings.TrimSuffix(w.admin, "/")}
	scheme, rest, _ := strings.Cut(c.base, ":")
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	switch scheme {
	case "http", "https":
	case "tcp":
		if strings.HasPrefix(rest, "//:") {
			rest = "//localhost" + rest[2:]
		}
		c.base = "http:" + rest
	case "unix":
		e, err := listen.Parse(c.base)
		if err != nil {
			return nil, errUsage{err}
		}
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", e.Path)
		}
		c.base = "http://localhost"
	default:
		return nil, usage("-admin: %q is no http:, https:, tcp: or unix: URL", w.admin)
	}
	if w.token != "" {
		var err error
		if c.token, err = config.Token(w.token); err != nil {
			return nil, err
		}
	}
	c.client = http.Client{
		Transport: transport, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

func (c *adminClient) close() { c.client.CloseIdleConnections() }

// do makes a request, and returns the answer's body. A status that is not 200 is
// an error.
func (c *adminClient) do(ctx context.Context, method, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, nil)
	if err != nil {
		return nil, errUsage{err}
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		err = errors.Join(err, fmt.Errorf("%s%s: %s: %s", c.base, path, resp.Status, bytes.TrimSpace(b)))
	}
	return b, err
}

// snapshot returns what the relay says of itself.
func (c *adminClient) snapshot(ctx context.Context) (s status.Snapshot, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	b, err := c.do(ctx, http.MethodGet, "/status.json")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(b, &s)
}
