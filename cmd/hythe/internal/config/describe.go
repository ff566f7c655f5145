package config

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Guarantee says in words what becomes of messages that an input takes.
func (i *Input) Guarantee() string {
	switch {
	case i.Protocol == "http":
		return "status 200 means on disk, on every route"
	case i.Protocol == "fcgi":
		return "status 200 means on disk, on every route; the web server must pass 503 on"
	case i.Protocol == "stdin":
		return "nothing is acknowledged; what was read is on disk before more is"
	case i.Framing == "hythe":
		return "what the other relay is told to have arrived is on disk, on every route"
	case i.Ack != "none":
		return "an acknowledged message is on disk, on every route"
	}
	return "nothing is acknowledged: what is still in the sockets when either side dies is lost; what was read is kept until it is on disk"
}

// Guarantee says in words what delivered means for an output.
func (o *Output) Guarantee() string {
	scheme := ""
	if len(o.To) > 0 {
		scheme, _, _ = strings.Cut(o.To[0], ":")
	}
	switch scheme {
	case "tcp", "tls", "unix":
		switch {
		case o.Framing == "hythe":
			return "at least once: until the other relay says that it is on disk there"
		case scheme == "unix":
			return "until this kernel has taken it: what the other side has not read when it dies is lost"
		}
		return "until the other side's kernel has acknowledged it: what its program has not read when it dies is lost; the rest is sent again, at least once"
	case "http", "https":
		return "at least once: until a status of 2xx"
	case "nats", "tls+nats":
		return "at least once: until the stream has acknowledged it; what that survives is for the server's settings to say"
	case "file":
		return "at least once: until it was synced to disk"
	}
	return "until it was written"
}

// Describe says in words which messages a route takes.
func (r *Route) Describe() string {
	parts := []string{"everything"}
	if len(r.From) > 0 {
		parts[0] = "everything from " + strings.Join(r.From, ", ")
	}
	if r.Match.Prefix != "" {
		parts = append(parts, fmt.Sprintf("that begins with %q", r.Match.Prefix))
	}
	for _, name := range sorted(r.Match.Header) {
		parts = append(parts, fmt.Sprintf("with %s: %s", name, r.Match.Header[name]))
	}
	return strings.Join(parts, " ")
}

// Warnings are what is not wrong, but most likely not meant, or better known.
func (c *Config) Warnings() (list []string) {
	warn := func(key, format string, args ...any) { list = append(list, c.problem(key, format, args...).Error()) }
	secret := func(key, file string) {
		if public(file) {
			warn(key, "everybody on this machine can read %s", file)
		}
	}
	secret("admin.token_file", c.Admin.TokenFile)
	for _, name := range sorted(c.Input) {
		t := "input." + name
		switch taken, all := c.takes(name); {
		case !taken:
			warn(t, "no route takes its messages: all of them are refused")
		case !all:
			warn(t, "what matches no route is refused")
		}
		secret(t+".token_file", c.Input[name].TokenFile)
	}
	used := make(map[string]bool)
	for _, name := range sorted(c.Route) {
		r, t := c.Route[name], "route."+name
		for _, to := range r.To {
			used[to] = true
		}
		if r.Spool.Overflow == "drop-oldest" {
			warn(t+".spool.overflow", "when its spool is full it loses messages that were acknowledged")
		}
		if r.Spool.MaxAge > 0 {
			warn(t+".spool.max_age", "messages that are not delivered within %v are lost", r.Spool.MaxAge)
		}
		if r.Discard {
			warn(t+".discard", "what it takes is acknowledged and thrown away")
		}
	}
	var printing []string
	for _, name := range sorted(c.Output) {
		o, t := c.Output[name], "output."+name
		if !used[name] {
			warn(t, "no route leads to it")
		}
		if slices.Contains(o.To, "stdout:") {
			if printing = append(printing, name); len(printing) == 2 {
				warn(t, "it shares standard output with %s", printing[0])
			}
		}
		secret(t+".token_file", o.TokenFile)
		secret(t+".credentials", o.Credentials)
		if o.TLS != nil {
			secret(t+".tls.key", o.TLS.Key)
		}
	}
	return list
}

// takes reports whether there is a route for messages of an input, and whether
// there is one for all of them.
func (c *Config) takes(input string) (some, all bool) {
	for _, r := range c.Route {
		if r.takes(input) {
			some = true
			all = all || r.Match.Prefix == "" && len(r.Match.Header) == 0
		}
	}
	return some, all
}

// Write describes the configuration: what comes from where, where it goes, and
// what is promised of each step. Names of hosts are looked up, until ctx ends;
// that one is not known is no error.
func (c *Config) Write(ctx context.Context, w io.Writer) {
	p := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	if c.Path != "" {
		p("file   %s", c.Path)
	}
	p("data   %s", c.Data)
	if c.Admin.Listen == "off" {
		p("admin  nowhere")
	} else {
		p("admin  %s%s", c.Admin.Listen, lookUp(ctx, c.Admin.Listen))
	}
	for _, name := range sorted(c.Input) {
		i := c.Input[name]
		what := i.Protocol
		if what == "frames" || what == "stdin" {
			what += ", " + i.Framing
		}
		p("\ninput %s (%s)", name, what)
		for _, e := range i.Listen {
			e += lookUp(ctx, e)
			if i.Protocol == "http" || i.Protocol == "fcgi" {
				e += ", POST " + i.Path
			}
			if i.TLS != nil {
				e += ", TLS"
			}
			p("  from %s", e)
		}
		p("  %s", i.Guarantee())
	}
	for _, name := range sorted(c.Route) {
		r := c.Route[name]
		p("\nroute %s takes %s", name, r.Describe())
		if r.Discard {
			p("  and throws it away")
			continue
		}
		bound, full := "until the disk is full", "then messages are refused, and senders wait"
		if r.Spool.MaxBytes > 0 {
			bound = "at most " + r.Spool.MaxBytes.String()
			if r.Spool.Overflow != "refuse" {
				full = "then the oldest are dropped"
			}
		}
		p("  spool %s/routes/%s, %s; %s", strings.TrimSuffix(c.Data, "/"), name, bound, full)
		for _, to := range r.To {
			o := c.Output[to]
			p("  to %s: %s", to, o.destinations(func(s string) string { return lookUp(ctx, s) }))
			p("    kept %s", o.Guarantee())
			if o.Lanes > 1 {
				p("    over %d connections; messages with the same key keep their order", o.Lanes)
			} else {
				p("    in order")
			}
		}
	}
	if warnings := c.Warnings(); len(warnings) > 0 {
		p("")
		for _, warning := range warnings {
			p("warning: %s", warning)
		}
	}
	p("\nSIGTERM drains for at most %v; what is not delivered by then stays in the spool.", time.Duration(c.Drain))
}

// Destinations writes where an output leads to, without passwords, in the order in
// which the destinations are tried.
func (o *Output) Destinations() string {
	return o.destinations(func(string) string { return "" })
}

// destinations writes behind each what about says of it.
func (o *Output) destinations(about func(to string) string) string {
	var list []string
	for _, to := range o.To {
		shown := hidePassword(to)
		if u, err := url.Parse(to); err == nil {
			shown = u.Redacted()
		}
		list = append(list, shown+about(to))
	}
	return strings.Join(list, ", else ")
}

// lookUp returns the addresses of the host in an endpoint or a destination, if it
// is known by a name.
func lookUp(ctx context.Context, endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil || u.Hostname() == "" || u.Scheme == "unix" || u.Scheme == "file" {
		return ""
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		return ""
	}
	addrs, err := net.DefaultResolver.LookupHost(ctx, u.Hostname())
	if err != nil {
		return fmt.Sprintf(" (not found now: %v)", err)
	}
	slices.Sort(addrs)
	return " (" + strings.Join(addrs, " ") + ")"
}
