//go:build unix

package main

import (
	"fmt"
	"net"
	"strings"

	"golang.org/x/sys/unix"
)

// tell sends the service manager a word. There is nothing to be done if it does
// not listen.
func (s *service) tell(state string) {
	if s.socket == "" {
		return
	}
	name := s.socket
	if strings.HasPrefix(name, "@") {
		name = "\x00" + name[1:]
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return
	}
	defer c.Close()
	c.Write([]byte(state))
}

// reloading tells that the configuration is read again; READY=1 ends that.
func (s *service) reloading() {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) == nil {
		s.tell(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000))
	}
}
