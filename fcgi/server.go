package fcgi

import (
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/hythe-go/hythe"
)

// A Server answers the FastCGI requests of web servers. It is a
// [hythe.Service]: listeners, connection limits, clocks and drain are those of
// the [hythe.Server] that it is given to. Only Handler must be set, or one of
// the other roles. The fields must not be changed once it serves; the methods
// are safe for concurrent use.
//
//	srv := hythe.Server{Service: &fcgi.Server{Handler: mux}}
//	err := srv.ListenAndServe(ctx, "unix:///run/app.sock?mode=0660")
type Server struct {
	// Handler answers requests in the role of Responder, section 6.2 of the
	// specification: the usual one. What the handler writes to its
	// ResponseWriter is sent to the web server.
	Handler http.Handler

	// Authorizer answers requests in the role of Authorizer, section 6.3. A
	// status of 200 lets the web server's request pass, and [SetVariable]
	// hands it variables; any other response is what the client gets.
	Authorizer http.Handler

	// Filter answers requests in the role of Filter, section 6.4. [Data]
	// returns the file that is to be filtered.
	Filter http.Handler

	// Limits bound what requests may take.
	Limits Limits

	// ParamsTimeout bounds the time from a request's beginning to the end of
	// its parameters: 30 s by default. A request that takes longer is
	// answered with status 408. Negative means no limit, here and in
	// BodyTimeout.
	ParamsTimeout time.Duration

	// BodyTimeout bounds each wait of a handler for more of a request's body:
	// 60 s by default. The Read that waited fails with
	// os.ErrDeadlineExceeded.
	BodyTimeout time.Duration

	// HandlerTimeout bounds how long a request may be worked on. When it has
	// passed the request's context is cancelled, and the request ends, with
	// status 503 if no output has left, after which nothing of its handler's
	// output is sent. Zero means no limit.
	HandlerTimeout time.Duration

	// NoMultiplex refuses a request while another one is being worked on on
	// the same connection, with CANT_MPX_CONN.
	NoMultiplex bool

	// IgnoreEOF says that a web server may half-close its connection and wait
	// for answers. Otherwise the end of a connection's input cancels the
	// contexts of its requests, since a web server that closes the connection
	// does so because its client has left. Answers are delivered in either
	// case, if anybody is there to take them.
	IgnoreEOF bool

	// Logger gets what handlers do wrong: panics with their stack, headers
	// that had to be refused. Nil means slog.Default.
	Logger *slog.Logger

	// Observer, if set, is told of each request that has ended: access logs
	// and metrics go here. It is called from many goroutines, under no lock.
	Observer func(*Served)

	active, served, refused, aborted, panicked atomic.Int64
	memory, disk                               atomic.Int64
}

// Limits bound what requests may take. In each field zero means the default and
// a negative number no limit.
type Limits struct {
	// ParamBytes and ParamCount bound the parameters of a request: 1 MiB and
	// 1,000. Past them a request is answered with status 431.
	ParamBytes, ParamCount int

	// BodyBytes bounds the body of a request, and in the role of Filter the
	// file: 64 MiB. A request that announces more is answered with status
	// 413; if it only turns out to be more, Read returns an
	// *http.MaxBytesError.
	BodyBytes int64

	// BodyWindow is how much of a body waits for its handler in memory:
	// 64 KiB. See the package documentation for what happens past it.
	BodyWindow int

	// BodyDisk is how much of the bodies of all requests may wait in
	// temporary files: 1 GiB.
	BodyDisk int64

	// Memory is how many bytes of parameters and bodies all requests together
	// may hold in memory: 64 MiB. Past it requests are refused with
	// OVERLOADED, those included whose parameters still come, and of each
	// body no more than 16 KiB wait in memory.
	Memory int64

	// Requests is how many requests may be worked on at once: 1,000. One more
	// is refused with OVERLOADED. Requests that were aborted count until
	// their handler returns. It is what FCGI_MAX_REQS tells.
	Requests int

	// RequestsPerConn is Requests for one connection: 100. One more is refused
	// with CANT_MPX_CONN.
	RequestsPerConn int
}

// Open makes the Server a [hythe.Service].
func (s *Server) Open(st *hythe.Stream) (hythe.Protocol, error) {
	return &conn{srv: s, st: st}, nil
}

// Validate reports what is wrong with the settings. It is called when the
// hythe.Server begins to serve.
func (s *Server) Validate() error {
	if s.Handler == nil && s.Authorizer == nil && s.Filter == nil {
		return errors.New("fcgi.Server: Handler, Authorizer and Filter are nil")
	}
	return nil
}

// handler returns who answers in a role, nil if nobody does.
func (s *Server) handler(role uint16) http.Handler {
	switch role {
	case roleResponder:
		return s.Handler
	case roleAuthorizer:
		return s.Authorizer
	case roleFilter:
		return s.Filter
	}
	return nil
}

// value answers a GET_VALUES for one name: section 4.1.
func (s *Server) value(name string) (value string, known bool) {
	switch name {
	case nameMaxConns:
		return strconv.Itoa(s.requests()), true
	case nameMaxReqs:
		return strconv.Itoa(s.requests()), true
	case nameMultiplex:
		if s.NoMultiplex {
			return "0", true
		}
		return "1", true
	}
	return "", false
}

// or returns a limit, or what stands for it when it is zero or negative.
func or[N int | int64 | time.Duration](v, byDefault N) N {
	switch {
	case v == 0:
		return byDefault
	case v < 0: // the largest there is
		return N(1)<<(8*unsafe.Sizeof(v)-1) - 1
	}
	return v
}

func (s *Server) paramBytes() int      { return or(s.Limits.ParamBytes, 1<<20) }
func (s *Server) paramCount() int      { return or(s.Limits.ParamCount, 1000) }
func (s *Server) bodyBytes() int64     { return or(s.Limits.BodyBytes, 64<<20) }
func (s *Server) bodyDisk() int64      { return or(s.Limits.BodyDisk, 1<<30) }
func (s *Server) maxMemory() int64     { return or(s.Limits.Memory, 64<<20) }
func (s *Server) requests() int        { return or(s.Limits.Requests, 1000) }
func (s *Server) requestsPerConn() int { return or(s.Limits.RequestsPerConn, 100) }

func (s *Server) paramsTimeout() time.Duration { return or(s.ParamsTimeout, 30*time.Second) }
func (s *Server) bodyTimeout() time.Duration   { return or(s.BodyTimeout, time.Minute) }

// bodyWindow shrinks when memory is short.
func (s *Server) bodyWindow() int {
	w := or(s.Limits.BodyWindow, 64<<10)
	if s.memory.Load() >= s.maxMemory() {
		w = min(w, chunkBytes)
	}
	return w
}

func (s *Server) logger() *slog.Logger {
	if s.Logger != nil {
		return s.Logger
	}
	return slog.Default()
}

// Stats are a Server's counters.
type Stats struct {
	Active   int    // requests that are being worked on
	Served   uint64 // requests that have ended, aborted ones included
	Refused  uint64 // requests that were refused at their beginning
	Aborted  uint64 // requests that ended without their handler's whole answer
	Panicked uint64 // requests whose handler panicked
	Memory   int64  // bytes of parameters and bodies in memory
	Disk     int64  // bytes of bodies in temporary files
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	return Stats{
		Active:   int(s.active.Load()),
		Served:   uint64(s.served.Load()),
		Refused:  uint64(s.refused.Load()),
		Aborted:  uint64(s.aborted.Load()),
		Panicked: uint64(s.panicked.Load()),
		Memory:   s.memory.Load(),
		Disk:     s.disk.Load(),
	}
}
