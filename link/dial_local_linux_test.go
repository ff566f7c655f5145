package link

import (
	"net"
	"testing"
)

// A Dialer with a Local address dials from there.
func TestDialer_Local(t *testing.T) {
	e := startEcho(t, "tcp", "127.0.0.1:0")
	d := &Dialer{Local: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 7)}} // on Linux all of 127/8 is here
	l := closing(t, &Link[net.Conn]{Dial: d.TCP, Endpoints: []string{e.ln.Addr().String()}})
	c, err := l.Get(within(t))
	if err != nil {
		t.Fatal(err)
	}
	say(t, c)
	if ip := c.LocalAddr().(*net.TCPAddr).IP.String(); ip != "127.0.0.7" {
		t.Errorf("it was dialled from %s", ip)
	}
}
