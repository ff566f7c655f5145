package main

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/memnet"
)

// The benchmarks have no sockets: what they show is hythe's own work and
// memnet's. On sockets seven tenths are the kernel's; the command measures that.

var benchServers = []struct{ name, server string }{
	{"bytes", bytesServer},
	{"strings", stringsServer},
	{"talk", talkServer},
}

// dialMem serves srv in memory until the benchmark ends, and returns a
// connection to it.
func dialMem(b *testing.B, srv *hythe.Server) net.Conn {
	b.Helper()
	var network memnet.Network
	l, err := network.Listen("bench")
	if err != nil {
		b.Fatal(err)
	}
	serveUntilCleanup(b, srv, l)
	c, err := network.Dial(b.Context(), "bench")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	return c
}

// A session at work: 256 lines arrive at once, and their answers leave at once.
// An operation is one line.
func BenchmarkSession(b *testing.B) {
	for _, bb := range benchServers {
		b.Run(bb.name, func(b *testing.B) {
			c := dialMem(b, newHythe(bb.server, 0))
			const window = 256
			lines := batch(window)
			answers := make([]byte, len(lines))
			b.SetBytes(lineLength)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%window > 0 {
					continue
				}
				roundTrip(b, c, lines, answers)
			}
		})
	}
}

// A turn for each line: ping-pong.
func BenchmarkTurn(b *testing.B) {
	for _, bb := range benchServers {
		b.Run(bb.name, func(b *testing.B) {
			c := dialMem(b, newHythe(bb.server, 0))
			line := batch(1)
			answer := make([]byte, len(line))
			b.SetBytes(lineLength)
			b.ReportAllocs()
			for b.Loop() {
				roundTrip(b, c, line, answer)
			}
		})
	}
}

func roundTrip(b *testing.B, c net.Conn, out, in []byte) {
	if _, err := c.Write(out); err != nil {
		b.Fatal(err)
	}
	if _, err := io.ReadFull(c, in); err != nil {
		b.Fatal(err)
	}
}

// joiner is a session that joins a group and says nothing else.
type joiner struct {
	group  *hythe.Group[string]
	joined *sync.WaitGroup
}

func (j joiner) Connected(c *hythe.Conn[string, string]) error {
	j.group.Join(c)
	j.joined.Done()
	return nil
}

func (joiner) Input(*hythe.Conn[string, string], string) error { return nil }

// A line is broadcast to 1,000 members, and all have received it. An operation
// is one broadcast.
func BenchmarkBroadcast(b *testing.B) {
	const members = 1000
	var group hythe.Group[string]
	var joined, read sync.WaitGroup
	var network memnet.Network
	l, err := network.Listen("bench")
	if err != nil {
		b.Fatal(err)
	}
	joined.Add(members)
	serveUntilCleanup(b, &hythe.Server{Service: hythe.Sessions(codec.Lines(), func(*hythe.Conn[string, string]) joiner {
		return joiner{&group, &joined}
	})}, l)
	line := batch(1)
	var readers sync.WaitGroup
	ctx, cancel := context.WithCancel(b.Context())
	for range members {
		c, err := network.Dial(ctx, "bench")
		if err != nil {
			b.Fatal(err)
		}
		readers.Go(func() {
			defer c.Close()
			defer context.AfterFunc(ctx, func() { c.Close() })()
			for got := make([]byte, len(line)); ; read.Done() {
				if _, err := io.ReadFull(c, got); err != nil {
					return
				}
			}
		})
	}
	b.Cleanup(func() {
		cancel()
		readers.Wait()
	})
	joined.Wait()
	msg := string(line[:len(line)-1])
	b.SetBytes(members * lineLength)
	b.ReportAllocs()
	for b.Loop() {
		read.Add(members)
		if n, err := group.Broadcast(msg); n != members || err != nil {
			b.Fatalf("Broadcast = %d, %v, want %d", n, err, members)
		}
		read.Wait()
	}
}
