package main

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/hythe-go/hythe/link"
	"github.com/hythe-go/hythe/memnet"
	"net"
)

// lines is a writer for several goroutines.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// of returns the lines of one part.
func (l *lines) of(name string) (of []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		if rest, ok := strings.CutPrefix(line, name+": "); ok {
			of = append(of, strings.TrimSpace(rest))
		}
	}
	return of
}

func TestLateSubscriber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		ln, err := network.Listen("server")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		d := link.Dialer{DialContext: network.DialContext}
		l := &link.Link[net.Conn]{Dial: d.TCP, Endpoints: []string{"server"}}
		var out lines
		if err := run(t.Context(), &out, l); err != nil {
			t.Fatal(err)
		}
		if err := l.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []string{"connected", "disconnected: the server restarts", "connected", "disconnected: link: draining"}
		if got := out.of("first"); !slices.Equal(got, want) {
			t.Errorf("the first was told %q, want %q", got, want)
		}
		if got := out.of("late"); !slices.Equal(got, want) {
			t.Errorf("the late one was told %q, want %q", got, want)
		}
	})
}
