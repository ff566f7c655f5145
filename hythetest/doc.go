// Package hythetest tests services: it serves a [hythe.Server] in memory, dials
// it, and expects what a client should see and the reason for which the server
// ended the connection.
//
//	func TestIdle(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			c := hythetest.Dial(t, &hythe.Server{Service: svc})
//			c.Write("hello\n")
//			c.WantLine("hello")
//			time.Sleep(6 * time.Minute)
//			c.WantClosed(hythe.Idle)
//		})
//	}
//
// [Dial] is for the usual test, with one client. [Serve] is for tests with
// several clients, with clients that have an address of their own, or of a drain.
//
// Everything works inside the bubbles of [testing/synctest], where six minutes
// pass in no time, and outside of them.
//
// # Failures
//
// What was expected and did not happen ends the test, with Fatalf, at the line
// of the call; the message has what was got, what was wanted, and how the server
// ended the connection if it has. So the methods of a [Conn] belong on the
// goroutine that runs the test.
//
// # Clocks
//
// No call waits for longer than ten seconds of the test's time, be it fake or
// real. [Conn.Within] gives another time. A Conn reads only when it is asked to
// and never ahead, so that a test which does not read is a peer that does not.
//
// # Shutdown
//
// When the test ends, its clients hang up and the server drains. The test fails
// if a connection does not end though its client has gone, if the server's
// counters do not add up, or if a goroutine remains that the server or one of
// its hooks has started. Goroutines are told apart by a profiler label, which
// one that sets labels of its own, or is started by a timer, may lack.
package hythetest
