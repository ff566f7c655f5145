// Hythe takes lines from TCP and Unix sockets and writes them to one place.
//
//	hythe                                    # lines on tcp://127.0.0.1:7000, to standard output
//	printf 'hello\n' | nc -N 127.0.0.1 7000  # try it
//
//	hythe -listen tcp://:7000 -listen 'unix:///run/hythe.sock?mode=0660' -to tcp://logs.example:7001
//
// -listen takes every endpoint that package listen knows, and may be repeated.
// -to takes tcp://host:port, unix:///path, or - for standard output. hythe -h
// has the other flags.
//
// # Lines
//
// A line ends at LF; CRs in front of the LF belong to the end. It is written
// whole, with LF behind it, and the lines of one connection are written in the
// order in which they came. Lines of different connections are mixed line by
// line. What a connection has sent when it finishes is a line even without the
// LF, and what it has sent when it breaks is not. A line longer than -max-line
// ends its connection.
//
// A line is written at once when nothing else is going on, and together with
// others when many come.
//
// # When the destination is slow, or gone
//
// At most 1 MiB of lines, and one line more, is held for the destination. While
// it takes no more the connections are not read, so that their senders wait.
//
// A destination that cannot be connected to, or whose connection ends, is tried
// again after 1 s, then 2 s, 4 s and so on up to 30 s. Until it is back nothing
// is read, and the lines that were not written are held. A line of which it got
// only the beginning is written to the new connection whole.
//
// None of this is safe: a line that was given to the kernel counts as written,
// and is lost if the destination or the network fails before it got there. So
// are the lines that are held when hythe is killed. That takes a durable spool,
// which this version does not have.
//
// # Ending
//
// SIGTERM and SIGINT drain: no more connections are accepted, those that have
// been silent for 100 ms are closed, the others finish, and all lines are written,
// for at most as long as -drain says. Then a report is printed. A second signal
// ends at once.
//
// The exit status is
//
//	0  every line that was taken was written
//	1  something failed: an endpoint could not be bound, standard output was
//	   closed, a connection had to be cut or lines were left over at the end
//	2  the command line was wrong
//
// or, after a second signal, 128 and the signal's number.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signal.Ignore(syscall.SIGPIPE) // writing to a closed standard output is an error like any other
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() { // as long as the process
		<-signals
		cancel()
		second := <-signals
		os.Exit(128 + int(second.(syscall.Signal)))
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
