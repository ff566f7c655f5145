package hythe

import (
	"net/netip"
	"sync"
)

// admission counts connections against the limits, exactly: one lock decides.
type admission struct {
	mu     sync.Mutex
	total  int // limit; negative: none
	perIP  int // limit; negative: none
	live   int
	ips    map[netip.Addr]int // kept only while perIP is a tighter limit than total
	change chan struct{}      // closed when there may be room; nil: nobody waits
}

// set takes over configured limits.
func (a *admission) set(total, perIP int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.total, a.perIP = total, perIP
	a.changed()
}

func (a *admission) setTotal(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.total = n
	a.changed()
}

func (a *admission) setPerIP(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.perIP = n
}

func (a *admission) changed() {
	if a.change != nil {
		close(a.change)
		a.change = nil
	}
}

// enter takes a place if there is one.
func (a *admission) enter() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.total >= 0 && a.live >= a.total {
		return false
	}
	a.live++
	return true
}

// leave gives a place back.
func (a *admission) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.live--
	a.changed()
}

// room returns a channel that is closed when there may be room; nil if there is
// some now.
func (a *admission) room() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.total < 0 || a.live < a.total {
		return nil
	}
	if a.change == nil {
		a.change = make(chan struct{})
	}
	return a.change
}

// enterIP takes one of the places of ip's. The limit may change at any time, so
// everybody is counted.
func (a *admission) enterIP(ip netip.Addr) bool {
	if ip = block(ip); !ip.IsValid() {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.perIP >= 0 && a.ips[ip] >= a.perIP {
		return false
	}
	if a.ips == nil {
		a.ips = make(map[netip.Addr]int)
	}
	a.ips[ip]++
	return true
}

func (a *admission) leaveIP(ip netip.Addr) {
	if ip = block(ip); !ip.IsValid() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ips[ip]--; a.ips[ip] <= 0 {
		delete(a.ips, ip)
	}
}

// block is what the limit per address counts: an IPv4 address, or an IPv6 /64,
// which is what one customer has.
func block(ip netip.Addr) netip.Addr {
	ip = ip.Unmap()
	if ip.Is6() {
		p, _ := ip.WithZone("").Prefix(64)
		return p.Addr()
	}
	return ip
}
