package memnet_test

import (
	"context"
	"net"
	"testing"

	"golang.org/x/net/nettest"

	"github.com/hythe-go/hythe/memnet"
)

// The suite of package nettest, on real time: it makes subtests, which a bubble
// does not allow.
func TestConformance(t *testing.T) {
	tests := []struct {
		name    string
		network memnet.Network
	}{
		{"defaults", memnet.Network{}},
		{"small buffer", memnet.Network{Buffer: 100}},
		{"short reads and writes", memnet.Network{MaxRead: 13, MaxWrite: 7}},
	}
	for i := range tests {
		test := &tests[i]
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				ln, err := test.network.Listen("")
				if err != nil {
					return nil, nil, nil, err
				}
				defer ln.Close()
				if c1, err = test.network.Dial(context.Background(), ln.Addr().String()); err != nil {
					return nil, nil, nil, err
				}
				if c2, err = ln.Accept(); err != nil {
					return nil, nil, nil, err
				}
				return c1, c2, func() {
					c1.Close()
					c2.Close()
				}, nil
			})
		})
	}
}
