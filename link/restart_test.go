package link

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

// A real server is restarted under load, in turns closed and drained. The client
// goes on; every message is settled once; and every message that the server has
// got was Sent, or is InDoubt.
func TestRestart_UnderLoad(t *testing.T) {
	var mu sync.Mutex
	got := make(map[string]int)
	service := hythe.Handler(codec.Lines(), func(c *hythe.Conn[string, string], line string) error {
		mu.Lock()
		got[line]++
		mu.Unlock()
		return c.Send(line)
	})
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := first.Addr().String()
	serve := func(ln net.Listener) (stop func(drain bool)) {
		srv := &hythe.Server{Service: service, Timeouts: hythe.Timeouts{Linger: 100 * time.Millisecond}}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(context.Background(), ln) }()
		return func(drain bool) {
			if drain {
				srv.Drain(within(t))
			} else {
				srv.Close()
			}
			<-served
		}
	}
	stop := serve(first)

	var settled sync.Map // message -> Outcome
	var count [4]atomic.Int64
	var answers atomic.Int64
	c := &Client[string, string]{
		Link: Link[*lineConn]{
			Endpoints: []string{addr},
			Dial:      Sessions(TCP, codec.Lines(), func(*lineConn) answered { return answered{&answers} }),
			Backoff:   soon,
			Throttle:  Throttle{Attempts: -1},
			Group:     &Group{Rate: -1},
		},
		WhileDown: Queue,
		Messages:  200,
		Settled: func(msg string, o Outcome, err error) {
			if _, twice := settled.LoadOrStore(msg, o); twice {
				t.Errorf("%s was settled twice", msg)
			}
			count[o].Add(1)
		},
	}
	var senders sync.WaitGroup
	var sent atomic.Int64
	loading, unload := context.WithCancel(context.Background())
	for g := range 4 {
		senders.Go(func() {
			for i := 0; loading.Err() == nil; i++ {
				if c.Send(loading, fmt.Sprintf("%d/%d", g, i)) == nil {
					sent.Add(1)
				}
			}
		})
	}
	const restarts = 8
	if err := c.Wait(within(t)); err != nil {
		t.Fatal(err)
	}
	for i := range restarts {
		time.Sleep(50 * time.Millisecond)
		ups := c.Stats().Ups
		stop(i%2 == 0)
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		stop = serve(ln)
		for range c.Events(within(t)) {
			if c.Stats().Ups > ups {
				break
			}
		}
	}
	time.Sleep(50 * time.Millisecond)
	unload()
	senders.Wait()
	if err := c.Group.Drain(within(t)); err != nil {
		t.Errorf("Drain = %v", err)
	}
	stop(true)

	total := count[Sent].Load() + count[Unsent].Load() + count[InDoubt].Load()
	t.Logf("%d accepted: %d sent, %d unsent, %d in doubt; %d reached the server, %d answers, %d connections",
		sent.Load(), count[Sent].Load(), count[Unsent].Load(), count[InDoubt].Load(), len(got), answers.Load(), c.Stats().Ups)
	if total != sent.Load() || count[Unsent].Load() > 0 {
		t.Errorf("%d messages were accepted, %d settled, %d of them unsent", sent.Load(), total, count[Unsent].Load())
	}
	if c.Stats().Ups < restarts+1 || len(got) == 0 || answers.Load() == 0 {
		t.Errorf("%d connections, %d messages, %d answers", c.Stats().Ups, len(got), answers.Load())
	}
	for msg, n := range got {
		if o, _ := settled.Load(msg); n > 1 || o == Unsent || o == nil {
			t.Errorf("the server got %s %d times, and it is %v", msg, n, o)
		}
	}
}

type answered struct{ n *atomic.Int64 }

func (a answered) Input(_ *lineConn, line string) error {
	if strings.Contains(line, "/") {
		a.n.Add(1)
	}
	return nil
}
