package hythe_test

import (
	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

// A ticket is worked on elsewhere. Its connection hears of it in a turn.
type ticket struct{}

func (ticket) Input(c *hythe.Conn[string, string], job string) error {
	release := c.Hold() // not idle, and waited for by a drain
	go func() {
		defer release()
		c.Post("done: " + job) // safe from any goroutine, and never blocks
	}()
	return nil
}

func (ticket) Posted(c *hythe.Conn[string, string], event any) error {
	return c.Send(event.(string))
}

func ExampleStream_Post() {
	exchange(hythe.Sessions(codec.Lines(), func(*hythe.Conn[string, string]) ticket { return ticket{} }), "wash\n")
	// Output: done: wash
}
