package memnet_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe/memnet"
)

// stressByte is byte i of the streams below.
func stressByte(i int) byte { return byte(i ^ i>>8 ^ i>>16) }

// sendStream writes total bytes by Write and TryWrite in all sizes, under
// deadlines that pass, and ends the direction.
func sendStream(c *memnet.Conn, total int, rng *rand.Rand) error {
	buf := make([]byte, 5000)
	for sent := 0; sent < total; {
		b := buf[:min(rng.IntN(len(buf))+1, total-sent)]
		for i := range b {
			b[i] = stressByte(sent + i)
		}
		write := c.Write
		if rng.IntN(3) == 0 {
			write = c.TryWrite
		}
		c.SetWriteDeadline(time.Now().Add(time.Duration(rng.IntN(500)) * time.Microsecond))
		n, err := write(b)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		sent += n
	}
	return c.CloseWrite()
}

// receiveStream reads what sendStream writes, to its end.
func receiveStream(c *memnet.Conn, total int, rng *rand.Rand) error {
	buf := make([]byte, 5000)
	for got := 0; ; {
		c.SetReadDeadline(time.Now().Add(time.Duration(rng.IntN(500)) * time.Microsecond))
		if err := c.WaitRead(); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		n, err := c.Read(buf[:rng.IntN(len(buf))+1])
		for i, b := range buf[:n] {
			if b != stressByte(got+i) {
				return errors.New("wrong byte")
			}
		}
		got += n
		switch {
		case err == io.EOF && got == total:
			return nil
		case err == io.EOF:
			return io.ErrUnexpectedEOF
		case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		}
	}
}

func TestStressStreams(t *testing.T) {
	const total = 300_000
	networks := []*memnet.Network{
		{},
		{Buffer: 777, MaxRead: 600, MaxWrite: 500},
		{Buffer: 20_000, Latency: 100 * time.Microsecond},
	}
	run := func(t *testing.T, network *memnet.Network) {
		a, b := pipe(t, network)
		var wg sync.WaitGroup
		for i, c := range []*memnet.Conn{a, b} {
			wg.Go(func() { wantErr(t, "send", sendStream(c, total, rand.New(rand.NewPCG(1, uint64(i)))), nil) })
			wg.Go(func() { wantErr(t, "receive", receiveStream(c, total, rand.New(rand.NewPCG(2, uint64(i)))), nil) })
		}
		wg.Wait()
	}
	for _, network := range networks {
		t.Run("real time", func(t *testing.T) { run(t, network) })
		t.Run("fake time", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { run(t, network) })
		})
	}
}

// Every method at once, from several goroutines on both ends, and then the end
// of the connection in one of its ways: nothing hangs, and errors are of the
// kinds documented.
func TestStressMethods(t *testing.T) {
	ends := []func(c *memnet.Conn){
		func(c *memnet.Conn) { c.Close() },
		(*memnet.Conn).Reset,
	}
	allowed := func(err error) bool {
		for _, want := range []error{io.EOF, net.ErrClosed, os.ErrDeadlineExceeded, syscall.ECONNRESET, syscall.EPIPE, syscall.ENOTCONN} {
			if errors.Is(err, want) {
				return true
			}
		}
		return err == nil
	}
	for round := range 20 {
		network := memnet.Network{Buffer: 100}
		a, b := network.Pipe()
		methods := []func(c *memnet.Conn, rng *rand.Rand) error{
			func(c *memnet.Conn, rng *rand.Rand) error { _, err := c.Read(make([]byte, rng.IntN(200))); return err },
			func(c *memnet.Conn, rng *rand.Rand) error { _, err := c.Write(make([]byte, rng.IntN(200))); return err },
			func(c *memnet.Conn, rng *rand.Rand) error {
				_, err := c.TryWrite(make([]byte, rng.IntN(200)))
				return err
			},
			func(c *memnet.Conn, _ *rand.Rand) error { return c.WaitRead() },
			func(c *memnet.Conn, rng *rand.Rand) error {
				return c.SetDeadline(time.Now().Add(time.Duration(rng.IntN(300)-100) * time.Microsecond))
			},
			func(c *memnet.Conn, rng *rand.Rand) error { c.SetMaxRead(rng.IntN(50)); return nil },
			func(c *memnet.Conn, rng *rand.Rand) error { c.SetMaxWrite(rng.IntN(50)); return nil },
			func(c *memnet.Conn, rng *rand.Rand) error { return c.SetReadBuffer(rng.IntN(300)) },
			func(c *memnet.Conn, rng *rand.Rand) error {
				c.SetLatency(time.Duration(rng.IntN(100)-50) * time.Microsecond)
				return nil
			},
			func(c *memnet.Conn, rng *rand.Rand) error {
				c.Stall()
				c.AtRead(rng.Int64N(10_000), c.Unstall)
				c.AtWrite(rng.Int64N(10_000), c.Unstall)
				c.Unstall()
				return nil
			},
		}
		var wg sync.WaitGroup
		for i := range 4 {
			c := []*memnet.Conn{a, b}[i%2]
			rng := rand.New(rand.NewPCG(uint64(round), uint64(i)))
			for range 2 {
				seed := rng.Uint64()
				wg.Go(func() {
					rng := rand.New(rand.NewPCG(seed, 0))
					for {
						err := methods[rng.IntN(len(methods))](c, rng)
						if !allowed(err) {
							t.Errorf("error %v", err)
							return
						}
						if errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) {
							return
						}
						if rng.IntN(2000) == 0 {
							c.CloseWrite()
						}
					}
				})
			}
		}
		time.Sleep(2 * time.Millisecond)
		ends[round%len(ends)](a)
		b.Close()
		a.Close()
		wg.Wait()
	}
}
