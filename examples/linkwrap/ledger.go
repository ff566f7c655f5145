package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
)

// This file stands for a client library that somebody else wrote, and for its
// server. It asks one question at a time, over one connection, and when that
// breaks it calls a function; getting another connection is not its business.

// ErrPassword is the answer to a wrong password.
var ErrPassword = errors.New("ledger: wrong password")

// A Ledger is a client.
type Ledger struct {
	mu   sync.Mutex // held while a question waits for its answer
	nc   net.Conn
	r    *bufio.Reader
	lost func(error) // guarded by mu
}

// OpenLedger connects to a server.
func OpenLedger(ctx context.Context, addr string) (*Ledger, error) {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &Ledger{nc: nc, r: bufio.NewReader(nc)}, nil
}

// OnLost has f called when the connection breaks.
func (l *Ledger) OnLost(f func(error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = f
}

// Close hangs up.
func (l *Ledger) Close() error { return l.nc.Close() }

func (l *Ledger) ask(ctx context.Context, question string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	deadline, _ := ctx.Deadline()
	l.nc.SetDeadline(deadline)
	_, err := fmt.Fprintln(l.nc, question)
	var answer string
	if err == nil {
		answer, err = l.r.ReadString('\n')
	}
	if err != nil {
		if l.lost != nil {
			l.lost(err)
		}
		return "", fmt.Errorf("ledger: %w", err)
	}
	return strings.TrimSpace(answer), nil
}

// Login says who is writing.
func (l *Ledger) Login(ctx context.Context, user, password string) error {
	answer, err := l.ask(ctx, "login "+user+" "+password)
	if err == nil && answer != "welcome" {
		err = ErrPassword
	}
	return err
}

// Role returns "primary", or "replica" for a server that only reads.
func (l *Ledger) Role(ctx context.Context) (string, error) { return l.ask(ctx, "role") }

// Book writes an entry and returns its number.
func (l *Ledger) Book(ctx context.Context, entry string) (number int, err error) {
	answer, err := l.ask(ctx, "book "+entry)
	if err != nil {
		return 0, err
	}
	if _, err := fmt.Sscan(answer, &number); err != nil {
		return 0, fmt.Errorf("ledger: the server says %q", answer)
	}
	return number, nil
}

// A LedgerServer keeps the books.
type LedgerServer struct {
	Password string

	mu      sync.Mutex
	replica bool
	count   int
	ln      net.Listener
	conns   map[net.Conn]bool
	serving sync.WaitGroup
}

// Start listens at addr and returns where that is.
func (s *LedgerServer) Start(addr string) (string, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ln, s.conns = ln, make(map[net.Conn]bool)
	s.serving.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns[nc] = true
			s.serving.Go(func() { s.serve(nc) })
			s.mu.Unlock()
		}
	})
	return ln.Addr().String(), nil
}

// Stop hangs up on everybody.
func (s *LedgerServer) Stop() {
	s.mu.Lock()
	s.ln.Close()
	for nc := range s.conns {
		nc.Close()
	}
	s.mu.Unlock()
	s.serving.Wait()
}

// Demote makes the server a replica.
func (s *LedgerServer) Demote() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replica = true
}

func (s *LedgerServer) serve(nc net.Conn) {
	defer nc.Close()
	for questions := bufio.NewScanner(nc); questions.Scan(); {
		fmt.Fprintln(nc, s.answer(questions.Text()))
	}
}

func (s *LedgerServer) answer(question string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	verb, rest, _ := strings.Cut(question, " ")
	switch {
	case verb == "login" && rest != "clerk "+s.Password:
		return "go away"
	case verb == "login":
		return "welcome"
	case verb == "role" && s.replica:
		return "replica"
	case verb == "role":
		return "primary"
	case s.replica:
		return "read only"
	default:
		s.count++
		return fmt.Sprint(s.count)
	}
}
