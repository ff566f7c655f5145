package relay_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay/relaytest"
	"github.com/hythe-go/hythe/internal/leaktest"
	"github.com/hythe-go/hythe/link"
	"github.com/hythe-go/hythe/spool"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Main(m)) }

func bodies(msgs []relay.Message) (list []string) {
	for _, m := range msgs {
		list = append(list, string(m.Body))
	}
	return list
}

func want(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}

func next(t *testing.T, f *relaytest.Fixture, most int) []relay.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	msgs, err := f.Lane.Next(ctx, most, 1<<20, 0)
	if err != nil {
		t.Fatal(err)
	}
	return msgs
}

func TestLane_HandsOutInOrderAndAgain(t *testing.T) {
	f := relaytest.New(t)
	f.Put("a", "b", "c", "d", "e")
	want(t, "first", bodies(next(t, f, 2)), "[a b]")
	want(t, "second", bodies(next(t, f, 2)), "[c d]")
	want(t, "outstanding", f.Lane.Outstanding(), 4)
	f.Lane.Confirm(1)
	want(t, "backlog", f.Backlog(), 4)
	f.Lane.Again()
	want(t, "outstanding", f.Lane.Outstanding(), 0)
	msgs := next(t, f, 100)
	want(t, "again", bodies(msgs), "[b c d e]")
	for i, m := range msgs {
		want(t, "Again of "+string(m.Body), m.Again, i < 3)
	}
	want(t, "counted", f.Again(), 3)
	f.Lane.Confirm(4)
	want(t, "backlog", f.Backlog(), 0)
	want(t, "delivered", f.Delivered(), 5)
	f.Put("f")
	msgs = next(t, f, 100)
	want(t, "later", bodies(msgs), "[f]")
	want(t, "Again", msgs[0].Again, false)
}

// Twice in a row, with a part confirmed in between, in many chunks.
func TestLane_AgainManyTimes(t *testing.T) {
	f := relaytest.New(t)
	const n = 5000
	for i := range n {
		if i%100 == 0 {
			list := make([]string, 100)
			for k := range list {
				list[k] = strconv.Itoa(i + k)
			}
			f.Put(list...)
		}
	}
	confirmed := 0
	for confirmed < n {
		at := confirmed
		for range 3 {
			for _, m := range next(t, f, 170) {
				want(t, "body", string(m.Body), strconv.Itoa(at))
				at++
			}
			if at == n {
				break
			}
		}
		k := min(113, at-confirmed)
		f.Lane.Confirm(k)
		confirmed += k
		f.Lane.Again()
	}
	want(t, "backlog", f.Backlog(), 0)
	want(t, "delivered", f.Delivered(), n)
}

func TestLane_BoundsBytes(t *testing.T) {
	f := relaytest.New(t)
	f.Put("aaaa", "bbbb", "cccccccccccccccc", "d")
	ctx := t.Context()
	for _, w := range []string{"[aaaa bbbb]", "[cccccccccccccccc]", "[d]"} {
		msgs, err := f.Lane.Next(ctx, 100, 8, 0)
		if err != nil {
			t.Fatal(err)
		}
		want(t, "batch", bodies(msgs), w)
	}
}

func TestLane_Lingers(t *testing.T) {
	f := relaytest.New(t)
	f.Put("a")
	got := make(chan []string)
	go func() {
		msgs, _ := f.Lane.Next(t.Context(), 2, 1<<20, time.Hour)
		got <- bodies(msgs)
	}()
	f.Put("b")
	want(t, "batch", <-got, "[a b]")
	f.Put("c")
	msgs, err := f.Lane.Next(t.Context(), 2, 1<<20, time.Millisecond)
	want(t, "after the time", bodies(msgs), "[c]")
	want(t, "error", err, nil)
	f.Put("d")
	ctx, cancel := context.WithCancel(t.Context())
	go func() { got <- nil; cancel() }()
	<-got
	if _, err = f.Lane.Next(ctx, 2, 1<<20, time.Hour); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	want(t, "taken back", bodies(next(t, f, 2)), "[d]")
}

func TestLane_WaitsWhileTooMuchIsOutstanding(t *testing.T) {
	f := relaytest.New(t)
	big := string(make([]byte, 1<<20-4096))
	for range 8 {
		f.Put(big)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	n := 0
	for {
		msgs, err := f.Lane.Next(ctx, 1, 1<<20, 0)
		if err != nil {
			break
		}
		n += len(msgs)
	}
	if n < 4 || n > 5 {
		t.Fatalf("%d MiB handed out", n)
	}
	f.Lane.Confirm(1)
	next(t, f, 1)
}

func TestLane_RejectsIntoTheDeadLetters(t *testing.T) {
	f := relaytest.New(t)
	f.PutMessages(
		relay.Message{Body: []byte("good")},
		relay.Message{ID: []byte("42"), Key: []byte("k"), Source: []byte("src"), Body: []byte("bad")},
		relay.Message{Body: []byte("fine")},
	)
	next(t, f, 3)
	f.Lane.Confirm(1)
	if err := f.Lane.Reject(t.Context(), errors.New("says no")); err != nil {
		t.Fatal(err)
	}
	f.Lane.Confirm(1)
	dead := f.Dead()
	want(t, "dead", bodies(dead), "[bad]")
	m := dead[0]
	want(t, "fields", fmt.Sprintf("%s %s %s %s", m.ID, m.Key, m.Source, m.Cause), "42 k src says no")
	d := f.Route.Status(time.Now()).Deliveries[0]
	want(t, "ledger", fmt.Sprint(d.Delivered, d.Dead, d.Backlog, d.DeadLetters), "2 1 0 1")

	n, err := f.Route.Requeue(t.Context(), relaytest.Output)
	want(t, "requeued", fmt.Sprint(n, err), "1 <nil>")
	msgs := next(t, f, 3)
	want(t, "again", fmt.Sprintf("%s %s [%s]", msgs[0].ID, msgs[0].Body, msgs[0].Cause), "42 bad []")
	f.Lane.Confirm(1)
	d = f.Route.Status(time.Now()).Deliveries[0]
	want(t, "ledger", fmt.Sprint(d.Delivered, d.Dead, d.Backlog, d.DeadLetters), "3 1 0 0")
	n, err = f.Route.Requeue(t.Context(), relaytest.Output)
	want(t, "requeued", fmt.Sprint(n, err), "0 <nil>")
	if _, err := f.Route.Requeue(t.Context(), "nobody"); !errors.Is(err, relay.ErrNoDelivery) {
		t.Fatal(err)
	}
}

// collector is an Output that confirms, and now and then fails.
type collector struct {
	mu   *sync.Mutex
	got  *[]string
	flap int
}

func (c *collector) Link() (s link.Status, ok bool) { return s, false }

func (c *collector) Run(ctx context.Context, lane *relay.Lane) {
	for n := 1; ; n++ {
		msgs, err := lane.Next(ctx, 7, 1<<20, 0)
		if err != nil {
			return
		}
		if c.flap > 0 && n%c.flap == 0 {
			lane.Confirm(len(msgs) / 2)
			c.keep(msgs[:len(msgs)/2])
			lane.Again()
			continue
		}
		c.keep(msgs)
		lane.Confirm(len(msgs))
	}
}

func (c *collector) keep(msgs []relay.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range msgs {
		*c.got = append(*c.got, string(m.Key)+string(m.Body))
	}
}

func TestLanes_KeepTheOrderOfAKey(t *testing.T) {
	for _, flap := range []int{0, 3} {
		var mu sync.Mutex
		var got []string
		f := relaytest.NewWith(t, 4, func(int) (relay.Output, error) { return &collector{&mu, &got, flap}, nil })
		const keys, each = 20, 200
		for i := range each {
			var msgs []relay.Message
			for k := range keys {
				msgs = append(msgs, relay.Message{Key: fmt.Appendf(nil, "k%d=", k), Body: fmt.Appendf(nil, "%d", i)})
			}
			f.PutMessages(msgs...)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := f.WaitSettled(ctx); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		want(t, "messages", len(got), keys*each)
		last := make(map[string]int)
		for _, s := range got {
			var k, n int
			fmt.Sscanf(s, "k%d=%d", &k, &n)
			if last[strconv.Itoa(k)] != n {
				t.Fatalf("key %d: %d, want %d", k, n, last[strconv.Itoa(k)])
			}
			last[strconv.Itoa(k)]++
		}
		mu.Unlock()
	}
}

func TestRoutes_MatchAndFanOut(t *testing.T) {
	dir := t.TempDir()
	open := func(name string, m relay.Match, discard bool) *relay.Route {
		r, err := relay.OpenRoute(name, relay.RouteOptions{Dir: dir + "/" + name, DeadDir: dir + "/dead", Match: m, Discard: discard})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		return r
	}
	routes := []*relay.Route{
		open("web", relay.Match{Inputs: []string{"web"}}, false),
		open("prefix", relay.Match{Prefix: []byte("A")}, false),
		open("header", relay.Match{Header: map[string]string{"X-Kind": "z"}}, false),
		open("rest", relay.Match{Inputs: []string{"rest"}}, true),
	}
	intake := func(name string) *relay.Intake {
		in := relay.NewIntake(name, relay.NewIDs())
		in.SetRoutes(routes)
		return in
	}
	web, lines, rest := intake("web"), intake("lines"), intake("rest")
	header := func(name string) string { return map[string]string{"X-Kind": "z"}[name] }
	put := func(in *relay.Intake, header func(string) string, list ...string) error {
		var msgs []relay.Message
		for _, b := range list {
			msgs = append(msgs, relay.Message{Body: []byte(b)})
		}
		if err := in.Put(t.Context(), msgs, header); err != nil {
			return err
		}
		return in.PutWaiting(t.Context(), msgs, header) // and once more
	}
	if err := errors.Join(put(web, nil, "A1", "B1"), put(web, header, "A2"), put(lines, nil, "A3"), put(lines, header, "B2"), put(rest, nil, "B3")); err != nil {
		t.Fatal(err)
	}
	if err := put(lines, nil, "A4", "B4"); !errors.Is(err, relay.ErrNoRoute) {
		t.Fatal(err)
	}
	for i, n := range []uint64{2 * 3, 2 * 3, 2 * 2, 2 * 1} {
		want(t, routes[i].Name, routes[i].Status(time.Now()).In, n)
	}
	_, _, refused, _ := lines.Counts()
	want(t, "refused", refused, 2)
}

// What a spool makes of bodies and ids is what comes out, whatever they are.
func FuzzEnvelope(f *testing.F) {
	f.Add([]byte("id"), []byte("src"), []byte("key"), []byte("cause"), []byte("body"), int64(1))
	f.Fuzz(func(t *testing.T, id, source, key, cause, body []byte, nanos int64) {
		if len(id) > relay.MaxID || len(source) > relay.MaxSource || len(key) > relay.MaxKey || len(cause) > relay.MaxCause {
			return
		}
		m := relay.Message{ID: id, Received: time.Unix(0, nanos), Source: source, Key: key, Cause: cause, Body: body}
		b := m.Append(nil)
		got, err := relay.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if string(got.ID) != string(id) || string(got.Source) != string(source) || string(got.Key) != string(key) ||
			string(got.Cause) != string(cause) || string(got.Body) != string(body) || !got.Received.Equal(m.Received) {
			t.Fatalf("%+v, want %+v", got, m)
		}
		for i := range b {
			relay.Parse(b[:i])
		}
		relay.Parse(body)
	})
}

// PutWaiting outlasts a full disk, and a message is there once.
func TestPutWaiting_OutlastsTrouble(t *testing.T) {
	f := relaytest.NewIntake(t)
	f.Fail(syscall.ENOSPC)
	if err := f.Intake.Put(t.Context(), []relay.Message{{Body: []byte("x")}}, nil); !errors.Is(err, spool.ErrFull) {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- f.Intake.PutWaiting(t.Context(), []relay.Message{{Body: []byte("y")}}, nil) }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := f.Intake.PutWaiting(ctx, []relay.Message{{Body: []byte("z")}}, nil); !errors.Is(err, spool.ErrFull) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	f.Fail(nil)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	want(t, "messages", bodies(f.Messages()), "[y]")
}

func TestDurable_OnlyAfterTheSync(t *testing.T) {
	f := relaytest.NewIntake(t)
	release := f.Hold()
	done := make(chan error, 1)
	if err := f.Intake.Start(t.Context(), []relay.Message{{Body: []byte("x")}}, nil, func(err error) { done <- err }); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
		t.Fatal("done before the sync")
	case <-time.After(50 * time.Millisecond):
	}
	release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	m := f.Messages()[0]
	if len(m.ID) == 0 || m.Received.IsZero() {
		t.Fatalf("%+v", m)
	}
}

// nowhere is an Output that confirms everything.
type nowhere struct{}

func (nowhere) Link() (s link.Status, ok bool) { return s, false }

func (nowhere) Run(ctx context.Context, lane *relay.Lane) {
	for {
		msgs, err := lane.Next(ctx, 1000, 1<<20, 0)
		if err != nil {
			return
		}
		lane.Confirm(len(msgs))
	}
}

// A message's way in and out, without input and output.
func BenchmarkPut(b *testing.B) {
	f := relaytest.NewWith(b, 1, func(int) (relay.Output, error) { return nowhere{}, nil })
	msgs := make([]relay.Message, 200)
	for i := range msgs {
		msgs[i] = relay.Message{Source: []byte("in 127.0.0.1:12345"), Body: make([]byte, 256)}
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := f.Intake.Put(b.Context(), msgs, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/200, "ns/message")
}

// A disk that fails has nothing acknowledged that is not on it, says so, and is
// used again when it is well.
func TestPut_OnAFailingDisk(t *testing.T) {
	f := relaytest.NewIntake(t)
	put := func(body string) error {
		return f.Intake.Put(t.Context(), []relay.Message{{Body: []byte(body)}}, nil)
	}
	if err := put("before"); err != nil {
		t.Fatal(err)
	}
	f.Fail(syscall.EIO)
	if err := put("lost"); !errors.Is(err, syscall.EIO) {
		t.Fatalf("%v", err)
	}
	f.Fail(nil)
	for began := time.Now(); put("after") != nil; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 5*time.Second {
			t.Fatal("the disk is not used again")
		}
	}
	got := bodies(f.Messages())
	if len(got) < 2 || got[0] != "before" || got[len(got)-1] != "after" || len(got) == 3 && got[1] != "lost" {
		t.Fatalf("%v", got)
	}
}

// When the preferred endpoint is well again the output goes on there, and what the
// other one had not confirmed is handed out again.
func TestLinked_GoesBackToThePreferredEndpoint(t *testing.T) {
	type conn struct{ at string }
	var well atomic.Bool
	used := make(chan string, 10)
	out := &relay.Linked[*conn]{
		L: &link.Link[*conn]{
			Endpoints: []string{"first", "second"}, Failback: 20 * time.Millisecond, Backoff: link.Backoff{First: time.Millisecond},
			Dial: func(_ context.Context, a link.Attempt) (*conn, error) {
				if a.Endpoint == "first" && !well.Load() {
					return nil, errors.New("away")
				}
				return &conn{a.Endpoint}, nil
			},
		},
	}
	out.Deliver = func(ctx context.Context, c *conn, lane *relay.Lane) error {
		used <- c.at
		msgs, err := lane.Next(ctx, 10, 1<<20, 0)
		if err != nil {
			return err
		}
		if c.at == "second" {
			<-ctx.Done() // it never confirms
			return context.Cause(ctx)
		}
		lane.Confirm(len(msgs))
		<-ctx.Done()
		return context.Cause(ctx)
	}
	f := relaytest.NewWith(t, 1, func(int) (relay.Output, error) { return out, nil })
	f.Put("a", "b")
	want(t, "used", <-used, "second")
	well.Store(true)
	want(t, "used", <-used, "first")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := f.WaitSettled(ctx); err != nil {
		t.Fatal(err)
	}
	want(t, "again", f.Again(), 2)
}
