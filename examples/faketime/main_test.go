package main

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/hythetest"
)

// Inside synctest.Test time stands still while anything can go on, and leaps
// when all goroutines wait. The server and its client must then be in memory,
// as hythetest has them: a socket would wait in the kernel, for real.

func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := hythetest.Dial(t, newServer())
		c.Write("hello\n")
		c.WantLine("line 1, after 0s")
		c.WantNothing(10*time.Minute - time.Second)
		c.WantClosed(hythe.Idle)
	})
}

// Whoever says something every nine minutes stays all day.
func TestBusyAllDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := hythetest.Dial(t, newServer())
		for i := range 150 {
			c.Write("I am here\n")
			c.WantLine(fmt.Sprintf("line %d, after %v", i+1, time.Duration(i)*9*time.Minute))
			time.Sleep(9 * time.Minute)
		}
		time.Sleep(time.Minute)
		c.WantClosed(hythe.Idle)
	})
}

// Whoever says nothing at all has less time.
func TestFirstInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := hythetest.Dial(t, newServer())
		c.WantNothing(59 * time.Second)
		c.WantClosed(hythe.InputTimeout)
	})
}
