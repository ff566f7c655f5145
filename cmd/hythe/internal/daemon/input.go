package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	inputs "github.com/hythe-go/hythe/cmd/hythe/internal/input"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/fcgi"
	"github.com/hythe-go/hythe/httpd"
	"github.com/hythe-go/hythe/listen"
)

// An input is one way in: its intake, and a door for each endpoint.
type input struct {
	intake  *relay.Intake
	repeats *inputs.Repeats  // the Idempotency-Keys that all its doors know
	cfg     *config.Input    // guarded by Daemon.mu
	doors   map[string]*door // by endpoint. Guarded by Daemon.mu

	stopReading context.CancelFunc // ends reading standard input
}

// A door is an endpoint with its server. The server stays while the protocol does,
// whatever else changes: service and config are looked up for each connection or
// request.
type door struct {
	endpoint  string
	protocol  string
	listeners []*listen.Listener
	server    *hythe.Server
	service   swapService
	handler   swapHandler
	tls       atomic.Pointer[tls.Config] // nil: none
	served    chan struct{}              // closed when Serve has returned
}

// swapService is a service that can be replaced; connections keep theirs.
type swapService struct{ p atomic.Pointer[hythe.Service] }

func (s *swapService) Open(st *hythe.Stream) (hythe.Protocol, error) { return (*s.p.Load()).Open(st) }

// swapHandler is a handler that can be replaced; requests keep theirs.
type swapHandler struct{ p atomic.Pointer[http.Handler] }

func (h *swapHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	(*h.p.Load()).ServeHTTP(w, r)
}

// fits reports whether the door can serve an input with that configuration, once
// set has been called.
func (d *door) fits(c *config.Input) bool {
	return d.protocol == c.Protocol && (d.tls.Load() != nil) == (c.TLS != nil)
}

// set has the door do what the configuration says from the next connection, or
// request, on.
func (d *door) set(c *config.Input, in *input, logger *slog.Logger) error {
	switch c.Protocol {
	case "frames":
		svc, err := inputs.NewFrames(c, in.intake)
		if err != nil {
			return err
		}
		d.service.p.Store(&svc)
	default:
		h, err := in.repeats.Handler(c, in.intake)
		if err != nil {
			return err
		}
		d.handler.p.Store(&h)
	}
	if c.TLS != nil {
		conf, err := serverTLS(c.TLS, logger)
		if err != nil {
			return err
		}
		if c.Protocol == "http" {
			conf = httpd.TLSConfig(conf)
		}
		d.tls.Store(conf)
	}
	return nil
}

// limits returns what connections of the input may take.
func limits(c *config.Input) (hythe.Limits, hythe.Timeouts) {
	l := hythe.Limits{Conns: c.MaxConns, ConnsPerIP: c.MaxConnsPerIP, Memory: 32 << 20}
	t := hythe.Timeouts{Idle: time.Duration(c.Idle), Lifetime: -1}
	if c.Protocol == "frames" {
		l.FrameBytes = int(c.MaxMessage) + 64<<10 // a codec's limit is the one that counts
		l.Memory = max(l.Memory, int64(l.FrameBytes))
		t.FirstInput = -1 // whoever has nothing to say today may have tomorrow
		if t.Idle == 0 {
			t.Idle = -1
		}
	}
	return l, t
}

// serverTLS returns the side of TLS that waits for clients.
func serverTLS(c *config.TLS, logger *slog.Logger) (*tls.Config, error) {
	files := &hythe.TLSFiles{Cert: c.Cert, Key: c.Key, ClientCA: c.ClientCA, OnReload: func(err error) {
		if err != nil {
			logger.Error("the certificate cannot be used; the old one stays", "cert", c.Cert, "err", err)
		} else {
			logger.Info("certificate read again", "cert", c.Cert)
		}
	}}
	return files.Config()
}

// minRate is the least that a POST must keep, in bytes per second.
const minRate = 256

// newDoor makes a door for listeners. It does not serve yet.
func newDoor(endpoint string, c *config.Input, in *input, d *Daemon) (*door, error) {
	door := &door{endpoint: endpoint, protocol: c.Protocol, served: make(chan struct{})}
	if err := door.set(c, in, d.o.Logger); err != nil {
		return nil, err
	}
	logger := d.o.Logger.With("input", c.Name)
	srv := &hythe.Server{Logger: logger, Observer: func(ev hythe.Event) { d.closed.observe(c.Name, ev) }}
	srv.Limits, srv.Timeouts = limits(c)
	switch c.Protocol {
	case "frames":
		srv.Service = &door.service
	case "http":
		srv.Service = &httpd.Server{Handler: &door.handler, MaxBodyBytes: -1, MinRate: minRate, Logger: logger} // the handler has a limit of its own
	case "fcgi":
		srv.Service = &fcgi.Server{Handler: &door.handler, Logger: logger, Limits: fcgi.Limits{BodyBytes: -1, BodyWindow: 256 << 10, Memory: 16 << 20}}
	}
	if c.TLS != nil {
		srv.TLS = &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return door.tls.Load().GetConfigForClient(hello) // which has the files: nobody else would ask it
		}}
	}
	door.server = srv
	return door, nil
}

// listen binds the door's endpoint.
func (d *door) listen(ctx context.Context, logger *slog.Logger) error {
	ls, err := (&listen.Config{Logger: logger}).Listen(ctx, d.endpoint)
	d.listeners = ls
	return err
}

// takeOver has the door use the sockets of another one, which goes on accepting
// until it is drained.
func (d *door) takeOver(old *door, logger *slog.Logger) error {
	for _, l := range old.listeners {
		f, err := l.File()
		if err != nil {
			return err
		}
		ln, err := net.FileListener(f)
		f.Close()
		if err != nil {
			return err
		}
		d.listeners = append(d.listeners, (&listen.Config{Logger: logger}).Wrap(ln))
		l.SetUnlinkOnClose(false)
	}
	return nil
}

// closeListeners gives up what was bound, when the door never served.
func (d *door) closeListeners() {
	for _, l := range d.listeners {
		l.Close()
	}
}

// serve begins to serve. An end that nobody asked for ends the daemon.
func (d *door) serve(daemon *Daemon) {
	list := make([]net.Listener, len(d.listeners))
	for i, l := range d.listeners {
		list[i] = l
	}
	daemon.work.Go(func() {
		defer close(d.served)
		err := d.server.Serve(context.Background(), list...)
		var cut *hythe.DrainError
		if err != nil && !errors.As(err, &cut) && !errors.Is(err, hythe.ErrServerClosed) {
			daemon.fail(fmt.Errorf("%s: %w", d.endpoint, err))
		}
	})
}

// drain lets the door's connections finish.
func (d *door) drain(ctx context.Context, daemon *Daemon) error {
	report, err := d.server.Drain(ctx)
	<-d.served
	if n := len(report.Idle) + len(report.Finished) + len(report.Cut); n > 0 {
		daemon.o.Notes.Printf("%s: %v", d.endpoint, report)
	}
	for _, c := range report.Cut {
		daemon.o.Notes.Printf("cut: connection %d from %v, after %v", c.ID, c.Remote, c.Age.Round(time.Millisecond))
	}
	var cut *hythe.DrainError
	if errors.As(err, &cut) {
		return fmt.Errorf("%s: %d connections were cut before they had finished", d.endpoint, len(report.Cut))
	}
	return nil
}

func (in *input) close() {
	in.stopReading()
	var work sync.WaitGroup
	for _, d := range in.doors {
		work.Go(func() {
			d.server.Close()
			<-d.served
		})
	}
	work.Wait()
	in.intake.Close()
}

// read has an input take messages from standard input until it ends, which drains
// the daemon if nothing else can bring messages.
func (d *Daemon) read(in *input, c *config.Input, alone bool) {
	ctx, cancel := context.WithCancel(context.Background())
	in.stopReading = cancel
	go func() { // the read of standard input itself cannot be interrupted
		err := inputs.ReadAll(ctx, c, in.intake, d.o.Stdin)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			d.fail(fmt.Errorf("standard input: %w", err))
		case alone:
			d.fail(ErrInputEnded)
		}
	}()
}

// ErrInputEnded means that standard input, the only input, has ended.
var ErrInputEnded = errors.New("standard input has ended")
