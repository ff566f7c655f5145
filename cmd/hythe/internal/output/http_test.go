package output

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"encoding/pem"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay/relaytest"
	"github.com/hythe-go/hythe/link"
)

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "because of this", code)
	}
}

func TestHTTP_ConfirmsWhatIsAnsweredWith2xx(t *testing.T) {
	for _, code := range []int{200, 201, 202, 204, 207} {
		v := &receiver{}
		v.answer = func(w http.ResponseWriter, _ *http.Request, p posted) bool {
			w.WriteHeader(code)
			return false
		}
		inBubble(t, nil, v, func(t *testing.T, b *bench) {
			b.Put("a", "b", "c")
			b.settled(t)
			b.delivered(t, "a", "b", "c")
			if n := len(b.all()); n != 1 || b.Delivered() != 3 {
				t.Errorf("%d: %d requests, %d delivered", code, n, b.Delivered())
			}
		})
	}
}

func TestHTTP_BuriesWhatIsNotWanted(t *testing.T) {
	for _, code := range []int{400, 413, 415, 422} {
		v := &receiver{answer: func(w http.ResponseWriter, r *http.Request, p posted) bool {
			if slices.Contains(p.lines, "bad") {
				status(code)(w, r)
				return true
			}
			return false
		}}
		inBubble(t, nil, v, func(t *testing.T, b *bench) {
			b.Put("a", "b", "bad", "c")
			if d := b.settled(t); d > time.Second {
				t.Errorf("%d: it took %v", code, d)
			}
			if got, want := b.lines(), []string{"a", "b", "c"}; !slices.Equal(got, want) {
				t.Errorf("%d: taken %q, want %q", code, got, want)
			}
			dead := b.Dead()
			if len(dead) != 1 || string(dead[0].Body) != "bad" {
				t.Fatalf("%d: dead letters %q", code, bodiesOf(dead))
			}
			if want := fmt.Sprintf("%d %s: because of this", code, http.StatusText(code)); string(dead[0].Cause) != want {
				t.Errorf("cause %q, want %q", dead[0].Cause, want)
			}
		})
	}
}

func TestHTTP_SendsAgain(t *testing.T) {
	for _, code := range []int{408, 409, 421, 425, 429, 500, 502, 503, 504, 599} {
		inBubble(t, nil, &receiver{answer: once(2, status(code))}, func(t *testing.T, b *bench) {
			b.Put("a", "b")
			if d := b.settled(t); d > 10*time.Second {
				t.Errorf("%d: it took %v", code, d)
			}
			b.delivered(t, "a", "b")
			if posts := b.all(); len(posts) != 3 || posts[0].key != posts[2].key {
				t.Errorf("%d: requests %v", code, posts)
			}
			if b.Delivered() != 2 {
				t.Errorf("%d: %d delivered", code, b.Delivered())
			}
		})
	}
}

// Nothing is dropped, the link shows as Failed, and asks seldom.
func TestHTTP_PausesAndAlarms(t *testing.T) {
	for _, code := range []int{301, 302, 303, 307, 308, 401, 402, 403, 404, 405, 406, 407, 410, 411, 414, 426, 431, 451} {
		refuse := func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			status(code)(w, r)
		}
		inBubble(t, nil, &receiver{answer: once(1, refuse)}, func(t *testing.T, b *bench) {
			b.Put("a", "b")
			time.Sleep(30 * time.Second)
			if st := b.out.L.State(); st.Phase != link.Failed || !strings.HasPrefix(st.Cause.Error(), strconv.Itoa(code)) {
				t.Errorf("%d: link %v", code, st)
			}
			if n := len(b.all()); n != 1 {
				t.Errorf("%d: %d requests in 30 s", code, n)
			}
			if d := b.settled(t); d < probe/2 || d > 2*probe {
				t.Errorf("%d: asked again after %v", code, d)
			}
			b.delivered(t, "a", "b")
		})
	}
}

func TestHTTP_ObeysRetryAfter(t *testing.T) {
	for _, test := range []struct {
		name        string
		value       func() string
		least, most time.Duration
	}{
		{"seconds", func() string { return "120" }, 2 * time.Minute, 2*time.Minute + 15*time.Second},
		{"date", func() string { return time.Now().Add(10 * time.Minute).UTC().Format(http.TimeFormat) }, 10*time.Minute - time.Second, 11 * time.Minute},
		{"date gone by", func() string { return time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat) }, 0, 3 * time.Second},
		{"zero", func() string { return "0" }, 0, 3 * time.Second},
		{"a year", func() string { return "31536000" }, maxRetryAfter, maxRetryAfter * 6 / 5},
		{"nonsense", func() string { return "soon" }, 0, 3 * time.Second},
		{"negative", func() string { return "-5" }, 0, 3 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, code := range []int{429, 503} {
				inBubble(t, nil, &receiver{answer: once(1, func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Retry-After", test.value())
					status(code)(w, r)
				})}, func(t *testing.T, b *bench) {
					b.Put("a")
					if d := b.settled(t); d < test.least || d > test.most {
						t.Errorf("sent again after %v, want %v to %v", d, test.least, test.most)
					}
					b.delivered(t, "a")
				})
			}
		})
	}
}

// Whichever messages are not wanted, exactly these become dead letters, all others
// arrive, in order, and none twice.
func TestHTTP_HalvingFindsTheGuilty(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 7))
		n := 1 + r.IntN(70)
		share := []float64{0, 0.03, 0.3, 0.9, 1}[r.IntN(5)]
		guilty := make(map[string]bool)
		var good, bad []string
		msgs := numbered(n)
		for _, m := range msgs {
			if guilty[m] = r.Float64() < share; guilty[m] {
				bad = append(bad, m)
			} else {
				good = append(good, m)
			}
		}
		var flaky atomic.Int64
		v := &receiver{answer: func(w http.ResponseWriter, req *http.Request, p posted) bool {
			switch {
			case seed%2 == 1 && flaky.Add(1)%5 == 0:
				status(503)(w, req)
				return true
			case slices.ContainsFunc(p.lines, func(s string) bool { return guilty[s] }):
				status([]int{400, 413, 415, 422}[seed%4])(w, req)
				return true
			}
			return false
		}}
		configure := func(c *config.Output) { c.BatchMessages = 1 + r.IntN(40) }
		inBubble(t, configure, v, func(t *testing.T, b *bench) {
			b.Put(msgs...)
			b.settled(t)
			if got := b.lines(); !slices.Equal(got, good) {
				t.Errorf("seed %d: taken %q, want %q", seed, got, good)
			}
			if got := bodiesOf(b.Dead()); !slices.Equal(got, bad) {
				t.Errorf("seed %d: dead %q, want %q", seed, got, bad)
			}
		})
	}
}

// The server took the batch, and its answer did not come. More messages have
// arrived since.
func TestHTTP_SendsABatchAgainAsItWas(t *testing.T) {
	v := &receiver{}
	v.answer = once(3, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	inBubble(t, nil, v, func(t *testing.T, b *bench) {
		b.Put("a", "b", "c")
		synctest.Wait()
		b.Put("d", "e")
		b.settled(t)
		posts := b.all()
		if len(posts) != 5 {
			t.Fatalf("requests: %v", posts)
		}
		first := posts[0]
		for _, p := range posts[1:4] {
			if p.key != first.key || !slices.Equal(p.lines, first.lines) {
				t.Errorf("sent again: %q with key %s, want %q with %s", p.lines, p.key, first.lines, first.key)
			}
		}
		if posts[4].key == first.key || len(first.key) != 32 {
			t.Errorf("keys %q and %q", first.key, posts[4].key)
		}
		b.delivered(t, "a", "b", "c", "d", "e")
		if b.Again() < 9 {
			t.Errorf("%d counted as handed out again", b.Again())
		}
	})
}

func TestHTTP_IdempotencyKeyNamesAllMessages(t *testing.T) {
	batch := func(ids ...string) string {
		msgs := make([]relay.Message, len(ids))
		for i := range ids {
			msgs[i].ID = []byte(ids[i])
		}
		return idempotencyKey(msgs)
	}
	seen := map[string]bool{batch("a", "b", "c"): true}
	if !seen[batch("a", "b", "c")] {
		t.Error("the same batch has another key")
	}
	for _, other := range [][]string{{"a", "b"}, {"a", "x", "c"}, {"a", "c", "b"}, {"ab", "c", ""}, {"abc"}} {
		if key := batch(other...); seen[key] {
			t.Errorf("%q has the key of another batch", other)
		} else {
			seen[key] = true
		}
	}
}

func TestHTTP_HangingServer(t *testing.T) {
	inBubble(t, nil, &receiver{answer: once(1, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })},
		func(t *testing.T, b *bench) {
			b.Put("a")
			if d := b.settled(t); d < 30*time.Second || d > 35*time.Second {
				t.Errorf("sent again after %v, want 30 s and a pause", d)
			}
			b.delivered(t, "a")
		})
}

// The status is the answer; a body that does not end holds nothing up.
func TestHTTP_AnswerThatDoesNotEnd(t *testing.T) {
	for _, code := range []int{200, 400} {
		v := &receiver{}
		v.answer = func(w http.ResponseWriter, r *http.Request, _ posted) bool {
			w.WriteHeader(code)
			io.WriteString(w, "well")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return true
		}
		inBubble(t, nil, v, func(t *testing.T, b *bench) {
			b.Put("a")
			if d := b.settled(t); d > 2*time.Second {
				t.Errorf("%d: settled after %v", code, d)
			}
			if dead := b.Dead(); code == 400 && (len(dead) != 1 || string(dead[0].Cause) != "400 Bad Request: well") || code == 200 && len(dead) > 0 {
				t.Errorf("%d: dead letters %v", code, dead)
			}
		})
	}
}

func TestHTTP_HugeAnswer(t *testing.T) {
	var written atomic.Int64
	v := &receiver{answer: func(w http.ResponseWriter, r *http.Request, _ posted) bool {
		w.WriteHeader(400)
		for chunk := []byte(strings.Repeat("sorry\xff\n", 1000)); ; {
			n, err := w.Write(chunk)
			written.Add(int64(n))
			if err != nil {
				return true
			}
		}
	}}
	inBubble(t, nil, v, func(t *testing.T, b *bench) {
		b.Put("a")
		b.settled(t)
		dead := b.Dead()
		if len(dead) != 1 || len(dead[0].Cause) > 600 || !strings.Contains(string(dead[0].Cause), "sorry") {
			t.Errorf("dead letters %.2000v", dead)
		}
		synctest.Wait()
		if n := written.Load(); n > 1<<20 {
			t.Errorf("read %d bytes of the answer", n)
		}
	})
}

func TestHTTP_OneRequestAtATimeOverOneConnection(t *testing.T) {
	var underWay, most atomic.Int64
	v := &receiver{}
	v.answer = func(http.ResponseWriter, *http.Request, posted) bool {
		if n := underWay.Add(1); n > most.Load() {
			most.Store(n)
		}
		time.Sleep(time.Second)
		underWay.Add(-1)
		return false
	}
	conns := make(map[string]bool)
	inBubble(t, func(c *config.Output) { c.BatchMessages = 7 }, v, func(t *testing.T, b *bench) {
		inner := v.answer
		v.answer = func(w http.ResponseWriter, r *http.Request, p posted) bool {
			conns[r.RemoteAddr] = true
			return inner(w, r, p)
		}
		msgs := numbered(100)
		b.Put(msgs...)
		b.settled(t)
		b.delivered(t, msgs...)
		if most.Load() != 1 || len(conns) != 1 || b.dialled.Load() != 1 || len(b.all()) < 15 {
			t.Errorf("%d requests at once, %d connections, %d requests", most.Load(), len(conns), len(b.all()))
		}
	})
}

// Batches that are too large become smaller for good; one message that is too
// large is a dead letter.
func TestHTTP_TooLargeBatchesBecomeSmaller(t *testing.T) {
	const limit = 500
	v := &receiver{answer: func(w http.ResponseWriter, r *http.Request, p posted) bool {
		if r.ContentLength > limit {
			status(413)(w, r)
			return true
		}
		return false
	}}
	inBubble(t, nil, v, func(t *testing.T, b *bench) {
		msgs := numbered(1000)
		msgs[500] = strings.Repeat("x", limit+1)
		b.Put(msgs...)
		b.settled(t)
		if dead := bodiesOf(b.Dead()); len(dead) != 1 || dead[0] != msgs[500] {
			t.Errorf("dead letters %.1000q", dead)
		}
		if got := b.lines(); !slices.Equal(got, slices.Delete(slices.Clone(msgs), 500, 501)) {
			t.Errorf("taken %d", len(got))
		}
		before := len(b.all())
		b.Put(numbered(1000)...)
		b.settled(t)
		refused := 0
		for _, p := range b.all()[before:] {
			if len(strings.Join(p.lines, "\n"))+1 > limit {
				refused++
			}
		}
		if refused > 0 {
			t.Errorf("%d batches were too large still", refused)
		}
	})
}

func TestHTTP_StandbyAndBack(t *testing.T) {
	v, second := &receiver{}, &receiver{}
	configure := func(c *config.Output) { c.To = config.Strings{"http://first/in", "http://second/in"} }
	inBubble(t, configure, v, func(t *testing.T, b *bench) {
		serveAt(t, b.network, "second:80", second)
		b.Put("a")
		b.settled(t)
		if got := second.lines(); !slices.Equal(got, []string{"a"}) {
			t.Fatalf("the second has %q", got)
		}
		serveAt(t, b.network, "first:80", v)
		time.Sleep(10 * time.Minute) // nothing to deliver meanwhile
		b.Put("b")
		b.settled(t)
		b.delivered(t, "b")
		if st := b.out.L.State(); st.Endpoint != "http://first/in" {
			t.Errorf("link %v", st)
		}
	})
}

func TestHTTP_OneOfTwoIsForbidden(t *testing.T) {
	v := &receiver{answer: func(w http.ResponseWriter, r *http.Request, _ posted) bool {
		status(403)(w, r)
		return true
	}}
	second := &receiver{}
	configure := func(c *config.Output) { c.To = config.Strings{"http://web/in", "http://second/in"} }
	inBubble(t, configure, v, func(t *testing.T, b *bench) {
		serveAt(t, b.network, "second:80", second)
		b.Put("a")
		if d := b.settled(t); d > time.Minute {
			t.Errorf("it took %v", d)
		}
		if got := second.lines(); !slices.Equal(got, []string{"a"}) {
			t.Errorf("the second has %q", got)
		}
	})
}

// A link is up when there is a server, and not before.
func TestHTTP_ServerAway(t *testing.T) {
	v := &receiver{}
	inBubble(t, func(c *config.Output) { c.To = config.Strings{"http://later:8080/in"} }, v, func(t *testing.T, b *bench) {
		time.Sleep(time.Minute)
		if st := b.out.L.State(); st.Phase == link.Up || st.Cause == nil {
			t.Errorf("link %v", st)
		}
		b.Put("a")
		time.Sleep(time.Hour)
		if b.Backlog() != 1 {
			t.Errorf("backlog %d", b.Backlog())
		}
		serveAt(t, b.network, "later:8080", v)
		if d := b.settled(t); d > time.Minute+time.Second {
			t.Errorf("it took %v", d)
		}
		b.delivered(t, "a")
	})
}

// A server closes connections that are silent. That is no failure.
func TestHTTP_SilentConnections(t *testing.T) {
	inBubble(t, nil, &receiver{}, func(t *testing.T, b *bench) {
		for i := range 5 {
			time.Sleep(time.Duration(i) * 20 * time.Minute)
			b.Put(strconv.Itoa(i))
			if d := b.settled(t); d > time.Second {
				t.Errorf("it took %v", d)
			}
		}
		b.delivered(t, "0", "1", "2", "3", "4")
		if s := b.out.L.Stats(); s.Attempts != 1 {
			t.Errorf("%d attempts", s.Attempts)
		}
	})
}

func TestHTTP_Lines(t *testing.T) {
	inBubble(t, func(c *config.Output) { c.Headers = map[string]string{"X-Api-Key": "k"} }, &receiver{}, func(t *testing.T, b *bench) {
		b.Put("a", "two\nlines", "ends in\r", "b")
		b.settled(t)
		if got := b.lines(); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("taken %q", got)
		}
		if dead := b.Dead(); len(dead) != 2 || string(dead[0].Cause) != errTwoLines.Error() {
			t.Errorf("dead letters %q", bodiesOf(dead))
		}
		h := b.all()[0].head
		if h.Get("X-Api-Key") != "k" || h.Get("Content-Type") != "text/plain; charset=utf-8" || h.Get("User-Agent") != "hythe" {
			t.Errorf("header %v", h)
		}
	})
}

func TestHTTP_NDJSON(t *testing.T) {
	inBubble(t, func(c *config.Output) { c.Format = "ndjson" }, &receiver{}, func(t *testing.T, b *bench) {
		at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
		b.PutMessages(
			relay.Message{ID: []byte("id-1"), Received: at, Source: []byte("in 192.0.2.1"), Key: []byte("k"), Body: []byte("<text>\n")},
			relay.Message{ID: []byte("id-2"), Received: at, Body: []byte{0xff, 0}},
		)
		b.settled(t)
		b.delivered(t,
			`{"id":"id-1","received":"2026-01-02T03:04:05.000000006Z","source":"in 192.0.2.1","key":"k","body":"<text>\n"}`,
			`{"id":"id-2","received":"2026-01-02T03:04:05.000000006Z","body_base64":"/wA="}`)
		var e relay.JSON
		if err := json.Unmarshal([]byte(b.lines()[0]), &e); err != nil || *e.Body != "<text>\n" {
			t.Error(err, e)
		}
		if kind := b.all()[0].head.Get("Content-Type"); kind != "application/x-ndjson" {
			t.Errorf("Content-Type %s", kind)
		}
	})
}

func TestHTTP_Single(t *testing.T) {
	inBubble(t, func(c *config.Output) { c.Format = "single" }, &receiver{}, func(t *testing.T, b *bench) {
		b.PutMessages(
			relay.Message{ID: []byte("id-1"), Source: []byte("in x"), Key: []byte("k\x01"), Body: []byte("one")},
			relay.Message{ID: []byte("id\n2"), Key: []byte("k"), Body: []byte("two")},
		)
		b.settled(t)
		b.delivered(t, "one", "two")
		posts := b.all()
		if h := posts[0].head; posts[0].key != "id-1" || h.Get("Hythe-Key") != "" || h.Get("Hythe-Source") != "in x" || h.Get("Hythe-Received") == "" {
			t.Errorf("header %v", h)
		}
		if h := posts[1].head; len(posts[1].key) != 32 || h.Get("Hythe-Key") != "k" {
			t.Errorf("header %v", h)
		}
	})
}

func TestHTTP_TokenIsReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write := func(s string) {
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("old\nnot this\n")
	v := &receiver{answer: func(w http.ResponseWriter, r *http.Request, _ posted) bool {
		if r.Header.Get("Authorization") != "Bearer new" {
			status(401)(w, r)
			return true
		}
		return false
	}}
	inBubble(t, func(c *config.Output) { c.TokenFile = file }, v, func(t *testing.T, b *bench) {
		b.Put("a")
		time.Sleep(10 * time.Second)
		if st := b.out.L.State(); st.Phase != link.Failed {
			t.Errorf("link %v", st)
		}
		if got := b.all()[0].head.Get("Authorization"); got != "Bearer old" {
			t.Errorf("Authorization: %s", got)
		}
		write("new\n")
		b.out.L.TryNow()
		if d := b.settled(t); d > time.Second {
			t.Errorf("it took %v", d)
		}
		b.delivered(t, "a")
	})
}

func TestHTTP_PasswordIsSentAndNotShown(t *testing.T) {
	v := &receiver{answer: func(w http.ResponseWriter, r *http.Request, _ posted) bool {
		if name, password, _ := r.BasicAuth(); name != "me" || password != "secret" {
			status(401)(w, r)
			return true
		}
		return false
	}}
	inBubble(t, func(c *config.Output) { c.To = config.Strings{"http://me:secret@web/in"} }, v, func(t *testing.T, b *bench) {
		b.Put("a")
		b.settled(t)
		b.delivered(t, "a")
		if st := b.out.L.State(); strings.Contains(st.String()+st.Endpoint, "secret") {
			t.Errorf("link %v", st)
		}
	})
	_, err := newHTTP(webConfig("http://me:secret@we b/"), Options{})
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
}

func TestHTTP_RefusesConfigurations(t *testing.T) {
	for name, change := range map[string]func(c *config.Output){
		"format": func(c *config.Output) { c.Format = "xml" },
		"host":   func(c *config.Output) { c.To = config.Strings{"http:///in"} },
		"token":  func(c *config.Output) { c.TokenFile = "/does/not/exist" },
		"CA":     func(c *config.Output) { c.TLS = &config.TLS{CA: "/does/not/exist"} },
	} {
		c := webConfig("http://web/in")
		change(c)
		if out, err := newHTTP(c, Options{}); err == nil || out != nil {
			t.Errorf("%s: %v, %v", name, out, err)
		}
	}
}

// Over TCP and TLS: the server goes away under load, again and again, and comes
// back at the same address. Nothing is lost, and batches that came twice are known
// by their keys.
func TestHTTP_ServerRestarts(t *testing.T) {
	const restarts, n = 8, 4000
	taken := make(chan struct{}, n)
	v := &receiver{answer: func(http.ResponseWriter, *http.Request, posted) bool {
		taken <- struct{}{}
		return false
	}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	srv := httptest.NewUnstartedServer(v)
	srv.Listener.Close()
	srv.Listener = ln
	srv.StartTLS()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	c := webConfig("https://" + address + "/in")
	c.TLS = &config.TLS{CA: ca}
	c.BatchMessages = 50
	c.Retry, c.RetryMax = config.Duration(5*time.Millisecond), config.Duration(20*time.Millisecond)
	f := relaytest.NewWith(t, 1, func(int) (relay.Output, error) { return newHTTP(c, Options{}) })
	msgs := numbered(n)
	for i := range restarts {
		f.Put(msgs[i*n/restarts : (i+1)*n/restarts]...)
		for range 3 {
			<-taken // and some more are under way
		}
		srv.CloseClientConnections()
		srv.Close()
		if ln, err = net.Listen("tcp", address); err != nil {
			t.Fatal(err)
		}
		srv = httptest.NewUnstartedServer(v)
		srv.Listener.Close()
		srv.Listener = ln
		srv.StartTLS()
	}
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := f.WaitSettled(ctx); err != nil {
		t.Fatalf("backlog %d: %v", f.Backlog(), err)
	}
	seen := make(map[string]bool)
	var got []string
	twice := 0
	for _, p := range v.all() {
		if seen[p.key] {
			twice++
			continue
		}
		seen[p.key] = true
		got = append(got, p.lines...)
	}
	if !slices.Equal(got, msgs) {
		t.Errorf("%d messages in order, want %d", len(got), n)
	}
	t.Logf("%d requests, of which %d came twice; %d messages handed out again", len(v.all()), twice, f.Again())
}
