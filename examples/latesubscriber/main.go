// Latesubscriber shows who hears of a connection, and when: a subscriber that
// was there first, one that comes while the link is up and is told at once, and
// one that nobody needs any more, which goes away by itself.
//
//	go run ./examples/latesubscriber
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"runtime"
	"time"

	"github.com/hythe-go/hythe/link"
)

// A part of a program that uses the connection while there is one.
type part struct {
	name      string
	out       io.Writer
	connected chan struct{} // has something when there is a connection
}

func newPart(name string, out io.Writer) *part { return &part{name, out, make(chan struct{}, 1)} }

func (p *part) Connected(net.Conn) {
	fmt.Fprintf(p.out, "%s: connected\n", p.name)
	select {
	case p.connected <- struct{}{}:
	default: // nobody waits for this part
	}
}

func (p *part) Disconnected(cause error) { fmt.Fprintf(p.out, "%s: disconnected: %v\n", p.name, cause) }

// errRestart is what the example says that happened to the connection.
var errRestart = errors.New("the server restarts")

// run tells out what the subscribers of l hear.
func run(ctx context.Context, out io.Writer, l *link.Link[net.Conn]) error {
	first := newPart("first", out)
	l.Subscribe(first) // which starts the link, too
	c, err := l.Get(ctx)
	if err != nil {
		return err
	}
	<-first.connected

	// The link is up, and says so to whoever comes late.
	late := newPart("late", out)
	l.Subscribe(late)
	<-late.connected

	// Of a subscriber that is only weakly held nothing remains when the rest of
	// the program has forgotten it.
	link.SubscribeWeak(l, newPart("forgotten", out))
	runtime.GC()

	// Anybody may say that the connection is of no more use. All hear of that,
	// and of the next one.
	l.Report(c, errRestart)
	<-first.connected
	<-late.connected
	return nil
}

func main() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer ln.Close()

	l := &link.Link[net.Conn]{
		Dial:      link.TCP,
		Endpoints: []string{ln.Addr().String()},
		Backoff:   link.Backoff{First: time.Second},
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx, os.Stdout, l); err != nil {
		log.Print(err)
	}
	if err := l.Drain(ctx); err != nil { // the subscribers hear of the end as well
		log.Print(err)
	}
}
