// Package httpd serves HTTP with net/http's own server on the connections of
// [hythe.Server]. Handlers and middleware are net/http's; what is added is what
// lies below and around them.
//
//	srv := hythe.Server{Service: &httpd.Server{Handler: mux}}
//	err := srv.ListenAndServe(ctx, "tcp://:8080", "unix:///run/web.sock?mode=0660")
//
// Listeners, connection limits, pausing, drain and its report are those of
// hythe.Server. For TLS set its TLS field to what [TLSConfig] returns, or the
// method of that name if Protocols is set.
//
//   - An idle HTTP/1 connection is moored: after a tenth of a second net/http is
//     told that it has ended, which frees its goroutine and its buffers, and the
//     connection waits as cheaply as any other of the toolkit's. What comes wakes
//     it again, and nobody can tell.
//   - Heads that two readers may understand differently are refused, also those
//     that net/http lets pass.
//   - A body or an answer that makes no progress ends its connection, over HTTP/2
//     only its stream; deadlines for a whole request are not needed.
//   - [Table] is a list of routes that can be replaced while it serves, [Stream]
//     an answer that is made as fast as it is read, [Detach] one that goes on
//     without a goroutine, and [ConnOf] finds the connection of a request.
//
// Package httpd/middleware has handlers to put in front of others.
//
// # Drain
//
// When the hythe.Server drains, connections without a request are closed at
// once; the others get Connection: close, or GOAWAY, with their answer. Hijacked
// connections hear of it by [Conn.Draining] and are waited for; detached answers
// are ended where they are.
package httpd
