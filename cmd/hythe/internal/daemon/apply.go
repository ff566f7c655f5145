package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	inputs "github.com/hythe-go/hythe/cmd/hythe/internal/input"
	"github.com/hythe-go/hythe/cmd/hythe/internal/output"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/link"
	"github.com/hythe-go/hythe/spool"
)

// A route is a relay.Route with the configuration that it has now.
type route struct {
	*relay.Route
	cfg     *config.Route
	outputs map[string]*config.Output // delivered to
}

// apply changes over to a configuration. What can fail for a reason outside, as
// binding does, is done first, and undone when something fails: then nothing has
// changed.
func (d *Daemon) apply(ctx context.Context, cfg *config.Config, first bool) (err error) {
	if !first && cfg.Data != d.config().Data {
		return errors.New("data: the directory can only be changed by a restart")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	c := &change{d: d, cfg: cfg, opened: make(map[string]*route), doors: make(map[string]map[string]*door)}
	defer func() {
		if err != nil {
			c.undo()
		}
	}()
	if err := errors.Join(c.openRoutes(), c.openDoors(ctx), c.tryOutputs(), c.openAdmin(ctx, first)); err != nil {
		return err
	}
	d.cfg = cfg
	return c.commit()
}

// A change is a configuration that is being put into effect. Daemon.mu is held.
type change struct {
	d      *Daemon
	cfg    *config.Config
	opened map[string]*route           // new ones
	doors  map[string]map[string]*door // new ones, by input and endpoint
	admin  *door                       // new, if not nil
	old    []*door                     // to be drained
}

// undo closes what was opened.
func (c *change) undo() {
	for _, r := range c.opened {
		r.Close()
	}
	for _, doors := range c.doors {
		for _, door := range doors {
			door.closeListeners()
		}
	}
	if c.admin != nil {
		c.admin.closeListeners()
	}
	maps.DeleteFunc(c.d.inputs, func(_ string, in *input) bool { return in.cfg == nil })
}

// openRoutes opens the spools of routes that are new.
func (c *change) openRoutes() error {
	var errs []error
	for _, name := range sorted(c.cfg.Route) {
		if c.d.routes[name] != nil {
			continue
		}
		r, err := c.d.openRoute(c.cfg, name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		c.opened[name] = r
	}
	return errors.Join(errs...)
}

func (d *Daemon) openRoute(cfg *config.Config, name string) (*route, error) {
	rc := cfg.Route[name]
	so := spool.Options{
		SegmentBytes: int64(rc.Spool.Segment), MaxBytes: int64(rc.Spool.MaxBytes), MaxAge: time.Duration(rc.Spool.MaxAge),
		MaxRecord: maxRecord(cfg), Logger: d.o.Logger,
	}
	if rc.Spool.Overflow == "drop-oldest" {
		so.Overflow = spool.DropOldest
	}
	r, err := relay.OpenRoute(name, relay.RouteOptions{
		Dir: filepath.Join(cfg.Data, "routes", name), DeadDir: filepath.Join(cfg.Data, "dead", name),
		Match: match(rc), Discard: rc.Discard, Spool: so,
		Dead:   spool.Options{MaxBytes: int64(rc.Spool.DeadBytes), MaxRecord: so.MaxRecord, Logger: d.o.Logger},
		Logger: d.o.Logger,
	})
	if err != nil {
		return nil, err
	}
	return &route{Route: r, cfg: rc, outputs: make(map[string]*config.Output)}, nil
}

// maxRecord is the largest envelope that an input can make.
func maxRecord(cfg *config.Config) int {
	most := 1 << 20
	for _, in := range cfg.Input {
		most = max(most, int(in.MaxMessage), int(in.MaxBody))
	}
	return most + relay.MaxEnvelope
}

func match(rc *config.Route) relay.Match {
	return relay.Match{Inputs: rc.From, Prefix: []byte(rc.Match.Prefix), Header: rc.Match.Header}
}

// openDoors binds the endpoints that are new, and makes doors that take over from
// those whose protocol has changed.
func (c *change) openDoors(ctx context.Context) error {
	var errs []error
	for _, name := range sorted(c.cfg.Input) {
		in := c.cfg.Input[name]
		had := c.d.inputs[name]
		if had == nil {
			c.d.inputs[name] = &input{
				intake: relay.NewIntake(name, c.d.ids), repeats: new(inputs.Repeats), doors: make(map[string]*door), stopReading: func() {},
			}
		}
		c.doors[name] = make(map[string]*door)
		for _, endpoint := range in.Listen {
			old := c.d.door(endpoint)
			if old != nil && had != nil && had.doors[endpoint] == old && old.fits(in) {
				continue
			}
			door, err := newDoor(endpoint, in, c.d.inputs[name], c.d)
			if err == nil {
				if old != nil {
					err = door.takeOver(old, c.d.o.Logger)
				} else {
					err = door.listen(ctx, c.d.o.Logger)
				}
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("input %s: %w", name, err))
				continue
			}
			c.doors[name][endpoint] = door
		}
	}
	return errors.Join(errs...)
}

// door returns the door that is open at an endpoint.
func (d *Daemon) door(endpoint string) *door {
	for _, in := range d.inputs {
		if door := in.doors[endpoint]; door != nil {
			return door
		}
	}
	return nil
}

// tryOutputs finds out whether all outputs can be made.
func (c *change) tryOutputs() error {
	var errs []error
	for _, name := range sorted(c.cfg.Output) {
		if _, err := c.d.output(c.cfg.Output[name], name, new(link.Group)); err != nil {
			errs = append(errs, fmt.Errorf("output %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func (d *Daemon) output(oc *config.Output, name string, group *link.Group) (relay.Output, error) {
	return output.New(oc, output.Options{Name: name, Group: group, Logger: d.o.Logger, Stdout: d.o.Stdout})
}

// commit puts everything into effect.
func (c *change) commit() error {
	d := c.d
	var errs []error

	for name, r := range c.opened {
		d.routes[name] = r
	}
	for name, r := range d.routes { // spools whose bounds have changed are opened anew
		rc := c.cfg.Route[name]
		if rc == nil || (r.cfg.Spool == rc.Spool && r.cfg.Discard == rc.Discard) {
			continue
		}
		errs = append(errs, r.Close())
		fresh, err := d.openRoute(c.cfg, name)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		d.routes[name] = fresh
	}
	for _, name := range sorted(d.routes) {
		if rc := c.cfg.Route[name]; rc != nil {
			errs = append(errs, d.deliver(d.routes[name], rc, c.cfg))
		}
	}

	var routes []*relay.Route
	for _, name := range sorted(c.cfg.Route) {
		routes = append(routes, d.routes[name].Route)
	}
	for name, in := range d.inputs {
		if c.cfg.Input[name] != nil {
			in.intake.SetRoutes(routes)
		}
	}
	errs = append(errs, c.changeInputs())
	for name, r := range d.routes {
		if c.cfg.Route[name] == nil {
			delete(d.routes, name)
			errs = append(errs, r.Close())
		}
	}
	if c.admin != nil {
		d.admin = c.admin
		c.admin.serve(d)
	}
	for _, door := range c.old {
		d.work.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(c.cfg.Drain))
			defer cancel()
			if err := door.drain(ctx, d); err != nil {
				d.o.Logger.Warn("connections of the old configuration were cut", "err", err)
			}
		})
	}
	return errors.Join(errs...)
}

// deliver stops deliveries that are no more, or to be different, and begins those
// that are new.
func (d *Daemon) deliver(r *route, rc *config.Route, cfg *config.Config) error {
	var errs []error
	r.SetMatch(match(rc))
	for name, old := range r.outputs {
		if !slices.Contains(rc.To, name) || !reflect.DeepEqual(old, cfg.Output[name]) {
			delete(r.outputs, name)
			errs = append(errs, r.Stop(name))
		}
	}
	for _, name := range rc.To {
		if r.outputs[name] != nil {
			continue
		}
		oc := cfg.Output[name]
		err := r.Deliver(name, oc.Lanes, func(lane int) (relay.Output, error) {
			label := r.Name + " to " + name
			if oc.Lanes > 1 {
				label += fmt.Sprintf(" #%d", lane+1)
			}
			return d.output(oc, label, d.links)
		})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		r.outputs[name] = oc
	}
	r.cfg = rc
	return errors.Join(errs...)
}

// changeInputs opens the new doors, tells the old ones what has changed, and finds
// those that are to be drained.
func (c *change) changeInputs() error {
	d := c.d
	var errs []error
	for name, in := range d.inputs {
		cfg := c.cfg.Input[name]
		for endpoint, door := range in.doors {
			switch {
			case cfg != nil && c.doors[name][endpoint] == nil && slices.Contains(cfg.Listen, endpoint):
				errs = append(errs, door.set(cfg, in, d.o.Logger))
				l, t := limits(cfg)
				errs = append(errs, door.server.SetLimits(l))
				door.server.SetTimeouts(t)
			default:
				delete(in.doors, endpoint)
				door.server.Pause() // another may have its sockets now
				c.old = append(c.old, door)
			}
		}
		if cfg == nil {
			in.stopReading()
			delete(d.inputs, name)
			d.gone = append(d.gone, in.intake)
			continue
		}
		if cfg.Protocol == "stdin" && in.cfg == nil {
			d.read(in, cfg, len(c.cfg.Input) == 1)
		}
		in.cfg = cfg
	}
	for name, doors := range c.doors {
		for endpoint, door := range doors {
			d.inputs[name].doors[endpoint] = door
			door.serve(d)
		}
	}
	return errors.Join(errs...)
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
