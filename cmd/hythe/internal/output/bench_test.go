package output

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
)

// BenchmarkOut delivers messages of 256 bytes that are in the spool.
func BenchmarkOut(b *testing.B) {
	for _, framing := range []string{"lines", "hythe"} {
		b.Run(framing, func(b *testing.B) { benchmarkOut(b, framing) })
	}
}

func benchmarkOut(b *testing.B, framing string) {
	l := listen(b, "tcp", "127.0.0.1:0")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if framing == "lines" {
				io.Copy(io.Discard, c)
			} else {
				count(c)
			}
			c.Close()
		}
	}()
	b.Cleanup(func() {
		l.Close()
		<-done
	})
	const batch = 1000
	body := bytes.Repeat([]byte("x"), 256)
	msgs := make([]relay.Message, batch)
	c := settings("tcp://" + l.Addr().String())
	c.Framing = framing
	n := 200_000
	f, _ := deliver(b, c, Options{})
	var before, after runtime.MemStats
	b.ReportAllocs()
	total := 0
	var took time.Duration
	for b.Loop() {
		f.Route.Stop("out")
		for range n / batch {
			for i := range msgs {
				msgs[i] = relay.Message{Body: body}
			}
			f.PutMessages(msgs...)
		}
		runtime.ReadMemStats(&before)
		start := time.Now()
		if err := f.Route.Deliver("out", 1, func(int) (relay.Output, error) { return New(c, Options{Name: "bench"}) }); err != nil {
			b.Fatal(err)
		}
		if err := f.WaitSettled(context.Background()); err != nil {
			b.Fatal(err)
		}
		took += time.Since(start)
		runtime.ReadMemStats(&after)
		total += n
	}
	b.ReportMetric(float64(total)/took.Seconds(), "msg/s")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(n), "allocs/msg")
}

// count acknowledges frames.
func count(c net.Conn) {
	buf := make([]byte, 256<<10)
	have, frames := 0, uint64(0)
	for {
		n, err := c.Read(buf[have:])
		if err != nil {
			return
		}
		have += n
		at := 0
		for have-at >= 4 {
			size := int(binary.BigEndian.Uint32(buf[at:])) + 4
			if have-at < size {
				break
			}
			at += size
			frames++
		}
		have = copy(buf, buf[at:have])
		c.Write(binary.BigEndian.AppendUint64([]byte{0, 0, 0, 8}, frames))
	}
}
