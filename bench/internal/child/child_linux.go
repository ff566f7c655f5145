package child

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

	"golang.org/x/sys/unix"
)

// A Request is what the measuring process asks of a server's process.
type Request struct {
	Do   string // one of the constants below
	Path string // for Profile
}

// What can be asked.
const (
	Usage      = "usage"
	Collect    = "collect" // garbage collections, then usage
	Drain      = "drain"
	Profile    = "profile"
	EndProfile = "end profile"
)

// A Reply is what a server's process answers. The first one, with the addresses,
// is not asked for.
type Reply struct {
	Err       string
	TCP, Unix string // addresses
	Sink      string // where a relay delivers to
	CPU       time.Duration
	RSS       int64 // bytes
	Called    int64 // when Drain was called, by Clock
	Returned  int64 // when it returned
	Idle      int   // how many connections Drain found idle
	Finished  int   // busy, and they finished
	Cut       int   // busy, and they did not
}

// Options say what is to be served, and how.
type Options struct {
	Name    string        // of the server
	Socket  string        // a path for a Unix socket; Socket + ".d" is free for a directory
	Nap     time.Duration // of a handler that blocks
	Clock   time.Duration // replaces the clocks of a server that has some; 0: its defaults
	Conns   int           // raises a limit on connections to this; 0: its default
	Files   uint64        // how many descriptors the process may have; 0: as it is
	TLS     bool          // on TCP
	Program string        // what the server runs, if it is a program of its own
}

// A Server serves until its process ends, or until Stop.
type Server struct {
	TCP, Unix, Sink string
	// DrainNow drains; nil where there is no such thing.
	DrainNow func(context.Context) (idle, finished, cut int, err error)
	// Used is the processor time and memory of a server that is not in this
	// process; nil for one that is.
	Used func() (cpu time.Duration, rss int64, err error)
	// Stop ends a server that is not in this process; nil for one that is.
	Stop func() error
}

// Arguments are the arguments with which Main gets these options.
func (o Options) Arguments() []string {
	return []string{"-socket", o.Socket, "-nap", o.Nap.String(), "-clock", o.Clock.String(),
		"-conns", fmt.Sprint(o.Conns), "-files", fmt.Sprint(o.Files),
		fmt.Sprintf("-tls=%v", o.TLS), "-program", o.Program, o.Name}
}

// Main is a server's process. It ends when its standard input does. What the
// server writes to standard output goes to standard error.
func Main(args []string, start func(Options) (*Server, error)) (err error) {
	var o Options
	f := flag.NewFlagSet("serve", flag.ContinueOnError)
	f.StringVar(&o.Socket, "socket", "", "")
	f.DurationVar(&o.Nap, "nap", time.Second, "")
	f.DurationVar(&o.Clock, "clock", 0, "")
	f.IntVar(&o.Conns, "conns", 0, "")
	f.BoolVar(&o.TLS, "tls", false, "")
	f.StringVar(&o.Program, "program", "", "")
	f.Uint64Var(&o.Files, "files", 0, "")
	if err := f.Parse(args); err != nil {
		return err
	}
	o.Name = f.Arg(0)
	if o.Files > 0 {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: o.Files, Max: o.Files}); err != nil {
			return os.NewSyscallError("setrlimit", err)
		}
	}
	fd, err := unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	if err := unix.Dup3(2, 1, 0); err != nil {
		return os.NewSyscallError("dup3", err)
	}
	out := json.NewEncoder(os.NewFile(uintptr(fd), "standard output"))
	srv, err := start(o)
	if err != nil {
		return err
	}
	if srv.Stop != nil {
		defer func() {
			if e := srv.Stop(); err == nil {
				err = e
			}
		}()
	}
	if err := out.Encode(Reply{TCP: srv.TCP, Unix: srv.Unix, Sink: srv.Sink}); err != nil {
		return err
	}
	for in := json.NewDecoder(os.Stdin); ; {
		var q Request
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

func (srv *Server) answer(q Request) (a Reply, err error) {
	switch q.Do {
	case Collect:
		for range 3 { // what a sync.Pool has outlives two
			debug.FreeOSMemory()
		}
		fallthrough
	case Usage:
		if srv.Used != nil {
			a.CPU, a.RSS, err = srv.Used()
			return a, err
		}
		if a.CPU, err = CPUTime(); err != nil {
			return a, err
		}
		a.RSS, err = ResidentBytes()
		return a, err
	case Drain:
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		a.Called = Clock()
		a.Idle, a.Finished, a.Cut, err = srv.DrainNow(ctx)
		a.Returned = Clock()
		return a, err
	case Profile:
		f, err := os.Create(q.Path) // the profiler's until the process ends
		if err != nil {
			return a, err
		}
		return a, pprof.StartCPUProfile(f)
	case EndProfile:
		pprof.StopCPUProfile()
		return a, nil
	}
	return a, fmt.Errorf("serve: unknown request %q", q.Do)
}
