// Package middleware has what stands between a server and its handlers: access
// logs, authentication, compression and the like. Every piece is a
// func(http.Handler) http.Handler, uses the standard library only, and works
// with any server of net/http's kind.
//
// The ones to be outermost, from outside: RealIP, RequestID, AccessLog, Recover.
// Then the log has the client's address and the request's ID, and says 500 where
// Recover answered.
//
//	handler := middleware.AccessLog(middleware.Combined(os.Stdout))(
//		middleware.Recover(nil)(
//			middleware.Compress{}.Wrap(table)))
//
// # ResponseWriters
//
// Those that are wrapped have Unwrap, for [http.ResponseController], and pass
// Flush, Hijack and ReadFrom on; files are still sent by the kernel where nothing
// has to look at them.
package middleware
