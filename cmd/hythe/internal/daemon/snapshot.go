package daemon

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/status"
	"github.com/hythe-go/hythe/link"
	"github.com/hythe-go/hythe/listen"
)

// maxConns is how many connections a snapshot lists.
const maxConns = 200

// Snapshot describes the daemon at this moment.
func (d *Daemon) Snapshot() status.Snapshot {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	s := status.Snapshot{
		Version: d.o.Version, Started: d.started, Now: now, PID: os.Getpid(), Data: d.cfg.Data, Config: d.cfg.Path,
		Draining: d.draining, Inputs: d.inputStates(), Routes: d.routeStates(now), Conns: d.conns(now),
		Closed: d.closed.list(), History: d.history.list(),
	}
	s.Problems = d.since.date(d.problems(&s), now)
	return s
}

func (d *Daemon) inputStates() (list []status.Input) {
	for _, name := range sorted(d.inputs) {
		in := d.inputs[name]
		if in.cfg == nil {
			continue
		}
		s := status.Input{Name: name, Protocol: in.cfg.Protocol, Guarantee: in.cfg.Guarantee(), Reasons: make(map[string]uint64)}
		if in.cfg.Protocol == "frames" || in.cfg.Protocol == "stdin" {
			s.Framing = in.cfg.Framing
		}
		s.Messages, s.Bytes, s.Refused, s.Repeated = in.intake.Counts()
		for _, endpoint := range sorted(in.doors) {
			door := in.doors[endpoint]
			for _, l := range door.listeners {
				a := l.Addr()
				s.Endpoints = append(s.Endpoints, status.Endpoint{Address: address(a), Try: try(in.cfg, a)})
			}
			st := door.server.Stats()
			s.Conns += st.Live
			s.Opened += st.Opened
			for reason, n := range st.Ended {
				s.Reasons[reason.String()] += n
			}
		}
		list = append(list, s)
	}
	return list
}

// address writes an address the way endpoints are written.
func address(a net.Addr) string {
	if a.Network() == "unix" {
		return listen.Endpoint{Scheme: listen.SchemeUnix, Path: a.String()}.String()
	}
	return a.Network() + "://" + a.String()
}

// try returns a command that sends a message to an input.
func try(c *config.Input, a net.Addr) string {
	if c.Protocol == "fcgi" {
		return "" // it takes a web server
	}
	var host, port, path string
	switch a := a.(type) {
	case *net.TCPAddr:
		ip := a.AddrPort().Addr().Unmap()
		host, port = ip.String(), fmt.Sprint(a.Port)
		if ip.IsUnspecified() {
			host = "localhost"
		}
	case *net.UnixAddr:
		path = a.Name
	}
	switch {
	case c.Protocol == "http" && port != "":
		scheme, flag := "http", ""
		if c.TLS != nil {
			scheme, flag = "https", "-k "
		}
		return fmt.Sprintf("curl %s-d hello %s://%s%s", flag, scheme, net.JoinHostPort(host, port), c.Path)
	case c.Protocol == "http":
		return fmt.Sprintf("curl --unix-socket %s -d hello http://localhost%s", path, c.Path)
	case c.Framing != "lines" && c.TLS != nil:
		return "" // hythe send speaks no TLS over plain sockets
	case c.Framing != "lines" && path != "":
		return "echo hello | hythe send -framing " + c.Framing + " -to " + address(a)
	case c.Framing != "lines":
		return "echo hello | hythe send -framing " + c.Framing + " -to tcp://" + net.JoinHostPort(host, port)
	case c.TLS != nil:
		return fmt.Sprintf(`printf 'hello\n' | openssl s_client -quiet -connect %s`, net.JoinHostPort(host, port))
	case strings.HasPrefix(path, "@"):
		return `printf 'hello\n' | socat - ABSTRACT-CONNECT:` + path[1:]
	case path != "":
		return `printf 'hello\n' | nc -N -U ` + path
	}
	return fmt.Sprintf(`printf 'hello\n' | nc -N %s %s`, host, port)
}

func (d *Daemon) routeStates(now time.Time) (list []status.Route) {
	for _, name := range sorted(d.routes) {
		r := d.routes[name]
		s := r.Status(now)
		s.Match = r.cfg.Describe()
		for i := range s.Deliveries {
			v := &s.Deliveries[i]
			if oc := r.outputs[v.Output]; oc != nil {
				v.To, v.Guarantee = oc.Destinations(), oc.Guarantee()
			}
		}
		list = append(list, s)
	}
	return list
}

// conns returns the connections that have moved most.
func (d *Daemon) conns(now time.Time) (list []status.Conn) {
	for _, name := range sorted(d.inputs) {
		for _, endpoint := range sorted(d.inputs[name].doors) {
			for st := range d.inputs[name].doors[endpoint].server.Conns() {
				s := st.Stats()
				list = append(list, status.Conn{
					Input: name, ID: st.ID(), Remote: remote(st.RemoteAddr()), Age: now.Sub(s.Opened), In: s.BytesIn, Out: s.BytesOut,
				})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b status.Conn) int { return cmp.Compare(b.In+b.Out, a.In+a.Out) })
	return list[:min(len(list), maxConns)]
}

func remote(a net.Addr) string {
	if a == nil || a.String() == "" || a.String() == "@" {
		return "local"
	}
	return a.String()
}

// problems returns what is wrong, without since when.
func (d *Daemon) problems(s *status.Snapshot) (list []status.Problem) {
	add := func(bad bool, part, format string, args ...any) {
		list = append(list, status.Problem{Part: part, What: fmt.Sprintf(format, args...), Bad: bad})
	}
	if s.Draining {
		add(true, "daemon", "draining")
	}
	if d.reloadError != "" {
		add(false, "configuration", "the new one was not taken: %s", d.reloadError)
	}
	for _, r := range s.Routes {
		part := "route " + r.Name
		refusing := d.refusing[r.Name].lately(s.Now)
		switch sp := r.Spool; {
		case sp.Trouble != "" && refusing:
			add(true, part, "nothing can be taken: %s", sp.Trouble)
		case sp.Trouble != "":
			add(false, part, "the last message could not be taken, and none has come since: %s", sp.Trouble)
		case refusing:
			add(true, part, "messages are refused: the spool is full")
		case sp.MaxBytes > 0 && sp.Bytes > sp.MaxBytes*9/10:
			add(false, part, "the spool is nearly full")
		}
		for _, v := range r.Deliveries {
			part := "route " + r.Name + ", output " + v.Output
			for _, l := range v.Lanes {
				if l.Link == nil || l.Link.Phase == link.Up.String() || l.Link.Cause == "" {
					continue
				}
				add(false, part, "%s: %s", l.Link.Phase, l.Link.Cause)
			}
			if v.DeadLetters > 0 {
				add(false, part, "%d dead letters", v.DeadLetters)
			}
			if v.Lost > 0 {
				add(false, part, "%d messages were lost: damaged, expired or dropped", v.Lost)
			}
		}
		for name, n := range d.routes[r.Name].Orphans() {
			add(false, part, "%d messages are kept for %s, which is no output of this route (hythe spool forget)", n, name)
		}
	}
	return list
}

// look takes note of the present state, for history and problems. The error is why
// the daemon cannot go on.
func (d *Daemon) look(now time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	routes := make([]status.Route, 0, len(d.routes))
	for _, r := range d.routes {
		routes = append(routes, r.Status(now))
	}
	d.history.add(d.counters(routes, now))
	d.lookForRefusals(routes, now)
	return d.beyondHope(routes)
}

// A refusal is when a route has last refused a message. It is looked at once
// a second: whoever obeys /readyz then sends nothing that could show that there is
// room again, so after a while it counts as over.
type refusal struct {
	count uint64
	at    time.Time
}

func (r refusal) lately(now time.Time) bool { return now.Sub(r.at) < 5*time.Second }

// lookForRefusals notes which routes refuse messages. d.mu is held.
func (d *Daemon) lookForRefusals(routes []status.Route, now time.Time) {
	for _, r := range routes {
		count, last := r.Spool.Failures+r.Spool.Refused, d.refusing[r.Name]
		if count > last.count {
			last.at = now
		}
		last.count = count
		d.refusing[r.Name] = last
	}
}

// beyondHope returns why the daemon cannot go on: standard output has gone. d.mu
// is held.
func (d *Daemon) beyondHope(routes []status.Route) error {
	for _, r := range routes {
		for _, v := range r.Deliveries {
			oc := d.routes[r.Name].outputs[v.Output]
			if oc == nil || !slices.Equal(oc.To, []string{"stdout:"}) {
				continue
			}
			for _, l := range v.Lanes {
				if l.Link != nil && l.Link.Phase == link.Failed.String() {
					return fmt.Errorf("standard output: %s: %w", l.Link.Cause, ErrStopped)
				}
			}
		}
	}
	return nil
}

// A problemClock remembers since when problems have been there.
type problemClock struct{ from map[string]time.Time }

func (p *problemClock) date(list []status.Problem, now time.Time) []status.Problem {
	from := make(map[string]time.Time)
	for i := range list {
		key := list[i].Part + ": " + strings.TrimLeft(list[i].What, "0123456789")
		since, ok := p.from[key]
		if !ok {
			since = now
		}
		list[i].From, from[key] = since, since
	}
	p.from = from
	return list
}

// A history has the last five minutes.
type history struct {
	mu     sync.Mutex
	points []status.Point // guarded by mu
	last   counters       // guarded by mu
}

// counters are what points are made of.
type counters struct {
	at               time.Time
	in, out, inBytes uint64
	backlog          uint64
	conns            int
}

// counters adds everything up. d.mu is held.
func (d *Daemon) counters(routes []status.Route, now time.Time) (c counters) {
	c.at = now
	for _, in := range d.inputs {
		messages, bytes, _, _ := in.intake.Counts()
		c.in, c.inBytes = c.in+messages, c.inBytes+bytes
		for _, door := range in.doors {
			c.conns += door.server.Stats().Live
		}
	}
	for _, r := range routes {
		for _, v := range r.Deliveries {
			c.out += v.Delivered
			c.backlog += v.Backlog
		}
	}
	return c
}

func (h *history) add(c counters) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if span := c.at.Sub(h.last.at).Seconds(); !h.last.at.IsZero() && span > 0 {
		rate := func(now, before uint64) float64 { return float64(now-min(now, before)) / span }
		h.points = append(h.points, status.Point{
			At: c.at, In: rate(c.in, h.last.in), Out: rate(c.out, h.last.out), InBytes: rate(c.inBytes, h.last.inBytes),
			Backlog: c.backlog, Conns: c.conns,
		})
		h.points = h.points[max(0, len(h.points)-300):]
	}
	h.last = c
}

func (h *history) list() []status.Point {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.points)
}

// A closedRing has the connections that have ended last.
type closedRing struct {
	mu   sync.Mutex
	ring [50]status.Closed // guarded by mu
	n    int               // so many have ended. Guarded by mu
}

// observe is a Server's Observer.
func (c *closedRing) observe(input string, ev hythe.Event) {
	if ev.Kind != hythe.ConnEnded || ev.Conn == nil {
		return
	}
	now, st := time.Now(), ev.Conn.Stats()
	entry := status.Closed{
		Input: input, ID: ev.Conn.ID(), Remote: remote(ev.Conn.RemoteAddr()), At: now, Age: now.Sub(st.Opened),
		In: st.BytesIn, Out: st.BytesOut, Reason: ev.Reason.String(),
	}
	if ev.Err != nil {
		entry.Detail = ev.Err.Error()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ring[c.n%len(c.ring)] = entry
	c.n++
}

// list returns them, the newest first.
func (c *closedRing) list() []status.Closed {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]status.Closed, 0, min(c.n, len(c.ring)))
	for i := c.n - 1; i >= max(0, c.n-len(c.ring)); i-- {
		list = append(list, c.ring[i%len(c.ring)])
	}
	return list
}
