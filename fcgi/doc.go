// Package fcgi serves FastCGI: the programs behind a web server that nginx,
// Apache, lighttpd, Caddy and HAProxy know how to talk to. It follows the
// FastCGI specification 1.0, and serves a plain http.Handler.
//
//	mux := http.NewServeMux()
//	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
//		fmt.Fprintln(w, "hello,", fcgi.Param(r, "REMOTE_USER"))
//	})
//	srv := hythe.Server{Service: &fcgi.Server{Handler: mux}}
//	err := srv.ListenAndServe(ctx, "unix:///run/app.sock?mode=0660")
//
// A [Server] is a [hythe.Service], so listeners, connection limits, clocks,
// drain, reasons and statistics are those of package hythe. A program that its
// web server starts, with a listening socket as descriptor 0, calls
// [Server.ServeSpawned] instead. [Serve] is net/http/fcgi's.
//
// # Requests
//
// What the http.Request says comes from the parameters that the web server
// sends. [Params] has them all, as they were sent, [Param] has one. The URL is
// made of REQUEST_URI if there is one, otherwise of SCRIPT_NAME, PATH_INFO and
// QUERY_STRING; its Scheme and Host are those that the client used, and r.TLS
// is set if that was HTTPS. Host is HTTP_HOST, or SERVER_NAME and SERVER_PORT.
// RemoteAddr is the client's, and empty where the web server knows none. Of
// parameters with the same name the last one counts. Those that no request can
// have (a line break in a value, a malformed CONTENT_LENGTH or Host) are
// answered with status 400 and never reach a handler. HTTP_PROXY is ignored.
//
// A body of unknown length has the ContentLength -1: web servers that stream
// uploads send no CONTENT_LENGTH. If less comes than was announced, Read returns
// io.ErrUnexpectedEOF, and the handler must not take what it has for the whole.
// What comes beyond is dropped.
//
// The context is cancelled when the web server aborts the request, with the
// cause [ErrAborted]; when its connection ends, with a *hythe.CloseError (see
// Server.IgnoreEOF for half-closed ones); after Server.HandlerTimeout; and when
// the handler has returned. From then on nothing of its output is sent: a
// request that comes next under the same id gets its own answer and no other.
//
// # Responses
//
// Up to 4 KiB of a response are kept back, so that a short one has its
// Content-Length and leaves in one write with the end of the request.
// http.ResponseController works: Flush, and deadlines for reading and writing.
// Statuses below 200 are ignored. Header fields that would break out of their
// line are refused, and logged. [Stream] sends what an iterator yields, [Stderr]
// and [LogHandler] write to the web server's error log, [SetAppStatus] sets what
// a CGI program's exit status would be.
//
// A handler that panics, ends its request: with status 500 if nothing was sent
// yet. The panic is logged with its stack.
//
// # Bodies that nobody reads
//
// FastCGI has no flow control for one of the requests on a connection. Up to
// Limits.BodyWindow of a body wait in memory for the handler, and then:
//
//   - if the request is alone on its connection, the connection's input waits:
//     the web server, and so its client, goes at the handler's pace. If the
//     handler makes no room within a tenth of a second, the rest goes to a
//     temporary file, so that an abort, the end of the connection or another
//     request are noticed behind it
//   - if there are other requests on the connection, the rest goes to a
//     temporary file at once, and they never notice
//   - if Limits.BodyDisk is used up, a request that is alone waits for as long
//     as it takes; one that is not ends, with status 413
//
// # Concurrency
//
// Each request has a goroutine, except that one which is alone on its
// connection and has come whole is worked on in the connection's own turn,
// until it has taken a millisecond or two. Requests on one connection do not
// wait for one another, and their output is sent record by record in turns. A
// ResponseWriter, as everywhere, belongs to one goroutine; Stderr's writer does
// not.
//
// # Shutdown
//
// A drain lets the requests that have begun finish, on connections of both
// kinds; idle ones end at once. On a connection that has requests under way new
// ones are refused with OVERLOADED.
package fcgi
