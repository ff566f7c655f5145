package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
)

// dialsThat returns a Dial that first does something, and works from then on.
func dialsThat(p *peer, first func()) func(context.Context, Attempt) (*fake, error) {
	var tried atomic.Bool
	return func(ctx context.Context, a Attempt) (*fake, error) {
		if !tried.Swap(true) {
			first()
		}
		return p.dial(ctx, a)
	}
}

// The state machine, step by step. Times are since the start; the random numbers
// are in the middle, so that the pauses are 1.1 s, 2.1 s, 4.1 s, 8.1 s ….
func TestStates(t *testing.T) {
	bad := Permanent(errors.New("wrong password"))
	busy := RetryAfter(errors.New("busy"), 20*time.Second)
	lose := func(l *Link[*fake], _ *peer) {
		c, _ := l.Conn()
		l.Report(c, errDown)
	}
	set := func(at string, err error) func(*Link[*fake], *peer) {
		return func(_ *Link[*fake], p *peer) { p.set(at, err) }
	}
	type step struct {
		at time.Duration
		do func(l *Link[*fake], p *peer)
	}
	for _, test := range []struct {
		name  string
		setup func(l *Link[*fake], p *peer)
		steps []step
		until time.Duration
		want  []string
	}{
		{"at once", nil, nil, time.Hour, []string{"0s connecting", "0s up"}},
		{"growing pauses", set("*", errDown), []step{{10 * time.Second, set("*", nil)}}, time.Minute, []string{
			"0s connecting", "0s waiting 1.1s",
			"1.1s connecting", "1.1s waiting 2.1s",
			"3.2s connecting", "3.2s waiting 4.1s",
			"7.3s connecting", "7.3s waiting 8.1s",
			"15.4s connecting", "15.4s up",
		}},
		{"the longest pause", func(l *Link[*fake], p *peer) {
			l.Backoff = Backoff{First: time.Second, Factor: 10, Max: 5 * time.Second}
			p.set("*", errDown)
		}, nil, 9 * time.Second, []string{
			"0s connecting", "0s waiting 550ms",
			"550ms connecting", "550ms waiting 2.55s",
			"3.1s connecting", "3.1s waiting 2.55s",
			"5.65s connecting", "5.65s waiting 2.55s",
			"8.2s connecting", "8.2s waiting 2.55s",
		}},
		{"reset after proven stability", set("*", errDown), []step{
			{5 * time.Second, set("*", nil)}, {20 * time.Second, lose},
		}, time.Minute, []string{
			"0s connecting", "0s waiting 1.1s", "1.1s connecting", "1.1s waiting 2.1s",
			"3.2s connecting", "3.2s waiting 4.1s", "7.3s connecting", "7.3s up",
			"20s waiting 1.1s", "21.1s connecting", "21.1s up",
		}},
		{"no reset without it", set("*", errDown), []step{
			{5 * time.Second, set("*", nil)}, {17 * time.Second, lose},
		}, time.Minute, []string{
			"0s connecting", "0s waiting 1.1s", "1.1s connecting", "1.1s waiting 2.1s",
			"3.2s connecting", "3.2s waiting 4.1s", "7.3s connecting", "7.3s up",
			"17s waiting 8.1s", "25.1s connecting", "25.1s up",
		}},
		{"permanent", set("*", bad), []step{{6 * time.Minute, set("*", nil)}}, 20 * time.Minute, []string{
			"0s connecting", "0s failed 5m0s", "5m0s connecting", "5m0s failed 5m0s", "10m0s connecting", "10m0s up",
		}},
		{"permanent at one endpoint only", func(l *Link[*fake], p *peer) {
			l.Endpoints = []string{"a", "b"}
			p.set("a", bad)
			p.set("b", errDown)
		}, nil, time.Second, []string{"0s connecting a", "0s connecting b", "0s waiting b 1.1s"}},
		{"no probing", func(l *Link[*fake], p *peer) {
			l.Probe = -1
			p.set("*", bad)
		}, []step{{time.Hour, func(l *Link[*fake], p *peer) {
			p.set("*", nil)
			l.TryNow()
		}}}, 2 * time.Hour, []string{"0s connecting", "0s failed", "1h0m0s connecting", "1h0m0s up"}},
		{"retry after", set("*", busy), []step{{time.Second, set("*", nil)}}, time.Minute, []string{
			"0s connecting", "0s waiting 21s", "21s connecting", "21s up",
		}},
		{"try now", set("*", errDown), []step{{500 * time.Millisecond, func(l *Link[*fake], p *peer) {
			p.set("*", nil)
			l.TryNow()
		}}}, time.Minute, []string{"0s connecting", "0s waiting 1.1s", "500ms connecting", "500ms up"}},
		{"try now while up is forgotten", nil, []step{
			{time.Second, func(l *Link[*fake], p *peer) { l.TryNow() }}, {20 * time.Second, lose},
		}, time.Minute, []string{
			"0s connecting", "0s up", "20s waiting 1.1s", "21.1s connecting", "21.1s up",
		}},
		{"failover and back", func(l *Link[*fake], p *peer) {
			l.Endpoints = []string{"a", "b"}
			p.set("a", errDown)
		}, []step{{5 * time.Minute, set("a", nil)}}, time.Hour, []string{
			// Tried on the side after 67.5 s, 135 s and 270 s; the fourth try is well.
			"0s connecting a", "0s connecting b", "0s up b", "7m52.5s up a",
		}},
		{"the lost one comes last", func(l *Link[*fake], p *peer) {
			l.Endpoints = []string{"a", "b", "c"}
			l.Failback = -1
		}, []step{{20 * time.Second, lose}}, time.Hour, []string{
			"0s connecting a", "0s up a", "20s waiting a 1.1s", "21.1s connecting b", "21.1s up b",
		}},
		{"all bad: all tried", func(l *Link[*fake], p *peer) {
			l.Endpoints = []string{"a", "b", "c"}
			p.set("*", errDown)
		}, nil, 2 * time.Second, []string{
			"0s connecting a", "0s connecting b", "0s connecting c", "0s waiting c 1.1s",
			"1.1s connecting a", "1.1s connecting b", "1.1s connecting c", "1.1s waiting c 2.1s",
		}},
		{"throttle", func(l *Link[*fake], p *peer) {
			l.Stable = -1
			l.Backoff = Backoff{First: -1}
			l.Throttle = Throttle{Attempts: 3, Window: 10 * time.Second}
			l.OnUp = func(_ context.Context, c *fake) error {
				time.AfterFunc(time.Second, func() { l.Report(c, errDown) }) // it "succeeds", and dies
				return nil
			}
		}, nil, 13500 * time.Millisecond, []string{
			"0s connecting", "0s up", "1s waiting 0s", "1s connecting", "1s up", "2s waiting 0s", "2s connecting", "2s up",
			"3s waiting 0s", "3s waiting 7s", "10s connecting", "10s up", "11s waiting 0s", "11s connecting", "11s up",
			"12s waiting 0s", "12s connecting", "12s up", "13s waiting 0s", "13s waiting 7s",
		}},
		{"check", func(l *Link[*fake], p *peer) {
			l.CheckEvery = 20 * time.Second
			l.Check = func(_ context.Context, c *fake) error {
				if c.n == 0 && time.Since(p.began) > 30*time.Second {
					return errors.New("replica")
				}
				return nil
			}
		}, nil, time.Minute, []string{"0s connecting", "0s up", "40s waiting 1.1s", "41.1s connecting", "41.1s up"}},
		{"check that hangs", func(l *Link[*fake], p *peer) {
			l.CheckEvery = 20 * time.Second
			l.Check = func(ctx context.Context, c *fake) error {
				if c.n == 0 {
					<-ctx.Done()
				}
				return nil
			}
		}, nil, time.Minute, []string{"0s connecting", "0s up", "40s waiting 1.1s", "41.1s connecting", "41.1s up"}},
		{"watch", func(l *Link[*fake], p *peer) {
			l.Watch = func(ctx context.Context, c *fake) error {
				if c.n > 0 {
					<-ctx.Done()
				}
				time.Sleep(20 * time.Second)
				return errDown
			}
		}, nil, time.Minute, []string{"0s connecting", "0s up", "20s waiting 1.1s", "21.1s connecting", "21.1s up"}},
		{"dial that hangs", func(l *Link[*fake], p *peer) {
			l.Dial = dialsThat(p, func() { time.Sleep(time.Minute) })
		}, nil, 3 * time.Minute, []string{"0s connecting", "30.1s waiting 1.1s", "31.2s connecting", "31.2s up"}},
		{"drain", nil, []step{{time.Second, func(l *Link[*fake], p *peer) { l.Drain(context.Background()) }}},
			time.Minute, []string{"0s connecting", "0s up", "1s draining", "1s closed"}},
		{"close", set("*", errDown), []step{{500 * time.Millisecond, func(l *Link[*fake], p *peer) { l.Close() }}},
			time.Minute, []string{"0s connecting", "0s waiting 1.1s", "500ms closed"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
				if test.setup != nil {
					test.setup(l, p)
				}
				var got []string
				began := time.Now()
				seq := uint64(0)
				l.Observer = func(ev Event) {
					if seq++; ev.Seq != seq {
						t.Errorf("transition %d has the number %d", seq, ev.Seq)
					}
					line := fmt.Sprint(ev.Since.Sub(began), " ", ev.Phase)
					if ev.Endpoint != "" {
						line += " " + ev.Endpoint
					}
					if !ev.Until.IsZero() {
						line += " " + ev.Until.Sub(ev.Since).Round(10*time.Millisecond).String()
					}
					got = append(got, line)
				}
				l.Start()
				for _, s := range test.steps {
					time.Sleep(time.Until(began.Add(s.at)))
					synctest.Wait()
					s.do(l, p)
				}
				time.Sleep(time.Until(began.Add(test.until)))
				synctest.Wait()
				if !slices.Equal(got, test.want) {
					t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
				}
			})
		})
	}
}

// Whatever happens, transitions follow the drawing, events come without a gap,
// subscribers hear pairs, and nothing is left over.
func TestChaos(t *testing.T) {
	allowed := map[Phase][]Phase{
		Idle:       {Connecting, Closed, Waiting},
		Connecting: {Connecting, Up, Waiting, Failed, Closed},
		Up:         {Up, Waiting, Draining, Closed},
		Waiting:    {Waiting, Connecting, Closed},
		Failed:     {Connecting, Waiting, Closed},
		Draining:   {Closed},
	}
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				rng := rand.New(rand.NewPCG(seed, 1))
				random := func(n int64) int64 {
					mu.Lock()
					defer mu.Unlock()
					return rng.Int64N(n)
				}
				p := newPeer()
				l := &Link[*fake]{
					Endpoints: []string{"a", "b", "c"}[:random(4)],
					Order:     Order(random(2)),
					random:    random,
					Throttle:  Throttle{Attempts: 20, Window: 30 * time.Second},
					Group:     new(Group),
				}
				l.Dial = func(ctx context.Context, a Attempt) (*fake, error) {
					time.Sleep(time.Duration(random(int64(time.Second))))
					switch random(12) {
					case 0:
						return nil, Permanent(errDown)
					case 1:
						panic("dial")
					case 2:
						runtime.Goexit()
					case 3:
						return nil, nil
					case 4:
						time.Sleep(40 * time.Second)
					case 5:
						a.Report(errDown)
					case 6, 7:
						return nil, errDown
					}
					c, err := p.dial(ctx, a)
					time.AfterFunc(time.Duration(random(int64(time.Minute))), func() { a.Report(io.EOF) })
					return c, err
				}
				l.OnUp = func(context.Context, *fake) error {
					switch random(10) {
					case 0:
						panic("up")
					case 1:
						return errDown
					}
					return nil
				}
				l.Check = func(ctx context.Context, c *fake) error {
					switch random(20) {
					case 0:
						panic("check")
					case 1:
						return errDown
					case 2:
						time.Sleep(time.Minute)
					}
					return nil
				}
				l.CheckEvery = 7 * time.Second
				var diaries [5]diary
				for i := range diaries {
					l.Subscribe(&diaries[i])
				}
				var seen []State
				read := make(chan struct{})
				go func() {
					defer close(read)
					for ev := range l.Events(context.Background()) {
						if ev.Missed != 0 {
							t.Errorf("missed %d events", ev.Missed)
						}
						seen = append(seen, ev.State)
					}
				}()
				for range 200 {
					time.Sleep(time.Duration(random(int64(4 * time.Second))))
					switch random(4) {
					case 0:
						l.TryNow()
					case 1:
						if c, ok := l.Conn(); ok {
							l.Report(c, errDown)
						}
					case 2:
						ctx, cancel := context.WithTimeout(context.Background(), time.Second)
						if le, err := l.Acquire(ctx); err == nil {
							time.AfterFunc(3*time.Second, le.Release)
						}
						cancel()
					}
				}
				if seed%2 == 0 {
					l.Close()
				} else if err := l.Drain(context.Background()); err != nil {
					t.Errorf("Drain = %v", err)
				}
				<-l.Done()
				<-read
				for i := 1; i < len(seen); i++ {
					from, to := seen[i-1], seen[i]
					if to.Seq != from.Seq+1 || !slices.Contains(allowed[from.Phase], to.Phase) {
						t.Errorf("transition from %d %v to %d %v", from.Seq, from, to.Seq, to)
					}
				}
				if last := seen[len(seen)-1]; last.Phase != Closed || len(seen) < 20 {
					t.Errorf("%d events, the last being %v", len(seen), last)
				}
				for i := range diaries {
					if d := &diaries[i]; d.bad != "" || d.up || len(d.lines) == 0 {
						t.Errorf("subscriber %d: twice %q, connected at the end: %t, %d calls", i, d.bad, d.up, len(d.lines))
					}
				}
				if n := p.open(); n > 0 {
					t.Errorf("%d connections have not been discarded", n)
				}
				s := l.Stats()
				if s.Ups != s.Downs || s.Attempts < s.Failures+s.Ups {
					t.Errorf("the counters do not add up: %+v", s)
				}
			})
		})
	}
}

// An error names the link, the state, the cause, the attempts and the next one,
// and matches the context's error and the cause.
func TestGet_ErrorNamesTheCause(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		p.set("*", errDown)
		l.Endpoints = []string{"db:5432"}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := l.Get(ctx)
		var down *DownError
		if !errors.As(err, &down) || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errDown) {
			t.Errorf("Get = %v, want a *DownError that matches both", err)
		}
		want := "link db:5432: waiting (after 3 attempts, next in 2.3s): peer is down: context deadline exceeded"
		if err.Error() != want {
			t.Errorf("got  %q\nwant %q", err, want)
		}
		if st := down.State; st.Attempt != 3 || !st.Until.After(time.Now()) {
			t.Errorf("the error has the state %v", st)
		}
	})
}

func TestGet_FailsAtOnceWhileFailed(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		p.set("*", Permanent(errDown))
		began := time.Now()
		_, err := l.Get(t.Context())
		if !errors.Is(err, errDown) || time.Since(began) > 0 {
			t.Errorf("Get = %v after %v, want the cause at once", err, time.Since(began))
		}
		wantPhase(t, l, Failed)
	})
}

func TestTry_GivesUpAfterSoManyFailures(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		p.set("*", errDown)
		for range 2 { // the second is not told of the first one's
			before := l.Stats().Failures
			_, err := l.Try(t.Context(), 3)
			if n := l.Stats().Failures - before; !errors.Is(err, errDown) || n != 3 {
				t.Errorf("Try = %v after %d failures, want the cause after 3", err, n)
			}
		}
		wantPhase(t, l, Waiting) // the link goes on
	})
}

// Ten thousand waiters are served by one connection, and none is forgotten.
func TestGet_Storm(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		p.set("*", errDown)
		var got atomic.Int32
		var waiters sync.WaitGroup
		for range 10_000 {
			waiters.Go(func() {
				c, err := l.Get(t.Context())
				if err != nil || c.n != 0 {
					t.Errorf("Get = %v, %v", c, err)
				} else {
					got.Add(1)
				}
			})
		}
		time.Sleep(10 * time.Second)
		p.set("*", nil)
		waiters.Wait()
		if got.Load() != 10_000 {
			t.Errorf("%d of 10,000 got the connection", got.Load())
		}
	})
}

func TestStart_InvalidFieldsAreNamedTogether(t *testing.T) {
	l := &Link[*fake]{Backoff: Backoff{Factor: 0.5}, Order: 9}
	err := l.Start()
	for _, want := range []string{"Dial", "Factor", "Order"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Start = %v, which does not name %s", err, want)
		}
	}
	if _, gerr := l.Get(context.Background()); !errors.Is(gerr, err) {
		t.Errorf("Get = %v, want what Start said", gerr)
	}
	<-l.Done()
	l.Close()
}

func TestClose_BeforeStart(t *testing.T) {
	p := newPeer()
	l := &Link[*fake]{Dial: p.dial}
	l.Close()
	<-l.Done()
	if _, err := l.Get(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("Get = %v, want ErrClosed", err)
	}
	if err := l.Drain(context.Background()); err != nil {
		t.Errorf("Drain = %v", err)
	}
	l.Subscribe(new(diary))()
	if p.count() > 0 {
		t.Error("it has dialled")
	}
}

// A link without any use of it does nothing.
func TestState_HasNoSideEffects(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		l.Conn()
		l.Stats()
		if st := l.State(); st.Phase != Idle || st.Seq != 0 {
			t.Errorf("the state is %v", st)
		}
		time.Sleep(time.Hour)
		if p.count() > 0 {
			t.Error("it has dialled")
		}
	})
}

func TestDial_NilIsAFailure(t *testing.T) {
	for name, nothing := range map[string]net.Conn{"nil": nil, "typed nil": (*net.TCPConn)(nil)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &Link[net.Conn]{Dial: func(context.Context, Attempt) (net.Conn, error) { return nothing, nil }}
				_, err := l.Try(t.Context(), 2)
				if !errors.Is(err, ErrNoConn) {
					t.Errorf("Try = %v, want ErrNoConn", err)
				}
				l.Close()
				<-l.Done()
			})
		})
	}
}

func TestDial_PanicIsTheCause(t *testing.T) {
	for name, f := range map[string]func(){"panic": func() { panic(io.ErrNoProgress) }, "goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
				l.Dial = dialsThat(p, f)
				_, err := l.Try(t.Context(), 1)
				var pe *hythe.PanicError
				if !errors.As(err, &pe) || (pe.Value != nil) != errors.Is(err, io.ErrNoProgress) {
					t.Errorf("Try = %v, want a *hythe.PanicError", err)
				}
				mustGet(t, l)
			})
		})
	}
}

// A connection whose OnUp fails is discarded, and nobody has heard of it.
func TestOnUp_FailureIsAFailedAttempt(t *testing.T) {
	for name, f := range map[string]func() error{
		"error": func() error { return errDown },
		"panic": func() error { panic(errDown) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
				l.OnUp = func(_ context.Context, c *fake) error {
					if _, ok := l.Conn(); ok {
						t.Error("the connection is handed out before OnUp has returned")
					}
					if c.n == 0 {
						return f()
					}
					return nil
				}
				if _, err := l.Try(t.Context(), 1); !errors.Is(err, errDown) {
					t.Errorf("Try = %v, want OnUp's error", err)
				}
				var d diary
				l.Subscribe(&d)
				mustGet(t, l)
				d.want(t, "connected 1")
				if p.open() != 1 {
					t.Errorf("%d connections are open, want 1", p.open())
				}
			})
		})
	}
}

// A connection that is reported before the attempt is over is a failed attempt.
func TestDial_ReportedMeanwhile(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		l.Dial = func(ctx context.Context, a Attempt) (*fake, error) {
			c, err := p.dial(ctx, a)
			if c.n == 0 {
				a.Report(errDown)
			}
			return c, err
		}
		if _, err := l.Try(t.Context(), 1); !errors.Is(err, errDown) {
			t.Errorf("Try = %v, want what was reported", err)
		}
		mustGet(t, l)
		synctest.Wait()
		if s := l.Stats(); s.Ups != 1 || s.Failures != 1 || p.open() != 1 {
			t.Errorf("the counters are %+v, and %d connections are open", s, p.open())
		}
	})
}

// The time of an attempt is that of Dial and OnUp together, and what Dial says
// about its end is kept.
func TestTimeout_BoundsTheWholeAttempt(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		l.Timeout = 5 * time.Second
		l.Dial = func(ctx context.Context, a Attempt) (*fake, error) {
			time.Sleep(3 * time.Second)
			return p.dial(ctx, a)
		}
		l.OnUp = func(ctx context.Context, c *fake) error {
			<-ctx.Done()
			return fmt.Errorf("login: %w", ctx.Err())
		}
		began := time.Now()
		_, err := l.Try(t.Context(), 1)
		if took := time.Since(began); took != 5*time.Second || !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), "login") {
			t.Errorf("after %v: %v; want a timeout of the login after 5s", took, err)
		}
	})
}

// A try for the preferred endpoint that never returns does not end the tries.
func TestFailback_DialIgnoresItsContext(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		l.Endpoints = []string{"a", "b"}
		free := make(chan struct{})
		var tries atomic.Int32
		l.Dial = func(ctx context.Context, a Attempt) (*fake, error) {
			if a.Endpoint == "a" {
				switch tries.Add(1) {
				case 1:
					return nil, errDown
				case 2:
					<-free
				}
			}
			return p.dial(ctx, a)
		}
		mustGet(t, l)
		time.Sleep(10 * time.Minute)
		if c := mustGet(t, l); c.at != "a" || tries.Load() != 3 {
			t.Errorf("after %d tries the link is at %s, want a after 3", tries.Load(), c.at)
		}
		close(free)
		synctest.Wait()
		if p.open() != 1 {
			t.Errorf("%d connections are open, want 1", p.open())
		}
	})
}

// Calls of Dial that ignore that their time is up do not pile up.
func TestDial_IgnoresItsContext(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		free := make(chan struct{})
		var running, highest atomic.Int32
		l.Dial = func(ctx context.Context, a Attempt) (*fake, error) {
			highest.Store(max(highest.Load(), running.Add(1)))
			defer running.Add(-1)
			<-free
			return p.dial(ctx, a)
		}
		l.Start()
		time.Sleep(time.Hour)
		if st := wantPhase(t, l, Waiting); !errors.Is(st.Cause, ErrStuck) || highest.Load() != maxStuck {
			t.Errorf("%d calls at once and %v, want %d and ErrStuck", highest.Load(), st, maxStuck)
		}
		close(free)
		mustGet(t, l)
		synctest.Wait()
		if p.open() != 1 {
			t.Errorf("%d connections are open, want only the link's", p.open())
		}
	})
}

func TestClose_DuringDial(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		l.Dial = func(ctx context.Context, a Attempt) (*fake, error) {
			<-ctx.Done()
			return p.dial(context.Background(), a) // it makes one all the same
		}
		l.Start()
		synctest.Wait()
		began := time.Now()
		l.Close()
		<-l.Done()
		if took := time.Since(began); took > 0 || p.count() != 1 {
			t.Errorf("the end took %v, after %d dials", took, p.count())
		}
	}) // which looks whether the connection was discarded
}

// Every callback may close the link.
func TestClose_InsideCallbacks(t *testing.T) {
	for name, set := range map[string]func(l *Link[*fake], end func()){
		"Dial": func(l *Link[*fake], end func()) {
			dial := l.Dial
			l.Dial = func(ctx context.Context, a Attempt) (*fake, error) { end(); return dial(ctx, a) }
		},
		"OnUp":      func(l *Link[*fake], end func()) { l.OnUp = func(context.Context, *fake) error { end(); return nil } },
		"Check":     func(l *Link[*fake], end func()) { l.Check = func(context.Context, *fake) error { end(); return nil } },
		"Watch":     func(l *Link[*fake], end func()) { l.Watch = func(context.Context, *fake) error { end(); return nil } },
		"Observer":  func(l *Link[*fake], end func()) { l.Observer = func(Event) { end() } },
		"Connected": func(l *Link[*fake], end func()) { l.Subscribe(&Funcs[*fake]{OnConnected: func(*fake) { end() }}) },
		"Disconnected": func(l *Link[*fake], end func()) {
			l.Subscribe(&Funcs[*fake]{
				OnConnected:    func(c *fake) { l.Report(c, errDown) },
				OnDisconnected: func(error) { end() },
			})
		},
		"Discard": func(l *Link[*fake], end func()) {
			l.Discard = func(c *fake) { end(); c.Close() }
			time.AfterFunc(time.Second, func() {
				c, _ := l.Conn()
				l.Report(c, errDown)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
				set(l, func() { l.Close() })
				l.Start()
				<-l.Done()
				wantPhase(t, l, Closed)
			})
		})
	}
}

// From the moment at which Close or Drain is called nothing is handed out.
func TestClose_HandsNothingOut(t *testing.T) {
	for name, end := range map[string]func(l *Link[*fake]){
		"Close": func(l *Link[*fake]) { l.Close() },
		"Drain": func(l *Link[*fake]) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			l.Drain(ctx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range 100 {
				bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
					mustGet(t, l)
					end(l)
					if _, ok := l.Conn(); ok {
						t.Error("a connection was handed out")
					}
				})
			}
		})
	}
}

func TestDrain_WaitsForLeases(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		var d diary
		l.Subscribe(&d)
		a, err := l.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		b, _ := l.Acquire(t.Context())
		synctest.Wait()
		drained := make(chan error, 1)
		go func() { drained <- l.Drain(t.Context()) }()
		wantPhase(t, l, Draining)
		d.want(t, "connected 0", "disconnected: link: draining")
		if _, err := l.Get(t.Context()); !errors.Is(err, ErrDraining) {
			t.Errorf("Get = %v, want ErrDraining", err)
		}
		a.Release()
		a.Release()
		time.Sleep(time.Minute)
		wantPhase(t, l, Draining)
		if isClosed(b.Conn.closed) {
			t.Error("the connection was discarded under its lease")
		}
		b.Release()
		if err := <-drained; err != nil {
			t.Errorf("Drain = %v", err)
		}
		if !isClosed(b.Conn.closed) {
			t.Error("Drain returned before the connection was discarded")
		}
	})
}

func TestDrain_GivesUpWithItsContext(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		le, err := l.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := l.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Drain = %v, want the context's error", err)
		}
		<-l.Done()
		le.Release()
	})
}

// A lease outlives the change to the preferred endpoint, and a report about it
// then is about the old connection.
func TestFailback_LeavesLeasesAlone(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		l.Endpoints = []string{"a", "b"}
		l.Timeout = time.Hour
		p.set("a", errDown)
		var d diary
		l.Subscribe(&d)
		le, err := l.Acquire(t.Context())
		if err != nil || le.Conn.at != "b" {
			t.Fatal(le, err)
		}
		p.set("a", nil)
		time.Sleep(2 * time.Minute)
		if c := mustGet(t, l); c.at != "a" {
			t.Errorf("the link is at %q, want a", c.at)
		}
		d.want(t, "connected 0", "disconnected: link: back to the preferred endpoint", "connected 1")
		le.Report(errDown)
		synctest.Wait()
		if isClosed(le.Conn.closed) {
			t.Error("the old connection was discarded under its lease")
		}
		wantPhase(t, l, Up)
		le.Release()
		synctest.Wait()
		if !isClosed(le.Conn.closed) {
			t.Error("the old connection was kept after its lease")
		}
	})
}

// Reports know which connection they are about, even when Dial returns the same
// one twice, or one that cannot be compared.
func TestReport_IsByGeneration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type odd struct{ _ []int }
		var reports []func(error)
		l := &Link[odd]{Dial: func(_ context.Context, a Attempt) (odd, error) {
			reports = append(reports, a.Report)
			return odd{}, nil
		}}
		first, err := l.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if l.Report(first.Conn, errDown) {
			t.Error("Report recognised what cannot be compared")
		}
		first.Report(errDown)
		if _, ok := l.Conn(); ok {
			t.Error("a connection is handed out that has been reported")
		}
		second, err := l.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		first.Report(errDown)
		reports[0](errDown)
		synctest.Wait()
		if n := l.Stats().Downs; n != 1 {
			t.Errorf("%d losses after late reports, want 1", n)
		}
		reports[1](nil)
		synctest.Wait()
		if st := l.State(); st.Phase != Waiting || !errors.Is(st.Cause, ErrLost) {
			t.Errorf("the state is %v, want waiting for ErrLost", st)
		}
		first.Release()
		second.Release()
		l.Close()
		<-l.Done()
	})
}

// Nothing is decided by the wall clock: the times of a state go on when it jumps.
func TestState_TimesAreMonotonic(t *testing.T) {
	p := newPeer()
	p.set("*", errDown)
	l := &Link[*fake]{Dial: p.dial}
	defer func() { l.Close(); <-l.Done() }()
	l.Try(context.Background(), 1)
	for st := range l.Events(context.Background()) {
		if st.Phase != Waiting {
			continue
		}
		for name, at := range map[string]time.Time{"Since": st.Since, "Until": st.Until} {
			if !strings.Contains(at.String(), " m=") {
				t.Errorf("%s is %v, a time on the wall", name, at)
			}
		}
		return
	}
}

func TestStats_TimeInEachPhase(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		l.Backoff = Backoff{Fixed: true, First: 3 * time.Second}
		p.set("*", errDown)
		l.Start()
		time.Sleep(time.Second)
		p.set("*", nil)
		time.Sleep(12 * time.Second)
		s := l.Stats()
		if s.In(Waiting) != 3*time.Second || s.In(Up) != 10*time.Second || s.Attempts != 2 || s.Failures != 1 || s.Ups != 1 {
			t.Errorf("the counters are %+v", s)
		}
	})
}

func TestLogger(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		var out bytes.Buffer
		l.Logger = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
		l.Endpoints = []string{"db:1"}
		p.set("*", errDown)
		l.Start()
		time.Sleep(time.Second)
		p.set("*", nil)
		time.Sleep(time.Second)
		l.Close()
		<-l.Done()
		want := `level=WARN msg=waiting link=db:1 endpoint=db:1 attempt=1 next=1.1s cause="peer is down"
level=INFO msg=up link=db:1 endpoint=db:1 attempt=2
level=INFO msg=closed link=db:1 endpoint=db:1 attempt=2
`
		if got := out.String(); got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
	})
}

// Every error and phase has words of its own.
func TestStrings(t *testing.T) {
	seen := make(map[string]bool)
	for p := range Phase(numPhases) {
		seen[p.String()] = true
	}
	for o := Sent; o <= InDoubt; o++ {
		seen[o.String()] = true
	}
	if len(seen) != numPhases+3 || seen[""] {
		t.Errorf("the words are %v", reflect.ValueOf(seen).MapKeys())
	}
}

// What a user of the connection reports counts as what an attempt says.
func TestReport_PermanentAndRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Link[*fake]{Dial: newPeer().dial, Endpoints: []string{"a"}, Probe: time.Hour}
		defer l.Close()
		c, err := l.Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		l.Report(c, Permanent(errDown))
		synctest.Wait()
		if s := l.State(); s.Phase != Failed || time.Until(s.Until) < 50*time.Minute {
			t.Errorf("%v", s)
		}
		l.TryNow()
		synctest.Wait()
		if c, err = l.Get(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.Report(c, RetryAfter(errDown, 10*time.Minute))
		synctest.Wait()
		if s := l.State(); s.Phase != Waiting || time.Until(s.Until) < 10*time.Minute {
			t.Errorf("%v", s)
		}
	})
}
