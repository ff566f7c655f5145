package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe/listen"
	"github.com/hythe-go/hythe/memnet"
)

// A valve is a destination whose writes wait until the test lets them go on.
type valve struct {
	t      *testing.T
	opened []error       // the causes open was called with
	may    chan int      // how many bytes the next write may write; less than it was given: then it fails
	left   chan struct{} // gone
	got    bytes.Buffer  // of the connection that is open
	lost   bool          // open fails from now on; set while a write waits
}

var errValve = errors.New("the valve was shut")

func newValve(t *testing.T) *valve {
	return &valve{t: t, may: make(chan int), left: make(chan struct{})}
}

func (v *valve) open(ctx context.Context, broke error) (connection, error) {
	v.opened = append(v.opened, broke)
	if v.lost {
		return nil, broke
	}
	return v, nil
}

func (v *valve) Write(b []byte) (int, error) {
	n := min(<-v.may, len(b))
	v.got.Write(b[:n])
	if n < len(b) {
		return n, errValve
	}
	return n, nil
}

func (v *valve) gone() <-chan struct{}  { return v.left }
func (v *valve) finish(context.Context) {}
func (v *valve) abort()                 {}

// pass lets a write go on, for n bytes at most, and waits for what follows.
func (v *valve) pass(n int) {
	v.may <- n
	synctest.Wait()
}

func put(t *testing.T, o *output, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if err := o.put([]byte(line)); err != nil {
			t.Errorf("put(%q) = %v", line, err)
		}
	}
}

func TestOutput_WritesTogetherWhatCameTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newValve(t)
		o := startOutput(v)
		put(t, o, "one")
		synctest.Wait() // the write waits, with one line
		put(t, o, "two", "", "three")
		v.pass(100)
		if got, want := v.got.String(), "one\n"; got != want {
			t.Errorf("first write %q, want %q", got, want)
		}
		v.pass(100)
		if taken, left, err := o.close(t.Context()); taken != 4 || left != 0 || err != nil {
			t.Errorf("close = %d, %d, %v; want 4, 0, nil", taken, left, err)
		}
		if got, want := v.got.String(), "one\ntwo\n\nthree\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if err := o.put([]byte("late")); err == nil {
			t.Error("put after close succeeded")
		}
	})
}

func TestOutput_SlowDestinationMakesPutWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newValve(t)
		o := startOutput(v)
		line := strings.Repeat("x", 64<<10-1)
		put := 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			for put < 100 {
				if err := o.put([]byte(line)); err != nil {
					t.Error(err)
					return
				}
				put++
			}
		}()
		synctest.Wait()
		if want := maxHeldBytes / (64 << 10); put != want {
			t.Errorf("%d lines were taken while nothing was written, want %d", put, want)
		}
		go func() {
			for {
				select {
				case v.may <- maxHeldBytes * 2:
				case <-o.ended:
					return
				}
			}
		}()
		<-done
		if _, left, err := o.close(t.Context()); left != 0 || err != nil {
			t.Errorf("close = %d left, %v", left, err)
		}
		if got, want := v.got.Len(), 100*(64<<10); got != want {
			t.Errorf("%d bytes were written, want %d", got, want)
		}
	})
}

func TestOutput_LineThatWasCutIsWrittenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newValve(t)
		o := startOutput(v)
		put(t, o, "first")
		synctest.Wait()
		put(t, o, "second", "third")
		v.pass(100)
		v.pass(len("second\nthi"))
		v.got.Reset()
		v.pass(100)
		if _, left, err := o.close(t.Context()); left != 0 || err != nil {
			t.Errorf("close = %d left, %v", left, err)
		}
		if got, want := v.got.String(), "third\n"; got != want {
			t.Errorf("the second connection got %q, want %q", got, want)
		}
		if want := []error{nil, errValve}; fmt.Sprint(v.opened) != fmt.Sprint(want) {
			t.Errorf("open was called for %v, want %v", v.opened, want)
		}
	})
}

func TestOutput_NothingIsTakenWhileItIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opening := make(chan struct{})
		o := startOutput(destinationFunc(func(ctx context.Context, broke error) (connection, error) {
			select {
			case <-opening:
				return standardOutput{io.Discard}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}))
		taken := make(chan error, 1)
		go func() { taken <- o.put([]byte("x")) }()
		synctest.Wait()
		select {
		case err := <-taken:
			t.Errorf("put returned %v, want it to wait", err)
		default:
		}
		close(opening)
		if err := <-taken; err != nil {
			t.Error(err)
		}
		o.close(t.Context())
	})
}

type destinationFunc func(ctx context.Context, broke error) (connection, error)

func (f destinationFunc) open(ctx context.Context, broke error) (connection, error) {
	return f(ctx, broke)
}

func TestOutput_Close(t *testing.T) {
	never := destinationFunc(func(ctx context.Context, _ error) (connection, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	t.Run("down with nothing held", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o := startOutput(never)
			synctest.Wait()
			began := time.Now()
			if taken, left, err := o.close(t.Context()); taken != 0 || left != 0 || err != nil {
				t.Errorf("close = %d, %d, %v", taken, left, err)
			}
			if waited := time.Since(began); waited != 0 {
				t.Errorf("close took %v, want no time", waited)
			}
		})
	})
	t.Run("too slow", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			v := newValve(t)
			o := startOutput(v)
			put(t, o, "a", "b")
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if taken, left, err := o.close(ctx); taken != 2 || left != 2 || err != errGivenUp {
				t.Errorf("close = %d, %d, %v; want 2, 2, %v", taken, left, err, errGivenUp)
			}
			v.pass(100) // standard output cannot be interrupted either
			<-o.ended
		})
	})
	t.Run("lost", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			v := newValve(t)
			o := startOutput(v)
			put(t, o, "a")
			synctest.Wait()
			v.lost = true
			v.pass(0)
			<-o.ended
			if _, left, err := o.close(t.Context()); left != 1 || err != errValve {
				t.Errorf("close = %d left, %v; want 1, %v", left, err, errValve)
			}
		})
	})
}

func TestStandardOutput_ClosedIsTheEnd(t *testing.T) {
	_, err := standardOutput{}.open(t.Context(), syscall.EPIPE)
	if err == nil || !strings.Contains(err.Error(), "nobody reads standard output") {
		t.Errorf("open after EPIPE = %v", err)
	}
	_, err = standardOutput{}.open(t.Context(), syscall.ENOSPC)
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("open after ENOSPC = %v, want it to match", err)
	}
}

// The waits between attempts, in fake time.
func TestUpstream_Backoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		var attempts []time.Duration
		last := time.Now()
		u := &upstream{
			to:    listen.Endpoint{Scheme: listen.SchemeTCP, Host: "sink", Service: "1"},
			notes: log.New(io.Discard, "", 0),
			dial: func(ctx context.Context) (net.Conn, error) {
				attempts = append(attempts, time.Since(last))
				last = time.Now()
				return network.Dial(ctx, "sink")
			},
		}
		var sink net.Listener
		time.AfterFunc(100*time.Second, func() { sink, _ = network.Listen("sink") })
		c, err := u.open(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		defer sink.Close()
		const s = time.Second
		want := []time.Duration{0, 1 * s, 2 * s, 4 * s, 8 * s, 16 * s, 30 * s, 30 * s, 30 * s}
		if fmt.Sprint(attempts) != fmt.Sprint(want) {
			t.Errorf("waited %v, want %v", attempts, want)
		}

		for _, test := range []struct{ lasted, want time.Duration }{
			{time.Second, 30 * s}, // not proven yet
			{30 * time.Second, 1 * s},
			{0, 2 * s},
		} {
			peer, _ := sink.Accept()
			time.Sleep(test.lasted)
			peer.Close()
			<-c.gone()
			c.abort()
			last = time.Now()
			if c, err = u.open(t.Context(), errPeerGone); err != nil {
				t.Fatal(err)
			}
			if got := attempts[len(attempts)-1]; got != test.want {
				t.Errorf("after a connection of %v: waited %v, want %v", test.lasted, got, test.want)
			}
		}
		c.abort()
		<-c.gone()
	})
}

// The last lines arrive although the other side has been talking.
func TestUpstream_FinishLingers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := memnet.Pipe()
		c := newUpstreamConn(a)
		io.WriteString(b, "hello to you too\n")
		c.Write([]byte("last\n"))
		began := time.Now()
		go func() {
			time.Sleep(time.Second)
			got, err := io.ReadAll(b)
			if string(got) != "last\n" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
			b.Close()
		}()
		c.finish(t.Context())
		if took := time.Since(began); took != time.Second {
			t.Errorf("finish took %v, want 1s", took)
		}
	})
}
