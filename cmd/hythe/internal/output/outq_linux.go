package output

import (
	"net"

	"golang.org/x/sys/unix"
)

// unacknowledged returns a function that says how many of the bytes that were
// written to a TCP connection the peer's kernel has not acknowledged: SIOCOUTQ,
// tcp(7). Under TLS they are more than those of the messages in them, which errs
// to the right side. Elsewhere there is no saying.
func unacknowledged(conn net.Conn) func() (int, bool) {
	for {
		inner, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		conn = inner.NetConn()
	}
	none := func() (int, bool) { return 0, false }
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return none
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return none
	}
	return func() (n int, ok bool) {
		err := raw.Control(func(fd uintptr) {
			var failed error
			n, failed = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
			ok = failed == nil
		})
		if err != nil {
			return 1 << 62, true // it is closed: who knows
		}
		return n, ok
	}
}
