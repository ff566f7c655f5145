package input

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"testing"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay/relaytest"
	"github.com/hythe-go/hythe/link"
)

// nowhere is an Output that confirms everything.
type nowhere struct{}

func (nowhere) Link() (s link.Status, ok bool) { return s, false }

func (nowhere) Run(ctx context.Context, lane *relay.Lane) {
	for {
		msgs, err := lane.Next(ctx, 1000, 1<<20, 0)
		if err != nil {
			return
		}
		lane.Confirm(len(msgs))
	}
}

// Lines of 256 bytes over 4 connections, through the spool.
func BenchmarkFrames_Lines(b *testing.B) {
	f := relaytest.NewWith(b, 1, func(int) (relay.Output, error) { return nowhere{}, nil })
	svc, err := NewFrames(&config.Input{Framing: "lines", MaxMessage: 1 << 20, Window: 1024}, f.Intake)
	if err != nil {
		b.Fatal(err)
	}
	srv := &hythe.Server{Service: svc}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- srv.Serve(b.Context(), l) }()
	line := append(bytes.Repeat([]byte("x"), 255), '\n')
	block := bytes.Repeat(line, 200)
	const conns = 4
	b.ReportAllocs()
	b.SetBytes(int64(len(block)))
	b.ResetTimer()
	errs := make(chan error)
	for k := range conns {
		go func() {
			c, err := net.Dial("tcp", l.Addr().String())
			for i := k; i < b.N && err == nil; i += conns {
				_, err = c.Write(block)
			}
			if err == nil {
				c.(*net.TCPConn).CloseWrite()
				_, err = c.Read(make([]byte, 1))
				c.Close()
			}
			if err != nil && err.Error() != "EOF" {
				errs <- err
				return
			}
			errs <- nil
		}()
	}
	for range conns {
		if err := <-errs; err != nil {
			b.Error(err)
		}
	}
	if err := f.WaitSettled(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	if got := f.Delivered(); got != 200*b.N {
		b.Error(fmt.Sprintf("%d of %d", got, 200*b.N))
	}
	b.ReportMetric(float64(200*b.N)/b.Elapsed().Seconds(), "lines/s")
	srv.Close()
	<-served
}
