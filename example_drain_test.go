package hythe_test

import (
	"bufio"
	"context"
	"fmt"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

// A worker has begun something when the drain comes.
type worker struct{ hurry chan bool }

func (w worker) Input(c *hythe.Conn[string, string], job string) error {
	release := c.Hold()
	go func() {
		defer release()
		<-w.hurry
		c.Send("done: " + job)
	}()
	return c.Send("begun: " + job)
}

func (w worker) Draining(*hythe.Conn[string, string]) { close(w.hurry) }

// A drain lets connections finish what they have begun, and says so.
func ExampleServer_Drain() {
	srv := &hythe.Server{
		Service: hythe.Sessions(codec.Lines(), func(*hythe.Conn[string, string]) worker { return worker{make(chan bool)} }),
	}
	dial, served := serveInMemory(srv)
	c := dial()
	fmt.Fprintln(c, "dishes")
	lines := bufio.NewScanner(c)
	lines.Scan()
	fmt.Println(lines.Text())

	go func() {
		for lines.Scan() {
			fmt.Println(lines.Text())
		}
		c.Close()
	}()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // those that have not finished then are cut
	defer cancel()
	report, err := srv.Drain(ctx)
	fmt.Println(len(report.Finished), "finished,", len(report.Cut), "cut,", err)
	served()
	// Output:
	// begun: dishes
	// done: dishes
	// 1 finished, 0 cut, <nil>
}
