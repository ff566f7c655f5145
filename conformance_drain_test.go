package hythe_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
)

// Idle connections are closed at once, busy ones finish.
func TestDrain_IdleAndBusy(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		release := make(chan bool)
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				if in == "work" {
					c.Send("working")
					<-release
				}
				return c.Send(in)
			}}
		})
		var idle []*peer
		for range 20 {
			p := h.dial()
			p.wantLive()
			idle = append(idle, p)
		}
		never := h.dial() // has never said anything
		eventually(t, w, func() bool { return h.srv.Stats().Live == 21 }, "all to be there")
		busy := h.dial()
		busy.send("work\n")
		busy.want("working")
		type result struct {
			report hythe.Report
			err    error
		}
		drained := make(chan result, 1)
		go func() {
			r, err := h.srv.Drain(t.Context())
			drained <- result{r, err}
		}()
		start := time.Now()
		for _, p := range append(idle, never) {
			p.wantEOF()
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("closing the idle ones took %v", d)
		}
		if p, err := h.rawDial(); err == nil {
			if _, err := p.r.ReadByte(); err == nil {
				t.Error("a new connection was accepted")
			}
		}
		close(release)
		busy.want("work")
		busy.wantEOF()
		busy.close()
		res := get(t, w, drained, "Drain")
		if res.err != nil {
			t.Errorf("Drain = %v", res.err)
		}
		if r := res.report; len(r.Idle) != 21 || len(r.Finished) != 1 || len(r.Cut) != 0 || r.Finished[0].ID != 22 ||
			r.Finished[0].Reason != hythe.Drained || r.Finished[0].Age <= 0 || r.Finished[0].Remote == nil {
			t.Errorf("report = %v; finished %+v, cut %+v", &r, r.Finished, r.Cut)
		}
		if err := h.wait(); err != nil {
			t.Errorf("Serve = %v", err)
		}
		again, err := h.srv.Drain(t.Context())
		if err != nil || again.String() != res.report.String() {
			t.Errorf("a second Drain = %v, %v", again, err)
		}
		for range 22 {
			h.wantEnd(hythe.Drained)
		}
	})
}

// Draining is heard, may say goodbye, and may finish in its own time.
func TestDrain_Draining(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{draining: func(c *lines) {
				release := c.Hold()
				c.Send("going down")
				go func() {
					time.Sleep(30 * time.Millisecond)
					c.Send("bye")
					release()
				}()
			}}
		})
		p := h.dial()
		p.wantLive()
		h.cancel()
		p.want("going down")
		p.send("still answering\n")
		p.want("still answering", "bye")
		p.wantEOF()
		p.close()
		if err := h.wait(); err != nil {
			t.Errorf("Serve = %v", err)
		}
		h.wantEnd(hythe.Drained)
	})
}

// A frame of which a part has come is completed, and answered.
func TestDrain_PartialFrame(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{Service: echoService()})
		p := h.dial()
		p.send("a\nbe")
		p.want("a")
		awaitBytesIn(t, h, 4)
		time.Sleep(10 * time.Millisecond)
		h.cancel()
		h.awaitDrain()
		time.Sleep(10 * time.Millisecond)
		p.send("gun\n")
		p.want("begun")
		p.wantEOF()
		p.close()
		if err := h.wait(); err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
}

// Requests that came before the drain are answered, all of them.
func TestDrain_PipelinedRequests(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		const n = 200
		big := strings.Repeat("x", 10_000)
		started := make(chan bool, n)
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				started <- true
				return c.Send(in + big)
			}}
		})
		p := h.dial()
		p.send(strings.Repeat("q\n", n))
		<-started
		h.cancel()
		h.awaitDrain()
		for range n {
			p.want("q" + big)
		}
		p.wantEOF()
		p.close()
		if err := h.wait(); err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
}

// At the deadline those that remain are cut, and are listed.
func TestDrain_Deadline(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.serve(t, func(c *lines) *hooks {
			return &hooks{input: func(c *lines, in string) error {
				c.Send("working")
				<-c.Context().Done() // heeds the cancellation
				return nil
			}}
		})
		p := h.dial()
		p.send("x\n")
		p.want("working")
		q := h.dial()
		q.send("half a")
		eventually(t, w, func() bool { return h.srv.Stats().Live == 2 }, "both to be there")
		awaitBytes(t, h, 2, 6)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		report, err := h.srv.Drain(ctx)
		if d := time.Since(start); d < 200*time.Millisecond || d > 5*time.Second {
			t.Errorf("Drain took %v", d)
		}
		var de *hythe.DrainError
		if !errors.As(err, &de) || !errors.Is(err, context.DeadlineExceeded) || len(de.Report.Cut) != 2 {
			t.Errorf("Drain = %v", err)
		}
		if len(report.Cut) != 2 || len(report.Finished) != 0 || report.Cut[0].Reason != hythe.DrainTimeout {
			t.Errorf("report = %+v", report)
		}
		p.wantGone()
		q.wantGone()
		if err := h.wait(); !errors.As(err, &de) {
			t.Errorf("Serve = %v", err)
		}
		h.wantEnd(hythe.DrainTimeout)
		h.wantEnd(hythe.DrainTimeout)
	})
}

// awaitBytes waits until the connection with this ID has received n bytes.
func awaitBytes(t testing.TB, h *host, id, n uint64) {
	t.Helper()
	eventually(t, h.w, func() bool {
		for c := range h.srv.Conns() {
			if c.ID() == id {
				return c.Stats().BytesIn >= n
			}
		}
		return false
	}, "input to arrive")
}

// A hook that ignores that its connection was cut does not hold Serve back.
func TestDrain_StubbornHook(t *testing.T) {
	for _, how := range []string{"Drain", "Close"} {
		t.Run(how, func(t *testing.T) {
			inWorlds(t, allWorlds, func(t *testing.T, w world) {
				release, returned := make(chan bool), make(chan bool)
				h := w.serve(t, func(c *lines) *hooks {
					return &hooks{
						input: func(c *lines, in string) error {
							c.Send("working")
							<-release
							return nil
						},
						disconnected: func(*lines, error) { close(returned) },
					}
				})
				p := h.dial()
				p.send("x\n")
				p.want("working")
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				start := time.Now()
				var report hythe.Report
				limit := 5 * time.Second
				h.stuck = true
				if how == "Drain" {
					var err error
					report, err = h.srv.Drain(ctx)
					var de *hythe.DrainError
					if !errors.As(err, &de) || len(report.Cut) != 1 || report.Cut[0].ID != 1 {
						t.Errorf("Drain = %+v, %v", report, err)
					}
				} else {
					h.srv.Close()
				}
				if err := h.wait(); err == nil {
					t.Error("Serve = nil")
				}
				if d := time.Since(start); d > limit {
					t.Errorf("it took %v", d)
				}
				p.wantGone()
				if st := h.srv.Stats(); st.Live != 1 {
					t.Errorf("Stats = %+v", st)
				}
				close(release)
				get(t, w, returned, "Disconnected")
				h.nextEnd()
				h.checkSum()
				h.stuck = false
				if how == "Drain" {
					again, _ := h.srv.Drain(t.Context())
					if again.String() != report.String() || len(again.Cut) != 1 {
						t.Errorf("a second Drain reports %+v, the first %+v", again, report)
					}
				}
			})
		})
	}
}

func TestDrain_BeforeServe(t *testing.T) {
	inWorlds(t, plainWorlds, func(t *testing.T, w world) {
		for _, stop := range []func(*hythe.Server){
			func(s *hythe.Server) {
				if r, err := s.Drain(t.Context()); err != nil || len(r.Idle) > 0 {
					t.Errorf("Drain = %v, %v", r, err)
				}
			},
			func(s *hythe.Server) { s.Close() },
		} {
			srv := &hythe.Server{Service: echoService()}
			stop(srv)
			stop2 := notListening{}.listener()
			if err := srv.Serve(t.Context(), stop2); err != hythe.ErrServerClosed {
				t.Errorf("Serve = %v", err)
			}
		}
	})
}

// All listeners stop before the first connection hears of the drain.
func TestDrain_TwoListeners(t *testing.T) {
	inWorlds(t, []world{tcpWorld, unixW, netWorld, memWorld}, func(t *testing.T, w world) {
		h := &host{TB: t, w: w, mem: newMem(), served: make(chan error, 1)}
		a, b := h.listen(), h.listen()
		refused := make(chan int, 2)
		srv := &hythe.Server{Goroutines: w.goroutines, Service: sessions(func(*lines) *hooks {
			return &hooks{draining: func(c *lines) {
				n := 0
				for _, ln := range []net.Listener{a, b} {
					p, err := h.rawDialTo(ln)
					if err != nil {
						n++
						continue
					}
					p.nc.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
					io.WriteString(p.nc, "x\n")
					if _, err := p.r.ReadString('\n'); err != nil {
						n++
					}
					p.close()
				}
				refused <- n
			}}
		})}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { h.served <- srv.Serve(ctx, a, b) }()
		h.srv = srv
		h.ln = a
		p := h.dial()
		p.wantLive()
		h.ln = b
		h.dial().wantLive()
		if n := len(srv.Addrs()); n != 2 {
			t.Errorf("%d Addrs", n)
		}
		p.send("a part") // so that the first is not idle
		cancel()
		if n := get(t, w, refused, "Draining"); n != 2 {
			t.Errorf("%d of 2 listeners had stopped", n)
		}
		p.close()
		if err := h.wait(); err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
}

// A drain in progress ends at once when Close is called.
func TestDrain_ThenClose(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{Service: echoService()})
		p := h.dial()
		p.send("a part")
		awaitBytesIn(t, h, 6)
		h.cancel()
		h.awaitDrain()
		h.srv.Close()
		p.wantGone()
		h.wait()
		h.wantEnd(hythe.ServerClosed)
	})
}

// Connections that are shaking hands are ended by a drain.
func TestDrain_Handshakes(t *testing.T) {
	inWorlds(t, []world{tlsWorld}, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{Service: echoService()})
		h.dialOnly()
		h.dialOnly()
		eventually(t, w, func() bool { return h.srv.Stats().Live == 2 }, "both to be there")
		start := time.Now()
		h.cancel()
		if err := h.wait(); err != nil {
			t.Errorf("Serve = %v", err)
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("the drain took %v", d)
		}
		h.wantEnd(hythe.Drained)
	})
}

// Nobody who was answered before loses anything when the drain and the requests
// race; each gets all of an answer or the end.
func TestDrain_Race(t *testing.T) {
	inWorlds(t, plainWorlds, func(t *testing.T, w world) {
		for range 10 {
			h := w.start(t, &hythe.Server{Service: echoService()})
			var peers []*peer
			for range 20 {
				p := h.dial()
				p.wantLive()
				peers = append(peers, p)
			}
			results := make(chan string, len(peers))
			for i, p := range peers {
				go func() {
					if i%2 == 0 {
						time.Sleep(time.Duration(i) * 50 * time.Microsecond)
					}
					io.WriteString(p.nc, "question\n")
					b, _ := io.ReadAll(p.r)
					p.close()
					results <- string(b)
				}()
			}
			h.cancel()
			for range peers {
				if got := get(t, w, results, "an answer"); got != "" && got != "question\n" {
					t.Errorf("got %q", got)
				}
			}
			if err := h.wait(); err != nil {
				t.Errorf("Serve = %v", err)
			}
			h.checkSum()
		}
	})
}
