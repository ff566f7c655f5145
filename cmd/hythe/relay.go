package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"runtime/debug"
	"strings"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/listen"
)

// The exit statuses.
const (
	exitOK = iota
	exitFailed
	exitUsage
)

// run is the program: it returns the exit status. It drains when ctx ends.
// Standard input is not used yet.
func run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) int {
	notes := log.New(stderr, "hythe: ", 0)
	opts, err := parse(args)
	switch {
	case opts.help:
		io.WriteString(stdout, usage)
		return exitOK
	case err != nil:
		complain(notes, err)
		notes.Print("hythe -h explains the flags")
		return exitUsage
	case opts.version:
		fmt.Fprintln(stdout, version())
		return exitOK
	}
	var dest destination = standardOutput{stdout}
	if opts.to.Scheme != "" {
		dest = newUpstream(opts.to, notes)
	}
	level := slog.LevelWarn
	if opts.verbose {
		level = slog.LevelDebug
	}
	logger := slog.New(slog.NewTextHandler(notes.Writer(), &slog.HandlerOptions{Level: level}))
	if err := relay(ctx, opts, dest, notes, logger); err != nil {
		complain(notes, err)
		return exitFailed
	}
	return exitOK
}

// complain prints every line of err. The toolkit's errors have the same prefix
// as the program.
func complain(notes *log.Logger, err error) {
	for line := range strings.Lines(err.Error()) {
		notes.Print(strings.TrimPrefix(line, notes.Prefix()))
	}
}

type conn = hythe.Conn[[]byte, []byte]

// quietTime is how long a draining connection must have been silent to be taken
// for one that has nothing under way.
const quietTime = 100 * time.Millisecond

// session is one connection.
type session struct {
	out   *output
	quiet *time.Timer // lets go of the connection; nil: it is not draining
}

// Input hands the line on. It waits when the output does, and with it the
// connection.
func (s *session) Input(c *conn, line []byte) error {
	err := s.out.put(line)
	if s.quiet != nil {
		s.awaitMore(c)
	}
	return err
}

// Draining keeps the connection for a moment. A sender may have written, and
// even left, while its lines still wait in its own kernel for room in ours.
func (s *session) Draining(c *conn) { s.awaitMore(c) }

// awaitMore holds the connection for quietTime from now.
func (s *session) awaitMore(c *conn) {
	if s.quiet == nil || !s.quiet.Reset(quietTime) {
		s.quiet = time.AfterFunc(quietTime, c.Hold()) // the last hold, if any, is over
	}
}

// relay moves lines to dest until ctx ends or dest is beyond hope.
func relay(ctx context.Context, opts options, dest destination, notes *log.Logger, logger *slog.Logger) error {
	config := listen.Config{
		OnAttempt: func(err *listen.Error) { logger.Debug("not bound", "err", err) },
		OnAcceptEvent: func(ev listen.AcceptEvent) {
			logger.Warn(ev.Kind.String(), "listener", ev.Addr, "err", ev.Err)
		},
	}
	bound, err := config.ListenEndpoints(ctx, opts.listen...)
	if err != nil {
		return err
	}
	var listeners []net.Listener
	for _, l := range bound {
		listeners = append(listeners, l)
		notes.Printf("listening on %v, try: %s", endpointOf(l.Addr()), clientFor(l.Addr()))
	}

	out := startOutput(dest)
	srv := newServer(opts, out, logger)
	var failure error
	served := make(chan struct{})
	go func() { // ends when the server has drained
		defer close(served)
		failure = srv.Serve(context.WithoutCancel(ctx), listeners...)
	}()

	select {
	case <-ctx.Done():
		notes.Printf("draining, for %v at most; a second signal ends at once", opts.drain)
	case <-served:
	case <-out.ended:
		srv.Close()
		<-served
		taken, left, _ := out.close(ctx)
		notes.Print(linesReport(taken, left))
		return out.reason()
	}
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), opts.drain)
	defer cancel()
	report, _ := srv.Drain(deadline)
	<-served
	taken, left, err := out.close(deadline) // which ends the hooks of those that were cut, too

	notes.Print(report.String())
	for _, c := range report.Cut {
		notes.Printf("cut: connection %d from %v, after %v", c.ID, c.Remote, c.Age.Round(time.Millisecond))
	}
	notes.Print(linesReport(taken, left))
	var cut *hythe.DrainError
	if failure != nil && !errors.As(failure, &cut) {
		return failure
	}
	if len(report.Cut) > 0 {
		err = errors.Join(err, errors.New("connections were cut before they had finished"))
	}
	return err
}

// newServer returns the server that hands lines to out.
func newServer(opts options, out *output, logger *slog.Logger) *hythe.Server {
	lines := codec.Line{Max: opts.maxLine}.Borrowed() // put copies them
	return &hythe.Server{
		Service: hythe.Sessions(lines, func(*conn) *session { return &session{out: out} }),
		Limits:  hythe.Limits{FrameBytes: max(1<<20, opts.maxLine+len("\r\n"))},
		// Whoever has nothing to say today may have tomorrow.
		Timeouts: hythe.Timeouts{FirstInput: -1, Frame: -1, Idle: -1, Lifetime: -1},
		Logger:   logger,
		Observer: func(ev hythe.Event) {
			if ev.Kind == hythe.ConnAccepted {
				logger.Debug("accepted", "conn", ev.Conn.ID(), "remote", ev.Conn.RemoteAddr())
			}
		},
	}
}

// linesReport says what became of the lines.
func linesReport(taken uint64, left int) string {
	s := fmt.Sprintf("lines: %d taken, %d written", taken, taken-uint64(left))
	if left > 0 {
		s += fmt.Sprintf(", %d perhaps not", left)
	}
	return s
}

// endpointOf writes an address the way -listen takes it.
func endpointOf(a net.Addr) string {
	scheme := a.Network()
	if scheme == "unix" {
		return listen.Endpoint{Scheme: listen.SchemeUnix, Path: a.String()}.String()
	}
	return scheme + "://" + a.String()
}

// clientFor returns a command that sends a line to an address.
func clientFor(a net.Addr) string {
	const hello = `printf 'hello\n' | `
	switch a := a.(type) {
	case *net.TCPAddr:
		host := a.AddrPort().Addr().Unmap()
		if host.IsUnspecified() {
			return fmt.Sprintf("%snc -N localhost %d", hello, a.Port)
		}
		return fmt.Sprintf("%snc -N %v %d", hello, host, a.Port)
	case *net.UnixAddr:
		if name, abstract := strings.CutPrefix(a.Name, "@"); abstract {
			return hello + "socat - ABSTRACT-CONNECT:" + name
		}
		return hello + "nc -N -U " + a.Name
	}
	return "a client for " + a.String()
}

// version says which hythe this is.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "hythe (unknown version)"
	}
	return fmt.Sprintf("hythe %s (%s)", info.Main.Version, info.GoVersion)
}
