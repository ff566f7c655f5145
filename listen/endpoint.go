package listen

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The schemes of an [Endpoint].
const (
	SchemeTCP     = "tcp"     // IPv4 and IPv6
	SchemeTCP4    = "tcp4"    // IPv4 only
	SchemeTCP6    = "tcp6"    // IPv6 only
	SchemeUnix    = "unix"    // Unix domain stream socket, a path or an abstract name
	SchemeFD      = "fd"      // a listening descriptor the process was started with
	SchemeSystemd = "systemd" // listening descriptors passed by name, see sd_listen_fds(3)
	SchemeMem     = "mem"     // an in-memory network, see Config.Mem
)

var schemes = []string{SchemeTCP, SchemeTCP4, SchemeTCP6, SchemeUnix, SchemeFD, SchemeSystemd, SchemeMem}

// An Endpoint says where to listen. It is a plain value: comparable, usable as
// a map key, and written for operators as a string that [Parse] reads back:
//
//	tcp://host:service         tcp4:// and tcp6:// for one family only
//	tcp://:http                all addresses, port by service name
//	tcp://[fe80::1%eth0]:80    IPv6 literals in brackets, with their zone
//	unix:///run/app.sock       a path; a relative one is unix:app.sock
//	unix://@name               an abstract name (Linux)
//	fd:3                       descriptor 3
//	systemd:name               every descriptor passed under that name;
//	                           systemd: alone takes all that were passed
//	mem:name                   a listener of Config.Mem
//
// Options follow as a query: backlog=128, bind=all|any|first, mode=0660,
// owner=user:group, reuseaddr=no, reuseport=yes, v6only=yes. In paths, names
// and option values, %XX stands for a byte. Hosts are taken as they are.
type Endpoint struct {
	Scheme string

	Host    string // tcp: a name or an IP literal; empty means all addresses
	Service string // tcp: a port number or a service name; "0" lets the kernel choose
	Path    string // unix: a path, or "@" and an abstract name
	FD      int    // fd: the descriptor's number
	Name    string // systemd and mem: the name

	Backlog   int         // connections the kernel queues; zero means the system's maximum
	Bind      BindPolicy  // tcp: which addresses must work; zero means Config.Bind
	Mode      fs.FileMode // unix: permission bits; zero leaves them to the umask
	Owner     string      // unix: "user", "user:group" or ":group", by name or number
	ReuseAddr Toggle      // tcp: SO_REUSEADDR; on unless refused
	ReusePort Toggle      // tcp: SO_REUSEPORT; off unless wanted
	V6Only    Toggle      // tcp, tcp6: IPV6_V6ONLY; see Config.Listen for the default
}

// A Toggle is an option that may be left to its default.
type Toggle uint8

// The values of a Toggle.
const (
	Default Toggle = iota
	On
	Off
)

// String returns "yes", "no", or "" for Default.
func (t Toggle) String() string {
	switch t {
	case On:
		return "yes"
	case Off:
		return "no"
	}
	return ""
}

// A BindPolicy says how many of the addresses of one endpoint must be bound.
type BindPolicy uint8

// The bind policies.
const (
	BindDefault BindPolicy = iota // in an Endpoint: as Config.Bind; in a Config: BindAll
	BindAll                       // every address, or none at all and an error
	BindAny                       // those that work; an error if none does
	BindFirst                     // the first that works, in the resolver's order
)

// String returns "all", "any", "first", or "" for BindDefault.
func (p BindPolicy) String() string {
	switch p {
	case BindAll:
		return "all"
	case BindAny:
		return "any"
	case BindFirst:
		return "first"
	}
	return ""
}

// An EndpointError lists everything that is wrong with one endpoint.
type EndpointError struct {
	Endpoint string // as it was given
	Problems []error
}

func (e *EndpointError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "hythe: listen: endpoint %q: ", e.Endpoint)
	for i, p := range e.Problems {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(p.Error())
	}
	return b.String()
}

// Unwrap returns the problems, for errors.Is and errors.As.
func (e *EndpointError) Unwrap() []error { return e.Problems }

// Parse reads an endpoint as operators write it; see [Endpoint] for the forms.
// For every s that Parse accepts, Parse(e.String()) gives e again. The error is
// an [*EndpointError] naming every mistake, not only the first.
func Parse(s string) (Endpoint, error) {
	e, problems := parse(s)
	if problems = append(problems, e.problems()...); problems != nil {
		return Endpoint{}, &EndpointError{Endpoint: s, Problems: problems}
	}
	return e, nil
}

// Validate reports every field that is wrong or does not belong to the scheme,
// as an [*EndpointError]. For every e that is valid, Parse(e.String()) gives e.
func (e Endpoint) Validate() error {
	if problems := e.problems(); problems != nil {
		return &EndpointError{Endpoint: e.String(), Problems: problems}
	}
	return nil
}

// String returns the endpoint in the form that [Parse] reads.
func (e Endpoint) String() string {
	var b strings.Builder
	b.WriteString(e.Scheme)
	b.WriteByte(':')
	switch e.Scheme {
	case SchemeTCP, SchemeTCP4, SchemeTCP6:
		b.WriteString("//")
		if strings.Contains(e.Host, ":") {
			b.WriteString("[" + e.Host + "]")
		} else {
			b.WriteString(e.Host)
		}
		b.WriteString(":" + e.Service)
	case SchemeUnix:
		if strings.HasPrefix(e.Path, "/") || e.abstract() {
			b.WriteString("//")
		}
		b.WriteString(escape(e.Path, "?"))
	case SchemeFD:
		b.WriteString(strconv.Itoa(e.FD))
	default:
		b.WriteString(escape(e.Name, "?"))
	}
	sep := byte('?')
	for _, o := range options {
		if v := o.get(e); v != "" {
			b.WriteByte(sep)
			b.WriteString(o.name + "=" + escape(v, "&"))
			sep = '&'
		}
	}
	return b.String()
}

func (e Endpoint) abstract() bool { return strings.HasPrefix(e.Path, "@") }

func (e Endpoint) tcp() bool {
	return e.Scheme == SchemeTCP || e.Scheme == SchemeTCP4 || e.Scheme == SchemeTCP6
}

// An option is one key of the query. The table of them drives parsing, printing
// and checking, so that none of the three can forget one.
type option struct {
	name    string
	schemes []string
	get     func(Endpoint) string // "" if not set
	set     func(e *Endpoint, value string) error
}

var options = []option{
	{"backlog", []string{SchemeTCP, SchemeTCP4, SchemeTCP6, SchemeUnix},
		func(e Endpoint) string {
			if e.Backlog == 0 {
				return ""
			}
			return strconv.Itoa(e.Backlog)
		},
		func(e *Endpoint, v string) error {
			n, err := strconv.ParseUint(v, 10, 31)
			if err != nil || n == 0 {
				return errors.New("want a whole number above zero")
			}
			e.Backlog = int(n)
			return nil
		}},
	{"bind", []string{SchemeTCP, SchemeTCP4, SchemeTCP6},
		func(e Endpoint) string { return e.Bind.String() },
		func(e *Endpoint, v string) error {
			for p := BindAll; p <= BindFirst; p++ {
				if v == p.String() {
					e.Bind = p
					return nil
				}
			}
			return errors.New("want all, any or first")
		}},
	{"mode", []string{SchemeUnix},
		func(e Endpoint) string {
			if e.Mode == 0 {
				return ""
			}
			return fmt.Sprintf("%04o", uint32(e.Mode))
		},
		func(e *Endpoint, v string) error {
			n, err := strconv.ParseUint(v, 8, 32)
			if err != nil || n == 0 || n > 0o777 {
				return errors.New("want octal permissions from 0001 to 0777")
			}
			e.Mode = fs.FileMode(n)
			return nil
		}},
	{"owner", []string{SchemeUnix},
		func(e Endpoint) string { return e.Owner },
		func(e *Endpoint, v string) error {
			if err := checkOwner(v); err != nil {
				return err
			}
			e.Owner = v
			return nil
		}},
	{"reuseaddr", []string{SchemeTCP, SchemeTCP4, SchemeTCP6},
		func(e Endpoint) string { return e.ReuseAddr.String() },
		func(e *Endpoint, v string) (err error) { e.ReuseAddr, err = parseToggle(v); return }},
	{"reuseport", []string{SchemeTCP, SchemeTCP4, SchemeTCP6},
		func(e Endpoint) string { return e.ReusePort.String() },
		func(e *Endpoint, v string) (err error) { e.ReusePort, err = parseToggle(v); return }},
	{"v6only", []string{SchemeTCP, SchemeTCP6},
		func(e Endpoint) string { return e.V6Only.String() },
		func(e *Endpoint, v string) (err error) { e.V6Only, err = parseToggle(v); return }},
}

func parseToggle(v string) (Toggle, error) {
	switch v {
	case "yes", "on", "true", "1":
		return On, nil
	case "no", "off", "false", "0":
		return Off, nil
	}
	return Default, errors.New("want yes or no")
}

func checkOwner(v string) error {
	user, group, both := strings.Cut(v, ":")
	if user == "" && group == "" || both && group == "" || strings.Contains(group, ":") || strings.Contains(v, "\x00") {
		return errors.New("want user, user:group or :group")
	}
	return nil
}

// parse reads s as far as its syntax goes; problems then judges the result.
func parse(s string) (e Endpoint, problems []error) {
	addf := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	rest, query, _ := strings.Cut(s, "?")
	scheme, rest, found := strings.Cut(rest, ":")
	if !found || !slices.Contains(schemes, scheme) {
		addf("unknown scheme %q: want one of %s", scheme, strings.Join(schemes, ", "))
		return e, problems
	}
	e.Scheme = scheme
	rest, slashes := strings.CutPrefix(rest, "//")

	switch scheme {
	case SchemeTCP, SchemeTCP4, SchemeTCP6:
		var err error
		if e.Host, e.Service, err = splitHost(rest); err != nil {
			problems = append(problems, err)
			e.Service = "0" // said once is enough
		} else if !slashes {
			addf("want %s://host:service", scheme)
		}
	case SchemeUnix:
		path, err := url.PathUnescape(rest)
		e.Path = path
		switch {
		case err != nil:
			problems = append(problems, err)
			e.Path = "-"
		case slashes && !strings.HasPrefix(path, "/") && !e.abstract() && path != "":
			addf("after // the path begins with / or @; a relative path is unix:%s", rest)
		}
	case SchemeFD:
		n, err := strconv.ParseUint(rest, 10, 31)
		if err != nil {
			addf("%q is not the number of a descriptor", rest)
		}
		e.FD = int(n)
	default:
		name, err := url.PathUnescape(rest)
		e.Name = name
		if err != nil {
			problems = append(problems, err)
			e.Name = "-"
		}
	}

	seen := map[string]bool{}
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		name, raw, _ := strings.Cut(pair, "=")
		i := slices.IndexFunc(options, func(o option) bool { return o.name == name })
		value, err := url.PathUnescape(raw)
		switch {
		case i < 0:
			addf("unknown option %q", name)
			continue
		case !slices.Contains(options[i].schemes, scheme):
			addf("option %q does not belong to %s", name, scheme)
			continue
		case seen[name]:
			addf("option %q is given twice", name)
			continue
		}
		seen[name] = true
		if err == nil {
			err = options[i].set(&e, value)
		}
		if err != nil {
			addf("option %s=%q: %w", name, value, err)
		}
	}
	return e, problems
}

func splitHost(s string) (host, service string, err error) {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		host, rest, ok := strings.Cut(inner, "]")
		service, colon := strings.CutPrefix(rest, ":")
		if !ok || !colon {
			return "", "", errors.New("want [address]:service")
		}
		if !strings.Contains(host, ":") {
			return "", "", fmt.Errorf("brackets are for IPv6 addresses, not %q", host)
		}
		return host, service, nil
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return "", "", errors.New("the port or service is missing: want host:service")
	}
	if strings.Contains(s[:i], ":") {
		return "", "", errors.New("an IPv6 address is written in brackets: [address]:service")
	}
	return s[:i], s[i+1:], nil
}

// problems judges the fields, however they were filled in.
func (e Endpoint) problems() (problems []error) {
	addf := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	if e.Scheme == "" {
		return []error{errors.New("the scheme is missing")}
	}
	if !slices.Contains(schemes, e.Scheme) {
		return []error{fmt.Errorf("unknown scheme %q", e.Scheme)}
	}
	if !e.tcp() && (e.Host != "" || e.Service != "") {
		addf("a host and a service belong to tcp, not to %s", e.Scheme)
	}
	if e.Scheme != SchemeUnix && e.Path != "" {
		addf("a path belongs to unix, not to %s", e.Scheme)
	}
	if e.Scheme != SchemeFD && e.FD != 0 {
		addf("a descriptor number belongs to fd, not to %s", e.Scheme)
	}
	if e.Scheme != SchemeSystemd && e.Scheme != SchemeMem && e.Name != "" {
		addf("a name belongs to systemd and mem, not to %s", e.Scheme)
	}

	switch e.Scheme {
	case SchemeTCP, SchemeTCP4, SchemeTCP6:
		problems = append(problems, e.hostProblems()...)
	case SchemeUnix:
		if e.Path == "" || e.Path == "@" || strings.Contains(e.Path, "\x00") {
			addf("%q is not a path or an abstract name", e.Path)
		}
		if e.abstract() && (e.Mode != 0 || e.Owner != "") {
			addf("an abstract socket has no file: the options mode and owner do not belong to it")
		}
	case SchemeFD:
		if e.FD < 0 {
			addf("%d is not the number of a descriptor", e.FD)
		}
	case SchemeSystemd:
		if strings.HasPrefix(e.Name, "/") || strings.Contains(e.Name, ":") {
			addf("%q is not a name: it begins with / or contains :", e.Name)
		}
	case SchemeMem:
		if e.Name == "" || strings.HasPrefix(e.Name, "/") {
			addf("%q is not a name: it is empty or begins with /", e.Name)
		}
	}

	for _, o := range options {
		v := o.get(e)
		if v == "" {
			continue
		}
		if !slices.Contains(o.schemes, e.Scheme) {
			addf("option %q does not belong to %s", o.name, e.Scheme)
		} else if err := o.set(&e, v); err != nil {
			addf("option %s=%q: %w", o.name, v, err)
		}
	}
	if e.Bind > BindFirst || max(e.ReuseAddr, e.ReusePort, e.V6Only) > Off {
		addf("an option has a value outside its constants")
	}
	return problems
}

func (e Endpoint) hostProblems() (problems []error) {
	addf := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	const reserved = ":/?#[]@%& \x7f"
	if ip, err := netip.ParseAddr(e.Host); err == nil {
		switch {
		case e.Scheme == SchemeTCP4 && !ip.Is4():
			addf("%s is not an IPv4 address", e.Host)
		case e.Scheme == SchemeTCP6 && (ip.Is4() || ip.Is4In6()):
			addf("%s is not an IPv6 address", e.Host)
		}
		if strings.ContainsAny(ip.Zone(), reserved) || !printable(ip.Zone()) {
			addf("%q is not a zone", ip.Zone())
		}
	} else if strings.ContainsAny(e.Host, reserved) || !printable(e.Host) {
		addf("%q is neither a host name nor an address", e.Host)
	}

	switch _, err := strconv.ParseUint(e.Service, 10, 16); {
	case err == nil:
	case e.Service == "":
		addf("the port or service is missing; 0 lets the kernel choose")
	case !serviceName(e.Service):
		addf("%q is neither a port from 0 to 65535 nor a service name", e.Service)
	}
	return problems
}

// serviceName reports whether s can be a name in the services database: letters,
// digits and hyphens, at least one letter (RFC 6335 section 5.1), and in practice
// also _ . and +.
func serviceName(s string) bool {
	letters := 0
	for _, r := range []byte(s) {
		switch {
		case r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z':
			letters++
		case r >= '0' && r <= '9', r == '-', r == '_', r == '.', r == '+':
		default:
			return false
		}
	}
	return letters > 0
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}

// escape writes the bytes that would end s early, or that do not print, as %XX.
func escape(s, reserved string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == '%' || c == 0x7f || strings.IndexByte(reserved, c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
