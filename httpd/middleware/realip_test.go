package middleware_test

import (
	"net/http"
	"net/netip"
	"testing"

	"github.com/hythe-go/hythe/httpd/middleware"
)

func TestRealIP(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	xff := middleware.RealIP{Trusted: trusted, Unix: true}
	fwd := middleware.RealIP{Trusted: trusted, Header: "forwarded"}
	single := middleware.RealIP{Trusted: trusted, Header: "X-Real-IP"}
	for _, test := range []struct {
		name   string
		p      middleware.RealIP
		peer   string
		values []string
		want   string
	}{
		{"one hop", xff, "10.0.0.1:80", []string{"192.0.2.1"}, "192.0.2.1:0"},
		{"from its end", xff, "10.0.0.1:80", []string{"1.1.1.1, 192.0.2.1, 10.9.9.9"}, "192.0.2.1:0"},
		{"several lines", xff, "10.0.0.1:80", []string{"1.1.1.1", "192.0.2.1", "10.9.9.9"}, "192.0.2.1:0"},
		{"a peer that is not trusted", xff, "192.0.2.9:80", []string{"10.0.0.1"}, "192.0.2.9:80"},
		{"all trusted", xff, "10.0.0.1:80", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3:0"},
		{"no header", xff, "10.0.0.1:80", nil, "10.0.0.1:80"},
		{"nonsense", xff, "10.0.0.1:80", []string{"localhost"}, "10.0.0.1:80"},
		{"nonsense behind a proxy", xff, "10.0.0.1:80", []string{"1.1.1.1, unknown, 10.0.0.2"}, "10.0.0.2:0"},
		{"an empty item", xff, "10.0.0.1:80", []string{"1.1.1.1,"}, "10.0.0.1:80"},
		{"with a port", xff, "10.0.0.1:80", []string{"192.0.2.1:4711"}, "192.0.2.1:4711"},
		{"IPv6", xff, "[fd00::1]:80", []string{"2001:db8::1"}, "[2001:db8::1]:0"},
		{"IPv6 in brackets", xff, "[fd00::1]:80", []string{"[2001:db8::1]"}, "[2001:db8::1]:0"},
		{"IPv6 with a port", xff, "[fd00::1]:80", []string{"[2001:db8::1]:4711"}, "[2001:db8::1]:4711"},
		{"IPv4 in IPv6", xff, "[::ffff:10.0.0.1]:80", []string{"192.0.2.1, ::ffff:10.0.0.2"}, "192.0.2.1:0"},
		{"a zone does not help", xff, "10.0.0.1:80", []string{"1.1.1.1, fe80::1%eth0"}, "[fe80::1]:0"},
		{"leading zeros are none", xff, "10.0.0.1:80", []string{"1.1.1.1, 010.0.0.2"}, "10.0.0.1:80"},
		{"unix socket", xff, "@", []string{"192.0.2.1"}, "192.0.2.1:0"},
		{"unix socket not trusted", fwd, "@", []string{"for=192.0.2.1"}, "@"},
		{"the other header", fwd, "10.0.0.1:80", nil, "10.0.0.1:80"},
		{"X-Real-IP", single, "10.0.0.1:80", []string{"192.0.2.1"}, "192.0.2.1:0"},

		{"Forwarded", fwd, "10.0.0.1:80", []string{`for=1.1.1.1, For="192.0.2.1:99";proto=http;by=10.0.0.1 , for=10.0.0.2`}, "192.0.2.1:99"},
		{"Forwarded, IPv6", fwd, "10.0.0.1:80", []string{`for="[2001:db8:cafe::17]:4711"`}, "[2001:db8:cafe::17]:4711"},
		{"Forwarded, without quotes", fwd, "10.0.0.1:80", []string{`for=[2001:db8::1]`}, "[2001:db8::1]:0"},
		{"Forwarded, escaped", fwd, "10.0.0.1:80", []string{`for="192.0.2\.1"`}, "192.0.2.1:0"},
		{"Forwarded, hidden", fwd, "10.0.0.1:80", []string{`for=1.1.1.1, for=_hidden, for=10.0.0.2`}, "10.0.0.2:0"},
		{"Forwarded, without for", fwd, "10.0.0.1:80", []string{`for=1.1.1.1, by=10.0.0.9`}, "10.0.0.1:80"},
		{"Forwarded, comma in quotes", fwd, "10.0.0.1:80", []string{`for=192.0.2.1;x="a, for=1.1.1.1"`}, "192.0.2.1:0"},
		{"Forwarded, open quote of the client's", fwd, "10.0.0.1:80", []string{`for="1.1.1.1, for=192.0.2.1`}, "10.0.0.1:80"},
		{"Forwarded, open quote on another line", fwd, "10.0.0.1:80", []string{`for="1.1.1.1`, `for=192.0.2.1`}, "192.0.2.1:0"},
		{"Forwarded, open quote behind an address of the client's", fwd, "10.0.0.1:80", []string{`for=1.1.1.1, x=", for=192.0.2.1`}, "10.0.0.1:80"},
		{"Forwarded, twice", fwd, "10.0.0.1:80", []string{`for=192.0.2.1;for=1.1.1.1`}, "10.0.0.1:80"},
		{"Forwarded, blank", fwd, "10.0.0.1:80", []string{`for = 1.1.1.1`}, "10.0.0.1:80"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			h := test.p.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.RemoteAddr }))
			r := request("GET", "/")
			r.RemoteAddr = test.peer
			name := http.CanonicalHeaderKey(test.p.Header)
			if name == "" {
				name = "X-Forwarded-For"
			}
			r.Header["X-Forwarded-For"] = []string{"6.6.6.6"}
			r.Header["Forwarded"] = []string{"for=6.6.6.6"}
			r.Header[name] = test.values
			run(h, r)
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if r.RemoteAddr != test.peer {
				t.Error("the request itself was changed")
			}
		})
	}
}

// Whatever a client writes in front, the address that our proxy appended stands.
func FuzzForwarded(f *testing.F) {
	for _, s := range []string{`for=1.1.1.1`, `for="`, `for="a\`, `;;,,`, `for=_x;by="[::1]:80"`, `a=b;c="d,e"`, `for=1.1.1.1, x="`} {
		f.Add(s)
	}
	p := middleware.RealIP{Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Header: "Forwarded"}
	f.Fuzz(func(t *testing.T, client string) {
		got := ""
		h := p.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.RemoteAddr }))
		for _, values := range [][]string{{client + ", for=192.0.2.1"}, {client, "for=192.0.2.1"}} {
			r := request("GET", "/")
			r.RemoteAddr = "10.0.0.1:80"
			r.Header["Forwarded"] = values
			run(h, r)
			if got != "192.0.2.1:0" && got != "10.0.0.1:80" {
				t.Errorf("%q made it %s", values, got)
			}
		}
	})
}
