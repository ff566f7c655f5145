package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/daemon"
	"github.com/hythe-go/hythe/cmd/hythe/internal/output"
	"github.com/hythe-go/hythe/link"
	"github.com/hythe-go/hythe/listen"
)

// list is a flag that may be repeated.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// configFlags are those of run and check.
type configFlags struct {
	file   string
	flags  config.Flags
	listen list
}

func (c *configFlags) add(f *flag.FlagSet) {
	f.StringVar(&c.file, "config", "", "`FILE` in TOML; see docs/configuration.md")
	f.Var(&c.listen, "listen", "take lines at this `ENDPOINT`, or from standard input if it is -; may be repeated (default lines on tcp://127.0.0.1:7000, HTTP on tcp://127.0.0.1:7080, FastCGI)")
	f.StringVar(&c.flags.To, "to", "", "deliver to this `URL`: tcp:, tls:, unix:, http:, https:, nats:, file: or - (default -, standard output)")
	f.StringVar(&c.flags.Data, "data", "", "`DIR` for the spools (default ./hythe-data)")
	f.StringVar(&c.flags.Admin, "admin", "", "`ENDPOINT` of the status page, or off (default tcp://127.0.0.1:7070)")
}

// load returns the configuration.
func (c *configFlags) load(f *flag.FlagSet, args []string) (*config.Config, error) {
	others, err := parse(f, args)
	if err != nil {
		return nil, err
	}
	if len(others) > 0 {
		return nil, usage("%q: a flag is missing in front of it", others[0])
	}
	c.flags.Listen = c.listen
	if c.file != "" {
		if f.NFlag() > 1 {
			return nil, usage("-config goes with no other flag")
		}
		cfg, err := config.Load(c.file)
		if err != nil {
			return nil, errUsage{err}
		}
		return cfg, nil
	}
	cfg := config.With(c.flags)
	if err := cfg.Validate(); err != nil {
		return nil, errUsage{err}
	}
	return cfg, nil
}

func checkCommand(p *program, ctx context.Context, f *flag.FlagSet, args []string) error {
	var c configFlags
	c.add(f)
	cfg, err := c.load(f, args)
	if err != nil {
		return err
	}
	for name, o := range cfg.Output { // what they refuse beyond that is refused here, too
		if _, err := output.New(o, output.Options{Name: name, Group: new(link.Group), Stdout: io.Discard}); err != nil {
			return errUsage{fmt.Errorf("output %s: %w", name, err)}
		}
	}
	cfg.Write(ctx, p.stdout)
	return nil
}

func runCommand(p *program, ctx context.Context, f *flag.FlagSet, args []string) error {
	var c configFlags
	c.add(f)
	cfg, err := c.load(f, args)
	if err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50) // little lives long here: memory is worth more than the time
	}
	notes := log.New(p.stderr, "hythe: ", 0)
	level := new(slog.LevelVar)
	logger := newLogger(p.stderr, cfg, level)
	for _, warning := range cfg.Warnings() {
		logger.Warn(warning)
	}
	service := newService()
	defer context.AfterFunc(ctx, func() { service.tell("STOPPING=1") })()
	var d *daemon.Daemon
	first := true
	err = daemon.Run(ctx, daemon.Options{
		Config: cfg, Version: version(), Stdin: p.stdin, Stdout: p.stdout, Logger: logger, Notes: notes,
		Reload:  p.reloads(ctx, c.file, level, service),
		Started: func(started *daemon.Daemon) { d = started },
		Ready: func() {
			if first {
				announce(notes, d, cfg)
				first = false
			}
			service.tell("READY=1")
		},
		Tick: service.watchdog,
	})
	if errors.Is(err, daemon.ErrInputEnded) {
		return nil
	}
	return err
}

// newLogger returns the logger that a configuration wants.
func newLogger(w io.Writer, cfg *config.Config, level *slog.LevelVar) *slog.Logger {
	setLevel(level, cfg)
	o := &slog.HandlerOptions{Level: level}
	if cfg.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

func setLevel(level *slog.LevelVar, cfg *config.Config) {
	var l slog.Level
	if l.UnmarshalText([]byte(cfg.Log.Level)) == nil {
		level.Set(l)
	}
}

// reloads returns a channel that has something for each SIGHUP. Without a file
// there is nothing to read again.
func (p *program) reloads(ctx context.Context, file string, level *slog.LevelVar, service *service) <-chan func() (*config.Config, error) {
	hangups := p.hangups
	if hangups == nil {
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGHUP)
		context.AfterFunc(ctx, func() { signal.Stop(c) })
		hangups = c
	}
	reloads := make(chan func() (*config.Config, error))
	go func() { // ends with ctx
		for {
			select {
			case <-hangups:
			case <-ctx.Done():
				return
			}
			service.reloading()
			load := func() (*config.Config, error) {
				if file == "" {
					return nil, errors.New("there is no configuration file")
				}
				cfg, err := config.Load(file)
				if err == nil {
					setLevel(level, cfg)
				}
				return cfg, err
			}
			select {
			case reloads <- load:
			case <-ctx.Done():
				return
			}
		}
	}()
	return reloads
}

// announce says what listens where, and how to try it.
func announce(notes *log.Logger, d *daemon.Daemon, cfg *config.Config) {
	s := d.Snapshot()
	for _, in := range s.Inputs {
		for _, e := range in.Endpoints {
			try := "try: " + e.Try
			if e.Try == "" {
				try = "for a web server, see docs/behind-a-web-server.md"
			}
			notes.Printf("%-8s %s   %s", in.Name, e.Address, try)
		}
	}
	for _, r := range s.Routes {
		for _, v := range r.Deliveries {
			notes.Printf("route %s to %s, by the spool in %s", r.Name, v.To, r.Spool.Dir)
			if v.Start > 0 {
				notes.Printf("route %s has %d messages left for %s", r.Name, v.Start, v.Output)
			}
		}
	}
	if cfg.Admin.Listen != "off" {
		notes.Printf("status   %s", statusPage(cfg.Admin))
	}
}

// statusPage says how the status page is reached.
func statusPage(a config.Admin) string {
	e, err := listen.Parse(a.Listen)
	switch {
	case err == nil && e.Scheme == listen.SchemeUnix:
		return "curl --unix-socket " + e.Path + " http://localhost/"
	case err != nil || e.Service == "":
		return a.Listen
	}
	scheme, host := "http", e.Host
	if a.TLS != nil {
		scheme = "https"
	}
	if host == "" || host == "0.0.0.0" || host == "::" {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, e.Service) + "/"
}

// A service is the service manager's side, systemd's that is: sd_notify(3). The
// zero value is for when there is none.
type service struct {
	socket string
	every  time.Duration // of the watchdog; 0: none
	last   time.Time
}

func newService() *service {
	s := &service{socket: os.Getenv("NOTIFY_SOCKET")}
	var micros int64
	if _, err := fmt.Sscan(os.Getenv("WATCHDOG_USEC"), &micros); err == nil {
		s.every = time.Duration(micros) * time.Microsecond / 2
	}
	return s
}

// watchdog tells that all is well. It is called about once a second.
func (s *service) watchdog() {
	if s.every > 0 && time.Since(s.last) >= s.every-time.Second {
		s.last = time.Now()
		s.tell("WATCHDOG=1")
	}
}
