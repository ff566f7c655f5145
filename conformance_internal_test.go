package hythe

import (
	"testing"

	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/memnet"
)

type sink struct{}

func (sink) Input(*Conn[string, string], string) error { return nil }

// Joining and leaving a group over and over leaves nothing in the connection.
func TestGroup_JoinLeaveLeavesNothing(t *testing.T) {
	var network memnet.Network
	ln, err := network.Listen("")
	if err != nil {
		t.Fatal(err)
	}
	conns := make(chan *Conn[string, string], 1)
	srv := &Server{Service: Sessions(codec.Lines(), func(c *Conn[string, string]) sink { conns <- c; return sink{} })}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(t.Context(), ln) }()
	nc, err := network.Dial(t.Context(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c := <-conns
	var g Group[string]
	for range 100 {
		g.Join(c)()
	}
	r := c.needRare()
	r.mu.Lock()
	n := len(r.onClose)
	r.mu.Unlock()
	if n > 1 {
		t.Errorf("after leaving the group 100 times %d OnClose functions are registered", n)
	}
	srv.Close()
	<-served
}
