package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hythe-go/hythe/link"
)

func start(t *testing.T, s *LedgerServer, addr string) string {
	t.Helper()
	addr, err := s.Start(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return addr
}

func newTestLink(t *testing.T, endpoints ...string) *link.Link[*Ledger] {
	l := newLink(endpoints...)
	l.Backoff = link.Backoff{First: 10 * time.Millisecond}
	t.Cleanup(func() { l.Close(); <-l.Done() })
	return l
}

func patience(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// The link brings the library over a restart of its server.
func TestLedger_Restart(t *testing.T) {
	s := new(LedgerServer)
	addr := start(t, s, "127.0.0.1:0")
	l := newTestLink(t, addr)
	if n, err := book(patience(t), l, "one"); n != 1 || err != nil {
		t.Fatalf("book = %d, %v", n, err)
	}
	s.Stop()
	if _, err := book(patience(t), l, "lost"); err == nil {
		t.Error("an entry was booked without a server") // and the library has told the link
	}
	start(t, s, addr)
	if n, err := book(patience(t), l, "two"); n != 2 || err != nil {
		t.Errorf("book = %d, %v", n, err)
	}
}

// A wrong password is a state that can be seen, and an error that comes at once.
func TestLedger_WrongPassword(t *testing.T) {
	s := &LedgerServer{Password: "secret"}
	l := newTestLink(t, start(t, s, "127.0.0.1:0"))
	if _, err := book(patience(t), l, "one"); !errors.Is(err, ErrPassword) {
		t.Errorf("book = %v, want ErrPassword", err)
	}
	if st := l.State(); st.Phase != link.Failed {
		t.Errorf("the link is %v, want failed", st)
	}
}

// A server that became a replica still answers. The check sees it, and the link
// goes to the other one.
func TestLedger_Failover(t *testing.T) {
	a, b := new(LedgerServer), new(LedgerServer)
	l := newTestLink(t, start(t, a, "127.0.0.1:0"), start(t, b, "127.0.0.1:0"))
	l.CheckEvery = 10 * time.Millisecond
	first, err := l.Get(patience(t))
	if err != nil {
		t.Fatal(err)
	}
	a.Demote()
	for ev := range l.Events(patience(t)) {
		if c, ok := l.Conn(); ok && c != first && ev.Phase == link.Up {
			break
		}
	}
	if n, err := book(patience(t), l, "one"); n != 1 || err != nil {
		t.Errorf("book = %d, %v", n, err)
	}
}
