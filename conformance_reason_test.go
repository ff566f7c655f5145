package hythe_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

// witness is a session that notes why its connection ended, in every place that
// shows it.
type witness struct {
	mu  sync.Mutex
	ctx context.Context
	got map[string]error
}

func (w *witness) note(where string, why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.got[where] != nil {
		where += " again"
	}
	w.got[where] = why
}

// reasonCase says how a connection comes to an end for one reason.
type reasonCase struct {
	why   hythe.Reason
	srv   hythe.Server
	codec codec.Codec[string, string]
	input func(c *lines, in string) error
	act   func(h *host, p *peer) // p has dialled, and in TLS shaken hands

	noSession bool // it ends before there is one
}

func reasonCases() []*reasonCase {
	netstrings := codec.Strings(codec.Netstring{Max: 100}.Borrowed())
	say := func(s string) func(h *host, p *peer) { return func(h *host, p *peer) { io.WriteString(p.nc, s) } }
	sayAndEnd := func(s string) func(h *host, p *peer) {
		return func(h *host, p *peer) { p.send(s); p.closeWrite() }
	}
	fill := func(c *lines, in string) error {
		for {
			if err := c.Send(strings.Repeat("x", 50_000)); err != nil {
				return nil
			}
		}
	}
	each := func(f func(c *hythe.Stream)) func(h *host, p *peer) {
		return func(h *host, p *peer) {
			p.wantLive()
			for c := range h.srv.Conns() {
				f(c)
			}
		}
	}
	return []*reasonCase{
		{why: hythe.PeerDone, act: sayAndEnd("x\n")},
		{why: hythe.PeerReset, act: func(h *host, p *peer) { p.wantLive(); p.reset() }},
		{why: hythe.Finished, act: each((*hythe.Stream).Shutdown)},
		{why: hythe.Closed, act: each(func(c *hythe.Stream) { c.Close() })},
		{why: hythe.Detached, act: say("x\n"), input: func(c *lines, in string) error {
			return c.Detach(func(nc net.Conn) { nc.Close() })
		}},
		{why: hythe.BadFrame, codec: netstrings, act: say("what?")},
		{why: hythe.FrameTooLarge, codec: netstrings, act: say("101:")},
		{why: hythe.Truncated, codec: netstrings, act: sayAndEnd("10:abc")},
		{why: hythe.Failed, act: say("x\n"), input: func(*lines, string) error { return errBoom }},
		{why: hythe.Panicked, act: say("x\n"), input: func(*lines, string) error { panic(errBoom) }},
		{why: hythe.HandshakeTimeout, noSession: true, srv: hythe.Server{
			PreConnect: func(ctx context.Context, nc net.Conn) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() },
		}},
		{why: hythe.InputTimeout, act: say("half a li")},
		{why: hythe.Idle, act: sayNothingAfter("x\n")},
		{why: hythe.WriteStalled, act: say("x\n"), input: fill},
		{why: hythe.Expired, srv: hythe.Server{Timeouts: hythe.Timeouts{Lifetime: time.Second}}},
		{why: hythe.Refused, noSession: true, srv: hythe.Server{
			AtLimit: hythe.Refuse, Limits: hythe.Limits{ConnsPerIP: 1, Conns: 1},
		}, act: func(h *host, p *peer) { h.dial() }},
		{why: hythe.Denied, noSession: true, srv: hythe.Server{
			PreConnect: func(ctx context.Context, nc net.Conn) (net.Conn, error) { return nil, errBoom },
		}},
		{why: hythe.HandshakeFailed, noSession: true, srv: hythe.Server{TLS: serverTLS()}, act: say("this is no ClientHello\n")},
		{why: hythe.Shed, srv: hythe.Server{AtLimit: hythe.ShedIdle, Limits: hythe.Limits{Conns: 1}},
			act: func(h *host, p *peer) { p.wantLive(); synctest.Wait(); h.dial() }}, // idle once its turn is over
		{why: hythe.Slow, act: func(h *host, p *peer) {
			p.wantLive()
			for range 1000 {
				theGroup.Broadcast(strings.Repeat("x", 50_000))
			}
		}},
		{why: hythe.Overload, srv: hythe.Server{Limits: hythe.Limits{Memory: 10_000}},
			codec: codec.Line{Max: 1 << 20}.Strings(), act: say(strings.Repeat("x", 60_000))},
		{why: hythe.Drained, act: func(h *host, p *peer) { p.wantLive(); h.cancel() }},
		{why: hythe.DrainTimeout, act: func(h *host, p *peer) {
			p.wantLive()
			for c := range h.srv.Conns() {
				c.Hold()
			}
			h.cancel()
		}},
		{why: hythe.ServerClosed, act: func(h *host, p *peer) { p.wantLive(); h.srv.Close() }},
	}
}

func sayNothingAfter(s string) func(h *host, p *peer) {
	return func(h *host, p *peer) { p.send(s); io.Copy(io.Discard, p.r) }
}

// theGroup has every connection of the reason test.
var theGroup *hythe.Group[string]

// Every reason can be had, and is the same wherever it shows.
func TestReasons(t *testing.T) {
	seen := make(map[hythe.Reason]bool)
	for _, tt := range reasonCases() {
		seen[tt.why] = true
		t.Run(tt.why.String(), func(t *testing.T) {
			inMem(t, func(t *testing.T) { testReason(t, tt) })
		})
	}
	for _, r := range hythe.Reasons() {
		if !seen[r] {
			t.Errorf("no case for %v", r)
		}
	}
}

func testReason(t *testing.T, tt *reasonCase) {
	theGroup = new(hythe.Group[string])
	wit := &witness{got: make(map[string]error)}
	if tt.codec == nil {
		tt.codec = codec.Lines()
	}
	srv := &tt.srv
	var log bytes.Buffer
	srv.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	srv.Observer = func(ev hythe.Event) {
		switch {
		case ev.Kind == hythe.ConnAccepted && ev.Conn.ID() == 1, ev.Kind == hythe.ConnRefused:
			wit.ctx = ev.Conn.Context()
			ev.Conn.OnClose(func(why error) { wit.note("OnClose", why) })
		}
	}
	srv.Service = hythe.Sessions(tt.codec, func(c *lines) *hooks {
		if c.ID() != 1 {
			return &hooks{}
		}
		theGroup.Join(c)
		return &hooks{input: tt.input, disconnected: func(c *lines, why error) { wit.note("Disconnected", why) }}
	})
	h := memWorld.start(t, srv)
	p := h.dial()
	if tt.act != nil {
		tt.act(h, p)
	}
	ev := h.wantEnd(tt.why)
	wantEvery := func(where string, why error) {
		wantClosed(t, where, why, tt.why)
		var ce *hythe.CloseError
		if errors.As(why, &ce) && ce.Err != ev.Err {
			t.Errorf("%s shows the error %v, the Observer %v", where, ce.Err, ev.Err)
		}
	}
	wit.mu.Lock()
	wantEvery("OnClose", wit.got["OnClose"])
	wantEvery("context.Cause", context.Cause(wit.ctx))
	if !tt.noSession {
		wantEvery("Disconnected", wit.got["Disconnected"])
	} else if wit.got["Disconnected"] != nil {
		t.Error("Disconnected was called without a session")
	}
	for _, again := range []string{"OnClose again", "Disconnected again"} {
		if wit.got[again] != nil {
			t.Error(again)
		}
	}
	wit.mu.Unlock()
	if n := h.srv.Stats().Ended[tt.why]; n != 1 {
		t.Errorf("Stats count %d for %v", n, tt.why)
	}
	h.srv.Close()
	h.wait()
	if want := fmt.Sprintf("reason=%q", tt.why.String()); !strings.Contains(strings.ReplaceAll(log.String(), "reason="+tt.why.String(), want), want) {
		t.Errorf("the log does not show %s:\n%s", want, log.String())
	}
}

// A connection whose place in the server nobody has looked at yet can be looked
// at, and ended, by the Observer.
func TestObserver_LooksAtNewConnection(t *testing.T) {
	inWorlds(t, allWorlds, func(t *testing.T, w world) {
		h := w.start(t, &hythe.Server{
			Service: echoService(),
			Observer: func(ev hythe.Event) {
				if ev.Kind == hythe.ConnAccepted {
					if ev.Conn.LocalAddr() == nil || ev.Conn.RemoteAddr() == nil {
						t.Error("a connection without addresses")
					}
					if ev.Conn.ID() == 2 {
						ev.Conn.Close()
					}
				}
			},
		})
		h.dial().wantLive()
		if w.tls {
			return // there the handshake fails instead
		}
		h.dial().wantGone()
		h.wantEnd(hythe.Closed)
	})
}

// Drain and Close find a connection that has just been accepted.
func TestObserver_DrainMeanwhile(t *testing.T) {
	for _, how := range []string{"Drain", "Close"} {
		t.Run(how, func(t *testing.T) {
			inWorlds(t, plainWorlds, func(t *testing.T, w world) {
				inside, release := make(chan bool), make(chan bool)
				h := w.start(t, &hythe.Server{
					Service: echoService(),
					Observer: func(ev hythe.Event) {
						if ev.Kind == hythe.ConnAccepted {
							inside <- true
							<-release
						}
					},
				})
				p := h.dial()
				<-inside
				if how == "Close" {
					h.srv.Close()
				} else {
					h.cancel()
					h.awaitDrain()
					time.Sleep(10 * time.Millisecond)
				}
				close(release)
				p.wantGone()
				p.close()
				h.wait()
				h.nextEnd()
			})
		})
	}
}

func TestReason_Errors(t *testing.T) {
	for _, r := range hythe.Reasons() {
		e := error(&hythe.CloseError{Reason: r, Err: io.ErrUnexpectedEOF})
		if !errors.Is(e, r) || !errors.Is(e, net.ErrClosed) || !errors.Is(e, io.ErrUnexpectedEOF) || errors.Is(e, hythe.Reason(0)) {
			t.Errorf("%v matches wrongly", e)
		}
		if r.String() == "" || strings.Contains(r.String(), "reason ") {
			t.Errorf("reason %d has no name", r)
		}
	}
}

// What a hook returns is the program's own failure, whatever it looks like, unless
// it says that it is the peer's.
func TestReason_OfErrorsOfHooks(t *testing.T) {
	_, tooLong := codec.Line{Max: 1}.Strings().Append(nil, "ab")
	for _, tt := range []struct {
		err  error
		want hythe.Reason
	}{
		{errors.New("oh"), hythe.Failed},
		{tooLong, hythe.Failed},
		{io.ErrUnexpectedEOF, hythe.Failed},
		{codec.ErrFrameTooLarge, hythe.Failed},
		{&codec.DecodeError{}, hythe.Failed},
		{hythe.BadInput(errors.New("oh")), hythe.BadFrame},
		{fmt.Errorf("it is: %w", hythe.BadInput(io.ErrUnexpectedEOF)), hythe.Truncated},
	} {
		inWorlds(t, []world{memWorld}, func(t *testing.T, w world) {
			h := w.start(t, &hythe.Server{Service: sessions(func(*lines) *hooks {
				return &hooks{input: func(_ *lines, in string) error {
					if in == "now" {
						return tt.err
					}
					return nil
				}}
			})})
			p := h.dial()
			p.send("now\nmore\n")
			if ev := h.wantEnd(tt.want); !errors.Is(ev.Err, tt.err) {
				t.Errorf("%v: the connection's error is %v", tt.err, ev.Err)
			}
			closing := w.start(t, &hythe.Server{Service: hythe.Sessions(codec.Lines(), func(c *lines) *halfOpen {
				return &halfOpen{inputClosed: func(*lines) error { return tt.err }}
			})})
			q := closing.dial()
			q.send("x\n")
			q.closeWrite()
			closing.wantEnd(tt.want)
		})
	}
}
