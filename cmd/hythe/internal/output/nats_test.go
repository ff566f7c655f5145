package output

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/link"
)

func TestNATS_Delivers(t *testing.T) {
	s := startNATS(t, "")
	st := s.create(s.admin(), nil)
	c := natsConfig("nats://" + s.address())
	c.Subject = "log.{input}.{key}.{source}"
	b := deliverToNATS(t, c)
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	b.PutMessages(
		relay.Message{ID: []byte("id-1"), Received: at, Source: []byte("in 192.0.2.1:5"), Key: []byte("a b.*\r\n>"), Body: []byte("one")},
		relay.Message{ID: []byte("id-2"), Received: at, Body: []byte{}},
		relay.Message{ID: []byte("id-1"), Received: at, Body: []byte("a repetition")},
	)
	b.settled(t)
	msgs := stored(t, st)
	want(t, st, "one", "")
	if got, want := msgs[0].Subject, "log.in.a_b_____.in_192_0_2_1_5"; got != want {
		t.Errorf("subject %s, want %s", got, want)
	}
	if got, want := msgs[1].Subject, "log._._._"; got != want && !strings.HasPrefix(got, "log.") {
		t.Errorf("subject %s, want %s", got, want)
	}
	h := msgs[0].Header
	if h.Get("Nats-Msg-Id") != "id-1" || h.Get(headerSource) != "in 192.0.2.1:5" || h.Get(headerKey) != "a b.*  >" || h.Get(headerReceived) != "2026-01-02T03:04:05.000000006Z" {
		t.Errorf("header %v", h)
	}
	if b.Delivered() != 3 {
		t.Errorf("%d delivered", b.Delivered())
	}
}

func TestNATS_KeepsOrderAndFillsBatches(t *testing.T) {
	s := startNATS(t, "")
	st := s.create(s.admin(), nil)
	c := natsConfig("nats://" + s.address())
	c.BatchMessages = 64
	b := deliverToNATS(t, c)
	msgs := numbered(1500)
	b.Put(msgs...)
	b.settled(t)
	want(t, st, msgs...)
}

// The server is killed and started again under load. Nothing is lost, and the
// stream drops by its id what comes twice.
func TestNATS_ServerRestartsUnderLoad(t *testing.T) {
	const restarts, n = 10, 300
	s := startNATS(t, "")
	s.create(s.admin(), nil)
	c := natsConfig("nats://" + s.address())
	c.BatchMessages = 20
	b := deliverToNATS(t, c)
	var msgs []string
	for i := range restarts {
		for k := range n {
			msgs = append(msgs, fmt.Sprintf("%d-%d", i, k))
		}
		before := b.Delivered()
		b.Put(msgs[len(msgs)-n:]...)
		for end := time.Now().Add(20 * time.Second); b.Delivered() < before+n/4; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d delivered; link %v", b.Delivered(), b.out.L.State())
			}
		}
		s.kill()
		s.start()
	}
	b.settled(t)
	st, err := s.admin().Stream(t.Context(), "LOG")
	if err != nil {
		t.Fatal(err)
	}
	all := stored(t, st)
	seen := make(map[string]bool)
	var order []string
	for _, m := range all {
		if id := m.Header.Get("Nats-Msg-Id"); !seen[id] {
			seen[id] = true
			order = append(order, string(m.Data))
		}
	}
	if !slices.Equal(order, msgs) {
		t.Errorf("%d messages in the stream, want %d in order", len(order), len(msgs))
	}
	if dead := b.Dead(); len(dead) > 0 {
		t.Errorf("%d dead letters: %s", len(dead), dead[0].Cause)
	}
	t.Logf("%d messages, %d handed out again, %d in the stream twice", len(msgs), b.Again(), len(all)-len(order))
}

func TestNATS_StreamMissingAndThenCreated(t *testing.T) {
	s := startNATS(t, "")
	b := deliverToNATS(t, natsConfig("nats://"+s.address()))
	b.Put("a", "b")
	b.troubled(t, func(err error) bool {
		return errors.Is(err, jetstream.ErrStreamNotFound) && strings.Contains(err.Error(), "there is no stream LOG")
	})
	if p := b.out.L.State().Phase; p != link.Failed && p != link.Connecting {
		t.Errorf("link is %v", p)
	}
	st := s.create(s.admin(), nil)
	b.settled(t)
	want(t, st, "a", "b")
}

func TestNATS_StreamDeletedMeanwhile(t *testing.T) {
	s := startNATS(t, "")
	js := s.admin()
	s.create(js, nil)
	b := deliverToNATS(t, natsConfig("nats://"+s.address()))
	b.Put("a")
	b.settled(t)
	if err := js.DeleteStream(t.Context(), "LOG"); err != nil {
		t.Fatal(err)
	}
	b.Put("b", "c")
	b.troubled(t, func(err error) bool { return errors.Is(err, jetstream.ErrStreamNotFound) })
	st := s.create(js, nil)
	b.settled(t)
	want(t, st, "b", "c")
	if dead := b.Dead(); len(dead) > 0 {
		t.Errorf("%d dead letters", len(dead))
	}
}

func TestNATS_SubjectOfAnotherStream(t *testing.T) {
	s := startNATS(t, "")
	js := s.admin()
	s.create(js, nil)
	other := s.create(js, func(c *jetstream.StreamConfig) { c.Name, c.Subjects = "OTHER", []string{"other"} })
	c := natsConfig("nats://" + s.address())
	c.Subject = "other"
	b := deliverToNATS(t, c)
	b.Put("a")
	b.troubled(t, func(err error) bool {
		api, ok := errors.AsType[*jetstream.APIError](err)
		return ok && api.ErrorCode == streamNotMatch
	})
	for e := range b.out.L.Events(t.Context()) {
		if e.Phase == link.Failed {
			break
		}
	}
	want(t, other)
	if b.Backlog() != 1 {
		t.Errorf("backlog %d", b.Backlog())
	}
}

func TestNATS_StreamFullAndThenPurged(t *testing.T) {
	for name, limit := range map[string]func(c *jetstream.StreamConfig){
		"messages": func(c *jetstream.StreamConfig) { c.MaxMsgs = 10 },
		"bytes":    func(c *jetstream.StreamConfig) { c.MaxBytes = 2000 },
	} {
		t.Run(name, func(t *testing.T) {
			s := startNATS(t, "")
			st := s.create(s.admin(), limit)
			b := deliverToNATS(t, natsConfig("nats://"+s.address()))
			msgs := numbered(25)
			b.Put(msgs...)
			b.troubled(t, func(err error) bool { return strings.Contains(err.Error(), "maximum "+name+" exceeded") })
			if p := b.out.L.State().Phase; p == link.Failed {
				t.Errorf("link is %v", p)
			}
			var got []string
			full := len(stored(t, st)) - 1 // the next ones have longer ids
			for end := time.Now().Add(20 * time.Second); b.Delivered() < len(msgs) && time.Now().Before(end); time.Sleep(time.Millisecond) {
				part := stored(t, st)
				if len(part) < max(full, 1) {
					continue
				}
				got = append(got, dataOf(part)...)
				if err := st.Purge(t.Context(), jetstream.WithPurgeSequence(part[len(part)-1].Sequence+1)); err != nil {
					t.Fatal(err)
				}
			}
			b.settled(t)
			got = append(got, dataOf(stored(t, st))...)
			// With room made while a batch is on its way its messages may overtake others.
			if slices.Sort(got); !slices.Equal(got, msgs) {
				t.Errorf("got %q", got)
			}
			if dead := b.Dead(); len(dead) > 0 {
				t.Errorf("%d dead letters", len(dead))
			}
		})
	}
}

// What the server takes no message as large as, and what the stream does not.
func TestNATS_TooLargeIsADeadLetter(t *testing.T) {
	for name, test := range map[string]struct {
		conf   string
		change func(c *jetstream.StreamConfig)
		cause  string
	}{
		"server": {"max_payload: 4096", nil, "maximum payload exceeded"},
		"stream": {"", func(c *jetstream.StreamConfig) { c.MaxMsgSize = 4096 }, "message size exceeds maximum allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			s := startNATS(t, test.conf)
			st := s.create(s.admin(), test.change)
			b := deliverToNATS(t, natsConfig("nats://"+s.address()))
			big := strings.Repeat("x", 5000)
			b.Put("a", big, "b", "c", big)
			b.settled(t)
			want(t, st, "a", "b", "c")
			dead := b.Dead()
			if !slices.Equal(bodiesOf(dead), []string{big, big}) {
				t.Fatalf("%d dead letters", len(dead))
			}
			if !strings.Contains(string(dead[0].Cause), test.cause) {
				t.Errorf("cause %q", dead[0].Cause)
			}
			if b.Again() > 0 {
				t.Errorf("%d handed out again", b.Again())
			}
		})
	}
}

func TestNATS_WrongCredentials(t *testing.T) {
	s := startNATS(t, "authorization { users: [ {user: me, password: right} ] }")
	st := s.create(s.admin(nats.UserInfo("me", "right")), nil)
	b := deliverToNATS(t, natsConfig("nats://me:wrong@"+s.address()))
	b.Put("a")
	b.troubled(t, func(err error) bool { return errors.Is(err, nats.ErrAuthorization) })
	for e := range b.out.L.Events(t.Context()) {
		if strings.Contains(e.String()+e.Endpoint, "wrong") {
			t.Errorf("%v shows the password", e)
		}
		if e.Phase == link.Failed {
			break
		}
	}
	if b.Backlog() != 1 {
		t.Errorf("backlog %d", b.Backlog())
	}
	want(t, st)
	// The right one is taken.
	b = deliverToNATS(t, natsConfig("nats://me:right@"+s.address()))
	b.Put("b")
	b.settled(t)
	want(t, st, "b")
}

func TestNATS_NotAllowedToPublish(t *testing.T) {
	s := startNATS(t, `authorization { users: [
		{user: admin, password: right}
		{user: me, password: right, permissions: { publish: "$JS.API.>" }}
	] }`)
	st := s.create(s.admin(nats.UserInfo("admin", "right")), nil)
	b := deliverToNATS(t, natsConfig("nats://me:right@"+s.address()))
	b.Put("a")
	for e := range b.out.L.Events(t.Context()) {
		if e.Phase == link.Failed {
			if !errors.Is(e.Cause, nats.ErrPermissionViolation) {
				t.Errorf("cause %v", e.Cause)
			}
			break
		}
	}
	want(t, st)
	if b.Backlog() != 1 {
		t.Errorf("backlog %d", b.Backlog())
	}
}

func TestNATS_MissingCredentialsFile(t *testing.T) {
	c := natsConfig("nats://127.0.0.1:1")
	c.Credentials = filepath.Join(t.TempDir(), "none")
	b := deliverToNATS(t, c)
	b.troubled(t, func(err error) bool { return errors.Is(err, os.ErrNotExist) })
}

// The first server is away; the second stands in.
func TestNATS_SeveralServers(t *testing.T) {
	s := startNATS(t, "")
	st := s.create(s.admin(), nil)
	b := deliverToNATS(t, natsConfig("nats://127.0.0.1:1", "nats://"+s.address()))
	b.Put("a")
	b.settled(t)
	want(t, st, "a")
}

func TestNATS_RefusesConfigurations(t *testing.T) {
	for name, change := range map[string]func(c *config.Output){
		"no subject": func(c *config.Output) { c.Subject = "" },
		"wildcard":   func(c *config.Output) { c.Subject = "log.>" },
		"no host":    func(c *config.Output) { c.To = config.Strings{"nats://"} },
		"CA":         func(c *config.Output) { c.TLS = &config.TLS{CA: "/does/not/exist"} },
	} {
		c := natsConfig("nats://127.0.0.1:1")
		change(c)
		if out, err := newNATS(c, Options{}); err == nil || out != nil {
			t.Errorf("%s: %v, %v", name, out, err)
		}
	}
}

func TestNATS_Tokens(t *testing.T) {
	for s, want := range map[string]string{
		"": "_", "web-1_x": "web-1_x", "a.b": "a_b", "*": "_", ">": "_", " \t\r\n": "____", "é\xff": "__", "$SYS": "_SYS",
		strings.Repeat("k", 1000): strings.Repeat("k", maxToken),
	} {
		if got := token(s); got != want {
			t.Errorf("token(%q) = %q, want %q", s, got, want)
		}
	}
}
