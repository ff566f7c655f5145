package admin

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"testing"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/status"
	"github.com/hythe-go/hythe/internal/leaktest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Main(m)) }

var look = flag.String("look", "", "serve the status page of an invented daemon at this address, until interrupted")

func TestLook(t *testing.T) {
	if *look == "" {
		t.Skip("only with -look host:port, for people")
	}
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt)
	defer stop()
	srv := &http.Server{Addr: *look, Handler: Handler(newFake(), Options{Loopback: true})}
	context.AfterFunc(ctx, func() { srv.Close() })
	t.Log(srv.ListenAndServe())
}

// fake is a daemon whose numbers move with the clock.
type fake struct {
	started time.Time

	mu       sync.Mutex
	change   func(*status.Snapshot) // guarded by mu
	requeued []string               // guarded by mu
	dead     uint64                 // guarded by mu
	fail     error                  // guarded by mu
	taken    int                    // snapshots. Guarded by mu
}

func newFake() *fake { return &fake{started: time.Now().Add(-26 * time.Hour), dead: 12} }

// with has snapshots be changed by f.
func (f *fake) with(change func(*status.Snapshot)) *fake {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.change = change
	return f
}

func (f *fake) Requeue(_ context.Context, route, output string) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return 0, f.fail
	}
	n := f.dead
	f.dead = 0
	f.requeued = append(f.requeued, route+" "+output)
	return int(n), nil
}

func (f *fake) calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requeued
}

var errFake = errors.New("the disk says no")

func (f *fake) Snapshot() status.Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.taken++
	now := time.Now()
	at := now.Sub(f.started).Seconds()
	total := uint64(at * 15500)
	s := status.Snapshot{
		Version: "v0.7.0", Started: f.started, Now: now, PID: 4711, Data: "/var/lib/hythe", Config: "/etc/hythe/hythe.toml",
		Inputs: []status.Input{{
			Name: "apps", Protocol: "frames", Framing: "lines",
			Guarantee: "no acknowledgement: what the sender has sent and the kernel has not handed over is lost if this machine fails",
			Endpoints: []status.Endpoint{{Address: "tcp://127.0.0.1:7000", Try: `printf 'hello\n' | nc -N 127.0.0.1 7000`}},
			Conns:     64, Opened: 81234, Messages: total, Bytes: total * 256,
			Reasons: map[string]uint64{"peer done": 81001, "peer reset": 120, "frame too large": 7, "live": 0},
		}, {
			Name: "web", Protocol: "http", Guarantee: "2xx only once durable on every route",
			Endpoints: []status.Endpoint{{Address: "tcp://127.0.0.1:7080", Try: "curl -d hello http://127.0.0.1:7080/in"}},
			Conns:     3, Opened: 911, Messages: 44120, Bytes: 9 << 20, Refused: 17, Repeated: 4, Reasons: map[string]uint64{"idle": 900},
		}},
		Routes: []status.Route{{
			Name: "all", Match: "everything", In: total + 44120,
			Spool: status.Spool{Dir: "/var/lib/hythe/routes/all", Records: 51234 + uint64(at)%1000, Bytes: 790 << 20, MaxBytes: 1 << 30, Oldest: 83 * time.Second, Commits: uint64(at * 40), Refused: 2},
			Deliveries: []status.Delivery{{
				Output: "store", To: "tcp://store.example.com:9000", Guarantee: "repeats what a broken connection may have lost: duplicates are possible, loss is not",
				Start: 12, Delivered: total, Backlog: uint64(at) % 50, Again: 31, Lanes: []status.Lane{
					{Outstanding: 400, Link: &status.Link{Phase: "up", Endpoint: "store.example.com:9000", Since: now.Add(-2 * time.Hour), Attempt: 1}},
					{Outstanding: 12, Link: &status.Link{Phase: "up", Endpoint: "store.example.com:9000", Since: now.Add(-90 * time.Second), Attempt: 2, Cause: "connection lost: read tcp 10.0.0.7:51234->10.0.0.9:9000: connection reset by peer"}},
				},
			}, {
				Output: "hook", To: "https://hooks.example.com/in", Guarantee: "each batch is repeated until the server says 2xx",
				Delivered: 1000, Dead: f.dead, DeadLetters: f.dead, Backlog: 51234 + uint64(at)%1000, Again: 2, Lanes: []status.Lane{
					{Link: &status.Link{Phase: "waiting", Endpoint: "hooks.example.com:443", Since: now.Add(-3 * time.Second), Until: now.Add(17 * time.Second), Attempt: 9, Cause: "dial tcp 192.0.2.7:443: connect: connection refused"}},
				},
			}},
		}, {
			Name: "audit", Match: "from web, where the body begins with AUDIT", In: 44120,
			Spool:      status.Spool{Dir: "/var/lib/hythe/routes/audit", Bytes: 12 << 20, MaxBytes: 1 << 30, Commits: 8120},
			Deliveries: []status.Delivery{{Output: "file", To: "file:///var/log/audit.log", Delivered: 44120, Guarantee: "synced to disk before it counts as delivered", Lanes: []status.Lane{{}}}},
		}},
		Problems: []status.Problem{
			{Part: "route all, output hook", What: "waiting: dial tcp 192.0.2.7:443: connect: connection refused", From: now.Add(-83 * time.Second)},
		},
	}
	if f.dead > 0 {
		s.Problems = append(s.Problems, status.Problem{Part: "route all, output hook", What: fmt.Sprint(f.dead, " dead letters"), From: now.Add(-3 * time.Hour)})
	}
	for i := range 64 {
		s.Conns = append(s.Conns, status.Conn{Input: "apps", ID: uint64(81000 + i), Remote: fmt.Sprintf("10.1.2.%d:%d", i, 40000+i*7), Age: now.Sub(f.started) / time.Duration(i+1), In: uint64(1<<30) / uint64(i+1), Out: uint64(i)})
	}
	for i := range 20 {
		c := status.Closed{Input: "apps", ID: uint64(80900 - i), Remote: fmt.Sprintf("10.1.3.%d:5%04d", i, i), At: now.Add(-time.Duration(i*i) * 7 * time.Minute), Age: time.Duration(i*i) * time.Second, In: uint64(i * 7000), Reason: "peer done"}
		if i%4 == 1 {
			c.Reason, c.Detail = "peer reset", "hythe: peer reset: read tcp 127.0.0.1:7000->10.1.3.9:50001: read: connection reset by peer"
		}
		s.Closed = append(s.Closed, c)
	}
	for i := range 300 {
		p := at - float64(300-i) + 1
		in := 15500 + 4000*math.Sin(p/20) + 700*math.Sin(p*3)
		s.History = append(s.History, status.Point{
			At: now.Add(-time.Duration(299-i) * time.Second), In: in, Out: in*0.8 + 3000*math.Sin(p/11), InBytes: in * 256,
			Backlog: uint64(30000 + 25000*math.Sin(p/60)), Conns: 67,
		})
	}
	if f.change != nil {
		f.change(&s)
	}
	return s
}
