package httpd

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hythe-go/hythe"
)

// A Server serves HTTP/1.1 and HTTP/2. It is the [hythe.Service] of one
// hythe.Server: once that has drained, the Server has each answer say Connection:
// close, and another needs another. Only Handler must be set. In fields that are
// durations or sizes zero means the default and a negative value no limit. The
// fields must not be changed once it serves.
type Server struct {
	Handler http.Handler

	// HeaderTimeout bounds the time from the first byte of a request to the end
	// of its header: 10 s.
	HeaderTimeout time.Duration

	// BodyIdle bounds each wait for more of a request's body: 30 s. Over HTTP/1 it
	// ends the connection, over HTTP/2 only the body: Read fails with ErrSlow.
	BodyIdle time.Duration

	// AnswerIdle is for HTTP/2 what hythe.Timeouts.WriteStall is for HTTP/1: it
	// bounds each wait for a client to take more of an answer, of which 32 KiB are
	// offered at a time: 30 s. Only the one stream is reset, and Write fails with
	// ErrSlow. What is left when the handler has returned has up to twice as long.
	// A connection on which the client takes nothing at all for that long, or
	// twice that, ends.
	AnswerIdle time.Duration

	// MinRate is the least that a body and an answer must keep, in bytes per
	// second, once they have taken RateGrace (10 s). For an answer, and for a body
	// over HTTP/2, only the time counts in which the client is waited for. The
	// default is none.
	MinRate   int64
	RateGrace time.Duration

	// IdleTimeout bounds the wait for the next request of a connection that is
	// not moored: 3 min. For those that are it is hythe.Timeouts.Idle.
	IdleTimeout time.Duration

	// MoorAfter is how long an HTTP/1 connection is idle before it is moored:
	// 100 ms. Negative: never.
	MoorAfter time.Duration

	// MaxHeaderBytes and MaxBodyBytes bound a request: 64 KiB, and 32 MiB. A
	// larger header is answered with 431. A body that announces to be larger is
	// answered with 413; one that only turns out to be has its Read fail with an
	// *http.MaxBytesError.
	MaxHeaderBytes int
	MaxBodyBytes   int64

	// MaxRequests is how many requests a connection may make: no limit. The
	// answer to the last says Connection: close.
	MaxRequests uint64

	// MaxAge is how old a connection may become: no limit. The answer to the
	// first request after that says Connection: close.
	MaxAge time.Duration

	// Protocols says which versions are served. Nil means HTTP/1, HTTP/2 over
	// TLS, and HTTP/2 in clear for clients that know that. hythe.Server.TLS must
	// not offer others: use what the method TLSConfig returns. A connection that
	// has agreed on HTTP/2 though it is not served is closed.
	Protocols *http.Protocols

	// Observer, if set, is told of each request that has ended: when the last
	// byte of its answer has been handed to the kernel, or when it was cut off.
	// It is called from many goroutines, under no lock.
	Observer func(Request)

	// Logger gets what net/http has to say, panics of handlers included. Nil
	// means slog.Default.
	Logger *slog.Logger

	once     sync.Once
	engine   *http.Server
	h2       *http.Server // serves HTTP/2, and what begins like it in clear; net/http looks for that byte by byte
	last     *http.Server // serves what comes while the server drains
	shutdown sync.Once
	raw      sync.Map // of connections that net/http has as they are: net.Conn -> *conn
}

// or returns v, the default if it is 0, and none if it is negative.
func or[T int | int64 | time.Duration](v, byDefault, none T) T {
	switch {
	case v == 0:
		return byDefault
	case v < 0:
		return none
	}
	return v
}

const forever = time.Duration(1<<63 - 1)

func (s *Server) headerTimeout() time.Duration { return or(s.HeaderTimeout, 10*time.Second, 0) }
func (s *Server) bodyIdle() time.Duration      { return or(s.BodyIdle, 30*time.Second, forever) }
func (s *Server) answerIdle() time.Duration    { return or(s.AnswerIdle, 30*time.Second, forever) }
func (s *Server) rateGrace() time.Duration     { return or(s.RateGrace, 10*time.Second, 0) }
func (s *Server) moorAfter() time.Duration     { return or(s.MoorAfter, 100*time.Millisecond, forever) }
func (s *Server) maxBody() int64               { return or(s.MaxBodyBytes, 32<<20, 1<<62) }

// Validate reports what is wrong with the settings.
func (s *Server) Validate() error {
	if s.Handler == nil {
		return errors.New("httpd.Server: Handler is nil")
	}
	return nil
}

// ListenAndServe serves h on the endpoints, which package listen explains, until
// ctx is cancelled, and then drains. All settings are the defaults.
func ListenAndServe(ctx context.Context, h http.Handler, endpoints ...string) error {
	srv := hythe.Server{Service: &Server{Handler: h}}
	return srv.ListenAndServe(ctx, endpoints...)
}

// TLSConfig returns a copy of config, which may be nil, that offers HTTP/2 and
// HTTP/1.1 in front of what it offers already: for hythe.Server.TLS. For a Server
// with Protocols use the method.
func TLSConfig(config *tls.Config) *tls.Config { return new(Server).TLSConfig(config) }

// TLSConfig returns a copy of config, which may be nil, that offers those of
// HTTP/2 and HTTP/1.1 that Protocols has, in front of what it offers already
// besides them: for hythe.Server.TLS. What its GetConfigForClient returns offers
// them too.
func (s *Server) TLSConfig(config *tls.Config) *tls.Config {
	c := &tls.Config{}
	if config != nil {
		c = config.Clone()
	}
	s.offer(c)
	if choose := c.GetConfigForClient; choose != nil {
		var mu sync.Mutex
		var last, offered *tls.Config // most often choose returns the same
		c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			chosen, err := choose(hello)
			if chosen == nil || err != nil {
				return nil, err
			}
			mu.Lock()
			defer mu.Unlock()
			if chosen != last {
				last, offered = chosen, chosen.Clone()
				s.offer(offered)
			}
			return offered, nil
		}
	}
	return c
}

// offer has c offer the protocols that are served.
func (s *Server) offer(c *tls.Config) {
	has := s.protocols()
	offer := func(proto string, has bool) {
		switch i := slices.Index(c.NextProtos, proto); {
		case has && i < 0:
			c.NextProtos = append([]string{proto}, c.NextProtos...)
		case !has && i >= 0:
			c.NextProtos = slices.Delete(slices.Clone(c.NextProtos), i, i+1)
		}
	}
	offer("http/1.1", has.HTTP1())
	offer("h2", has.HTTP2())
}

// protocols returns Protocols, or the default.
func (s *Server) protocols() (p http.Protocols) {
	if s.Protocols != nil {
		return *s.Protocols
	}
	p.SetHTTP1(true)
	p.SetHTTP2(true)
	p.SetUnencryptedHTTP2(true)
	return p
}

func (s *Server) init() {
	s.once.Do(func() {
		all := s.protocols()
		most := all
		most.SetUnencryptedHTTP2(false)
		s.engine, s.h2, s.last = s.newEngine(most), s.newEngine(all), s.newEngine(all)
		if idle := s.answerIdle(); idle < forever {
			for _, e := range []*http.Server{s.h2, s.last} {
				e.WriteTimeout = 2 * idle // of each stream; see writer2
				e.HTTP2 = &http.HTTP2Config{WriteByteTimeout: idle}
			}
		}
		s.last.SetKeepAlivesEnabled(false)
	})
}

// newEngine makes one of net/http's servers.
func (s *Server) newEngine(protocols http.Protocols) *http.Server {
	header := or(s.MaxHeaderBytes, 64<<10, 1<<30)
	return &http.Server{
		Handler:           http.HandlerFunc(s.handle),
		ReadHeaderTimeout: s.headerTimeout(),
		IdleTimeout:       or(s.IdleTimeout, 3*time.Minute, -1),
		MaxHeaderBytes:    max(1, header-4<<10), // net/http adds as much for good measure
		Protocols:         &protocols,
		ConnContext:       s.connContext,
		ConnState:         s.connState,
		ErrorLog:          log.New(logWriter{s.Logger}, "", 0),
	}
}

// preface is how HTTP/2 begins, RFC 9113 section 3.4.
var preface = []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

// engineFor returns who serves a connection that begins so.
func (s *Server) engineFor(first []byte) *http.Server {
	if n := min(len(first), len(preface)); n > 0 && bytes.Equal(first[:n], preface[:n]) {
		return s.h2
	}
	return s.engine
}

// logWriter passes net/http's lines on.
type logWriter struct{ to *slog.Logger }

func (w logWriter) Write(b []byte) (int, error) {
	cmp.Or(w.to, slog.Default()).Warn(strings.TrimSpace(string(b)))
	return len(b), nil
}

var _ io.Writer = logWriter{}

// drain has net/http close what is idle and say goodbye with its next answers.
func (s *Server) drain() {
	s.shutdown.Do(func() {
		done, cancel := context.WithCancel(context.Background())
		cancel()
		for _, e := range []*http.Server{s.engine, s.h2} {
			e.Shutdown(done) // returns when it has closed what is idle; who answers now says goodbye
		}
	})
}

// connKey is the key of a request's connection in its context.
type connKey struct{}

func (s *Server) connContext(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, s.connOf(nc))
}

func (s *Server) connOf(nc net.Conn) *conn {
	switch nc := nc.(type) {
	case *wire:
		return nc.c
	case *tlsWire:
		return nc.c
	}
	c, _ := s.raw.Load(nc)
	return c.(*conn)
}

// connState follows net/http's view of a connection.
func (s *Server) connState(nc net.Conn, state http.ConnState) {
	switch nc := nc.(type) {
	case *wire:
		nc.state(state)
	case *tlsWire:
		nc.state(state)
	default:
		if c, ok := s.raw.Load(nc); ok && state == http.StateClosed {
			c.(*conn).rawClosed(nc)
		}
	}
}

// handle is what net/http calls with each request.
func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
	c := r.Context().Value(connKey{}).(*conn)
	c.begin()
	if s.finalRequest(c) {
		w.Header().Set("Connection", "close")
	}
	var slot *detachSlot
	own := r // which net/http looks at for what to do about the body
	switch {
	case r.ProtoMajor == 2:
		c.handles(1)
		defer c.handles(-1)
		slot = new(detachSlot)
		r = r.WithContext(context.WithValue(r.Context(), slotKey{}, slot))
		w2 := s.watch(w, r)
		defer w2.stop()
		w = w2
	case c.timed:
		http.NewResponseController(w).SetWriteDeadline(time.Time{}) // it is for streams
	}
	if r.Body != nil && r.Body != http.NoBody {
		r = r.WithContext(r.Context())
		r.Body = http.MaxBytesReader(w, r.Body, s.maxBody())
		defer func() { own.MultipartForm = r.MultipartForm }() // which it removes the files of
	}
	if s.Observer != nil {
		rec := &recorder{ResponseWriter: w, began: time.Now(), cut: true}
		defer c.ended(r, rec, slot)
		s.serve(rec, r)
		slot.await()
		rec.cut = false // it did not panic
		return
	}
	s.serve(w, r)
	slot.await()
}

// serve has the handler answer, within the limits.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength > s.maxBody() {
		w.Header().Set("Connection", "close")
		http.Error(w, "413 Request Entity Too Large", http.StatusRequestEntityTooLarge)
		return
	}
	s.Handler.ServeHTTP(w, r)
}

// finalRequest reports whether the connection is to end with this request.
func (s *Server) finalRequest(c *conn) bool {
	n := c.requests.Load()
	return s.MaxRequests > 0 && n >= s.MaxRequests || s.MaxAge > 0 && time.Since(c.opened) > s.MaxAge || c.closeAfter.Load()
}
