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

// peerGone would ask the system whether the connection is over.
func peerGone(net.Conn) bool { return false }

// descriptorLimit is how many descriptors the process may have.
func descriptorLimit() int { return 16 << 10 }
