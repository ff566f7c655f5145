package config

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hythe-go/hythe/cmd/hythe/internal/framing"
	"github.com/hythe-go/hythe/listen"
)

// A checker gathers problems.
type checker struct {
	c        *Config
	problems []*Problem
}

func (k *checker) add(key, format string, args ...any) {
	k.problems = append(k.problems, k.c.problem(key, format, args...))
}

// check returns everything that is wrong.
func (c *Config) check() []*Problem {
	k := &checker{c: c}
	k.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	k.oneOf("log.format", c.Log.Format, "text", "json")
	k.duration("drain", c.Drain)
	k.admin()
	if len(c.Input) == 0 {
		k.add("", "there is no input")
	}
	if len(c.Route) == 0 {
		k.add("", "there is no route")
	}
	stdins := 0
	for _, name := range sorted(c.Input) {
		k.input("input."+name, c.Input[name])
		if c.Input[name].Protocol == "stdin" {
			if stdins++; stdins == 2 {
				k.add("input."+name+".protocol", "standard input can be read once")
			}
		}
	}
	k.sharedAddresses()
	for _, name := range sorted(c.Output) {
		k.output("output."+name, c.Output[name])
	}
	for _, name := range sorted(c.Route) {
		k.route("route."+name, c.Route[name])
	}
	return k.problems
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// oneOf complains about a value that is none of those there are.
func (k *checker) oneOf(key, value string, there ...string) {
	if !slices.Contains(there, value) {
		k.add(key, "%q is none of %s", value, strings.Join(there, ", "))
	}
}

var goodName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// name complains about a name that is not fit for a directory's.
func (k *checker) name(table string) {
	if _, name, _ := strings.Cut(table, "."); !goodName.MatchString(name) {
		k.add(table, "a name has 1 to 63 of a-z, 0-9, - and _, the first a letter or a digit")
	}
}

// unused complains about keys of a table that mean nothing there.
func (k *checker) unused(table, where string, used ...string) {
	for _, key := range sorted(k.c.places) {
		rest, ok := strings.CutPrefix(key, table+".")
		if ok && !strings.Contains(rest, ".") && !slices.Contains(used, rest) {
			k.add(key, "it means nothing %s", where)
		}
	}
}

// duration complains about a number without a unit.
func (k *checker) duration(key string, d Duration) {
	switch {
	case d < 0:
		k.add(key, "%v is negative", d)
	case d > 0 && k.c.places[key].number:
		k.add(key, `a duration has a unit, as "10s" has`)
	}
}

// size complains about a size that is none.
func (k *checker) size(key string, s Size, least, most int64) {
	switch {
	case int64(s) < least:
		k.add(key, "%v is less than %v", s, Size(least))
	case int64(s) > most:
		k.add(key, "%v is more than %v", s, Size(most))
	}
}

// bound is size where -1 is allowed.
func (k *checker) bound(key string, s Size, least int64) {
	if s != -1 {
		k.size(key, s, least, 1<<60)
	}
}

func (k *checker) number(key string, n, least, most int) {
	if n < least || n > most {
		k.add(key, "%d is not between %d and %d", n, least, most)
	}
}

func (k *checker) admin() {
	a := k.c.Admin
	if a.Listen == "off" {
		return
	}
	e, err := listen.Parse(a.Listen)
	if err == nil && e.Scheme == "mem" {
		k.add("admin.listen", "%s: mem is for tests", a.Listen)
	}
	if err != nil {
		k.add("admin.listen", "%v", err)
		return
	}
	k.serverTLS("admin.tls", a.TLS)
	k.token("admin.token_file", a.TokenFile)
	if !Loopback(e) && a.TokenFile == "" && (a.TLS == nil || a.TLS.ClientCA == "") {
		k.add("admin.listen", "%s can be reached from elsewhere: it needs a token_file, or a tls.client_ca", a.Listen)
	}
}

func (k *checker) input(t string, i *Input) {
	k.name(t)
	k.oneOf(t+".protocol", i.Protocol, "frames", "http", "fcgi", "stdin")
	switch i.Protocol {
	case "frames":
		k.unused(t, "for frames", "protocol", "listen", "tls", "framing", "ack", "window", "max_message", "max_conns", "max_conns_per_ip", "idle")
	case "http":
		k.unused(t, "for http", "protocol", "listen", "tls", "max_message", "max_body", "path", "token_file", "key_header", "repeats",
			"max_conns", "max_conns_per_ip", "idle")
	case "fcgi":
		k.unused(t, "for fcgi", "protocol", "listen", "max_message", "max_body", "path", "token_file", "key_header", "repeats",
			"max_conns", "max_conns_per_ip", "idle")
	case "stdin":
		k.unused(t, "for stdin", "protocol", "framing", "window", "max_message")
	}
	k.oneOf(t+".framing", i.Framing, framing.Names...)
	k.oneOf(t+".ack", i.Ack, "none", "id", "message")
	switch {
	case i.Framing == "hythe" && i.Ack != "none":
		k.add(t+".ack", "framing hythe has acknowledgements of its own")
	case i.Ack != "none" && !framing.CanAnswer(i.Framing):
		k.add(t+".ack", "framing %s cannot carry acknowledgements", i.Framing)
	}
	switch {
	case i.Protocol == "stdin" && len(i.Listen) > 0:
		k.add(t+".listen", "standard input listens nowhere")
	case i.Protocol != "stdin" && len(i.Listen) == 0:
		k.add(t+".listen", "an endpoint is needed, as tcp://127.0.0.1:7000 is")
	}
	k.serverTLS(t+".tls", i.TLS)
	k.token(t+".token_file", i.TokenFile)
	if u, err := url.Parse(i.Path); err != nil || !strings.HasPrefix(i.Path, "/") || u.Path != i.Path {
		k.add(t+".path", "%q is no path of a URL, as /in is", i.Path)
	}
	if !validHeaderName(i.KeyHeader) {
		k.add(t+".key_header", "%q is no name of a header", i.KeyHeader)
	}
	k.size(t+".max_message", i.MaxMessage, 1, 512<<20)
	k.size(t+".max_body", i.MaxBody, 1, 512<<20)
	k.number(t+".window", i.Window, 1, 1<<20)
	k.number(t+".repeats", i.Repeats, 1, 1<<24)
	k.number(t+".max_conns", i.MaxConns, 0, 1<<24)
	k.number(t+".max_conns_per_ip", i.MaxConnsPerIP, 0, 1<<24)
	k.duration(t+".idle", i.Idle)
}

func (k *checker) output(t string, o *Output) {
	k.name(t)
	if len(o.To) == 0 {
		k.add(t+".to", "a destination is needed, as tcp://logs.example:7000 is")
	}
	kind, encrypted := "", false
	for _, to := range o.To {
		scheme, ok := k.destination(t+".to", to)
		if !ok {
			continue
		}
		encrypted = encrypted || scheme == "tls" || scheme == "https" || scheme == "tls+nats"
		if this := kindOf(scheme); kind != "" && this != kind {
			k.add(t+".to", "destinations of one output are of one kind, and these are %s and %s", kind, this)
		} else {
			kind = this
		}
	}
	k.outputKeys(t, kind, encrypted)
	switch {
	case kind == "nats" && o.Subject == "":
		k.add(t+".subject", "a subject is needed")
	case kind == "nats" && strings.ContainsAny(o.Subject, " \t\r\n*>"):
		k.add(t+".subject", "%q is none to publish to", o.Subject)
	case (kind == "file" || kind == "stdout") && (o.Framing == "hythe" || o.Framing == "raw"):
		k.add(t+".framing", "%s does not go with files", o.Framing)
	case kind == "stream" && o.Framing == "raw":
		k.add(t+".framing", "raw does not say where a message ends")
	}
	k.oneOf(t+".framing", o.Framing, framing.Names...)
	k.oneOf(t+".format", o.Format, "lines", "ndjson", "single")
	k.clientTLS(t+".tls", o.TLS)
	k.token(t+".token_file", o.TokenFile)
	k.file(t+".credentials", o.Credentials)
	k.number(t+".batch_messages", o.BatchMessages, 1, 1<<20)
	k.number(t+".lanes", o.Lanes, 1, 64)
	k.number(t+".keep", o.Keep, 0, 1<<20)
	k.size(t+".batch_bytes", o.BatchBytes, 1, 1<<30)
	k.bound(t+".rotate_bytes", o.RotateBytes, 1)
	k.duration(t+".linger", o.Linger)
	k.duration(t+".timeout", o.Timeout)
	k.duration(t+".retry", o.Retry)
	k.duration(t+".retry_max", o.RetryMax)
	k.duration(t+".rotate_every", o.RotateEvery)
	for _, name := range sorted(o.Headers) {
		if value := o.Headers[name]; !validHeaderName(name) || strings.ContainsAny(value, "\r\n\x00") {
			k.add(t+".headers."+name, "%q is no header", name+": "+value)
		}
	}
	if mode, err := strconv.ParseUint(o.Mode, 8, 9); err != nil || mode == 0 {
		k.add(t+".mode", `%q is none, as "0640" is`, o.Mode)
	}
}

// outputKeys complains about keys that mean nothing for a kind of output.
func (k *checker) outputKeys(t, kind string, encrypted bool) {
	used := []string{"to", "batch_messages", "batch_bytes", "linger", "lanes", "timeout", "retry", "retry_max"}
	switch kind {
	case "stream":
		used = append(used, "framing")
	case "http":
		used = append(used, "format", "headers", "token_file", "content_type")
	case "nats":
		used = append(used, "subject", "stream", "credentials")
	case "file":
		used = append(used, "framing", "rotate_bytes", "rotate_every", "keep", "mode")
	case "stdout":
		used = append(used, "framing")
	default:
		return
	}
	if encrypted {
		used = append(used, "tls")
	}
	k.unused(t, "for what this output leads to", used...)
}

func validHeaderName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("()<>@,;:\\\"/[]?={}", r) })
}

// takes reports whether a route takes messages from an input at all.
func (r *Route) takes(input string) bool { return len(r.From) == 0 || slices.Contains(r.From, input) }

func (k *checker) route(t string, r *Route) {
	k.name(t)
	for _, in := range r.From {
		if k.c.Input[in] == nil {
			k.add(t+".from", "there is no input %q%s", in, known(k.c.Input))
		}
	}
	switch {
	case len(r.To) == 0 && !r.Discard:
		k.add(t+".to", "an output is needed, or discard = true")
	case len(r.To) > 0 && r.Discard:
		k.add(t+".discard", "it has to, or discard: not both")
	}
	for n, out := range r.To {
		if k.c.Output[out] == nil {
			k.add(t+".to", "there is no output %q%s", out, known(k.c.Output))
		}
		if slices.Index(r.To, out) < n {
			k.add(t+".to", "%q is there twice", out)
		}
	}
	if len(r.Match.Header) > 0 && !k.hasHeaders(r) {
		k.add(t+".match.header", "only messages of http and fcgi have headers, and none of them come here")
	}
	s := t + ".spool"
	k.oneOf(s+".overflow", r.Spool.Overflow, "refuse", "drop-oldest")
	k.bound(s+".max_bytes", r.Spool.MaxBytes, 64<<10)
	k.size(s+".segment", r.Spool.Segment, 4<<10, 1<<40)
	k.bound(s+".dead_bytes", r.Spool.DeadBytes, 64<<10)
	k.duration(s+".max_age", r.Spool.MaxAge)
}

// hasHeaders reports whether messages with headers come to a route.
func (k *checker) hasHeaders(r *Route) bool {
	for name, i := range k.c.Input {
		if r.takes(name) && (i.Protocol == "http" || i.Protocol == "fcgi") {
			return true
		}
	}
	return false
}

// known lists what there is instead of what is not.
func known[V any](m map[string]V) string {
	if len(m) == 0 {
		return ""
	}
	return " (there is " + strings.Join(sorted(m), ", ") + ")"
}
