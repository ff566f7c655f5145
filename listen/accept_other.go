//go:build !linux

package listen

import (
	"net"
	"net/netip"
	"time"
)

// A rawListener exists on Linux only.
type rawListener struct{}

func (*rawListener) setDeadline(time.Time) {}
func (*rawListener) close()                {}

// CanAcceptFD reports whether AcceptFD works, which it does on Linux only.
func (l *Listener) CanAcceptFD() bool { return false }

// AcceptFD returns an error that matches errors.ErrUnsupported; it works on
// Linux only.
func (l *Listener) AcceptFD(admit func() bool, release func()) (fd int, peer netip.AddrPort, err error) {
	return -1, netip.AddrPort{}, l.errUnsupported()
}

func prepareWrapped(net.Listener) {}
