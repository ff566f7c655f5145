package middleware

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Proxy makes a server a forward proxy: requests in absolute form for http URLs
// are passed on, and CONNECT opens a tunnel, on HTTP/1 and HTTP/2. All others go
// to the wrapped handler.
//
// The zero value proxies for nobody. Once Access lets somebody in, it reaches
// only addresses that Public has, so that nobody can use it to talk to this
// machine or to its private networks. What counts is the address that is
// connected to, after the name was resolved.
type Proxy struct {
	// Access says who may use the proxy, and for what: Request.Host is where to.
	// Nil means nobody. To ask for a password, put BasicAuth with Proxy set in
	// front.
	Access func(*http.Request) bool

	// Reach says which addresses may be connected to. Nil means those that Public
	// has, and for CONNECT only port 443 of them.
	Reach func(to netip.AddrPort) bool

	// Name is how the proxy calls itself in Via: a token. A request that has been
	// through a proxy of this name is refused with 508, since it goes in circles.
	// Empty means a name that no other has.
	Name string

	// DialTimeout bounds resolving and connecting, and AnswerTimeout the wait for
	// the header of an answer. Idle ends a tunnel in which nothing has gone either
	// way. Zero means 10 s, 60 s and 5 min; negative no limit.
	DialTimeout, AnswerTimeout, Idle time.Duration
}

// ErrOutOfReach is why a connection was not made that Proxy.Reach denies.
var ErrOutOfReach = errors.New("middleware: address out of the proxy's reach")

// Wrap is the middleware.
func (p Proxy) Wrap(next http.Handler) http.Handler {
	if p.Name == "" {
		p.Name = "hythe-" + rand.Text()[:10]
	}
	plain := p.Reach
	if plain == nil {
		plain = func(to netip.AddrPort) bool { return Public(to.Addr()) }
	}
	transport := &http.Transport{
		DialContext:           p.dialer(plain).DialContext,
		DisableCompression:    true, // bytes are passed on as they are
		ResponseHeaderTimeout: orDefault(p.AnswerTimeout, time.Minute),
		MaxIdleConns:          100,
		IdleConnTimeout:       90 * time.Second,
	}
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.User = nil
			r.Out.URL.RawQuery = r.In.URL.RawQuery // whatever it is
			r.Out.Host = r.In.Host
			addVia(r.Out.Header, r.In.ProtoMajor, r.In.ProtoMinor, p.Name)
		},
		ModifyResponse: func(resp *http.Response) error {
			addVia(resp.Header, resp.ProtoMajor, resp.ProtoMinor, p.Name)
			return nil
		},
		Transport:     transport,
		FlushInterval: -1,
		ErrorHandler:  func(w http.ResponseWriter, _ *http.Request, err error) { refuse(w, err) },
		ErrorLog:      log.New(io.Discard, "", 0), // a client that leaves is no news
	}
	tunnels := p.Reach
	if tunnels == nil {
		tunnels = func(to netip.AddrPort) bool { return to.Port() == 443 && Public(to.Addr()) }
	}
	dialer := p.dialer(tunnels)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		connect := r.Method == http.MethodConnect
		switch {
		case !connect && !r.URL.IsAbs():
			next.ServeHTTP(w, r)
		case p.Access == nil || !p.Access(r):
			http.Error(w, http.StatusText(http.StatusForbidden), http.StatusForbidden)
		case hasVia(r.Header, p.Name):
			http.Error(w, http.StatusText(http.StatusLoopDetected), http.StatusLoopDetected)
		case connect:
			p.tunnel(w, r, dialer)
		case r.URL.Scheme != "http" || r.URL.Host == "":
			http.Error(w, "this proxy passes on http URLs, and CONNECT", http.StatusBadRequest)
		case r.Method == http.MethodTrace: // it would show what others put in: RFC 9110, 9.3.8
			http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		default:
			forward.ServeHTTP(w, r)
		}
	})
}

func orDefault(d, def time.Duration) time.Duration {
	switch {
	case d == 0:
		return def
	case d < 0:
		return 0
	}
	return d
}

// dialer connects to what reach allows and nothing else.
func (p *Proxy) dialer(reach func(netip.AddrPort) bool) *net.Dialer {
	return &net.Dialer{
		Timeout: orDefault(p.DialTimeout, 10*time.Second),
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil {
				return err
			}
			if !reach(netip.AddrPortFrom(to.Addr().Unmap(), to.Port())) {
				return ErrOutOfReach
			}
			return nil
		},
	}
}

// addVia says that a message went through here: RFC 9110, 7.6.3.
func addVia(h http.Header, major, minor int, name string) {
	h.Add("Via", strconv.Itoa(major)+"."+strconv.Itoa(minor)+" "+name)
}

func hasVia(h http.Header, name string) bool {
	return slices.ContainsFunc(splitList(h["Via"]), func(hop string) bool {
		fields := strings.Fields(hop) // protocol, name, perhaps a comment
		return len(fields) >= 2 && fields[1] == name
	})
}

// refuse answers a request whose target was not reached, without telling more of
// the network behind than that.
func refuse(w http.ResponseWriter, err error) {
	status := http.StatusBadGateway
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, ErrOutOfReach):
		status = http.StatusForbidden
	case errors.As(err, &timeout) && timeout.Timeout():
		status = http.StatusGatewayTimeout
	}
	http.Error(w, http.StatusText(status), status)
}

// tunnel serves CONNECT: RFC 9110, section 9.3.6.
func (p *Proxy) tunnel(w http.ResponseWriter, r *http.Request, dialer *net.Dialer) {
	host, port, err := net.SplitHostPort(r.Host)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 || host == "" {
		http.Error(w, "CONNECT needs a host and a port", http.StatusBadRequest)
		return
	}
	there, err := dialer.DialContext(r.Context(), "tcp", r.Host)
	if err != nil {
		refuse(w, err)
		return
	}
	defer there.Close()
	rc := http.NewResponseController(w)
	var client tunnelEnd
	if r.ProtoMajor == 1 {
		nc, rw, err := rc.Hijack()
		if err != nil {
			http.Error(w, "this connection cannot be a tunnel", http.StatusNotImplemented)
			return
		}
		defer nc.Close()
		nc.SetDeadline(time.Time{})
		if _, err := io.WriteString(nc, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
			return
		}
		// What came behind the head is the tunnel's already.
		early := io.LimitReader(rw.Reader, int64(rw.Reader.Buffered()))
		client = tunnelEnd{r: io.MultiReader(early, nc), w: nc, close: func() { nc.Close() }}
	} else {
		w.WriteHeader(http.StatusOK)
		if err := rc.Flush(); err != nil {
			return
		}
		stream := &tunnelStream{Writer: w, rc: rc, body: r.Body}
		client = tunnelEnd{r: r.Body, w: stream, close: stream.abort}
	}
	relay(client, tunnelEnd{r: there, w: there, close: func() { there.Close() }}, orDefault(p.Idle, 5*time.Minute))
}

// A tunnelEnd is one of the two parties to a tunnel.
type tunnelEnd struct {
	r     io.Reader
	w     io.Writer
	close func() // ends reads and writes
}

// A tunnelStream is the client's end of a tunnel on HTTP/2. It sends what is
// written at once.
type tunnelStream struct {
	io.Writer
	rc    *http.ResponseController
	body  io.Closer
	ended atomic.Bool
}

func (s *tunnelStream) Write(p []byte) (int, error) {
	n, err := s.Writer.Write(p)
	if err == nil {
		err = s.rc.Flush()
	}
	return n, err
}

// CloseWrite ends the tunnel as a whole: our side of a stream ends when the
// handler returns.
func (s *tunnelStream) CloseWrite() error {
	s.ended.Store(true)
	return s.body.Close()
}

// abort ends reads and writes. A stream that has ended in peace is not reset.
func (s *tunnelStream) abort() {
	s.body.Close()
	if !s.ended.Load() {
		s.rc.SetWriteDeadline(time.Unix(1, 0))
	}
}

// relay copies both ways until both are done, one has failed, or nothing has
// come for idle. The end of one direction is passed on, and the other goes on.
func relay(a, b tunnelEnd, idle time.Duration) {
	both := func() { a.close(); b.close() }
	var clock *time.Timer
	if idle > 0 {
		clock = time.AfterFunc(idle, both)
		defer clock.Stop()
	}
	var ways sync.WaitGroup
	for _, way := range [][2]tunnelEnd{{a, b}, {b, a}} {
		ways.Go(func() {
			from, to := way[0], way[1]
			_, err := io.Copy(to.w, ticking{from.r, clock, idle})
			half, ok := to.w.(interface{ CloseWrite() error })
			if err != nil || !ok || half.CloseWrite() != nil {
				both()
			}
		})
	}
	ways.Wait()
}

// ticking puts the clock back at every read.
type ticking struct {
	io.Reader
	clock *time.Timer
	idle  time.Duration
}

func (t ticking) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p)
	if t.clock != nil && n > 0 {
		t.clock.Reset(t.idle)
	}
	return n, err
}
