//go:build unix

package listen

import (
	"errors"
	"net"
	"testing"
)

func TestWrap(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := Wrap(ln)
	if Wrap(l) != l {
		t.Error("a *Listener is not returned as it is")
	}
	if want := "tcp://" + ln.Addr().String(); l.Endpoint().String() != want || l.Endpoint().Validate() != nil {
		t.Errorf("endpoint %v; want %s", l.Endpoint(), want)
	}
	ch := startAccept(l)
	dial(t, l.Addr())
	mustAccept(t, ch)

	// A deadline of its owner's making is reported, not retried.
	ln.(*net.TCPListener).SetDeadline(longAgo)
	var ne net.Error
	if _, err := l.Accept(); !errors.As(err, &ne) || !ne.Timeout() {
		t.Errorf("after a deadline: %v; want a timeout", err)
	}
	// Closed behind our back.
	ln.Close()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after closing the inner one: %v; want net.ErrClosed", err)
	}
	l.Close()
}

func TestClose(t *testing.T) {
	ls, err := Listen(t.Context(), "tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := ls[0]
	ch := startAccept(l)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if a := <-ch; !errors.Is(a.err, net.ErrClosed) {
		t.Errorf("accept: %v; want net.ErrClosed", a.err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("again: %v", err)
	}
	if _, err := l.File(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("file: %v; want net.ErrClosed", err)
	}
	l.Pause()
	l.Resume()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v; want net.ErrClosed", err)
	}
}

func TestPauseKeepsPort(t *testing.T) {
	l := mustListen(t, nil, "tcp://127.0.0.1:0")[0]
	ch := startAccept(l)
	l.Pause()
	dial(t, l.Addr()) // the kernel answers
	select {
	case a := <-ch:
		t.Fatalf("%v accepted during the pause", a)
	default:
	}
	l.Resume()
	mustAccept(t, ch)
	if l.Paused() {
		t.Error("still paused")
	}
}
