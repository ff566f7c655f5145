package memnet_test

import (
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe/memnet"
)

func TestDeadlineInFakeTime(t *testing.T) {
	calls := []struct {
		name string
		set  func(c *memnet.Conn, t time.Time) error
		call func(c *memnet.Conn) error
	}{
		{"Read", (*memnet.Conn).SetReadDeadline, func(c *memnet.Conn) error { _, err := c.Read(make([]byte, 1)); return err }},
		{"WaitRead", (*memnet.Conn).SetReadDeadline, (*memnet.Conn).WaitRead},
		{"Write", (*memnet.Conn).SetWriteDeadline, func(c *memnet.Conn) error { _, err := c.Write(make([]byte, 20)); return err }},
		{"Read with SetDeadline", (*memnet.Conn).SetDeadline, func(c *memnet.Conn) error { _, err := c.Read(make([]byte, 1)); return err }},
		{"Write with SetDeadline", (*memnet.Conn).SetDeadline, func(c *memnet.Conn) error { _, err := c.Write(make([]byte, 20)); return err }},
	}
	for _, test := range calls {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, _ := pipe(t, &memnet.Network{Buffer: 10})
				begin := time.Now()
				test.set(a, begin.Add(10*time.Minute))
				wantErr(t, test.name, test.call(a), os.ErrDeadlineExceeded)
				if got := time.Since(begin); got != 10*time.Minute {
					t.Errorf("failed after %v, want 10m", got)
				}

				// It has passed, and stays so.
				wantErr(t, test.name, test.call(a), os.ErrDeadlineExceeded)

				// Moved while a call waits, outwards and then inwards.
				test.set(a, time.Now().Add(time.Minute))
				done := start(func() error { return test.call(a) })
				synctest.Wait()
				test.set(a, time.Now().Add(time.Hour))
				time.Sleep(59 * time.Minute)
				select {
				case err := <-done:
					t.Fatalf("%s returned %v before the moved deadline", test.name, err)
				default:
				}
				begin = time.Now()
				test.set(a, time.Unix(1, 0)) // long past
				wantErr(t, test.name, <-done, os.ErrDeadlineExceeded)
				if got := time.Since(begin); got != 0 {
					t.Errorf("a deadline in the past took %v", got)
				}

				// Removed: the call waits until the connection closes.
				test.set(a, time.Time{})
				done = start(func() error { return test.call(a) })
				time.Sleep(1000 * time.Hour)
				select {
				case err := <-done:
					t.Fatalf("%s returned %v without a deadline", test.name, err)
				default:
				}
				a.Close()
				wantErr(t, test.name, <-done, net.ErrClosed)
				wantErr(t, "set", test.set(a, time.Now()), net.ErrClosed)
			})
		})
	}
}

func TestDeadlineBeatsData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pipe(t, &memnet.Network{})
		mustWrite(t, a, "late")
		b.SetReadDeadline(time.Now().Add(time.Second))
		time.Sleep(time.Second) // the same instant: passed
		wantReadErr(t, b, os.ErrDeadlineExceeded)
		b.SetReadDeadline(time.Time{})
		wantRead(t, b, "late")
	})
}

func TestDeadlineOfOneDirectionLeavesTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pipe(t, &memnet.Network{})
		a.SetReadDeadline(time.Unix(1, 0))
		mustWrite(t, a, "x")
		wantRead(t, b, "x")
		a.SetReadDeadline(time.Time{})
		a.SetWriteDeadline(time.Unix(1, 0))
		wantWriteErr(t, a, os.ErrDeadlineExceeded)
		mustWrite(t, b, "y")
		wantRead(t, a, "y")
	})
}

func TestWriteDeadlineReturnsProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pipe(t, &memnet.Network{Buffer: 4})
		a.SetWriteDeadline(time.Now().Add(time.Minute))
		n, err := a.Write([]byte("123456"))
		if n != 4 {
			t.Errorf("Write = %d bytes, want 4", n)
		}
		wantErr(t, "Write", err, os.ErrDeadlineExceeded)
		wantRead(t, b, "1234")
	})
}
