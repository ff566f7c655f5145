//go:build !linux

package hythe

import "net"

func tookFrom(int) (int64, bool)    { return 0, false }
func tookOf(net.Conn) (int64, bool) { return 0, false }
