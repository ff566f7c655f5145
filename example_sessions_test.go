package hythe_test

import (
	"errors"
	"fmt"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

// An order remembers what was said before, and has a word when the peer sends
// something that cannot be understood.
type order struct{ items []string }

func (o *order) Input(c *hythe.Conn[string, string], item string) error {
	o.items = append(o.items, item)
	return c.Send(fmt.Sprint("so far: ", o.items))
}

func (o *order) InputClosed(c *hythe.Conn[string, string]) error {
	err := c.Send(fmt.Sprint("ordered: ", len(o.items)))
	c.Shutdown()
	return err
}

func (o *order) InputFailed(c *hythe.Conn[string, string], err error) {
	if errors.Is(err, codec.ErrFrameTooLarge) {
		c.Send("that is too long")
	}
}

func ExampleSessions() {
	open := func(*hythe.Conn[string, string]) *order { return new(order) }
	exchange(hythe.Sessions(codec.Line{Max: 30}.Strings(), open), "bread\nmilk\n")
	exchange(hythe.Sessions(codec.Line{Max: 30}.Strings(), open), "bread\nand a great many other things as well\n")
	// Output:
	// so far: [bread]
	// so far: [bread milk]
	// ordered: 2
	// so far: [bread]
	// that is too long
}
