package daemon

import (
	"context"
	"fmt"
	"net/http"

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
	e, err := listen.Parse(a.Listen)
	if err != nil {
		return nil, err
	}
	o := admin.Options{Loopback: config.Loopback(e), ClientCert: a.TLS != nil && a.TLS.ClientCA != ""}
	if a.TokenFile != "" {
		if o.Token, err = config.Token(a.TokenFile); err != nil {
			return nil, err
		}
	}
	return admin.Handler(d, o), nil
}
