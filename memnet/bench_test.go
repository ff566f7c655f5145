package memnet_test

import (
	"io"
	"testing"
	"time"

	"github.com/hythe-go/hythe/memnet"
)

// One end writes 32 KiB at a time, the other reads as much.
func BenchmarkThroughput(b *testing.B) {
	x, y := pipe(b, &memnet.Network{})
	const size = 32 << 10
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, size)
		for {
			if _, err := y.Read(buf); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, size)
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := x.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
	x.CloseWrite()
	<-done
}

// 64 bytes go there and back, between two goroutines.
func BenchmarkPingPong(b *testing.B) {
	x, y := pipe(b, &memnet.Network{})
	benchmarkPingPong(b, x, y)
}

// The same with deadlines set at both ends, as servers do.
func BenchmarkPingPongDeadlines(b *testing.B) {
	x, y := pipe(b, &memnet.Network{})
	x.SetDeadline(time.Now().Add(time.Hour))
	y.SetDeadline(time.Now().Add(time.Hour))
	benchmarkPingPong(b, x, y)
}

func benchmarkPingPong(b *testing.B, x, y *memnet.Conn) {
	const size = 64
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, size)
		for {
			n, err := y.Read(buf)
			if err != nil {
				return
			}
			if _, err := y.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, size)
	b.SetBytes(2 * size)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := x.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(x, buf); err != nil {
			b.Fatal(err)
		}
	}
	x.CloseWrite()
	<-done
}

// One goroutine, no waiting: the cost of the calls themselves.
func BenchmarkWriteRead(b *testing.B) {
	x, y := pipe(b, &memnet.Network{})
	buf := make([]byte, 64)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		x.TryWrite(buf)
		y.WaitRead()
		y.Read(buf)
	}
}

func BenchmarkSetDeadline(b *testing.B) {
	x, _ := pipe(b, &memnet.Network{})
	b.ReportAllocs()
	for b.Loop() {
		x.SetReadDeadline(time.Now().Add(time.Hour))
	}
}

func BenchmarkDialAcceptClose(b *testing.B) {
	var network memnet.Network
	ln := listen(b, &network, "bench")
	b.ReportAllocs()
	for b.Loop() {
		x, err := network.Dial(b.Context(), "bench")
		if err != nil {
			b.Fatal(err)
		}
		y, err := ln.Accept()
		if err != nil {
			b.Fatal(err)
		}
		x.Close()
		y.Close()
	}
}
