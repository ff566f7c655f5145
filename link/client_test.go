package link

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/memnet"
)

type lineConn = hythe.Conn[string, string]

// A lineServer keeps the lines that it is sent, in memory, and can go away and
// come back.
type lineServer struct {
	network memnet.Network
	stall   chan struct{} // if not nil, connections are read from when it is closed

	mu    sync.Mutex
	ln    net.Listener
	conns []*memnet.Conn
	lines []string
}

func (s *lineServer) start(t testing.TB) {
	t.Helper()
	ln, err := s.network.Listen("server")
	if err != nil {
		t.Fatal(err)
	}
	s.ln = ln
	go func() { // ends with ln
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			c := nc.(*memnet.Conn)
			s.mu.Lock()
			s.conns = append(s.conns, c)
			s.mu.Unlock()
			go s.serve(c) // ends with c
		}
	}()
}

func (s *lineServer) serve(c *memnet.Conn) {
	defer c.Close()
	if s.stall != nil {
		<-s.stall
	}
	for lines := bufio.NewScanner(c); lines.Scan(); {
		s.mu.Lock()
		s.lines = append(s.lines, lines.Text())
		s.mu.Unlock()
		fmt.Fprintln(c, "re:", lines.Text())
	}
}

// stop goes away. Connections are reset, as those of a server that crashes are.
func (s *lineServer) stop() {
	s.ln.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.Reset()
		c.Close()
	}
	s.conns = nil
}

func (s *lineServer) want(t testing.TB, want ...string) {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.lines, want) {
		t.Errorf("the server has got %q, want %q", s.lines, want)
	}
}

// A book keeps what became of messages, and what was received.
type book struct {
	mu      sync.Mutex
	in      []string
	settled []string
	counts  map[string]int
}

func (b *book) Input(_ *lineConn, line string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.in = append(b.in, line)
	return nil
}

func (b *book) settle(msg string, o Outcome, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if (o == Sent) != (err == nil) {
		b.settled = append(b.settled, fmt.Sprintf("%s is %s, with the error %v", msg, o, err))
		return
	}
	b.settled = append(b.settled, fmt.Sprint(msg, " ", o))
	if b.counts == nil {
		b.counts = make(map[string]int)
	}
	b.counts[msg]++
}

func (b *book) want(t testing.TB, want ...string) {
	t.Helper()
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Equal(b.settled, want) {
		t.Errorf("settled were %q, want %q", b.settled, want)
	}
}

// clientBubble runs f in a bubble, with a client and a server that has not been
// started.
func clientBubble(t *testing.T, f func(t *testing.T, c *Client[string, string], s *lineServer, b *book)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, b := new(lineServer), new(book)
		d := &Dialer{DialContext: s.network.DialContext}
		c := &Client[string, string]{
			Link: Link[*lineConn]{
				Endpoints: []string{"server"},
				Dial:      Sessions(d.TCP, codec.Lines(), func(*lineConn) *book { return b }),
				random:    middle,
			},
			WhileDown: Queue,
			Settled:   b.settle,
		}
		f(t, c, s, b)
		c.Close()
		<-c.Done()
		if s.ln != nil {
			s.stop()
		}
		if n, bytes := c.Pending(); n != 0 || bytes != 0 {
			t.Errorf("after the end %d messages are pending, of %d bytes", n, bytes)
		}
	})
}

func TestSessions_SameConnAsAServers(t *testing.T) {
	clientBubble(t, func(t *testing.T, c *Client[string, string], s *lineServer, b *book) {
		s.start(t)
		conn, err := c.Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Send("hello"); err != nil {
			t.Fatal(err)
		}
		s.want(t, "hello")
		if !slices.Equal(b.in, []string{"re: hello"}) {
			t.Errorf("received %q", b.in)
		}
		s.stop()
		synctest.Wait()
		st := wantPhase(t, c, Waiting)
		if !errors.Is(st.Cause, hythe.PeerReset) {
			t.Errorf("the cause is %v, want the reason of the connection's end", st.Cause)
		}
		s.start(t)
		if again, err := c.Get(t.Context()); err != nil || again == conn {
			t.Errorf("Get = %p, %v; want a new connection", again, err)
		}
	})
}

// A client has no first-input clock and no idle clock: silence is no fault.
func TestSessions_SilenceIsNoFault(t *testing.T) {
	clientBubble(t, func(t *testing.T, c *Client[string, string], s *lineServer, b *book) {
		s.start(t)
		if err := c.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Hour)
		if n := c.Stats().Ups; n != 1 || c.State().Phase != Up {
			t.Errorf("after 100 h of silence: %v, %d connections", c.State(), n)
		}
	})
}

type rejecting struct{ book }

func (r *rejecting) Connected(*lineConn) error { return errDown }

// A session whose Connected fails, and a codec that is wrong, are failed
// attempts.
func TestSessions_FailedAttempts(t *testing.T) {
	clientBubble(t, func(t *testing.T, c *Client[string, string], s *lineServer, b *book) {
		s.start(t)
		d := &Dialer{DialContext: s.network.DialContext}
		c.Dial = Sessions(d.TCP, codec.Lines(), func(*lineConn) *rejecting { return new(rejecting) })
		if _, err := c.Try(t.Context(), 1); !errors.Is(err, errDown) {
			t.Errorf("Try = %v, want what Connected returned", err)
		}
		l := &Link[*lineConn]{Dial: Sessions(d.TCP, nil, func(*lineConn) *book { return b }), Endpoints: []string{"server"}}
		if _, err := l.Try(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "codec is nil") {
			t.Errorf("Try = %v, want what is wrong with the codec", err)
		}
		l.Close()
		p := &Link[*lineConn]{Dial: Sessions(d.TCP, codec.Lines(), func(*lineConn) *book { panic("open") }), Endpoints: []string{"server"}}
		if _, err := p.Try(t.Context(), 1); !errors.Is(err, hythe.Panicked) {
			t.Errorf("Try = %v, want Panicked", err)
		}
		p.Close()
		<-p.Done()
		<-l.Done()
	})
}

func TestConversation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s lineServer
		s.start(t)
		d := &Dialer{DialContext: s.network.DialContext}
		heard := make(chan string, 10)
		l := &Link[*lineConn]{
			Endpoints: []string{"server"},
			Dial: Conversation(d.TCP, codec.Lines(), func(_ context.Context, c *lineConn) error {
				for i := range 2 {
					if err := c.Send(fmt.Sprint("question ", i)); err != nil {
						return err
					}
					answer, err := c.Receive()
					if err != nil {
						return err
					}
					heard <- answer
				}
				return nil // and so the connection ends, and there is another
			}),
		}
		l.Start()
		for i := range 6 {
			if got, want := <-heard, fmt.Sprint("re: question ", i%2); got != want {
				t.Errorf("heard %q, want %q", got, want)
			}
		}
		if n := l.Stats().Attempts; n != 3 {
			t.Errorf("there were %d connections, want 3", n)
		}
		l.Close()
		<-l.Done()
		s.stop()
	})
}

// A group's typed connections share one server, which ends with the group.
func TestSessions_GroupSharesAServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s lineServer
		s.start(t)
		d := &Dialer{DialContext: s.network.DialContext}
		srv := &hythe.Server{Timeouts: hythe.Timeouts{Idle: time.Minute, FirstInput: -1}}
		g := &Group{Server: srv, Burst: 10}
		for range 3 {
			l := &Link[*lineConn]{Group: g, Endpoints: []string{"server"}}
			l.Dial = Sessions(d.TCP, codec.Lines(), func(*lineConn) *book { return new(book) })
			if err := l.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := srv.Stats().Live; n != 3 {
			t.Errorf("the server has %d connections, want 3", n)
		}
		time.Sleep(70 * time.Second) // its clocks are in force
		for _, st := range g.Links() {
			if st.Seq < 3 {
				t.Errorf("a link has not lost its idle connection: %v", st)
			}
		}
		if err := g.Drain(t.Context()); err != nil {
			t.Errorf("Drain = %v", err)
		}
		s.stop()
	})
}

func TestClient_QueueGoesOutInOrder(t *testing.T) {
	clientBubble(t, func(t *testing.T, c *Client[string, string], s *lineServer, b *book) {
		for i := range 5 {
			if err := c.Send(t.Context(), fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		b.want(t)
		if n, bytes := c.Pending(); n != 5 || bytes != 5 {
			t.Errorf("%d messages of %d bytes are pending, want 5 and 5", n, bytes)
		}
		time.Sleep(time.Minute)
		s.start(t)
		time.Sleep(2 * time.Minute)
		s.want(t, "0", "1", "2", "3", "4")
		b.want(t, "0 sent", "1 sent", "2 sent", "3 sent", "4 sent")
		s.stop()
		synctest.Wait()
		c.Send(t.Context(), "5")
		s.start(t)
		time.Sleep(2 * time.Minute)
		s.want(t, "0", "1", "2", "3", "4", "5")
	})
}

// The queue is bounded, in messages and in bytes, and Send waits for room.
func TestClient_QueueIsBounded(t *testing.T) {
	for name, set := range map[string]func(c *Client[string, string]){
		"messages": func(c *Client[string, string]) { c.Messages = 2 },
		"bytes":    func(c *Client[string, string]) { c.Bytes = 9 },
		"size": func(c *Client[string, string]) {
			c.Bytes = 2
			c.Size = func(string) int { return 1 }
		},
	} {
		t.Run(name, func(t *testing.T) {
			clientBubble(t, func(t *testing.T, c *Client[string, string], s *lineServer, b *book) {
				set(c)
				for range 2 {
					if err := c.TrySend("four"); err != nil {
						t.Fatal(err)
					}
				}
				if err := c.TrySend("four"); err != hythe.ErrFull {
					t.Errorf("TrySend = %v, want ErrFull", err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := c.Send(ctx, "four"); !errors.Is(err, hythe.ErrFull) || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Send = %v, want ErrFull and the context's error", err)
				}
				s.start(t)
				if err := c.Send(t.Context(), "last"); err != nil {
					t.Errorf("Send = %v", err)
				}
				s.want(t, "four", "four", "last")
			})
		})
	}
}

func TestClient_QueueExpires(t *testing.T) {
	clientBubble(t, func(t *testing.T, c *Client[string, string], s *lineServer, b *book) {
		c.MaxAge = time.Minute
		c.Backoff = Backoff{First: 100 * time.Second, Fixed: true}
		c.Send(t.Context(), "old")
		time.Sleep(50 * time.Second)
		c.Send(t.Context(), "new")
		b.want(t)
		time.Sleep(11 * time.Second)
		b.want(t, "old unsent")
		s.start(t)
		time.Sleep(40 * time.Second)
		s.want(t, "new")
		b.want(t, "old unsent", "new sent")
	})
}

// What the kernel had not taken when the connection broke is in doubt; what was
// not handed over leaves with the next one.
func TestClient_InDoubt(t *testing.T) {
	clientBubble(t, func(t *testing.T, c *Client[string, string], s *lineServer, b *book) {
		s.network.Buffer = 10
		s.stall = make(chan struct{})
		s.start(t)
		for _, msg := range []string{"1234", "5678", "90"} { // each with its end of line
			c.Send(t.Context(), msg)
			synctest.Wait()
		}
		b.want(t, "1234 sent", "5678 sent")
		s.stop()
		b.want(t, "1234 sent", "5678 sent", "90 in doubt")
		s.want(t)
		close(s.stall)
		c.Send(t.Context(), "next")
		s.start(t)
		time.Sleep(time.Minute)
		s.want(t, "next")
		b.want(t, "1234 sent", "5678 sent", "90 in doubt", "next sent")
	})
}

func TestClient_Refuse(t *testing.T) {
	clientBubble(t, func(t *testing.T, c *Client[string, string], s *lineServer, b *book) {
		c.WhileDown = Refuse
		var down *DownError
		if err := c.Send(t.Context(), "no"); !errors.As(err, &down) {
			t.Errorf("Send = %v, want a *DownError", err)
		}
		s.start(t)
		if err := c.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := c.Send(t.Context(), "yes"); err != nil {
			t.Errorf("Send = %v", err)
		}
		if err := c.TrySend("too"); err != nil {
			t.Errorf("TrySend = %v", err)
		}
		s.want(t, "yes", "too")
		b.want(t, "yes sent", "too sent")
	})
}

func TestClient_Wait(t *testing.T) {
	clientBubble(t, func(t *testing.T, c *Client[string, string], s *lineServer, b *book) {
		c.WhileDown = Wait
		c.Settled = nil // is not needed
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Send(ctx, "no"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Send = %v, want the context's error", err)
		}
		var down *DownError
		if err := c.TrySend("no"); !errors.As(err, &down) {
			t.Errorf("TrySend = %v, want a *DownError", err)
		}
		time.AfterFunc(time.Minute, func() { s.start(t) })
		if err := c.Send(t.Context(), "yes"); err != nil {
			t.Errorf("Send = %v", err)
		}
		s.want(t, "yes")
	})
}

// Close settles what waits, Drain lets it leave.
func TestClient_Ends(t *testing.T) {
	t.Run("Close", func(t *testing.T) {
		clientBubble(t, func(t *testing.T, c *Client[string, string], s *lineServer, b *book) {
			c.Send(t.Context(), "1")
			c.Send(t.Context(), "2")
			c.Close()
			<-c.Done()
			b.want(t, "1 unsent", "2 unsent")
			if err := c.Send(t.Context(), "3"); !errors.Is(err, ErrClosed) {
				t.Errorf("Send after Close = %v, want ErrClosed", err)
			}
		})
	})
	t.Run("Drain", func(t *testing.T) {
		clientBubble(t, func(t *testing.T, c *Client[string, string], s *lineServer, b *book) {
			c.Send(t.Context(), "1")
			time.AfterFunc(time.Minute, func() { s.start(t) })
			drained := make(chan error)
			go func() { drained <- c.Drain(t.Context()) }()
			synctest.Wait()
			if err := c.Send(t.Context(), "2"); !errors.Is(err, ErrDraining) {
				t.Errorf("Send while draining = %v, want ErrDraining", err)
			}
			if err := <-drained; err != nil {
				t.Errorf("Drain = %v", err)
			}
			s.want(t, "1")
			b.want(t, "1 sent")
		})
	})
	t.Run("Drain in vain", func(t *testing.T) {
		clientBubble(t, func(t *testing.T, c *Client[string, string], s *lineServer, b *book) {
			c.Send(t.Context(), "1")
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := c.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Drain = %v", err)
			}
			<-c.Done()
			b.want(t, "1 unsent")
		})
	})
	t.Run("Group.Drain", func(t *testing.T) {
		clientBubble(t, func(t *testing.T, c *Client[string, string], s *lineServer, b *book) {
			var g Group
			c.Group = &g
			c.Send(t.Context(), "1")
			s.start(t)
			if err := g.Drain(t.Context()); err != nil {
				t.Errorf("Drain = %v", err)
			}
			s.want(t, "1")
			b.want(t, "1 sent")
		})
	})
}

// Drain flushes what was sent on the connection itself, to a peer that is slow.
func TestDrain_FlushesTheConnection(t *testing.T) {
	clientBubble(t, func(t *testing.T, c *Client[string, string], s *lineServer, b *book) {
		s.network.Buffer = 10
		s.stall = make(chan struct{})
		s.start(t)
		conn, err := c.Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		long := strings.Repeat("x", 1000)
		if err := conn.Send(long); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		time.AfterFunc(5*time.Second, func() { close(s.stall) })
		if err := c.Drain(t.Context()); err != nil {
			t.Errorf("Drain = %v", err)
		}
		s.want(t, long)
	})
}

// What a codec cannot encode is Unsent, or not accepted; it stops nobody.
func TestClient_CodecRefuses(t *testing.T) {
	for _, policy := range []Policy{Wait, Queue} {
		clientBubble(t, func(t *testing.T, c *Client[string, string], s *lineServer, b *book) {
			c.WhileDown = policy
			s.start(t)
			err := c.Send(t.Context(), "two\nlines")
			if (err == nil) != (policy == Queue) {
				t.Errorf("Send = %v", err)
			}
			if err := c.Send(t.Context(), "one"); err != nil {
				t.Errorf("Send = %v", err)
			}
			s.want(t, "one")
			if policy == Queue {
				b.want(t, "two\nlines unsent", "one sent")
			} else {
				b.want(t, "one sent")
			}
		})
	}
}

// A Settled that panics, or ends its goroutine, loses nobody's outcome.
func TestClient_SettledPanics(t *testing.T) {
	clientBubble(t, func(t *testing.T, c *Client[string, string], s *lineServer, b *book) {
		s.start(t)
		c.Settled = func(msg string, o Outcome, err error) {
			b.settle(msg, o, err)
			switch msg {
			case "1":
				panic("settled")
			case "2":
				runtime.Goexit()
			}
		}
		for i := range 4 {
			c.Send(t.Context(), fmt.Sprint(i))
		}
		b.want(t, "0 sent", "1 sent", "2 sent", "3 sent")
	})
}

func TestClient_QueueNeedsSettled(t *testing.T) {
	c := &Client[string, string]{WhileDown: Queue}
	if err := c.Send(context.Background(), "x"); err == nil || !strings.Contains(err.Error(), "Settled") {
		t.Errorf("Send = %v", err)
	}
}

// Over many restarts every message is settled exactly once, in order, and what
// is Sent or InDoubt is all that the server can have got.
func TestClient_EveryMessageIsSettledOnce(t *testing.T) {
	clientBubble(t, func(t *testing.T, c *Client[string, string], s *lineServer, b *book) {
		c.Backoff = Backoff{First: 100 * time.Millisecond, Fixed: true}
		c.Throttle.Attempts = -1
		s.network.Buffer = 64
		s.start(t)
		var senders sync.WaitGroup
		const each, of = 100, 5
		for g := range of {
			senders.Go(func() {
				for i := range each {
					if err := c.Send(t.Context(), fmt.Sprintf("%d/%03d", g, i)); err != nil {
						t.Errorf("Send = %v", err)
					}
					time.Sleep(time.Duration(1+g) * 7 * time.Millisecond)
				}
			})
		}
		for range 15 {
			time.Sleep(170 * time.Millisecond)
			s.stop()
			time.Sleep(30 * time.Millisecond)
			s.start(t)
		}
		senders.Wait()
		if err := c.Drain(t.Context()); err != nil {
			t.Errorf("Drain = %v", err)
		}
		if len(b.counts) != each*of || len(b.settled) != each*of {
			t.Errorf("%d messages were settled, %d times; want %d", len(b.counts), len(b.settled), each*of)
		}
		got := make(map[string]int)
		for _, line := range s.lines {
			got[line]++
		}
		for _, line := range b.settled {
			msg, outcome, _ := strings.Cut(line, " ")
			if n := got[msg]; n > 1 || n == 1 && outcome == "unsent" {
				t.Errorf("%s is %s, and the server has it %d times", msg, outcome, n)
			}
		}
	})
}

var _ io.Closer = (*Client[string, string])(nil)
