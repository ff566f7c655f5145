package main

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/examples/internal/extest"
	"github.com/hythe-go/hythe/hythetest"
)

func TestLimits(t *testing.T) {
	at := extest.Start(t, newServer())
	for range 2 {
		c := extest.Dial(t, at)
		c.Send("hello")
		c.Expect("hello")
	}
	third := extest.Dial(t, at)
	third.Expect("too many connections, try later")
	third.ExpectEnd()
}

// Clients of many addresses, and an hour, in memory.
func TestLimits_Everything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := hythetest.Serve(t, newServer())
		var all []*hythetest.Conn
		for i := range 100 {
			c := s.DialFrom(fmt.Sprintf("192.0.2.%d:4000", i/2))
			c.Write("hello\n")
			c.WantLine("hello")
			all = append(all, c)
		}
		refused := s.DialFrom("198.51.100.1:4000")
		refused.WantLine("too many connections, try later")
		refused.WantClosed(hythe.Refused)

		all[0].Close()
		all[0].WantClosed(hythe.PeerDone)
		again := s.DialFrom("198.51.100.1:4001")
		again.Write("hello\n")
		again.WantLine("hello")

		all[1].Write(strings.Repeat("x", 1001))
		all[1].WantClosed(hythe.FrameTooLarge)
		time.Sleep(30 * time.Second)
		all[2].Write("I am still here\n")
		time.Sleep(31 * time.Second)
		all[3].WantClosed(hythe.Idle)
		all[2].WantLine("I am still here")
		silent := s.DialFrom("203.0.113.1:4000")
		silent.Within(time.Minute).WantClosed(hythe.InputTimeout)
	})
}
