package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"runtime/pprof"
	"time"
)

// A request is what the measuring process asks of a server process.
type request struct {
	Do   string // one of the constants below
	Path string // for doProfile
}

const (
	doUsage      = "usage"
	doCollect    = "collect" // a garbage collection, then usage
	doDrain      = "drain"
	doProfile    = "profile"
	doEndProfile = "end profile"
)

// A reply is what a server process answers. The first one, with the addresses,
// is not asked for.
type reply struct {
	Err       string
	TCP, Unix string // addresses
	CPU       time.Duration
	RSS       int64 // bytes
	Called    int64 // when Drain was called, by clock
	Returned  int64 // when it returned
	Idle      int   // how many connections Drain found idle
	Finished  int   // busy, and they finished
	Cut       int   // busy, and they did not
}

// serve is the server process. It ends when its standard input does.
func serve(args []string) error {
	f := flag.NewFlagSet("serve", flag.ContinueOnError)
	nap := f.Duration("nap", time.Second, "")
	socket := f.String("socket", "", "")
	if err := f.Parse(args); err != nil {
		return err
	}
	srv, err := launch(f.Arg(0), *nap, *socket)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(reply{TCP: srv.addr("tcp"), Unix: srv.addr("unix")}); err != nil {
		return err
	}
	for in := json.NewDecoder(os.Stdin); ; {
		var q request
		switch err := in.Decode(&q); err {
		case nil:
		case io.EOF:
			return nil
		default:
			return err
		}
		a, err := srv.answer(q)
		if err != nil {
			a.Err = err.Error()
		}
		if err := out.Encode(a); err != nil {
			return err
		}
	}
}

func (srv *running) answer(q request) (a reply, err error) {
	switch q.Do {
	case doCollect:
		debug.FreeOSMemory()
		fallthrough
	case doUsage:
		if a.CPU, err = cpuTime(); err != nil {
			return a, err
		}
		a.RSS, err = residentBytes()
		return a, err
	case doDrain:
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		a.Called = clock()
		report, err := srv.drain(ctx)
		a.Returned = clock()
		a.Idle, a.Finished, a.Cut = len(report.Idle), len(report.Finished), len(report.Cut)
		return a, err
	case doProfile:
		f, err := os.Create(q.Path) // the profiler's until the process ends
		if err != nil {
			return a, err
		}
		return a, pprof.StartCPUProfile(f)
	case doEndProfile:
		pprof.StopCPUProfile()
		return a, nil
	}
	return a, fmt.Errorf("serve: unknown request %q", q.Do)
}
