package fcgi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// A Transport is an http.RoundTripper to FastCGI applications: to php-fpm, to
// this package's Server, or to any other Responder. It makes the parameters of a
// request as web servers do, streams bodies both ways, and keeps connections
// for the next request, one request on each at a time. Only Address is needed,
// and Root for applications that look for a script.
//
//	t := &fcgi.Transport{Network: "unix", Address: "/run/php/php-fpm.sock", Root: "/srv/www"}
//	c := http.Client{Transport: t}
//	resp, err := c.Get("http://localhost/index.php?q=1")
//
// A request's body needs a length, since CONTENT_LENGTH is all that most
// applications know of its end: one of unknown length is read into memory first,
// up to BufferBytes. When a request's context ends, or its response's body is
// closed early, the application is sent an ABORT_REQUEST, and the connection is
// closed when it has ended the request, or AbortTimeout has passed. It is not
// kept, since applications differ in what they make of an abort that comes late.
//
// The fields must not be changed once the Transport is used. In each number zero
// means the default and a negative one no limit. The methods are safe for
// concurrent use.
type Transport struct {
	// Network and Address say where the application listens, in the words of
	// net.Dial; without a Network it is "tcp". Without an Address, each
	// request's URL says it: its host, and port 9000 if it has none.
	Network, Address string

	// Dial, if set, dials in place of a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Root is the directory where the application finds its scripts:
	// DOCUMENT_ROOT, and the beginning of SCRIPT_FILENAME.
	Root string

	// Index is the script for all paths that do not name one, as in
	// "/index.php". Without it such paths are taken for the script's own.
	Index string

	// Script, if set, says what a request's script is, and the PATH_INFO that is
	// left. Otherwise that is split behind the first ".php" of the path.
	Script func(r *http.Request) (script, pathInfo string)

	// Params, if set, may change a request's parameters before they are sent.
	Params func(r *http.Request, params map[string]string)

	// Stderr, if set, gets what the application writes to FCGI_STDERR, as it
	// comes. p is only lent. Otherwise it is dropped.
	Stderr func(r *http.Request, p []byte)

	// IdlePerAddress and Idle are how many unused connections are kept, for
	// one address and in all: 2 and 100. A negative number keeps none. Each of
	// them occupies a worker of php-fpm.
	IdlePerAddress, Idle int

	// ConnsPerAddress is how many connections to an address there may be, and so
	// how many requests at once: 100. One more waits, as long as its context
	// lets it.
	ConnsPerAddress int

	// IdleTimeout is how long an unused connection is kept: 30 s.
	IdleTimeout time.Duration

	DialTimeout  time.Duration // bounds dialling: 10 s
	ReadTimeout  time.Duration // bounds each wait for more of the response: 60 s
	WriteTimeout time.Duration // bounds each wait for the application to take more of the request: 60 s
	AbortTimeout time.Duration // how long an aborted request is given to end: 1 s

	HeaderBytes int // bounds the header of a response: 256 KiB
	BufferBytes int // bounds a request's body of unknown length: 1 MiB

	mu     sync.Mutex
	idle   []*clientConn     // the longest unused first. Guarded by mu
	berths map[string]*berth // by network and address. Guarded by mu
}

var (
	// ErrBadResponse is the error of a response that could not be understood.
	ErrBadResponse = errors.New("fcgi: malformed response")

	// ErrBodyLength is the error of a request whose body has another length than
	// it says, or none that is known and more than Transport.BufferBytes.
	ErrBodyLength = errors.New("fcgi: request body without a usable length")

	// ErrOverloaded, ErrCantMultiplex and ErrUnknownRole are the errors of
	// requests that an application has refused: section 5.5.
	ErrOverloaded    = errors.New("fcgi: the application is overloaded")
	ErrCantMultiplex = errors.New("fcgi: the application cannot multiplex")
	ErrUnknownRole   = errors.New("fcgi: the application is no Responder")
)

// clientID is the id of each request: there is one at a time.
const clientID = 1

// RoundTrip makes a Transport an http.RoundTripper. Its errors match those of
// the network, the cause of the request's context, ErrBadResponse, ErrBodyLength
// and ErrOverloaded, as the case may be.
func (t *Transport) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	up := &upload{req: r}
	defer func() {
		if err != nil {
			up.body.close()
		}
	}()
	if err := up.begin(int64(or(t.BufferBytes, 1<<20))); err != nil {
		return nil, err
	}
	head, err := t.head(r, up.length)
	if err != nil {
		return nil, err
	}
	network, address, err := t.where(r)
	if err != nil {
		return nil, err
	}
	for fresh := false; ; fresh = true {
		pc, err := t.conn(r.Context(), network, address, fresh)
		if err != nil {
			return nil, err
		}
		x := &exchange{t: t, pc: pc, req: r, body: up.body, length: up.length, reading: make(baton, 1), writing: make(baton, 1)}
		resp, err := x.run(head)
		if err == nil {
			return resp, nil
		}
		if !x.stale(err) || x.isBegun() && !up.again() {
			return nil, err
		}
	}
}

// where returns the address of the application.
func (t *Transport) where(r *http.Request) (network, address string, err error) {
	network, address = t.Network, t.Address
	if network == "" {
		network = "tcp"
	}
	if address == "" {
		address = r.URL.Host
		if r.URL.Hostname() == "" {
			return "", "", errors.New("fcgi: neither the Transport nor the URL has an address")
		}
		if r.URL.Port() == "" {
			address = net.JoinHostPort(r.URL.Hostname(), "9000")
		}
	}
	return network, address, nil
}

// An upload is a request's body, which may be needed twice.
type upload struct {
	req    *http.Request
	body   *onceBody
	length int64
	kept   []byte // the whole body, if it had to be read into memory
}

// begin looks at the body. One of unknown length is read, up to limit.
func (u *upload) begin(limit int64) error {
	if u.req.Body == nil || u.req.Body == http.NoBody {
		return nil
	}
	u.body = &onceBody{ReadCloser: u.req.Body}
	if u.req.ContentLength > 0 { // zero stands for unknown as well, where there is a body
		u.length = u.req.ContentLength
		return nil
	}
	kept, err := io.ReadAll(io.LimitReader(u.req.Body, max(limit, limit+1)))
	if err != nil {
		return err
	}
	if int64(len(kept)) > limit {
		return fmt.Errorf("%w: more than %d bytes", ErrBodyLength, limit)
	}
	u.body.close()
	u.kept, u.length = kept, int64(len(kept))
	u.again()
	return nil
}

// again makes the body ready to be sent from its beginning, if that can be done.
func (u *upload) again() bool {
	switch {
	case u.kept != nil:
		u.body = nil
		if len(u.kept) > 0 {
			u.body = &onceBody{ReadCloser: io.NopCloser(bytes.NewReader(u.kept))}
		}
		return true
	case u.body == nil:
		return true
	case u.req.GetBody != nil:
		body, err := u.req.GetBody()
		if err != nil {
			return false
		}
		u.body.close()
		u.body = &onceBody{ReadCloser: body}
		return true
	}
	return false
}

// A onceBody is closed once.
type onceBody struct {
	io.ReadCloser
	once sync.Once
}

func (b *onceBody) close() {
	if b != nil {
		b.once.Do(func() { b.Close() })
	}
}

// stale reports whether an exchange that failed with err may be tried once
// more: its connection had been kept and has turned out to be closed, and
// either the application cannot have got the whole head of the request, or the
// request may be made twice.
func (x *exchange) stale(err error) bool {
	if !x.pc.reused || x.answered || x.req.Context().Err() != nil || isTimeout(err) {
		return false
	}
	if !x.isBegun() {
		return true
	}
	switch x.req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return errors.Is(err, errGone)
	}
	_, key := x.req.Header["Idempotency-Key"]
	return key && errors.Is(err, errGone)
}

func isTimeout(err error) bool {
	n, ok := errors.AsType[net.Error](err)
	return ok && n.Timeout()
}
