package middleware

import (
	"net/netip"
	"slices"
)

// Public reports whether an address is one of the public Internet's: global
// unicast, and not set aside by the IANA's special-purpose registries for
// private networks, this machine, the link, documentation or tests. IPv6
// addresses that stand for IPv4 ones are as public as those.
func Public(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	b := a.As16()
	switch {
	case nat64.Contains(a):
		return Public(netip.AddrFrom4([4]byte(b[12:])))
	case sixToFour.Contains(a):
		return Public(netip.AddrFrom4([4]byte(b[2:6])))
	}
	return !slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(a) })
}

var (
	nat64     = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052
	sixToFour = netip.MustParsePrefix("2002::/16")    // RFC 3056
)

// special are the blocks that are global unicast by their form only.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),       // RFC 791: this network
	netip.MustParsePrefix("100.64.0.0/10"),   // RFC 6598: carriers' networks
	netip.MustParsePrefix("192.0.0.0/24"),    // RFC 6890: protocol assignments
	netip.MustParsePrefix("192.0.2.0/24"),    // RFC 5737: documentation
	netip.MustParsePrefix("192.88.99.0/24"),  // RFC 7526: was 6to4's relays
	netip.MustParsePrefix("198.18.0.0/15"),   // RFC 2544: benchmarks
	netip.MustParsePrefix("198.51.100.0/24"), // RFC 5737
	netip.MustParsePrefix("203.0.113.0/24"),  // RFC 5737
	netip.MustParsePrefix("240.0.0.0/4"),     // RFC 1112: reserved, and broadcast
	netip.MustParsePrefix("::/96"),           // RFC 4291: stood for IPv4 once
	netip.MustParsePrefix("64:ff9b:1::/48"),  // RFC 8215: NAT64 of one's own
	netip.MustParsePrefix("100::/64"),        // RFC 6666: discard
	netip.MustParsePrefix("2001::/23"),       // RFC 2928: protocol assignments, Teredo
	netip.MustParsePrefix("2001:db8::/32"),   // RFC 3849: documentation
	netip.MustParsePrefix("3fff::/20"),       // RFC 9637: documentation
	netip.MustParsePrefix("5f00::/16"),       // RFC 9602: segment routing
	netip.MustParsePrefix("fec0::/10"),       // RFC 3879: was site-local
}
