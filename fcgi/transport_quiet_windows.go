package fcgi

import "net"

// isQuiet says yes: it cannot be seen without waiting here.
func isQuiet(net.Conn) bool { return true }
