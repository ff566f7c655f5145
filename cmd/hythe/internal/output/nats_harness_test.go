package output

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay/relaytest"
)

// A natsServer is a process of nats-server on a port of its own.
type natsServer struct {
	t      testing.TB
	binary string
	dir    string
	port   int
	cmd    *exec.Cmd
	exited chan struct{}
}

// findNATS returns where nats-server is; tests that need it do not run without.
func findNATS(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"nats-server", "/usr/sbin/nats-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("no nats-server (Debian: apt-get install nats-server)")
	}
	t.Skip("no nats-server (Debian: apt-get install nats-server)")
	return ""
}

// startNATS starts a server with JetStream. conf is added to its configuration.
func startNATS(t testing.TB, conf string) *natsServer {
	t.Helper()
	s := &natsServer{t: t, binary: findNATS(t), dir: t.TempDir()}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.port = ln.Addr().(*net.TCPAddr).Port
	ln.Close()
	text := fmt.Sprintf("listen: 127.0.0.1:%d\njetstream { store_dir: %q }\n%s\n", s.port, s.dir, conf)
	if err := os.WriteFile(s.conf(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *natsServer) conf() string { return filepath.Join(s.dir, "nats.conf") }

// start starts the process, and returns when it takes connections.
func (s *natsServer) start() {
	s.t.Helper()
	s.cmd = exec.Command(s.binary, "-c", s.conf(), "-l", filepath.Join(s.dir, "log"))
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.exited = make(chan struct{})
	go func() {
		defer close(s.exited)
		s.cmd.Wait()
	}()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", s.address())
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			s.t.Fatalf("nats-server does not start: %v\n%s", err, log)
		}
	}
}

// kill ends the process as kill -9 does.
func (s *natsServer) kill() {
	s.cmd.Process.Kill()
	<-s.exited
}

func (s *natsServer) address() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

// admin returns a connection of the test's own. It ends with the test.
func (s *natsServer) admin(options ...nats.Option) jetstream.JetStream {
	s.t.Helper()
	nc, err := nats.Connect("nats://"+s.address(), append(options, nats.NoReconnect())...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		s.t.Fatal(err)
	}
	return js
}

// create makes the stream LOG, of all subjects that begin with log.
func (s *natsServer) create(js jetstream.JetStream, change func(*jetstream.StreamConfig)) jetstream.Stream {
	s.t.Helper()
	c := jetstream.StreamConfig{Name: "LOG", Subjects: []string{"log.>"}, Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew}
	if change != nil {
		change(&c)
	}
	st, err := js.CreateStream(s.t.Context(), c)
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

// stored returns all that the stream has.
func stored(t testing.TB, st jetstream.Stream) []*jetstream.RawStreamMsg {
	t.Helper()
	info, err := st.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var msgs []*jetstream.RawStreamMsg
	for seq := info.State.FirstSeq; seq != 0 && seq <= info.State.LastSeq; seq++ {
		m, err := st.GetMsg(t.Context(), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			break // the server is about to have it
		}
		if err != nil {
			t.Fatal(seq, err)
		}
		msgs = append(msgs, m)
	}
	return msgs
}

func dataOf(msgs []*jetstream.RawStreamMsg) (list []string) {
	for _, m := range msgs {
		list = append(list, string(m.Data))
	}
	return list
}

// natsConfig is an output's configuration that is in a hurry.
func natsConfig(to ...string) *config.Output {
	return &config.Output{
		To: to, Subject: "log.all", Stream: "LOG", BatchMessages: 1000, BatchBytes: 1 << 20, Lanes: 1,
		Timeout: config.Duration(10 * time.Second), Retry: config.Duration(5 * time.Millisecond), RetryMax: config.Duration(50 * time.Millisecond),
	}
}

// toNATS is a route that delivers to NATS.
type toNATS struct {
	*relaytest.Fixture
	out *relay.Linked[*publisher]
}

func deliverToNATS(t testing.TB, c *config.Output) *toNATS {
	t.Helper()
	b := new(toNATS)
	b.Fixture = relaytest.NewWith(t, 1, func(int) (relay.Output, error) {
		out, err := newNATS(c, Options{Name: "nats"})
		if err == nil {
			b.out = out.(*relay.Linked[*publisher])
			b.out.L.Throttle.Attempts = -1
		}
		return out, err
	})
	return b
}

func (b *toNATS) settled(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := b.WaitSettled(ctx); err != nil {
		t.Fatalf("%d messages not settled: link %v", b.Backlog(), b.out.L.State())
	}
}

// troubled waits until the link has that cause.
func (b *toNATS) troubled(t testing.TB, is func(cause error) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for e := range b.out.L.Events(ctx) {
		if e.Cause != nil && is(e.Cause) {
			return
		}
	}
	t.Fatalf("link %v", b.out.L.State())
}

// want checks what the stream has.
func want(t testing.TB, st jetstream.Stream, want ...string) {
	t.Helper()
	if got := dataOf(stored(t, st)); !slices.Equal(got, want) {
		t.Errorf("stream has %d messages: %.500q, want %d: %.500q", len(got), got, len(want), want)
	}
}
