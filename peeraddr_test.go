package hythe

import (
	"net/netip"
	"testing"
	"unsafe"
)

func TestPeerAddr(t *testing.T) {
	for _, s := range []string{"127.0.0.1:7", "[::1]:65535", "[fe80::1%3]:80", "[2001:db8::1]:1"} {
		want := netip.MustParseAddrPort(s)
		p := packAddr(want)
		if got := p.addrPort(); got != want {
			t.Errorf("%s came back as %v", s, got)
		}
	}
	mapped := packAddr(netip.MustParseAddrPort("[::ffff:10.0.0.1]:5"))
	if got := mapped.addrPort().String(); got != "10.0.0.1:5" {
		t.Errorf("a mapped address came back as %s", got)
	}
	var none peerAddr
	if none.addrPort().IsValid() {
		t.Error("the zero peerAddr is an address")
	}
}

// What an idle connection costs is mostly this; see docs/decisions.
func TestStreamFitsItsSizeClass(t *testing.T) {
	if n := unsafe.Sizeof(Stream{}); n > 352 && unsafe.Sizeof(uintptr(0)) == 8 {
		t.Errorf("a Stream has %d bytes, want at most 352", n)
	}
}
