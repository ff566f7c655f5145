// Package memnet is a network in memory, for tests. It has listeners, dialers
// and connections that behave as TCP's do: buffered up to a bound, closed one
// direction at a time, with deadlines and resets. It also has what a test
// wants and a kernel does not offer: delay, short reads and writes, a peer
// that stalls, and faults at a chosen byte.
//
// Nothing here enters a system call, so a goroutine that waits on a [Conn]
// waits durably in the sense of [testing/synctest]: inside a bubble ten
// minutes of silence pass in microseconds.
//
//	func TestIdleClientIsClosed(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			var network memnet.Network
//			ln, err := network.Listen("echo")
//			if err != nil {
//				t.Fatal(err)
//			}
//			defer ln.Close()
//			go serveEcho(ln, 10*time.Minute) // the server under test
//
//			c, err := network.Dial(t.Context(), "echo")
//			if err != nil {
//				t.Fatal(err)
//			}
//			defer c.Close()
//			start := time.Now()
//			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
//				t.Errorf("Read error = %v, want io.EOF", err)
//			}
//			if got := time.Since(start); got != 10*time.Minute {
//				t.Errorf("closed after %v, want 10m", got)
//			}
//		})
//	}
//
// The package's tests hold this one in full.
//
// # Closing
//
// [Conn.CloseWrite] ends one direction: the peer reads what was written, then
// io.EOF. [Conn.Close] ends both. The peer still reads what was written before
// it, then io.EOF, and the peer's writes fail with [syscall.EPIPE]. On TCP the
// first such write often succeeds, because the news has not arrived yet; here
// it always fails.
//
// Close with received bytes unread resets the connection, as Linux does, and
// bytes that the peer has not read yet are lost with it. That is how a server
// destroys its own last reply, by closing while a request is still coming in.
// Real stacks lose those bytes sometimes; here they are always lost, so that a
// test finds the server that does not linger. Bytes thrown away by
// [Conn.CloseRead] count as unread.
//
// # Concurrency
//
// Everything is safe for concurrent use. Bytes of two concurrent calls of
// Write are not mixed. A waiting goroutine holds no lock. No goroutine belongs
// to a connection; deadlines and delays use timers.
//
// # Buffers
//
// Each direction of a connection has one bounded buffer, which stands for the
// sender's, the wire's and the receiver's: a byte takes room in it from when it
// is written until it is read. A buffer takes memory as it fills and gives it
// back when it is empty, so that an idle connection holds none. Slices given
// to Read and Write are not kept.
//
// # Bubbles
//
// Make the Network, and the connections, in the bubble that uses them: the
// channels and timers inside belong to it.
//
// Waiting for a mutex is not durable, here or in code above: while one
// goroutine waits on a Conn and another for a mutex that the first holds, fake
// time stands still. With latency, for example, finish the handshake of a
// [crypto/tls.Conn] before two goroutines use it.
package memnet
