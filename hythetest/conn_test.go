package hythetest_test

import (
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/hythetest"
)

// TestIdle is the test of the package documentation.
func TestIdle(t *testing.T) {
	svc := sessions(echo)
	synctest.Test(t, func(t *testing.T) {
		c := hythetest.Dial(t, &hythe.Server{Service: svc})
		c.Write("hello\n")
		c.WantLine("hello")
		time.Sleep(6 * time.Minute)
		c.WantClosed(hythe.Idle)
	})
}

func TestTalk(t *testing.T) {
	inBoth(t, func(t *testing.T) {
		c := hythetest.Dial(t, &hythe.Server{Service: sessions(echo)})
		c.Write("one\ntwo\nthree\nfour\n")
		c.WantLine("one")
		c.Want("two\n")
		c.WantBytes([]byte("three\nfour"))
		c.WantLine("")
		c.WriteBytes([]byte("carriage\r\n"))
		c.WantLine("carriage")
		c.WantNothing(time.Millisecond)
		c.CloseWrite()
		c.WantEOF()
		c.WantClosed(hythe.PeerDone)
	})
}

func TestWantNothing_Bubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := hythetest.Dial(t, &hythe.Server{Service: sessions(func(c *lines, in string) error {
			time.Sleep(time.Second)
			return c.Send(in)
		})})
		c.WantNothing(0)
		c.Write("a\n")
		c.WantNothing(0)
		c.WantNothing(time.Second - time.Millisecond)
		c.WantLine("a")
		c.WantNothing(0)
	})
}

func TestWantClosed(t *testing.T) {
	errMine := errors.New("mine")
	svc := sessions(func(c *lines, in string) error {
		switch in {
		case "quit":
			c.Send("bye")
			c.Shutdown()
		case "close":
			c.Close()
		case "fail":
			return errMine
		case "panic":
			panic("seeded")
		}
		return nil
	})
	for _, tt := range []struct {
		name string
		do   func(c *hythetest.Conn)
		why  error
	}{
		{"finished", func(c *hythetest.Conn) { c.Write("quit\n") }, hythe.Finished},
		{"closed", func(c *hythetest.Conn) { c.Write("close\n") }, hythe.Closed},
		{"failed", func(c *hythetest.Conn) { c.Write("fail\n") }, hythe.Failed},
		{"the error", func(c *hythetest.Conn) { c.Write("fail\n") }, errMine},
		{"panicked", func(c *hythetest.Conn) { c.Write("panic\n") }, hythe.Panicked},
		{"half a word", func(c *hythetest.Conn) { c.Write("qu"); c.CloseWrite() }, hythe.PeerDone},
		{"hung up", func(c *hythetest.Conn) { c.Close() }, hythe.PeerDone},
		{"reset", func(c *hythetest.Conn) { c.Reset() }, hythe.PeerReset},
		{"from outside", func(c *hythetest.Conn) { c.Stream().Shutdown() }, hythe.Finished},
	} {
		t.Run(tt.name, func(t *testing.T) {
			began := time.Now()
			c := hythetest.Dial(t, &hythe.Server{Service: svc, Timeouts: hythe.Timeouts{Linger: time.Hour}})
			tt.do(c)
			c.WantClosed(tt.why)
			c.WantClosed(tt.why) // nothing changes
			if tt.name == "finished" {
				c.WantLine("bye")
				c.WantEOF()
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("took %v: it waited for the linger clock", took)
			}
		})
	}
}

// TestWantClosed_HooksAreDone has a session that takes its time at the end.
func TestWantClosed_HooksAreDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := false
		c := hythetest.Dial(t, &hythe.Server{Service: hythe.Sessions(codec.Lines(), func(*lines) *slowEnd { return &slowEnd{gone: &gone} })})
		c.Write("quit\n")
		c.WantClosed(hythe.Finished)
		if !gone {
			t.Error("WantClosed returned before Disconnected did")
		}
	})
}

type slowEnd struct{ gone *bool }

func (s *slowEnd) Input(c *lines, in string) error { c.Shutdown(); return nil }

func (s *slowEnd) Disconnected(*lines, error) {
	time.Sleep(time.Second)
	*s.gone = true
}

func TestWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		c := hythetest.Dial(t, &hythe.Server{Service: sessions(echo), Timeouts: hythe.Timeouts{FirstInput: -1}})
		c.Within(6 * time.Minute).WantClosed(hythe.Idle)
		if took := time.Since(began); took < 5*time.Minute || took > 5*time.Minute+time.Second {
			t.Errorf("closed after %v, want 5m", took)
		}
	})
}

func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := hythetest.Dial(t, &hythe.Server{Service: sessions(echo)})
		c.Stall()
		c.Write("a\n")
		c.WantNothing(29 * time.Second)
		c.Unstall()
		c.WantLine("a")
		c.Stall()
		c.Write("b\n")
		time.Sleep(31 * time.Second)
		c.WantClosed(hythe.WriteStalled)
	})
}

func TestStartTLS(t *testing.T) {
	inBoth(t, func(t *testing.T) {
		s := hythetest.Serve(t, &hythe.Server{Service: sessions(echo), TLS: serverTLS()})
		for _, config := range []*tls.Config{nil, {InsecureSkipVerify: true, ServerName: "hythe.test"}} {
			c := s.Dial()
			c.StartTLS(config)
			c.Write("hello\n")
			c.WantLine("hello")
			c.WantNothing(time.Millisecond)
			if _, ok := c.Conn().(*tls.Conn); !ok {
				t.Errorf("Conn is a %T", c.Conn())
			}
			c.CloseWrite()
			c.WantEOF()
			c.WantClosed(hythe.PeerDone)
		}
	})
}

func TestStartTLS_Later(t *testing.T) {
	inBoth(t, func(t *testing.T) {
		c := hythetest.Dial(t, &hythe.Server{Service: sessions(func(c *lines, in string) error {
			if in != "starttls" {
				return c.Send(in)
			}
			c.Send("go ahead")
			return c.StartTLS(serverTLS())
		})})
		c.Write("starttls\n")
		c.WantLine("go ahead")
		c.StartTLS(nil)
		c.Write("secret\n")
		c.WantLine("secret")
		c.Close()
		c.WantClosed(hythe.PeerDone)
	})
}

// TestConn_Mixed uses the connection directly, between two expectations.
func TestConn_Mixed(t *testing.T) {
	inBoth(t, func(t *testing.T) {
		c := hythetest.Dial(t, &hythe.Server{Service: sessions(echo)})
		c.Write("one\ntwo\nthree\n")
		c.WantLine("one")
		buf := make([]byte, 4)
		if _, err := io.ReadFull(c.Conn(), buf); err != nil || string(buf) != "two\n" {
			t.Errorf("got %q, %v, want two", buf, err)
		}
		c.WantLine("three")
	})
}

// TestMem breaks the connection at a chosen byte.
func TestMem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := hythetest.Dial(t, &hythe.Server{Service: sessions(echo)})
		c.Mem().AtRead(3, c.Mem().Reset)
		c.Write("hello\n")
		c.Want("hel")
		c.WantClosed(hythe.PeerReset)
	})
}

// TestFailures has a test for each way to be disappointed. Each fails once, at
// the line that is marked.
func TestFailures(t *testing.T) {
	long := strings.Repeat("0123456789", 100)
	for _, tt := range []struct {
		name string
		test func(c *hythetest.Conn)
		want string
	}{
		{"another line", func(c *hythetest.Conn) {
			c.Write("hallo\n")
			c.WantLine("hello") // fails
		}, `got "hallo", want line "hello"`},
		{"half a line", func(c *hythetest.Conn) {
			c.Write("raw hel\n")
			c.WantLine("hello") // fails
		}, `got "hel", want line "hello"; then nothing for the rest of 10s`},
		{"a line and EOF", func(c *hythetest.Conn) {
			c.Write("raw hel\n")
			c.CloseWrite()
			c.Want("h")
			c.WantClosed(hythe.PeerDone)
			c.WantLine("ello") // fails
		}, `got "el", want line "ello"; then EOF; the server has ended the connection: hythe: peer done`},
		{"no line", func(c *hythetest.Conn) {
			c.Within(time.Minute).WantLine("hello") // fails
		}, `got "", want line "hello"; then EOF; the server has ended the connection: hythe: input timeout`},
		{"an endless line", func(c *hythetest.Conn) {
			for range 10 {
				c.Write("raw " + long + "\n")
			}
			c.WantLine("hello") // fails
		}, `got 4101 bytes, want line 5; from byte 0 on got "01234567890123456789012345678901234567890123456789"..., want "hello"`},
		{"other bytes", func(c *hythetest.Conn) {
			c.Write("raw abcd\n")
			c.Want("abXY and more") // fails
		}, `got "abcd", want "abXY and more"`},
		{"too few bytes", func(c *hythetest.Conn) {
			c.Write("raw abc\n")
			c.WantBytes([]byte("abcd")) // fails
		}, `got "abc", want "abcd"; then nothing for the rest of 10s`},
		{"another byte among many", func(c *hythetest.Conn) {
			c.Write("raw " + long + "\n")
			c.Want(long[:700] + "x" + long[701:]) // fails
		}, `got 1000 bytes, want 1000; from byte 700 on got "01234567890123456789012345678901234567890123456789"..., want "x1234567890123456789012345678901234567890123456789"...`},
		{"bytes for EOF", func(c *hythetest.Conn) {
			c.Write("a\n")
			c.CloseWrite()
			c.WantEOF() // fails
		}, `got "a\n", want EOF`},
		{"nothing for EOF", func(c *hythetest.Conn) {
			c.WantEOF() // fails
		}, `got "", want EOF; then nothing for the rest of 10s`},
		{"a reset for EOF", func(c *hythetest.Conn) {
			c.Mem().Reset()
			c.WantEOF() // fails
		}, `got "", want EOF; then read mem client-1->mem#1: read: connection reset by peer`},
		{"bytes for nothing", func(c *hythetest.Conn) {
			c.Write("a\n")
			c.WantNothing(0) // fails
		}, `got "a\n", want nothing`},
		{"late bytes for nothing", func(c *hythetest.Conn) {
			c.Write("sleep\n")
			c.WantNothing(time.Second) // fails
		}, `got "slept\n", want nothing`},
		{"EOF for nothing", func(c *hythetest.Conn) {
			c.CloseWrite()
			c.WantNothing(0) // fails
		}, `got EOF, want nothing; the server has ended the connection: hythe: peer done`},
		{"an error for nothing", func(c *hythetest.Conn) {
			c.Reset()
			c.WantNothing(0) // fails
		}, `got an error, want nothing: read mem client-1->mem#1: use of closed network connection; the server has ended the connection: hythe: peer reset: read mem mem#1->client-1: read: connection reset by peer`},
		{"another reason", func(c *hythetest.Conn) {
			c.Write("quit\n")
			c.WantClosed(hythe.Idle) // fails
		}, `connection 1 has ended: hythe: finished; want hythe: idle`},
		{"no end", func(c *hythetest.Conn) {
			c.WantClosed(hythe.Idle) // fails
		}, `connection 1 has not ended within 10s (0 bytes of output wait); want hythe: idle`},
		{"no end for output", func(c *hythetest.Conn) {
			c.Stall()
			c.Write("a\nquit\n")
			c.WantClosed(hythe.Finished) // fails
		}, `connection 1 has not ended within 10s (2 bytes of output wait); want hythe: finished`},
		{"no end for a hook", func(c *hythetest.Conn) {
			c.Write("hang\n")
			c.WantNothing(0)
			c.Reset()
			c.WantClosed(hythe.PeerReset) // fails
		}, `connection 1 has not ended within 10s (a hook is running, or the server lingers: hythe: peer reset`},
		{"a full buffer", func(c *hythetest.Conn) {
			c.Write("hang\n")
			c.Write(strings.Repeat(long, 200)) // fails
		}, `of 200000 bytes; then nothing for the rest of 10s`},
		{"writing to nobody", func(c *hythetest.Conn) {
			c.Write("quit\n")
			c.WantClosed(hythe.Finished)
			c.Write("a\n") // fails
		}, `sent 0 of 2 bytes; then write mem client-1->mem#1: `},
		{"half-closing twice", func(c *hythetest.Conn) {
			c.Reset()
			c.CloseWrite() // fails
		}, `CloseWrite: shutdown mem client-1->mem#1: use of closed network connection`},
		{"TLS without", func(c *hythetest.Conn) {
			c.Write("a\n")
			c.StartTLS(nil) // fails
		}, `TLS handshake: tls: first record does not look like a TLS handshake`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := record(func(t testing.TB) {
					tt.test(hythetest.Dial(t, &hythe.Server{Service: sessions(moody)}))
				})
				if len(got) != 1 || !strings.Contains(got[0].message, tt.want) || !strings.HasSuffix(got[0].line, "// fails") {
					t.Errorf("got %d failures %q\nwant one %q", len(got), got, tt.want)
				}
			})
		})
	}
}

// moody echoes, unless it is told something else.
func moody(c *lines, in string) error {
	text, raw := strings.CutPrefix(in, "raw ")
	switch {
	case raw:
		_, err := c.Stream.Write([]byte(text))
		return err
	case in == "quit":
		c.Shutdown()
		return nil
	case in == "sleep":
		time.Sleep(time.Second / 2)
		return c.Send("slept")
	case in == "hang":
		time.Sleep(15 * time.Second)
		return nil
	}
	return c.Send(in)
}

func TestWantNothing_NoBubble(t *testing.T) {
	got := record(func(t testing.TB) {
		c := hythetest.Dial(t, &hythe.Server{Service: sessions(echo)})
		c.WantNothing(0) // fails
	})
	want := failure{"WantNothing(0): goroutine is not in a bubble", "c.WantNothing(0) // fails"}
	if len(got) != 1 || got[0] != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
