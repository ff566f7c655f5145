package hythetest_test

import (
	"context"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/hythetest"
)

// testDrain is called TestDrain, and given a *testing.T, in a test file of its own.
func testDrain(t testing.TB) {
	srv := hythetest.Serve(t, &hythe.Server{
		Service: hythe.Conversation(codec.Lines(), func(_ context.Context, c *hythe.Conn[string, string]) error {
			for line := range c.Messages() {
				c.Send("you said " + line)
			}
			return c.Send("goodbye")
		}),
		Limits: hythe.Limits{ConnsPerIP: 1},
	})
	ann := srv.DialFrom("192.0.2.1:4000")
	bob := srv.DialFrom("192.0.2.2:4000")
	ann.Write("hello\n")
	ann.WantLine("you said hello")
	bob.Write("hi\n")
	bob.WantLine("you said hi")
	srv.DialFrom("192.0.2.1:4001").WantClosed(hythe.Refused)

	report := srv.Drain(time.Minute)
	for _, c := range []*hythetest.Conn{ann, bob} {
		c.WantLine("goodbye")
		c.WantClosed(hythe.Drained)
	}
	if r := report(); len(r.Cut) > 0 {
		t.Error(r)
	}
}

// Several clients, with addresses of their own, and a drain.
func ExampleServe() {
	new(printedT).run(testDrain)
	// Output:
}
