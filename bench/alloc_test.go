package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"runtime"
	"testing"

	"github.com/hythe-go/hythe"
)

// The whole stack, over a real connection, with all limits and clocks on,
// allocates nothing for a borrowed line and the string for a string.
func TestAllocationsPerLine(t *testing.T) {
	for _, tt := range []struct {
		server string
		want   float64
	}{
		{bytesServer, 0},
		{stringsServer, 1},
		{talkServer, 1},
	} {
		for _, window := range []int{1, 32} {
			t.Run(tt.server+"/"+map[int]string{1: "one at a time", 32: "pipelined"}[window], func(t *testing.T) {
				c := dialTCP(t, newHythe(tt.server, 0))
				got := allocationsPerLine(t, c, window)
				t.Logf("%.4f allocations per line", got)
				if raceEnabled {
					t.Skip("the race detector allocates: only the bytes were checked")
				}
				if got < tt.want-0.01 || got > tt.want+0.01 {
					t.Errorf("%.4f allocations per line, want %v", got, tt.want)
				}
			})
		}
	}
}

// dialTCP serves srv on a TCP port until the test ends, and returns a
// connection to it.
func dialTCP(t testing.TB, srv *hythe.Server) net.Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveUntilCleanup(t, srv, l)
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// serveUntilCleanup serves srv until the test ends.
func serveUntilCleanup(t testing.TB, srv *hythe.Server, l net.Listener) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

// allocationsPerLine has lines echoed, window of them at a time, and returns
// how many allocations of the whole process there were for each.
func allocationsPerLine(t testing.TB, c net.Conn, window int) float64 {
	t.Helper()
	const lines = 10_000
	want := batch(window)
	got := make([]byte, len(want))
	run := func(n int) {
		for range n / window {
			if _, err := c.Write(want); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c, got); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
	}
	run(2000) // buffers and pools are filled
	least := 0.0
	for i := range 3 { // other goroutines' allocations only ever add
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		run(lines)
		runtime.ReadMemStats(&after)
		if n := float64(after.Mallocs-before.Mallocs) / lines; i == 0 || n < least {
			least = n
		}
	}
	return least
}

// batch returns n lines.
func batch(n int) []byte {
	var b []byte
	for i := range n {
		line := bytes.Repeat([]byte{'a' + byte(i%26)}, lineLength)
		line[lineLength-1] = '\n'
		b = append(b, line...)
	}
	return b
}

// lineLength is the length of the lines in tests and benchmarks, their newline
// included.
const lineLength = 64
