// Package hythe is a toolkit for network services: servers that are not, or not
// only, HTTP.
//
// A [Server] accepts connections within limits and hands each to its [Service].
// Most programs make one from a codec, which turns bytes into messages, and a
// session, which deals with the messages of one connection:
//
//	type echo struct{}
//
//	func (echo) Input(c *hythe.Conn[string, string], line string) error {
//		return c.Send(line)
//	}
//
//	srv := hythe.Server{Service: hythe.Sessions(codec.Lines(),
//		func(*hythe.Conn[string, string]) echo { return echo{} })}
//	err := srv.ListenAndServe(ctx, "tcp://:7000", "unix:///run/echo.sock?mode=0660")
//
// Conversations that read better from top to bottom are functions; see
// [Conversation].
//
// # Concurrency
//
// A connection takes turns. In a turn what has come is read, decoded and handed
// to the session, and what the session sent leaves with one write. The turns of
// one connection never overlap, so a session needs no lock for its own fields.
// Different connections' turns run at the same time. Between turns a connection
// has no goroutine and no buffer.
//
// Hooks are ordinary code and may block. On Linux the turns of plain TCP and
// Unix connections run on a few event loops, which notice within a millisecond
// or two that a hook is blocking and go on without it. TLS connections have a
// goroutine while there is something to do; elsewhere, and in memory, every
// connection has one. A program cannot tell the difference. A panic ends its
// connection and nothing else.
//
// # Buffers
//
// What a codec decodes is the session's to keep, unless the codec says that it
// borrows. What is given to Send has been encoded when Send returns. Output
// waits in a bounded queue: Send waits when it is full, TrySend refuses, a
// [Group] does what its server's policy says. All queues and all unfinished
// input together are bounded too.
//
// # Ends
//
// Every connection ends once, for one [Reason]. Ends in peace flush the output,
// half-close, and linger until the peer has finished as well, so that nothing is
// lost on the way out. Every wait has a clock; see [Timeouts].
//
// # Shutdown
//
// Cancelling the context given to Serve drains: all listeners stop, sessions are
// told, idle connections are closed, busy ones finish what they have begun, and
// whoever has not when the drain clock runs out is cut and reported. Pause stops
// accepting and keeps the ports. Close ends everything now.
package hythe
