package middleware

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// RealIP puts the address of the client that stands before our own proxies in
// Request.RemoteAddr. It believes only proxies that it is told to trust: the
// header is read from its end, where the nearest proxy wrote, as long as the
// address that was reached is trusted. The first that is not is the client's. If
// something there is not an address, the one reached before it stays. What a
// client itself puts in the header is thus never believed.
//
// The request is passed on as a shallow copy, if its address changes.
type RealIP struct {
	// Trusted are the addresses of the proxies. With none, only Unix counts.
	Trusted []netip.Prefix

	// Unix trusts peers that have no IP address, those of a Unix socket.
	Unix bool

	// Header is what the proxies write: a list of addresses, such as
	// X-Forwarded-For has and single ones like X-Real-Ip are, or Forwarded, of
	// RFC 7239. There is one, since a proxy that writes the one passes on whatever
	// a client wrote in the other. Empty means X-Forwarded-For.
	Header string
}

// Wrap is the middleware.
func (p RealIP) Wrap(next http.Handler) http.Handler {
	header := http.CanonicalHeaderKey(p.Header)
	if header == "" {
		header = "X-Forwarded-For"
	}
	hops := splitList
	if header == "Forwarded" {
		hops = forwardedFor
	}
	p.Trusted = slices.Clone(p.Trusted)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		values := r.Header[header]
		if len(values) > 0 && p.trusts(parseHop(r.RemoteAddr)) {
			if client := p.client(hops(values)); client.IsValid() {
				copied := *r
				copied.RemoteAddr = client.String()
				r = &copied
			}
		}
		next.ServeHTTP(w, r)
	})
}

// client goes back over the hops as far as trust reaches.
func (p *RealIP) client(hops []string) (client netip.AddrPort) {
	for _, hop := range slices.Backward(hops) {
		at := parseHop(hop)
		if !at.IsValid() {
			break
		}
		client = at
		if !p.trusts(at) {
			break
		}
	}
	return client
}

func (p *RealIP) trusts(a netip.AddrPort) bool {
	if !a.IsValid() {
		return p.Unix
	}
	return slices.ContainsFunc(p.Trusted, func(t netip.Prefix) bool { return t.Contains(a.Addr()) })
}

// parseHop reads what proxies write for an address: with a port or without, IPv6
// in brackets or not. The result is not valid if it is none.
func parseHop(s string) netip.AddrPort {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		bare := s
		if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
			bare = s[1 : len(s)-1]
		}
		a, err := netip.ParseAddr(bare)
		if err != nil {
			return netip.AddrPort{}
		}
		ap = netip.AddrPortFrom(a, 0)
	}
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// splitList takes a list in one header or several apart.
func splitList(values []string) (hops []string) {
	for _, v := range values {
		for hop := range strings.SplitSeq(v, ",") {
			hops = append(hops, strings.Trim(hop, " \t"))
		}
	}
	return hops
}

// forwardedFor returns what the elements of Forwarded say of "for": RFC 7239,
// section 4. An element without it gives an empty hop. If a value is malformed
// nothing before its end can be told apart: its last hop is an empty one, too.
func forwardedFor(values []string) (hops []string) {
	for _, v := range values {
		of, ok := parseForwarded(v)
		hops = append(hops, of...)
		if !ok {
			hops = append(hops, "")
		}
	}
	return hops
}

func parseForwarded(s string) (hops []string, ok bool) {
	hop, seen := "", false
	for {
		s = strings.TrimLeft(s, " \t")
		name, rest, found := cutToken(s)
		if found {
			if rest == "" || rest[0] != '=' {
				return hops, false
			}
			var value string
			if value, s, found = cutValue(rest[1:]); !found {
				return hops, false
			}
			if strings.EqualFold(name, "for") {
				if seen { // each parameter at most once
					return hops, false
				}
				hop, seen = value, true
			}
			s = strings.TrimLeft(s, " \t")
		}
		switch {
		case s == "":
			return append(hops, hop), true
		case s[0] == ',':
			hops, hop, seen = append(hops, hop), "", false
		case s[0] != ';':
			return hops, false
		}
		s = s[1:]
	}
}

// cutToken cuts a token of RFC 9110, 5.6.2, from the front.
func cutToken(s string) (token, rest string, ok bool) {
	i := 0
	for i < len(s) && isTokenByte(s[i]) {
		i++
	}
	return s[:i], s[i:], i > 0
}

func isTokenByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// cutValue cuts a token or a quoted string. An address with a colon or brackets
// has to be quoted; that many leave the quotes out is forgiven.
func cutValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		i := 0
		for i < len(s) && (isTokenByte(s[i]) || strings.IndexByte("[]:", s[i]) >= 0) {
			i++
		}
		return s[:i], s[i:], i > 0
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; c {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}
