package hythe

import (
	"net/netip"
	"strconv"
)

// peerAddr is a peer's address and port in less space than a netip.AddrPort. The
// zero peerAddr has none.
type peerAddr struct {
	ip   [16]byte
	zone uint32 // of a link-local address: the interface's number
	port uint16
	kind uint8 // 0, 4 or 6
}

func packAddr(a netip.AddrPort) (p peerAddr) {
	if !a.IsValid() {
		return p
	}
	ip := a.Addr().Unmap()
	p.ip, p.port, p.kind = ip.As16(), a.Port(), 6
	if ip.Is4() {
		p.kind = 4
	}
	if n, err := strconv.ParseUint(ip.Zone(), 10, 32); err == nil {
		p.zone = uint32(n)
	}
	return p
}

func (p *peerAddr) addrPort() netip.AddrPort {
	ip := netip.AddrFrom16(p.ip)
	switch {
	case p.kind == 0:
		return netip.AddrPort{}
	case p.kind == 4:
		ip = ip.Unmap()
	case p.zone != 0:
		ip = ip.WithZone(strconv.FormatUint(uint64(p.zone), 10))
	}
	return netip.AddrPortFrom(ip, p.port)
}
