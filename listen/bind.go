package listen

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"syscall"
)

// portZeroTries bounds the search for a port that is free on all addresses.
const portZeroTries = 10

// A binder is one call of Listen.
type binder struct {
	cfg       Config
	passed    []passedFD // what the environment announces; read when first asked for
	passedErr error
	havePass  bool
	taken     []int // inherited descriptors to release when all went well
}

// A socket is a bound net.Listener and how to remove the path it made, if any.
type socket struct {
	ln     net.Listener
	unlink func() // nil if there is nothing to remove
}

func (b *binder) listen(ctx context.Context, e Endpoint) ([]*Listener, error) {
	if b.cfg.Inherit {
		if ls, err := b.inheritEndpoint(e); ls != nil || err != nil {
			return ls, err
		}
	}
	switch e.Scheme {
	case SchemeUnix:
		s, err := b.cfg.openUnix(ctx, e)
		if err != nil {
			return nil, err
		}
		l := newListener(b.cfg, e, s)
		l.rebindUnix()
		return []*Listener{l}, nil
	case SchemeFD:
		return b.inheritAll(e, []passedFD{{fd: e.FD}}, "")
	case SchemeSystemd:
		return b.inheritNamed(e)
	case SchemeMem:
		return b.listenMem(e)
	default:
		return b.listenTCP(ctx, e)
	}
}

func (b *binder) listenMem(e Endpoint) ([]*Listener, error) {
	err := errors.New("no in-memory network is configured (Config.Mem)")
	var ln net.Listener
	if b.cfg.Mem != nil {
		ln, err = b.cfg.Mem.Listen(e.Name)
	}
	if err != nil {
		return nil, b.cfg.failed(&Error{Op: "mem", Endpoint: e, Err: err})
	}
	return []*Listener{newListener(b.cfg, e, socket{ln: ln})}, nil
}

// listenTCP binds the addresses of e as its policy wants. Asked for port 0 on
// several addresses, it lets the kernel choose for the first and wants the same
// for the others; if that one is taken there, it begins anew.
func (b *binder) listenTCP(ctx context.Context, e Endpoint) ([]*Listener, error) {
	addrs, err := b.cfg.resolve(ctx, e)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		ls, err := b.bindAddrs(e, addrs)
		search := addrs[0].Port() == 0 && len(ls) > 0 && errors.Is(err, syscall.EADDRINUSE) && try < portZeroTries
		if search {
			closeAll(ls)
			continue
		}
		if err != nil && (b.cfg.policy(e) == BindAll || len(ls) == 0) {
			closeAll(ls)
			return nil, err
		}
		return ls, nil
	}
}

// bindAddrs tries all addrs, or with BindFirst until one works, and returns the
// listeners as well as the errors.
func (b *binder) bindAddrs(e Endpoint, addrs []tcpAddr) ([]*Listener, error) {
	var ls []*Listener
	var errs []error
	for _, a := range addrs {
		if len(ls) > 0 && a.Port() == 0 {
			a.AddrPort = netip.AddrPortFrom(a.Addr(), portOf(ls[0]))
		}
		s, err := b.cfg.openTCP(e, a)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		a.AddrPort = netip.AddrPortFrom(a.Addr(), portOf(s.ln))
		l := newListener(b.cfg, e, s)
		l.rebindTCP(a)
		ls = append(ls, l)
		if b.cfg.policy(e) == BindFirst {
			break
		}
	}
	return ls, errors.Join(errs...)
}

func portOf(ln net.Listener) uint16 { return ln.Addr().(*net.TCPAddr).AddrPort().Port() }

// A tcpAddr is an address to bind.
type tcpAddr struct {
	netip.AddrPort
	dual bool // IPv6 and IPv4
}

// resolve returns the addresses of e, at least one, none twice, without IPv4
// addresses in IPv6 clothes.
func (c *Config) resolve(ctx context.Context, e Endpoint) ([]tcpAddr, error) {
	failed := func(err error) error { return c.failed(&Error{Op: "resolve", Endpoint: e, Err: err}) }

	port, err := strconv.ParseUint(e.Service, 10, 16)
	if err != nil {
		n, err := c.resolver().LookupPort(ctx, e.Scheme, e.Service)
		if err != nil {
			return nil, failed(err)
		}
		port = uint64(n)
	}
	var ips []netip.Addr
	dual := e.V6Only == Off
	if e.Host == "" {
		ips, dual = wildcards(e)
	} else if ip, err := netip.ParseAddr(e.Host); err == nil {
		ips = []netip.Addr{ip}
	} else {
		network := map[string]string{SchemeTCP: "ip", SchemeTCP4: "ip4", SchemeTCP6: "ip6"}[e.Scheme]
		if ips, err = c.resolver().LookupNetIP(ctx, network, e.Host); err != nil {
			return nil, failed(err)
		}
	}
	var addrs []tcpAddr
	for _, ip := range ips {
		ip = ip.Unmap()
		a := tcpAddr{netip.AddrPortFrom(ip, uint16(port)), dual && ip.Is6()}
		if !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	if len(addrs) == 0 {
		return nil, failed(&net.DNSError{Err: "no address", Name: e.Host, IsNotFound: true})
	}
	return addrs, nil
}

// wildcards returns what "all addresses" means for e on this system.
func wildcards(e Endpoint) (ips []netip.Addr, dual bool) {
	v4, v6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	switch {
	case e.Scheme == SchemeTCP4:
		return []netip.Addr{v4}, false
	case e.Scheme == SchemeTCP6 || e.V6Only == Off:
		return []netip.Addr{v6}, e.V6Only == Off
	case e.V6Only == On:
		return []netip.Addr{v4, v6}, false
	}
	switch hasV6, hasDual := probeIPv6(); {
	case hasDual:
		return []netip.Addr{v6}, true
	case hasV6:
		return []netip.Addr{v4, v6}, false
	}
	return []netip.Addr{v4}, false
}
