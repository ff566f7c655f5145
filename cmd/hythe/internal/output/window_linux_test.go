package output

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// acceptDeaf accepts a connection and reads nothing from it.
func acceptDeaf(t *testing.T, l net.Listener) *net.TCPConn {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// received returns how many bytes a connection has received and not given out.
func received(t *testing.T, c *net.TCPConn) (n int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCINQ) })
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// settledAt waits until nothing changes any more.
func settledAt(value func() int) int {
	for last, since := value(), time.Now(); ; time.Sleep(time.Millisecond) {
		if now := value(); now != last {
			last, since = now, time.Now()
		} else if time.Since(since) > 300*time.Millisecond {
			return last
		}
	}
}

func TestOnlyWhatThePeersKernelHasIsConfirmed(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0")
	raw, _ := l.(*net.TCPListener).SyscallConn()
	raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 64<<10) })
	f, _ := deliver(t, settings("tcp://"+l.Addr().String()), Options{})
	line := strings.Repeat("x", 999)
	want := make([]string, 8000)
	for i := range want {
		want[i] = line[:992] + sequence(i, i+1)[0][8:]
	}
	f.Put(want[:3000]...)

	deaf := acceptDeaf(t, l)
	confirmed := settledAt(f.Delivered)
	has := received(t, deaf)
	if confirmed == 0 || confirmed*1000 > has {
		t.Fatalf("%d messages of 1000 bytes are confirmed, the peer's kernel has %d bytes", confirmed, has)
	}
	if has-confirmed*1000 > 6*1000 {
		t.Errorf("only %d messages are confirmed of %d bytes", confirmed, has)
	}
	t.Logf("the peer's kernel has %d bytes; %d messages of 1000 are confirmed", has, confirmed)

	// It dies, and its successor gets all that is not confirmed, but nothing else.
	deaf.SetLinger(0)
	deaf.Close()
	next := acceptDeaf(t, l)
	r := bufio.NewReader(next)
	for i := confirmed; i < 3000; i++ {
		next.SetReadDeadline(time.Now().Add(10 * time.Second))
		got, err := r.ReadString('\n')
		if err != nil || got != want[i]+"\n" {
			t.Fatalf("message %d: %v, %q", i, err, got[max(0, len(got)-20):])
		}
	}
	settled(t, f)
	if again := f.Again(); again == 0 || again > 3000-confirmed {
		t.Errorf("%d are counted as sent again, of %d", again, 3000-confirmed)
	}
}

func TestResetConfirmsNothing(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0")
	raw, _ := l.(*net.TCPListener).SyscallConn()
	raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<10) })
	for range 20 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		left := unacknowledged(c)
		deaf := acceptDeaf(t, l)
		before := int64(0)
		for end := time.Now().Add(10 * time.Second); before <= 0; before = left() {
			if time.Now().After(end) {
				t.Fatal("all of it is acknowledged")
			}
			c.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
			c.Write(make([]byte, 1<<20))
		}
		deaf.SetLinger(0)
		deaf.Close()
		if _, err := io.ReadAll(c); err == nil {
			t.Fatal("no reset")
		}
		if after := left(); after < before {
			t.Fatalf("%d bytes were not acknowledged, and %d after the reset", before, after)
		}
	}
}
