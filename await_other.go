//go:build !unix

package hythe

import "net"

// awaitRead blocks until a Read from nc would not, if nc has a way to say so.
func awaitRead(nc net.Conn) error {
	if c, ok := nc.(interface{ WaitRead() error }); ok {
		return c.WaitRead()
	}
	return nil
}

// peerGone reports whether the connection is over in both directions, if nc
// can say so.
func peerGone(nc net.Conn) bool {
	c, ok := nc.(interface{ Gone() bool })
	return ok && c.Gone()
}

// descriptorLimit is how many descriptors the process may have.
func descriptorLimit() int { return 16 << 10 }
