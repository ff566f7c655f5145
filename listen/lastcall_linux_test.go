package listen_test

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/hythe-go/hythe/listen"
)

// Connections that wait in the backlog are served before the listener closes.
func TestCloseWhenEmpty(t *testing.T) {
	for _, bare := range []bool{false, true} {
		ls, err := listen.Listen(t.Context(), "tcp://127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l := ls[0]
		var clients []net.Conn
		for range 10 {
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			clients = append(clients, c)
		}
		ended := make(chan error, 1)
		accepted := make(chan bool, 20)
		go func() {
			for {
				var err error
				if bare {
					_, _, err = l.AcceptFD(nil, nil)
				} else {
					_, err = l.Accept()
				}
				if err != nil {
					ended <- err
					return
				}
				accepted <- true
			}
		}()
		if err := l.CloseWhenEmpty(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("bare %v: ended with %v, want net.ErrClosed", bare, err)
		}
		if n := len(accepted); n != len(clients) {
			t.Errorf("bare %v: %d of %d connections were accepted", bare, n, len(clients))
		}
		if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
			if _, err := c.Read(make([]byte, 1)); err == io.EOF {
				t.Errorf("bare %v: the port still accepts", bare)
			}
		}
	}
}

// An Accept that waits where nobody comes ends at once.
func TestCloseWhenEmpty_Waiting(t *testing.T) {
	ls, err := listen.Listen(t.Context(), "tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	started := make(chan bool)
	go func() {
		close(started)
		_, _, err := ls[0].AcceptFD(nil, nil)
		ended <- err
	}()
	<-started
	ls[0].CloseWhenEmpty()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("AcceptFD = %v, want net.ErrClosed", err)
	}
}
