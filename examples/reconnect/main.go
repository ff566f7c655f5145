// Reconnect is a client that survives restarts of its server. It sends the lines
// of its standard input and prints the answers. While the server is away lines
// wait, and go out in order when it is back; of a line that was on its way when
// the connection broke it says so, since nobody can know whether it arrived.
//
//	go run ./examples/echo
//	go run ./examples/reconnect
//	# stop the server, type a few lines, start it again
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/link"
)

type conn = hythe.Conn[string, string]

// printer is the session: what is done with the lines of the server. There is a
// new one for each connection.
type printer struct{ out io.Writer }

func (p printer) Input(_ *conn, line string) error {
	_, err := fmt.Fprintln(p.out, line)
	return err
}

// newClient returns a client of the server at one of the endpoints. It has not
// been started: the first line does that.
func newClient(out io.Writer, endpoints ...string) *link.Client[string, string] {
	return &link.Client[string, string]{
		Link: link.Link[*conn]{
			Endpoints: endpoints,
			Dial:      link.Sessions(link.TCP, codec.Lines(), func(*conn) printer { return printer{out} }),
		},
		WhileDown: link.Queue,
		Settled: func(line string, o link.Outcome, err error) {
			if o != link.Sent {
				fmt.Fprintf(out, "! %s: %q: %v\n", o, line, err)
			}
		},
	}
}

// send sends the lines of in until it ends.
func send(ctx context.Context, c *link.Client[string, string], in io.Reader) error {
	for lines := bufio.NewScanner(in); lines.Scan(); {
		if err := c.Send(ctx, lines.Text()); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	log.SetFlags(log.Ltime)
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: reconnect [host:port ...]")
	}
	flag.Parse()
	endpoints := flag.Args()
	if len(endpoints) == 0 {
		endpoints = []string{"127.0.0.1:7000"}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	c := newClient(os.Stdout, endpoints...)
	c.Logger = slog.Default()
	go func() { // ends with the process: a read of the terminal cannot be cancelled
		if err := send(ctx, c, os.Stdin); err != nil {
			log.Print(err)
		}
		stop()
	}()
	<-ctx.Done()

	// What still waits has five seconds to leave.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := c.Drain(ctx); err != nil {
		log.Print(err)
	}
}
