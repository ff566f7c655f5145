package fcgi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/cgi"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/listen"
)

// ListenAndServe serves h on the endpoints, which package listen explains, in the
// role of Responder, until ctx is cancelled, and then drains. All settings are
// the defaults.
func ListenAndServe(ctx context.Context, h http.Handler, endpoints ...string) error {
	srv := hythe.Server{Service: &Server{Handler: h}}
	return srv.ListenAndServe(ctx, endpoints...)
}

// Serve is for programs that come from net/http/fcgi: it answers the requests
// that come over connections of l in the role of Responder, until l fails. A nil
// l means descriptor 0, as in [Server.ServeSpawned]. A nil h means
// http.DefaultServeMux.
func Serve(l net.Listener, h http.Handler) error {
	if h == nil {
		h = http.DefaultServeMux
	}
	s := &Server{Handler: h}
	if l == nil {
		return s.ServeSpawned(context.Background())
	}
	srv := hythe.Server{Service: s}
	return srv.Serve(context.Background(), l)
}

// ServeSpawned serves as a program that a web server or a process manager has
// started, with a listening socket as its descriptor 0: section 2.2. It returns
// when ctx is cancelled, or the process gets SIGTERM or, from process managers
// of old, SIGUSR1, and the requests that had begun have been answered.
//
// If FCGI_WEB_SERVER_ADDRS is set, only the web servers on it may connect: see
// [WebServers].
//
// If descriptor 0 is no listening socket but there is a CGI environment, the
// program has been started for a single request. Handler answers it, by
// net/http/cgi. Without one the program was probably started by hand; the error
// says so.
func (s *Server) ServeSpawned(ctx context.Context) error {
	ctx, stop := signal.NotifyContext(ctx, spawnedSignals...)
	defer stop()
	srv := hythe.Server{Service: s}
	if addrs := os.Getenv("FCGI_WEB_SERVER_ADDRS"); addrs != "" {
		var err error
		if srv.PreConnect, err = WebServers(addrs); err != nil {
			return err
		}
	}
	err := srv.ListenAndServe(ctx, "fd:0")
	if _, no := errors.AsType[*listen.DescriptorError](err); !no {
		return err
	}
	if s.Handler != nil && os.Getenv("REQUEST_METHOD") != "" {
		return cgi.Serve(s.Handler)
	}
	return fmt.Errorf("fcgi: neither a FastCGI program (no listening socket) nor a CGI program (no REQUEST_METHOD): a web server has to start it: %w", err)
}

// WebServers returns a hythe.Server.PreConnect that lets only some web servers
// connect. addrs is a list of IP addresses, separated by commas, as section 3.2
// has it for FCGI_WEB_SERVER_ADDRS; IPv6 addresses and prefixes such as
// 10.0.0.0/8 may be on it as well. Others, and all who come over a Unix socket,
// are closed without a byte.
func WebServers(addrs string) (func(context.Context, net.Conn) (net.Conn, error), error) {
	var list []netip.Prefix
	for s := range strings.SplitSeq(addrs, ",") {
		s = strings.TrimSpace(s)
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, err := netip.ParseAddr(s)
			if err != nil {
				return nil, fmt.Errorf("fcgi: web server %q: %w", s, err)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		list = append(list, p.Masked())
	}
	return func(_ context.Context, nc net.Conn) (net.Conn, error) {
		from, err := netip.ParseAddrPort(nc.RemoteAddr().String())
		peer := from.Addr().Unmap().WithZone("")
		if err != nil || !slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(peer) }) {
			return nil, fmt.Errorf("fcgi: %v is not on the list of web servers", nc.RemoteAddr())
		}
		return nc, nil
	}, nil
}
