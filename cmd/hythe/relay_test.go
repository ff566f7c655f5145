package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hythe-go/hythe/listen"
)

func TestRun_Lines(t *testing.T) {
	p := start(t, "-listen", "tcp://127.0.0.1:0")
	at := p.endpoints(1)[0]
	for _, test := range []struct{ sent, want string }{
		{"a line\n", "a line\n"},
		{"one\ntwo\r\n\n", "one\ntwo\n\n"},
		{"the last line lacks its end", "the last line lacks its end\n"},
		{"bytes \x00\xff stay\n", "bytes \x00\xff stay\n"},
		{"", ""},
	} {
		before := len(p.stdout.String())
		say(t, at, test.sent)
		p.stdout.await(t, `\n`, strings.Count(p.stdout.String()[:before]+test.want, "\n"))
		if got := p.stdout.String()[before:]; got != test.want {
			t.Errorf("sent %q: got %q, want %q", test.sent, got, test.want)
		}
	}
	p.stop(exitOK)
	p.stderr.await(t, `lines: 6 taken, 6 written\n`, 1)
}

func TestRun_LinesOfOneConnectionStayInOrder(t *testing.T) {
	const senders, lines = 8, 2000
	unix := "unix://" + filepath.Join(t.TempDir(), "socket")
	p := start(t, "-listen", "tcp://127.0.0.1:0", "-listen", unix)
	at := p.endpoints(2)
	var all sync.WaitGroup
	for s := range senders {
		nc := dial(t, at[s%2])
		all.Go(func() {
			w := bufio.NewWriter(nc)
			for i := range lines {
				fmt.Fprintf(w, "%d %d\n", s, i)
			}
			if err := w.Flush(); err != nil {
				t.Error(err)
			}
			nc.Close()
		})
	}
	all.Wait()
	p.stdout.await(t, `\n`, senders*lines)
	p.stop(exitOK)
	var next [senders]int
	for line := range strings.Lines(p.stdout.String()) {
		var s, i int
		if _, err := fmt.Sscanf(line, "%d %d\n", &s, &i); err != nil || i != next[s] {
			t.Fatalf("got line %q, want number %d of sender %d", line, next[s], s)
		}
		next[s]++
	}
}

func TestRun_LineTooLong(t *testing.T) {
	p := start(t, "-listen", "tcp://127.0.0.1:0", "-max-line", "10", "-v")
	at := p.endpoints(1)[0]
	nc := dial(t, at)
	io.WriteString(nc, "0123456789\n0123456789A\nlost\n")
	if _, err := nc.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("Read = %v, want EOF", err)
	}
	nc.Close()
	p.stderr.await(t, `reason="frame too large"`, 1)
	say(t, at, "good\n")
	p.stdout.await(t, "good\n", 1)
	p.stop(exitOK)
	if got, want := p.stdout.String(), "0123456789\ngood\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A line may be longer than the toolkit's default for unfinished input.
func TestRun_VeryLongLine(t *testing.T) {
	p := start(t, "-listen", "tcp://127.0.0.1:0", "-max-line", "4000000")
	line := strings.Repeat("x", 4000000) + "\n"
	say(t, p.endpoints(1)[0], line)
	p.stop(exitOK)
	if got := p.stdout.String(); got != line {
		t.Errorf("got %d bytes, want %d", len(got), len(line))
	}
}

// A sink takes lines as a destination does.
type sink struct {
	testing.TB
	net.Listener
}

func newSink(t testing.TB, network, address string) *sink {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return &sink{t, ln}
}

func (s *sink) accept() (net.Conn, *bufio.Scanner) {
	s.Helper()
	type deadliner interface{ SetDeadline(time.Time) error }
	s.Listener.(deadliner).SetDeadline(time.Now().Add(patience))
	nc, err := s.Accept()
	if err != nil {
		s.Fatal(err)
	}
	nc.SetDeadline(time.Now().Add(patience))
	s.Cleanup(func() { nc.Close() })
	return nc, bufio.NewScanner(nc)
}

func expect(t testing.TB, lines *bufio.Scanner, want ...string) {
	t.Helper()
	for _, want := range want {
		if !lines.Scan() {
			t.Fatalf("the destination got no more (%v), want %q", lines.Err(), want)
		}
		if got := lines.Text(); got != want {
			t.Fatalf("the destination got %q, want %q", got, want)
		}
	}
}

func TestRun_To(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			address := "127.0.0.1:0"
			if network == "unix" {
				address = filepath.Join(t.TempDir(), "sink")
			}
			sink := newSink(t, network, address)
			p := start(t, "-listen", "tcp://127.0.0.1:0", "-to", network+"://"+sink.Addr().String())
			nc, lines := sink.accept()
			say(t, p.endpoints(1)[0], "one\ntwo\n")
			expect(t, lines, "one", "two")
			say(t, p.endpoints(1)[0], "three\n")
			p.term()
			expect(t, lines, "three")
			if lines.Scan() || lines.Err() != nil {
				t.Errorf("the destination got %q, %v; want the end", lines.Text(), lines.Err())
			}
			nc.Close()
		})
	}
}

// The destination goes away and comes back, in real time.
func TestRun_ToReturns(t *testing.T) {
	first := newSink(t, "tcp", "127.0.0.1:0")
	address := first.Addr().String()
	p := start(t, "-listen", "tcp://127.0.0.1:0", "-to", "tcp://"+address)
	at := p.endpoints(1)[0]
	nc, lines := first.accept()
	say(t, at, "before\n")
	expect(t, lines, "before")
	first.Close()
	nc.Close()
	p.stderr.await(t, `the other side closed the connection; input waits, next attempt in 1s`, 1)

	sender := dial(t, at)
	io.WriteString(sender, "while it was down\nand another\n")
	sender.Close()
	second := newSink(t, "tcp", address)
	nc, lines = second.accept()
	expect(t, lines, "while it was down", "and another")
	say(t, at, "after\n")
	expect(t, lines, "after")
	p.term()
	if lines.Scan() {
		t.Errorf("the destination also got %q", lines.Text())
	}
	nc.Close()
}

// Lines that cannot be delivered in time are reported.
func TestRun_ToNeverThere(t *testing.T) {
	gone := newSink(t, "unix", filepath.Join(t.TempDir(), "sink"))
	gone.Close()
	p := start(t, "-listen", "tcp://127.0.0.1:0", "-to", "unix://"+gone.Addr().String(), "-drain", "100ms", "-v")
	nc := dial(t, p.endpoints(1)[0])
	io.WriteString(nc, "nobody wants me\n")
	p.stderr.await(t, "next attempt in", 1)
	p.stderr.await(t, "msg=accepted conn=1 ", 1)
	p.stop(exitFailed)
	p.stderr.await(t, `1 cut\n`, 1)
	p.stderr.await(t, `cut: connection 1 from 127\.0\.0\.1:\d+, after`, 1)
	p.stderr.await(t, `lines: 0 taken, 0 written\n`, 1)
	p.stderr.await(t, `connections were cut`, 1)
}

func TestRun_DrainReport(t *testing.T) {
	p := start(t, "-listen", "tcp://127.0.0.1:0")
	nc := dial(t, p.endpoints(1)[0])
	io.WriteString(nc, "hello\n")
	p.stdout.await(t, "hello\n", 1)
	p.stop(exitOK)
	p.stderr.await(t, `hythe: draining, for 15s at most`, 1)
	// Busy if the turn that took the line had not quite ended, idle otherwise.
	p.stderr.await(t, `hythe: drained in \S+: (1 idle, 0|0 idle, 1) finished, 0 cut\n`, 1)
	p.stderr.await(t, `hythe: lines: 1 taken, 1 written\n`, 1)
	if _, err := nc.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("Read = %v, want EOF", err)
	}
}

func TestRun_Mistakes(t *testing.T) {
	var stdout, stderr transcript
	code := run(t.Context(), []string{
		"-listen", "udp://x", "-colour", "red", "-drain", "soon", "-listen", "tcp://", "extra",
		"-to", "tcp://x:1?backlog=3", "-to=mem:x", "-max-line", "0", "-drain=-1s", "-to",
	}, nil, &stdout, &stderr)
	if code != exitUsage {
		t.Errorf("exit status %d, want %d", code, exitUsage)
	}
	for _, want := range []string{
		`-listen: .*udp`, `-colour`, `"soon" for flag -drain`, `-listen: .*"tcp://"`, `unexpected argument "extra"`,
		`-to: .*options are for -listen`, `-to: .*want tcp://`, `-max-line: 0 is not`, `-drain: -1s is negative`,
		`needs an argument: -to`, `hythe -h`,
	} {
		stderr.await(t, want, 1)
	}
	if strings.Contains(stderr.String(), `"red"`) {
		t.Errorf("the value of an unknown flag was taken for an argument:\n%s", &stderr)
	}
	if stdout.String() != "" {
		t.Errorf("standard output got %q", &stdout)
	}
	for line := range strings.Lines(stderr.String()) {
		if !strings.HasPrefix(line, "hythe: ") || strings.HasPrefix(line, "hythe: hythe: ") {
			t.Errorf("the line %q does not begin with the program's name, once", line)
		}
	}
}

func TestRun_CannotListen(t *testing.T) {
	taken := newSink(t, "tcp", "127.0.0.1:0")
	var stdout, stderr transcript
	code := run(t.Context(), []string{"-listen", "tcp://" + taken.Addr().String()}, nil, &stdout, &stderr)
	if code != exitFailed {
		t.Errorf("exit status %d, want %d", code, exitFailed)
	}
	stderr.await(t, `address already in use`, 1)
}

func TestRun_HelpAndVersion(t *testing.T) {
	for flag, want := range map[string]string{"-h": `Usage: hythe \[flags\]`, "-version": `^hythe \S+`} {
		var stdout, stderr transcript
		if code := run(t.Context(), []string{flag}, nil, &stdout, &stderr); code != exitOK {
			t.Errorf("%s: exit status %d", flag, code)
		}
		stdout.await(t, want, 1)
		if stderr.String() != "" {
			t.Errorf("%s: standard error got %q", flag, &stderr)
		}
	}
	for line := range strings.Lines(usage) {
		if len(line) > 81 {
			t.Errorf("the help has a line of %d bytes: %q", len(line), line)
		}
	}
}

func TestClientFor(t *testing.T) {
	for _, test := range []struct {
		addr net.Addr
		want string
	}{
		{&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7}, "nc -N 127.0.0.1 7"},
		{&net.TCPAddr{IP: net.IPv6zero, Port: 7}, "nc -N localhost 7"},
		{&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0", Port: 7}, "nc -N fe80::1%eth0 7"},
		{&net.UnixAddr{Name: "/run/x", Net: "unix"}, "nc -N -U /run/x"},
		{&net.UnixAddr{Name: "@x", Net: "unix"}, "socat - ABSTRACT-CONNECT:x"},
	} {
		if got := clientFor(test.addr); got != `printf 'hello\n' | `+test.want {
			t.Errorf("clientFor(%v) = %q, want %q", test.addr, got, test.want)
		}
	}
}

// relay survives a destination that breaks again and again: nothing is lost
// that the destination did not take.
func TestRelay_BreakingDestination(t *testing.T) {
	const lines = 3000
	dest := &breaking{limit: 1000}
	ctx, cancel := context.WithCancel(t.Context())
	var stderr transcript
	notes := log.New(&stderr, "hythe: ", 0)
	opts, err := parse([]string{"-listen", "tcp://127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	opts.listen = []listen.Endpoint{{Scheme: "tcp", Host: "127.0.0.1", Service: "0"}}
	done := make(chan error, 1)
	go func() { done <- relay(ctx, opts, dest, notes, slog.New(slog.DiscardHandler)) }()
	at := stderr.await(t, `listening on (\S+),`, 1)[0][1]
	var text strings.Builder
	for i := range lines {
		fmt.Fprintf(&text, "line %d\n", i)
	}
	say(t, at, text.String())
	cancel()
	if err := <-done; err != nil {
		t.Errorf("relay = %v", err)
	}
	if got, want := slices.Collect(strings.Lines(dest.whole.String())), slices.Collect(strings.Lines(text.String())); !slices.Equal(got, want) {
		t.Errorf("got %d lines, want %d, in order", len(got), len(want))
	}
}

// breaking is a destination whose connections break after limit bytes each.
type breaking struct {
	limit int
	whole strings.Builder // the whole lines that came
	part  strings.Builder // of the connection that is open
}

func (b *breaking) open(context.Context, error) (connection, error) {
	b.part.Reset()
	return b, nil
}

func (b *breaking) Write(p []byte) (int, error) {
	n := min(len(p), b.limit-b.part.Len())
	before := strings.LastIndexByte(b.part.String(), '\n') + 1
	b.part.Write(p[:n])
	after := strings.LastIndexByte(b.part.String(), '\n') + 1
	b.whole.WriteString(b.part.String()[before:after])
	if n < len(p) {
		return n, io.ErrClosedPipe
	}
	return n, nil
}

func (b *breaking) gone() <-chan struct{}  { return nil }
func (b *breaking) finish(context.Context) {}
func (b *breaking) abort()                 {}
