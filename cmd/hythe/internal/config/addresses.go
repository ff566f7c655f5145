package config

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/hythe-go/hythe/listen"
)

// Loopback reports whether only this machine can connect to an endpoint.
func Loopback(e listen.Endpoint) bool {
	if e.Scheme == listen.SchemeUnix {
		return true
	}
	ip, err := netip.ParseAddr(e.Host)
	return e.Host == "localhost" || err == nil && ip.IsLoopback()
}

// sharedAddresses complains about endpoints that are wrong, and about those that
// two inputs, or the status page, would have to share.
func (k *checker) sharedAddresses() {
	type user struct {
		key string
		e   listen.Endpoint
	}
	var users []user
	if e, err := listen.Parse(k.c.Admin.Listen); err == nil && k.c.Admin.Listen != "off" {
		users = append(users, user{"admin.listen", e})
	}
	for _, name := range sorted(k.c.Input) {
		key := "input." + name + ".listen"
		for _, s := range k.c.Input[name].Listen {
			e, err := listen.Parse(s)
			switch {
			case err != nil:
				k.add(key, "%v", err)
				continue
			case e.Scheme == "mem":
				k.add(key, "%s: mem is for tests", s)
			}
			for _, other := range users {
				if collide(e, other.e) {
					k.add(key, "%s is taken already, by %s", s, other.key)
				}
			}
			users = append(users, user{key, e})
		}
	}
}

// collide reports whether two endpoints cannot be listened on at once.
func collide(a, b listen.Endpoint) bool {
	if !isTCP(a) || !isTCP(b) {
		return a.Scheme == b.Scheme && a.Path == b.Path && a.FD == b.FD && a.Name == b.Name
	}
	if a.Service != b.Service || a.Service == "0" || a.ReusePort == listen.On && b.ReusePort == listen.On {
		return false
	}
	return (a.Host == b.Host || everywhere(a) || everywhere(b)) && families(a)&families(b) != 0
}

func isTCP(e listen.Endpoint) bool { return strings.HasPrefix(e.Scheme, "tcp") }

func everywhere(e listen.Endpoint) bool {
	ip, err := netip.ParseAddr(e.Host)
	return e.Host == "" || err == nil && ip.IsUnspecified()
}

// families returns 1 for an endpoint that takes IPv4, 2 for IPv6, 3 for both, or if
// it takes a look-up to know.
func families(e listen.Endpoint) int {
	ip, err := netip.ParseAddr(e.Host)
	switch {
	case e.Scheme == listen.SchemeTCP4, err == nil && ip.Is4():
		return 1
	case e.Scheme == listen.SchemeTCP6, err == nil && e.V6Only != listen.Off:
		return 2
	}
	return 3
}

// kindOf says what kind of destination a scheme is: stream, http, nats, file or stdout;
// anything else is none.
func kindOf(scheme string) string {
	switch scheme {
	case "tcp", "tls", "unix":
		return "stream"
	case "http", "https":
		return "http"
	case "nats", "tls+nats":
		return "nats"
	case "file", "stdout":
		return scheme
	}
	return ""
}

// destination returns the scheme of a destination, unless it is none.
func (k *checker) destination(key, to string) (scheme string, ok bool) {
	u, err := url.Parse(to)
	switch {
	case err != nil:
		k.add(key, "%q is no address", hidePassword(to))
		return "", false
	case kindOf(u.Scheme) == "":
		k.add(key, "%q begins with none of tcp:, tls:, unix:, http:, https:, nats:, tls+nats:, file:, stdout:", u.Redacted())
		return "", false
	}
	path := u.Host + u.Path + u.Opaque
	switch u.Scheme {
	case "tcp", "tls":
		port, err := strconv.ParseUint(u.Port(), 10, 16)
		if u.Hostname() == "" || err != nil || port == 0 {
			k.add(key, "%s: a host and a port are needed", u.Redacted())
		} else if path != u.Host || u.RawQuery != "" || u.User != nil {
			k.add(key, "%s: a host and a port are all that it can have", u.Redacted())
		}
	case "http", "https", "nats", "tls+nats":
		if u.Hostname() == "" {
			k.add(key, "%s: a host is needed", u.Redacted())
		}
	case "unix", "file":
		if path == "" || strings.HasSuffix(path, "/") || u.RawQuery != "" {
			k.add(key, "%s: a path is needed, and all that it can have", u.Redacted())
		}
	case "stdout":
		if path != "" {
			k.add(key, "%s: standard output is stdout:", u.Redacted())
		}
	}
	return u.Scheme, true
}

// hidePassword leaves out the password of what is no URL, and with it the user.
func hidePassword(to string) string {
	if i := strings.LastIndexByte(to, '@'); i >= 0 {
		return "…" + to[i:]
	}
	return to
}
