package output_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/link"
)

// A producer stands for a broker's client, for Kafka or Redis Streams: it takes
// a record at once, and says later, through a future, what became of it.
type producer struct {
	mu  sync.Mutex
	log []string // guarded by mu
}

type future struct {
	done chan struct{} // closed when err is set
	err  error
}

func (p *producer) produce(key, value []byte) *future {
	f := &future{done: make(chan struct{})}
	p.mu.Lock()
	p.log = append(p.log, fmt.Sprintf("%s=%s", key, value)) // a copy
	p.mu.Unlock()
	close(f.done)
	return f
}

// newBroker shows how an output for another broker is written: a link that makes
// the client, and a function that takes messages from the lane and settles them in
// order. The client's own reconnecting and retrying are to be off: the link does
// the one, and Lane.Again, which Linked calls when deliver returns, the other.
func newBroker(dial func(ctx context.Context, a link.Attempt) (*producer, error)) relay.Output {
	return &relay.Linked[*producer]{
		L: &link.Link[*producer]{Name: "broker", Endpoints: []string{"broker.example:9092"}, Dial: dial},
		Deliver: func(ctx context.Context, p *producer, lane *relay.Lane) error {
			var futures []*future
			for {
				msgs, err := lane.Next(ctx, 1000, 1<<20, 5*time.Millisecond)
				if err != nil {
					return err
				}
				futures = futures[:0]
				for _, m := range msgs { // m's slices are good until it is settled
					futures = append(futures, p.produce(m.Key, m.Body))
				}
				for _, f := range futures {
					select {
					case <-f.done:
					case <-ctx.Done():
						return context.Cause(ctx)
					}
					if f.err != nil { // or lane.Reject, if it will never be taken
						return f.err
					}
					lane.Confirm(1)
				}
			}
		},
	}
}
