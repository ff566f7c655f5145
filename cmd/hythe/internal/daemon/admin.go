package daemon

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"strings"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/cmd/hythe/internal/admin"
	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/httpd"
	"github.com/hythe-go/hythe/listen"
)

// openAdmin binds the admin address. It is only changed by a restart.
func (c *change) openAdmin(ctx context.Context, first bool) error {
	a := c.cfg.Admin
	if !first || a.Listen == "off" {
		return nil
	}
	d := c.d
	h, err := adminHandler(d, a)
	if err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	door := &door{endpoint: a.Listen, protocol: "admin", served: make(chan struct{})}
	logger := d.o.Logger.With("input", "admin")
	door.server = &hythe.Server{
		Service: &httpd.Server{Handler: h, MaxBodyBytes: 64 << 10, Logger: logger}, Logger: logger,
		Limits: hythe.Limits{Conns: 256, Memory: 16 << 20},
	}
	if a.TLS != nil {
		conf, err := serverTLS(a.TLS, d.o.Logger)
		if err != nil {
			return fmt.Errorf("admin: %w", err)
		}
		door.server.TLS = httpd.TLSConfig(conf)
	}
	if err := door.listen(ctx, d.o.Logger); err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	c.admin = door
	return nil
}

// adminHandler returns what is served at the admin address. config has seen to it
// that an address which is not a loopback's has a token, or asks for certificates.
func adminHandler(d *Daemon, a config.Admin) (http.Handler, error) {
	o := admin.Options{Loopback: isLoopback(a.Listen), ClientCert: a.TLS != nil && a.TLS.ClientCA != ""}
	if a.TokenFile != "" {
		b, err := os.ReadFile(a.TokenFile)
		if err != nil {
			return nil, err
		}
		line, _, _ := strings.Cut(string(b), "\n")
		o.Token = strings.TrimSpace(line)
	}
	return admin.Handler(d, o), nil
}

// isLoopback reports whether only this machine can connect to an endpoint.
func isLoopback(endpoint string) bool {
	e, err := listen.Parse(endpoint)
	if err != nil {
		return false
	}
	if e.Scheme == listen.SchemeUnix {
		return true
	}
	ip, err := netip.ParseAddr(e.Host)
	return e.Host == "localhost" || err == nil && ip.IsLoopback()
}
