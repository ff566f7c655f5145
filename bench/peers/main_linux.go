// Command peers is the servers of other libraries with which bench measures
// hythe. They are in a program of their own, since some of them start pollers
// and goroutines when they are imported. Each is the echo server of its own
// documentation, with lines found in what comes, and runs with its defaults
// except for the number of its loops: one for each processor.
package main

import (
	"fmt"
	"os"

	"github.com/hythe-go/hythe/bench/internal/child"
)

func main() {
	if len(os.Args) < 2 || os.Args[1] != "serve" {
		fmt.Fprintln(os.Stderr, "peers: bench runs it")
		os.Exit(2)
	}
	if err := child.Main(os.Args[2:], start); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// start starts the named server. A server that ends, ends the process, as in all
// of their examples.
func start(o child.Options) (*child.Server, error) {
	switch o.Name {
	case "gnet":
		return startGnet(o)
	case "netpoll":
		return startNetpoll(o)
	case "nbio":
		return startNbio(o)
	case "fasthttp":
		return startFasthttp(o)
	}
	return nil, fmt.Errorf("there is no server %q", o.Name)
}
