package hythetest_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/hythetest"
)

// A shouter answers each line in capitals.
type shouter struct{}

func (shouter) Input(c *hythe.Conn[string, string], line string) error {
	if line == "quit" {
		c.Shutdown()
		return nil
	}
	return c.Send(strings.ToUpper(line))
}

var service = hythe.Sessions(codec.Lines(), func(*hythe.Conn[string, string]) shouter { return shouter{} })

// A printedT stands for the *testing.T that a test has and an example has not.
type printedT struct {
	testing.TB
	cleanup []func()
}

func (t *printedT) Helper()                           {}
func (t *printedT) Cleanup(f func())                  { t.cleanup = append(t.cleanup, f) }
func (t *printedT) Errorf(format string, args ...any) { fmt.Printf(format+"\n", args...) }
func (t *printedT) Fatalf(format string, args ...any) { t.Errorf(format, args...); runtime.Goexit() }

func (t *printedT) run(test func(t testing.TB)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			for _, f := range t.cleanup {
				f()
			}
		}()
		test(t)
	}()
	<-done
}

func Example() {
	new(printedT).run(func(t testing.TB) {
		c := hythetest.Dial(t, &hythe.Server{Service: service})
		c.Write("hello\nworld\n")
		c.WantLine("HELLO")
		c.WantLine("WORLD")
		c.Write("quit\n")
		c.WantEOF()
		c.WantClosed(hythe.Finished)
		fmt.Println("so far as expected")
		c.WantClosed(hythe.Idle)
	})
	// Output:
	// so far as expected
	// connection 1 has ended: hythe: finished; want hythe: idle
}
