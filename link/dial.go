package link

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// A Dialer makes connections, for Link.Dial. The zero value is ready for use,
// and is what [TCP], [TLS] and [Unix] use. A Dialer is safe for concurrent use;
// its fields must not be changed once it is in use.
//
// The connections report their own death: a Read or Write that fails, for
// another reason than a deadline, and a Read that finds the end, tell the link.
// A link whose connection nobody reads needs a Check or a Watch. Each has a
// method NetConn, which returns the *net.TCPConn, *net.UnixConn or *tls.Conn
// inside.
type Dialer struct {
	// UserTimeout is how long sent data may remain unacknowledged before the
	// kernel ends the connection: 30 s. It is what notices a dead peer while
	// data is in flight; keepalive does not. It works on Linux (and, counting
	// from the first retransmission, on macOS and Windows). Negative: the
	// system's default, which may be a quarter of an hour.
	UserTimeout time.Duration

	// KeepAlive notices a dead peer while nothing is sent: after 15 s, by 3
	// probes 5 s apart. Set Enable to have other numbers, and Idle to a negative
	// number to have none.
	KeepAlive net.KeepAliveConfig

	// Local is the address to dial from; nil: any. For TCP it is a
	// *net.TCPAddr.
	Local net.Addr

	// AttemptDelay is the time between the attempts to two addresses of one
	// name: 250 ms.
	AttemptDelay time.Duration

	// Lookup returns the addresses of a host, best first. The default asks
	// net.DefaultResolver.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)

	// DialContext, if set, makes the connection in the kernel's stead: a
	// memnet.Network does in tests, and a proxy's client elsewhere. Nothing is
	// looked up then; the other fields do not count.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
}

// TCP connects to the endpoint, "host:port". The host is looked up for every
// attempt, and all of its addresses are tried, as RFC 8305 has it: IPv6 and IPv4
// in turn, each 250 ms after the one before or as soon as that has failed. The
// first that answers is used and the others are closed. (The look-up itself is
// the resolver's: both families' answers are waited for.)
func TCP(ctx context.Context, a Attempt) (net.Conn, error) { return new(Dialer).TCP(ctx, a) }

// Unix connects to the endpoint, a path; on Linux one that begins with @ is
// abstract.
func Unix(ctx context.Context, a Attempt) (net.Conn, error) { return new(Dialer).Unix(ctx, a) }

// TLS is [TCP] and a TLS handshake as the client. The server's name, unless
// config has one, is the endpoint's host. config may be nil.
func TLS(config *tls.Config) DialFunc { return new(Dialer).TLS(config) }

// TCP is the function [TCP] with the Dialer's settings.
func (d *Dialer) TCP(ctx context.Context, a Attempt) (net.Conn, error) {
	return a.watched(d.tcp(ctx, a.Endpoint))
}

// Unix is the function [Unix] with the Dialer's settings.
func (d *Dialer) Unix(ctx context.Context, a Attempt) (net.Conn, error) {
	return a.watched(d.dial(ctx, "unix", a.Endpoint))
}

// TLS is the function [TLS] with the Dialer's settings.
func (d *Dialer) TLS(config *tls.Config) DialFunc {
	return func(ctx context.Context, a Attempt) (net.Conn, error) {
		nc, err := d.tcp(ctx, a.Endpoint)
		if err != nil {
			return nil, err
		}
		config := config.Clone()
		if config == nil {
			config = new(tls.Config)
		}
		if config.ServerName == "" {
			config.ServerName, _, _ = net.SplitHostPort(a.Endpoint)
		}
		tc := tls.Client(nc, config)
		if err := tc.HandshakeContext(ctx); err != nil {
			nc.Close()
			return nil, fmt.Errorf("link: TLS handshake with %s: %w", a.Endpoint, err)
		}
		return a.watched(tc, nil)
	}
}

// watched has a new connection report its end to the link, if there is one.
func (a Attempt) watched(nc net.Conn, err error) (net.Conn, error) {
	if err != nil || a.Report == nil {
		return nc, err
	}
	return &conn{nc, a.Report}, nil
}

func (d *Dialer) tcp(ctx context.Context, address string) (net.Conn, error) {
	if d.DialContext != nil {
		return d.DialContext(ctx, "tcp", address)
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	if err != nil {
		return nil, err
	}
	addrs, err := d.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	return race(ctx, interleave(addrs), cmp.Or(d.AttemptDelay, 250*time.Millisecond),
		func(ctx context.Context, addr netip.Addr) (net.Conn, error) {
			return d.dial(ctx, "tcp", netip.AddrPortFrom(addr, uint16(port)).String())
		})
}

func (d *Dialer) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	if d.Lookup != nil {
		return d.Lookup(ctx, host)
	}
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// dial connects to one address.
func (d *Dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if d.DialContext != nil {
		return d.DialContext(ctx, network, address)
	}
	nd := net.Dialer{LocalAddr: d.Local, KeepAliveConfig: d.KeepAlive}
	switch k := &nd.KeepAliveConfig; {
	case k.Idle < 0:
		*k = net.KeepAliveConfig{}
		nd.KeepAlive = -1
	case !k.Enable:
		*k = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}
	}
	if limit := cmp.Or(d.UserTimeout, 30*time.Second); limit > 0 && network == "tcp" {
		nd.Control = func(_, _ string, raw syscall.RawConn) (err error) {
			cerr := raw.Control(func(fd uintptr) { err = setUserTimeout(fd, limit) })
			return cmp.Or(cerr, err)
		}
	}
	return nd.DialContext(ctx, network, address)
}
