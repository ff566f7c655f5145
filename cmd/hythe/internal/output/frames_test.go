package output

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/faultnet"
	"github.com/hythe-go/hythe/link"
)

func TestLinesArriveInOrderAndOnce(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			address := "127.0.0.1:0"
			if network == "unix" {
				address = filepath.Join(t.TempDir(), "s")
			}
			s := newSink(t, listen(t, network, address))
			f, _ := deliver(t, settings(network+"://"+s.l.Addr().String()), Options{})
			want := sequence(0, 20_000)
			f.Put(want[:10]...)
			settled(t, f)
			f.Put(want[10:]...)
			settled(t, f)
			eventually(t, "all lines", func() bool { return len(s.got()) >= len(want) })
			if again := expectAll(t, s.got(), want); again != 0 {
				t.Errorf("%d came again", again)
			}
			if s.accepted() != 1 {
				t.Errorf("%d connections, want 1", s.accepted())
			}
		})
	}
}

func TestLinesArriveOverTLS(t *testing.T) {
	web := httptest.NewTLSServer(nil) // for its certificate
	cert := web.TLS.Certificates[0]
	web.Close()
	l := tls.NewListener(listen(t, "tcp", "127.0.0.1:0"), &tls.Config{Certificates: []tls.Certificate{cert}})
	s := newSink(t, l)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), 0o600); err != nil {
		t.Fatal(err)
	}
	c := settings("tls://" + l.Addr().String())
	c.TLS = &config.TLS{CA: ca}
	f, _ := deliver(t, c, Options{})
	want := sequence(0, 20_000)
	f.Put(want...)
	settled(t, f)
	eventually(t, "all lines", func() bool { return len(s.got()) >= len(want) })
	expectAll(t, s.got(), want)

	t.Run("an unknown authority is visible", func(t *testing.T) {
		f, out := deliver(t, settings("tls://"+l.Addr().String()), Options{})
		f.Put("never")
		eventually(t, "the cause", func() bool {
			st, _ := out.Link()
			return st.Cause != nil && strings.Contains(st.Cause.Error(), "certificate")
		})
		if f.Delivered() != 0 {
			t.Error("it was delivered")
		}
	})
}

func TestMessageThatIsNoLineBecomesADeadLetter(t *testing.T) {
	s := newSink(t, listen(t, "tcp", "127.0.0.1:0"))
	f, _ := deliver(t, settings("tcp://"+s.l.Addr().String()), Options{})
	f.Put("one", "two\nlines", "three", "four\r", "five")
	settled(t, f)
	dead := f.Dead()
	if len(dead) != 2 || string(dead[0].Body) != "two\nlines" || string(dead[1].Body) != "four\r" {
		t.Fatalf("dead letters: %v", dead)
	}
	if cause := string(dead[0].Cause); !strings.Contains(cause, "line") {
		t.Errorf("cause: %q", cause)
	}
	eventually(t, "the others", func() bool { return len(s.got()) >= 3 })
	expectAll(t, s.got(), []string{"one", "three", "five"})
	if f.Delivered() != 3 {
		t.Errorf("%d delivered, want 3", f.Delivered())
	}
}

func TestRawIsRefusedAsItHasNoEnds(t *testing.T) {
	c := settings("tcp://127.0.0.1:1")
	c.Framing = "raw"
	if _, err := New(c, Options{}); err == nil {
		t.Error("it was not refused")
	}
}

func TestDestinationsThatMakeNoSenseAreRefused(t *testing.T) {
	for _, to := range [][]string{
		nil, {"tcp://host"}, {"tcp://:7000"}, {"unix://"}, {"gopher://host:70"}, {"file:///dir/"},
		{"tcp://host:1", "http://host:2"},
	} {
		if _, err := New(settings(to...), Options{}); err == nil {
			t.Errorf("%q was not refused", to)
		}
	}
}

func TestIdleConnectionThatEndsIsNoticedAtOnce(t *testing.T) {
	s := newSink(t, listen(t, "tcp", "127.0.0.1:0"))
	proxy := faultnet.New(t, s.l.Addr().String())
	f, out := deliver(t, settings("tcp://"+proxy.Addr()), Options{})
	f.Put("first")
	settled(t, f)
	eventually(t, "the first line", func() bool { return len(s.got()) == 1 }) // the proxy drops what it has
	for i, end := range []func() int{proxy.Reset, proxy.CloseConns} {
		eventually(t, "a connection", func() bool { return proxy.Conns() == 1 && phase(out) == link.Up })
		end()
		eventually(t, "another connection", func() bool { return proxy.Accepted() == i+2 })
	}
	f.Put("second")
	settled(t, f)
	eventually(t, "the lines", func() bool { return len(s.got()) == 2 })
	if st, _ := out.Link(); !errors.Is(st.Cause, errPeerClosed) {
		t.Errorf("the last connection ended for %v", st.Cause)
	}
}

func TestTheOtherDestinationStandsIn(t *testing.T) {
	first := listen(t, "tcp", "127.0.0.1:0")
	path := filepath.Join(t.TempDir(), "s")
	second := newSink(t, listen(t, "unix", path))
	f, out := deliver(t, settings("tcp://"+first.Addr().String(), "unix://"+path), Options{})
	first.Close()
	f.Put("hello")
	settled(t, f)
	if st, _ := out.Link(); st.Endpoint != "unix://"+path {
		t.Errorf("delivered to %s", st.Endpoint)
	}
	eventually(t, "the line", func() bool { return len(second.got()) == 1 })
}

func TestPeerThatTalksBackLosesNothingAtTheEnd(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0")
	got := make(chan int, 1)
	done := make(chan struct{})
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	go func() { // chatty, and slow to read
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		buf := make([]byte, 1<<20)
		total := 0
		for {
			c.Write(make([]byte, 1000))
			time.Sleep(time.Millisecond)
			n, err := c.Read(buf[:4096])
			total += n
			if err != nil {
				got <- total
				return
			}
		}
	}()
	f, _ := deliver(t, settings("tcp://"+l.Addr().String()), Options{})
	want := sequence(0, 10_000)
	f.Put(want...)
	settled(t, f) // its kernel has them
	if err := f.Route.Stop("out"); err != nil {
		t.Fatal(err)
	}
	if n := <-got; n != 10_000*(len(want[0])+1) {
		t.Errorf("%d bytes arrived, want %d", n, 10_000*(len(want[0])+1))
	}
}

func TestSlowPeerGetsAllInOrder(t *testing.T) {
	s := newSink(t, listen(t, "tcp", "127.0.0.1:0"))
	proxy := faultnet.New(t, s.l.Addr().String())
	proxy.SetRate(1 << 20)
	proxy.SetLatency(20 * time.Millisecond)
	proxy.SetBuffer(4096)
	f, _ := deliver(t, settings("tcp://"+proxy.Addr()), Options{})
	want := sequence(0, 5_000)
	f.Put(want...)
	settled(t, f)
	eventually(t, "all lines", func() bool { return len(s.got()) >= len(want) })
	if again := expectAll(t, s.got(), want); again != 0 {
		t.Errorf("%d came again", again)
	}
}

func TestPeerThatRestartsUnderLoadGetsAllInOrder(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0")
	s := newSink(t, l)
	f, _ := deliver(t, settings("tcp://"+l.Addr().String()), Options{})
	var want []string
	for i := range 20 {
		part := sequence(i*1000, (i+1)*1000)
		want = append(want, part...)
		f.Put(part...)
		settled(t, f) // and read, so that what the peer's kernel has is not lost with it
		eventually(t, "the lines", func() bool { return len(s.got()) >= len(want) })
		s.cut()
	}
	expectAll(t, s.got(), want)
}
