package output_test

import (
	"context"
	"slices"
	"testing"

	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay/relaytest"
	"github.com/hythe-go/hythe/link"
)

func TestBrokerExampleDelivers(t *testing.T) {
	p := new(producer)
	f := relaytest.NewWith(t, 1, func(int) (relay.Output, error) {
		return newBroker(func(context.Context, link.Attempt) (*producer, error) { return p, nil }), nil
	})
	f.PutMessages(relay.Message{Key: []byte("k"), Body: []byte("one")}, relay.Message{Key: []byte("l"), Body: []byte("two")})
	if err := f.WaitSettled(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if want := []string{"k=one", "l=two"}; !slices.Equal(p.log, want) || f.Delivered() != 2 {
		t.Errorf("%q, %d delivered", p.log, f.Delivered())
	}
}
