package hythetest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/hythetest"
)

// testIdle is called TestIdle in a test file of its own.
func testIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := hythetest.Dial(t, &hythe.Server{Service: service, Timeouts: hythe.Timeouts{Idle: 10 * time.Minute}})
		c.Write("hello\n")
		c.WantLine("HELLO")
		time.Sleep(9 * time.Minute) // takes no time
		c.Write("still here\n")
		c.WantLine("STILL HERE")
		c.Within(11 * time.Minute).WantClosed(hythe.Idle)
	})
}

// In a bubble of testing/synctest minutes pass in no time.
func Example_fakeTime() {
	_ = testIdle
	// Output:
}
