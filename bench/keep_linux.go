package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"sync"

	"github.com/hythe-go/hythe/bench/internal/child"
)

// keep connects, has one HTTP request answered on each connection, and leaves
// them be.
func (j *job) keep(stage func(string) error) error {
	const warm = 64 // connections that are closed again, so that the server has what it needs once
	conns, err := j.connectAndAsk(min(warm, j.Conns))
	hangUp(conns)
	if err != nil {
		return err
	}
	if err := stage(stageReady); err != nil {
		return err
	}
	conns, err = j.connectAndAsk(j.Conns)
	defer hangUp(conns)
	if err != nil {
		return err
	}
	if err := stage(stageDone); err != nil {
		return err
	}
	hangUp(conns)
	return stage(stageClosed)
}

func hangUp(conns []net.Conn) {
	for _, c := range conns {
		if c != nil {
			c.Close()
		}
	}
}

// connectAndAsk makes n connections and has one request answered on each. It
// returns those that it made also with an error.
func (j *job) connectAndAsk(n int) ([]net.Conn, error) {
	const together = 8
	conns := make([]net.Conn, n)
	errs := make([]error, together)
	var work sync.WaitGroup
	for w := range together {
		work.Go(func() {
			for i := w; i < n && errs[w] == nil; i += together {
				conns[i], errs[w] = j.connectAndAskOnce()
			}
		})
	}
	work.Wait()
	for _, err := range errs {
		if err != nil {
			return conns, fmt.Errorf("load: %s: %w", j.Mode, err)
		}
	}
	return conns, nil
}

func (j *job) connectAndAskOnce() (net.Conn, error) {
	c, err := net.Dial("tcp", j.Addr)
	if err != nil {
		return nil, err
	}
	if j.TLS {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	if _, err := c.Write(httpRequest(nil)); err != nil {
		return c, err
	}
	var got []byte
	answer := httpAnswer([]byte(child.Greeting))
	for b := make([]byte, 4<<10); ; {
		n, err := c.Read(b)
		got = append(got, b[:n]...)
		if whole, err := answer(got); err != nil || whole > 0 {
			return c, err
		}
		if err != nil {
			return c, fmt.Errorf("after %q: %w", bytes.TrimSpace(got), err)
		}
	}
}
