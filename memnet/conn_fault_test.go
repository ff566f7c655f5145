package memnet_test

import (
	"io"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe/memnet"
)

func TestMaxRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pipe(t, &memnet.Network{MaxRead: 1})
		mustWrite(t, a, "abc")
		for _, want := range []string{"a", "b", "c"} {
			wantRead(t, b, want)
		}
		b.SetMaxRead(2)
		mustWrite(t, a, "abc")
		wantRead(t, b, "ab")
		b.SetMaxRead(0)
		mustWrite(t, a, "de")
		wantRead(t, b, "cde")
	})
}

func TestMaxWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pipe(t, &memnet.Network{MaxWrite: 2})
		mustWrite(t, a, "abcde") // Write still writes all
		wantRead(t, b, "abcde")
		for rest := "abcde"; rest != ""; {
			n, err := a.TryWrite([]byte(rest))
			if want := min(2, len(rest)); n != want || err != nil {
				t.Fatalf("TryWrite(%q) = %d, %v, want %d", rest, n, err, want)
			}
			wantRead(t, b, rest[:n])
			rest = rest[n:]
		}
	})
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		a, b := pipe(t, &memnet.Network{Latency: 100 * time.Millisecond})
		wantAt := func(want time.Duration) {
			t.Helper()
			if got := time.Since(begin); got != want*time.Millisecond {
				t.Errorf("%v have passed, want %v", got, want*time.Millisecond)
			}
		}
		mustWrite(t, a, "one")
		time.Sleep(30 * time.Millisecond)
		mustWrite(t, a, "two")
		a.SetLatency(0) // must not overtake
		mustWrite(t, a, "three")
		a.CloseWrite()
		wantAt(30)

		wantErr(t, "WaitRead", b.WaitRead(), nil)
		wantAt(100)
		wantRead(t, b, "one")
		wantRead(t, b, "twothree")
		wantAt(130)
		wantReadErr(t, b, io.EOF)
		wantAt(130)

		mustWrite(t, b, "back")
		b.SetLatency(time.Second)
		b.CloseWrite()
		wantRead(t, a, "back")
		wantAt(230)
		wantReadErr(t, a, io.EOF)
		wantAt(1130)
	})
}

func TestLatencyWithDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pipe(t, &memnet.Network{Latency: time.Second})
		mustWrite(t, a, "x")
		b.SetReadDeadline(time.Now().Add(time.Second - 1))
		if _, err := b.Read(make([]byte, 1)); err == nil {
			t.Error("Read returned a byte that had not arrived")
		}
		b.SetReadDeadline(time.Now().Add(time.Second))
		wantRead(t, b, "x")
	})
}

// Bytes under way take room: a buffer full arrives per latency.
func TestLatencyBoundsThroughput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		a, b := pipe(t, &memnet.Network{Buffer: 1000, Latency: time.Second})
		write := start(func() error { _, err := a.Write(make([]byte, 10_000)); a.CloseWrite(); return err })
		n, err := io.Copy(io.Discard, b)
		if n != 10_000 || err != nil {
			t.Errorf("read %d bytes, %v, want 10000", n, err)
		}
		if got := time.Since(begin); got != 10*time.Second {
			t.Errorf("took %v, want 10s", got)
		}
		wantErr(t, "Write", <-write, nil)
	})
}

func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pipe(t, &memnet.Network{})
		mustWrite(t, a, "before")
		b.Stall()
		write := start(func() error { _, err := a.Write([]byte("after")); a.CloseWrite(); return err })
		time.Sleep(time.Hour)
		if len(write) != 0 {
			t.Fatalf("Write to a stalled peer returned %v", <-write)
		}
		wantRead(t, b, "before")
		mustWrite(t, b, "this way goes")
		wantRead(t, a, "this way goes")
		b.Unstall()
		wantErr(t, "Write", <-write, nil)
		wantRead(t, b, "after")
		wantReadErr(t, b, io.EOF)
	})
}

func TestAtWrite(t *testing.T) {
	for _, try := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			a, b := pipe(t, &memnet.Network{})
			write := a.Write
			if try {
				write = a.TryWrite
			}
			a.AtWrite(5, a.Reset)
			if n, err := write([]byte("123")); n != 3 || err != nil {
				t.Errorf("Write below the mark = %d, %v, want 3", n, err)
			}
			wantRead(t, b, "123")
			n, err := write([]byte("456"))
			if n != 2 {
				t.Errorf("Write across the mark = %d bytes, want 2", n)
			}
			wantErr(t, "Write across the mark", err, syscall.ECONNRESET)
			wantReadErr(t, b, syscall.ECONNRESET)

			// A write that ends at the mark has done all it was to do.
			a, b = pipe(t, &memnet.Network{})
			write = a.Write
			if try {
				write = a.TryWrite
			}
			a.AtWrite(5, func() { a.Close() })
			if n, err := write([]byte("12345")); n != 5 || err != nil {
				t.Errorf("Write up to the mark = %d, %v, want 5", n, err)
			}
			wantRead(t, b, "12345")
			wantReadErr(t, b, io.EOF)
		})
	}
}

func TestAtRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pipe(t, &memnet.Network{})
		var calls []string
		b.AtRead(0, func() { calls = append(calls, "at once") })
		b.AtRead(4, b.Reset)
		b.AtRead(4, func() { calls = append(calls, "after the reset") })
		mustWrite(t, a, "123456")
		wantRead(t, b, "1234")
		wantReadErr(t, b, syscall.ECONNRESET)
		if got, want := strings.Join(calls, ", "), "at once, after the reset"; got != want {
			t.Errorf("calls: %s, want %s", got, want)
		}
	})
}

// A mark may set the next one: here every third byte stalls the peer for a
// second.
func TestAtWriteAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pipe(t, &memnet.Network{})
		var next int64
		var pause func()
		pause = func() {
			b.Stall()
			time.AfterFunc(time.Second, b.Unstall)
			next += 3
			a.AtWrite(next, pause)
		}
		pause()
		begin := time.Now()
		mustWrite(t, a, "0123456789")
		if got := time.Since(begin); got != 4*time.Second {
			t.Errorf("Write took %v, want 4s", got)
		}
		wantRead(t, b, "0123456789")
	})
}

// A mark that panics leaves the connection in order.
func TestMarkPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pipe(t, &memnet.Network{})
		a.AtWrite(2, func() { panic("mark") })
		func() {
			defer func() {
				if r := recover(); r != "mark" {
					t.Errorf("recovered %v, want the mark's panic", r)
				}
			}()
			a.Write([]byte("1234"))
		}()
		mustWrite(t, a, "5")
		wantRead(t, b, "125")
	})
}
