// Package daemon makes a running relay of a configuration: it opens the spools,
// listens, delivers, changes over to a new configuration without closing
// a listener, and drains.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/link"
)

// Options are what a daemon is run with.
type Options struct {
	Config  *config.Config
	Version string

	// Reload has a function for each time that the configuration is to be read
	// again. It may be nil.
	Reload <-chan func() (*config.Config, error)

	Stdin  io.Reader
	Stdout io.Writer

	Logger *slog.Logger // what happens
	Notes  *log.Logger  // what the operator at the terminal is told

	Started func(*Daemon) // called once, before Ready
	Ready   func()        // called when everything listens, and after each reload
	Tick    func()        // called about once a second while all is well
}

// ErrStopped means that the daemon could not go on.
var ErrStopped = errors.New("stopped")

// A Daemon is a running relay.
type Daemon struct {
	o       Options
	started time.Time
	ids     *relay.IDs
	links   *link.Group
	fatal   chan error // holds one: why it cannot go on
	history history
	closed  closedRing
	since   problemClock

	work sync.WaitGroup // servers, standard input, the ticker

	mu          sync.Mutex
	cfg         *config.Config     // guarded by mu
	inputs      map[string]*input  // guarded by mu
	routes      map[string]*route  // guarded by mu
	draining    bool               // guarded by mu
	admin       *door              // nil: none. Guarded by mu
	refusing    map[string]refusal // by route. Guarded by mu
	reloadError string             // of the last reload, if it failed. Guarded by mu
	gone        []*relay.Intake    // of inputs that are no more. Guarded by mu
}

// Run runs a relay until ctx ends, and then drains it. The error is nil if all
// connections could finish; what was not delivered is in the spools.
func Run(ctx context.Context, o Options) error {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Notes == nil {
		o.Notes = log.New(io.Discard, "", 0)
	}
	d := &Daemon{
		o: o, started: time.Now(), ids: relay.NewIDs(), links: new(link.Group), fatal: make(chan error, 1),
		cfg: o.Config, inputs: make(map[string]*input), routes: make(map[string]*route), refusing: make(map[string]refusal),
	}
	if err := os.MkdirAll(o.Config.Data, 0o750); err != nil {
		return err
	}
	ticking, stopTicking := context.WithCancel(context.Background())
	defer d.work.Wait()
	defer stopTicking()
	if err := d.apply(ctx, o.Config, true); err != nil {
		return errors.Join(err, d.end())
	}
	d.work.Go(func() { d.tick(ticking) })
	if o.Started != nil {
		o.Started(d)
	}
	if o.Ready != nil {
		o.Ready()
	}
	for {
		select {
		case <-ctx.Done():
			d.o.Notes.Printf("draining, for %v at most; a second signal ends at once", time.Duration(d.config().Drain))
			return d.drain()
		case err := <-d.fatal:
			d.o.Notes.Print(err)
			return errors.Join(err, d.drain())
		case load := <-o.Reload:
			d.reload(ctx, load)
		}
	}
}

func (d *Daemon) config() *config.Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cfg
}

// fail ends the daemon.
func (d *Daemon) fail(err error) {
	select {
	case d.fatal <- err:
	default:
	}
}

// reload changes over to the configuration that load returns. When that does not
// work the old one stays.
func (d *Daemon) reload(ctx context.Context, load func() (*config.Config, error)) {
	cfg, err := load()
	if err == nil {
		err = d.apply(ctx, cfg, false)
	}
	d.mu.Lock()
	if d.reloadError = ""; err != nil {
		d.reloadError = err.Error()
	}
	d.mu.Unlock()
	if err != nil {
		d.o.Logger.Error("the configuration was not changed", "err", err)
		d.o.Notes.Printf("the configuration was not changed: %v", err)
	} else {
		d.o.Logger.Info("configuration changed", "file", cfg.Path)
		d.o.Notes.Print("the configuration was read again")
	}
	if d.o.Ready != nil {
		d.o.Ready()
	}
}

// drain lets what has come in finish, delivers what can be delivered in the time
// there is, and ends.
func (d *Daemon) drain() error {
	d.mu.Lock()
	d.draining = true
	limit := time.Duration(d.cfg.Drain)
	var doors []*door
	for _, in := range d.inputs {
		in.stopReading()
		for _, door := range in.doors {
			doors = append(doors, door)
		}
	}
	routes := make([]*route, 0, len(d.routes))
	for _, r := range d.routes {
		routes = append(routes, r)
	}
	d.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	inputs, cancelInputs := context.WithTimeout(ctx, limit*2/3) // the rest is for the outputs
	defer cancelInputs()
	var work sync.WaitGroup
	errs := make([]error, len(doors))
	for i, door := range doors {
		work.Go(func() { errs[i] = door.drain(inputs, d) })
	}
	work.Wait()
	for _, r := range routes {
		work.Go(func() { r.finish(ctx) })
	}
	work.Wait()
	err := errors.Join(append(errs, d.end())...)
	d.o.Notes.Print(d.ledger())
	return err
}

// end closes everything that is open. What is not delivered stays in the spools.
func (d *Daemon) end() error {
	d.mu.Lock()
	inputs, routes, admin, gone := d.inputs, d.routes, d.admin, d.gone
	d.mu.Unlock()
	for _, in := range inputs {
		in.close()
	}
	for _, intake := range gone {
		intake.Close()
	}
	var errs []error
	for _, r := range routes {
		errs = append(errs, r.Close())
	}
	d.links.Close()
	if admin != nil {
		admin.server.Close()
	}
	return errors.Join(errs...)
}

// ledger says what became of the messages.
func (d *Daemon) ledger() string {
	s := d.Snapshot()
	var in, out, dead, left uint64
	for _, r := range s.Routes {
		in += r.In
		for _, v := range r.Deliveries {
			out, dead, left = out+v.Delivered, dead+v.Dead, left+v.Backlog
		}
	}
	text := fmt.Sprintf("messages: %d taken, %d delivered", in, out)
	if dead > 0 {
		text += fmt.Sprintf(", %d dead letters", dead)
	}
	if left > 0 {
		text += fmt.Sprintf(", %d left in the spool", left)
	}
	return text
}

// Requeue takes dead letters up again.
func (d *Daemon) Requeue(ctx context.Context, routeName, output string) (int, error) {
	d.mu.Lock()
	r := d.routes[routeName]
	d.mu.Unlock()
	if r == nil {
		return 0, fmt.Errorf("no such route: %s", routeName)
	}
	return r.Requeue(ctx, output)
}

// tick keeps the history, and looks for what cannot be gone on with.
func (d *Daemon) tick(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			if err := d.look(now); err != nil {
				d.fail(err)
			} else if d.o.Tick != nil {
				d.o.Tick()
			}
		}
	}
}
