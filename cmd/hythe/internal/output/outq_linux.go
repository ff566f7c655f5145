package output

import (
	"math"
	"net"

	"golang.org/x/sys/unix"
)

// unacknowledged returns a function that says how many of the bytes that were
// written to a TCP connection the peer's kernel has not acknowledged: SIOCOUTQ,
// tcp(7). Under TLS they are more than those of the messages in them, which errs
// to the right side. For other connections it says none.
func unacknowledged(conn net.Conn) func() int64 {
	for {
		inner, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		conn = inner.NetConn()
	}
	none := func() int64 { return 0 }
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return none
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return none
	}
	var n int
	var failed error
	ask := func(fd uintptr) { n, failed = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }
	if raw.Control(ask); failed != nil {
		return none // a kernel that cannot tell
	}
	return func() int64 {
		if err := raw.Control(ask); err != nil || failed != nil {
			return math.MaxInt64 // who knows
		}
		return int64(n)
	}
}
