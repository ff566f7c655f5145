//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
)

// On these systems package net makes the sockets, and options that it cannot
// honour are refused.

func (c *Config) openTCP(e Endpoint, a tcpAddr) (socket, error) {
	network := "tcp6"
	switch {
	case a.Addr().Is4():
		network = "tcp4"
	case a.dual:
		network = "tcp"
	}
	return c.open(context.Background(), e, network, net.TCPAddrFromAddrPort(a.AddrPort))
}

func (c *Config) openUnix(ctx context.Context, e Endpoint) (socket, error) {
	s, err := c.open(ctx, e, "unix", &net.UnixAddr{Name: e.Path, Net: "unix"})
	if ul, ok := s.ln.(*net.UnixListener); ok {
		ul.SetUnlinkOnClose(false)
		s.unlink = unlinker(e.Path)
	}
	return s, err
}

func (c *Config) open(ctx context.Context, e Endpoint, network string, addr net.Addr) (socket, error) {
	refuse := func(option string) (socket, error) {
		return socket{}, c.failed(&Error{Op: "setsockopt", Endpoint: e, Addr: addr,
			Err: fmt.Errorf("option %s: %w", option, errors.ErrUnsupported)})
	}
	switch {
	case e.Backlog != 0:
		return refuse("backlog")
	case e.ReuseAddr != Default:
		return refuse("reuseaddr")
	case e.ReusePort == On:
		return refuse("reuseport")
	case e.Mode != 0:
		return refuse("mode")
	case e.Owner != "":
		return refuse("owner")
	}
	var s socket
	err := c.call(e, addr, "bind", "bind", func() (err error) {
		s.ln, err = new(net.ListenConfig).Listen(ctx, network, addr.String())
		return err
	})
	return s, err
}

func probeIPv6() (v6, dual bool) {
	ln, err := net.Listen("tcp", "[::]:0")
	if err != nil {
		return false, false
	}
	ln.Close()
	return true, true
}

func dup(ln net.Listener) (*os.File, error) {
	if f, ok := ln.(interface{ File() (*os.File, error) }); ok {
		return f.File()
	}
	return nil, fmt.Errorf("hythe: listen: %T has no descriptor: %w", ln, errors.ErrUnsupported)
}
