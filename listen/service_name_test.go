//go:build unix

package listen

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

// A service may be a name, and a name may have several addresses: all are tried.
func TestListenNames(t *testing.T) {
	var at []*net.TCPAddr
	c := &Config{Bind: BindAny, fault: func(op string, a net.Addr) error {
		if op == "socket" { // nobody but root may have the port
			at = append(at, a.(*net.TCPAddr))
			return syscall.EACCES
		}
		return nil
	}}
	_, err := c.Listen(t.Context(), "tcp://localhost:http")
	if !errors.Is(err, syscall.EACCES) || len(at) == 0 {
		t.Fatalf("Listen = %v after trying %v", err, at)
	}
	for _, a := range at {
		if !a.IP.IsLoopback() || a.Port != 80 {
			t.Errorf("localhost:http is %v", a)
		}
	}
	want, err := net.DefaultResolver.LookupIPAddr(t.Context(), "localhost")
	if err != nil {
		t.Fatal(err)
	}
	if len(at) != len(want) {
		t.Errorf("tried were %v of %v", at, want)
	}
}
