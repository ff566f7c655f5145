package input

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay/relaytest"
	"github.com/hythe-go/hythe/fcgi"
	"github.com/hythe-go/hythe/httpd"
	"github.com/hythe-go/hythe/hythetest"
)

func handlerOf(t testing.TB, in *relay.Intake, change func(*config.Input)) *handler {
	t.Helper()
	h, err := NewHandler(conf(change), in)
	if err != nil {
		t.Fatal(err)
	}
	return h.(*handler)
}

// post asks a handler; fields are of the header.
func post(h http.Handler, body string, fields ...string) *httptest.ResponseRecorder {
	return send(h, http.MethodPost, "/in", body, fields...)
}

func send(h http.Handler, method, path, body string, fields ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	if r.Header.Get("Transfer-Encoding") == "chunked" {
		r.ContentLength = -1
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// An answer is what a request that was taken is answered with.
type answer struct {
	Messages    int
	First, Last string
}

func parseAnswer(t *testing.T, w *httptest.ResponseRecorder) (a answer) {
	t.Helper()
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	return a
}

func TestHandler_FindsTheMessages(t *testing.T) {
	for _, test := range []struct {
		kind, body string
		want       []string
	}{
		{"", "hello", []string{"hello"}},
		{"text/plain; charset=utf-8", "one\r\n\ntwo\n", []string{"one", "two"}},
		{"application/x-www-form-urlencoded", "as=curl&does", []string{"as=curl&does"}},
		{"application/x-ndjson", "{\"n\":1}\n\n 2 \r\n\"three\"", []string{`{"n":1}`, " 2 ", `"three"`}},
		{"application/json", "{\n\"n\":1}\n", []string{"{\n\"n\":1}\n"}},
		{"application/octet-stream", "a\nb\n", []string{"a\nb\n"}},
	} {
		f := relaytest.NewIntake(t)
		a := parseAnswer(t, post(handlerOf(t, f.Intake, nil), test.body, "Content-Type", test.kind))
		wantTaken(t, f, test.want...)
		got := f.Messages()
		if a.Messages != len(test.want) || a.First != string(got[0].ID) || a.Last != string(got[len(got)-1].ID) {
			t.Errorf("%s: answered %+v", test.kind, a)
		}
	}
}

func TestHandler_SaysWhatIsWrong(t *testing.T) {
	tokenFile := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(tokenFile, []byte("secret\nnot this\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const (
		kind  = "Content-Type"
		auth  = "Authorization"
		jsonl = "application/x-ndjson"
	)
	for _, test := range []struct {
		name, method, path, body string
		fields                   []string
		status                   int
	}{
		{"another path", "POST", "/", "x", nil, 404},
		{"GET", "GET", "/in", "", nil, 405},
		{"HEAD", "HEAD", "/in", "", nil, 405},
		{"no token", "POST", "/in", "x", []string{auth, ""}, 401},
		{"another token", "POST", "/in", "x", []string{auth, "Bearer secre"}, 401},
		{"another scheme", "POST", "/in", "x", []string{auth, "Basic secret"}, 401},
		{"the second line", "POST", "/in", "x", []string{auth, "Bearer not this"}, 401},
		{"any case", "POST", "/in", "x", []string{auth, "bearer secret"}, 200},
		{"nothing", "POST", "/in", "", nil, 400},
		{"only empty lines", "POST", "/in", "\n\r\n", nil, 400},
		{"no JSON", "POST", "/in", "{", []string{kind, "application/json"}, 400},
		{"no JSON in line 2", "POST", "/in", "1\n{\n", []string{kind, jsonl}, 400},
		{"too large a body", "POST", "/in", strings.Repeat("1234567\n", 16), nil, 413},
		{"the largest body", "POST", "/in", strings.Repeat("1234567\n", 16)[:100], nil, 200},
		{"too large a message", "POST", "/in", strings.Repeat("x", 51), nil, 413},
		{"the largest message", "POST", "/in", strings.Repeat("x", 50), nil, 200},
		{"too large a body of unknown length", "POST", "/in", strings.Repeat("1234567\n", 16), []string{"Transfer-Encoding", "chunked"}, 413},
		{"compressed", "POST", "/in", "x", []string{"Content-Encoding", "gzip"}, 415},
		{"too long a key", "POST", "/in", "x", []string{"Idempotency-Key", strings.Repeat("k", 250)}, 400},
		{"too long an ordering key", "POST", "/in", "x", []string{"Hythe-Key", strings.Repeat("k", 1025)}, 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := relaytest.NewIntake(t)
			h := handlerOf(t, f.Intake, func(c *config.Input) { c.TokenFile, c.MaxBody, c.MaxMessage = tokenFile, 100, 50 })
			w := send(h, test.method, test.path, test.body, append([]string{auth, "Bearer secret"}, test.fields...)...)
			if w.Code != test.status {
				t.Errorf("status %d, want %d: %s", w.Code, test.status, w.Body)
			}
			if taken := len(f.Messages()) > 0; taken != (test.status == 200) {
				t.Errorf("taken: %v", taken)
			}
			switch test.status {
			case 401:
				if w.Header().Get("WWW-Authenticate") != "Bearer" {
					t.Error("no WWW-Authenticate")
				}
			case 405:
				if w.Header().Get("Allow") != "POST" || !strings.Contains(w.Body.String(), "POST") {
					t.Errorf("does not say what to do: %v, %s", w.Header(), w.Body)
				}
			}
			if got := h.reading.Load(); got != 0 {
				t.Errorf("%d bytes are still counted", got)
			}
		})
	}
}

func TestHandler_NoRoute(t *testing.T) {
	in := onlyPrefix(t, "yes")
	h := handlerOf(t, in, nil)
	if w := post(h, "yes\nno\n"); w.Code != 422 || !strings.Contains(w.Body.String(), "message 2 of 2") {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
	if n, _, _, _ := in.Counts(); n != 0 {
		t.Errorf("%d were taken", n)
	}
	if w := post(h, "yes\n"); w.Code != 200 {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}

func TestHandler_RoutesMayMatchOnTheHeader(t *testing.T) {
	in := relay.NewIntake("in", relay.NewIDs())
	r, err := relay.OpenRoute("some", relay.RouteOptions{Match: relay.Match{Header: map[string]string{"X-To": "us"}}, Discard: true})
	if err != nil {
		t.Fatal(err)
	}
	in.SetRoutes([]*relay.Route{r})
	h := handlerOf(t, in, nil)
	if w := post(h, "x", "X-To", "us"); w.Code != 200 {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
	if w := post(h, "x", "X-To", "them"); w.Code != 422 {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}

func TestHandler_TroubleIsToBeTriedAgain(t *testing.T) {
	for _, trouble := range []error{syscall.ENOSPC, errors.New("disk on fire")} {
		f := relaytest.NewIntake(t)
		h := handlerOf(t, f.Intake, nil)
		f.Fail(trouble)
		if w := post(h, "x"); w.Code != 503 || w.Header().Get("Retry-After") == "" {
			t.Errorf("%v: status %d, %v", trouble, w.Code, w.Header())
		}
		f.Fail(nil)
		for post(h, "y").Code != 200 { // the spool gives itself a moment
			time.Sleep(10 * time.Millisecond)
		}
		wantTaken(t, f, "y")
	}
}

func TestHandler_AnswersNothingBeforeItIsDurable(t *testing.T) {
	inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
		h := handlerOf(t, f.Intake, nil)
		release := f.Hold()
		done := make(chan int, 1)
		go func() { done <- post(h, "x").Code }()
		select {
		case status := <-done:
			t.Errorf("answered %d before it was durable", status)
		case <-time.After(time.Minute):
			release()
			if status := <-done; status != 200 {
				t.Errorf("status %d", status)
			}
		}
	})
}

func TestHandler_SourceAndOrderingKey(t *testing.T) {
	f := relaytest.NewIntake(t)
	post(handlerOf(t, f.Intake, nil), "x\ny", "Hythe-Key", "order 7")
	for _, m := range f.Messages() {
		if string(m.Key) != "order 7" || string(m.Source) != "in 192.0.2.1" {
			t.Errorf("key %q, source %q", m.Key, m.Source)
		}
	}
}

func TestHandler_IdempotencyKeyIsTakenOnce(t *testing.T) {
	f := relaytest.NewIntake(t)
	h := handlerOf(t, f.Intake, nil)
	first := post(h, "a\nb", "Idempotency-Key", "k1")
	again := post(h, "a\nb", "Idempotency-Key", "k1")
	if first.Body.String() != again.Body.String() || again.Code != 200 {
		t.Errorf("answered %s, then %d %s", first.Body, again.Code, again.Body)
	}
	post(h, "c", "Idempotency-Key", "k2")
	wantTaken(t, f, "a", "b", "c")
	var ids []string
	for _, m := range f.Messages() {
		ids = append(ids, string(m.ID))
	}
	if !slices.Equal(ids, []string{"k1-0", "k1-1", "k2"}) {
		t.Errorf("ids %q", ids)
	}
	if _, _, _, repeated := f.Intake.Counts(); repeated != 2 {
		t.Errorf("%d were repeated, want 2", repeated)
	}
}

func TestHandler_RepetitionWaitsForTheFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
		h := handlerOf(t, f.Intake, nil)
		release := f.Hold()
		var work sync.WaitGroup
		answers := make([]string, 3)
		for i := range answers {
			work.Go(func() { answers[i] = post(h, "x", "Idempotency-Key", "k").Body.String() })
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		impatient := httptest.NewRequest("POST", "/in", strings.NewReader("x")).WithContext(ctx)
		impatient.Header.Set("Idempotency-Key", "k")
		synctest.Wait()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, impatient)
		if w.Code != 503 {
			t.Errorf("whoever did not wait was answered %d", w.Code)
		}
		release()
		work.Wait()
		wantTaken(t, f, "x")
		if answers[0] == "" || answers[1] != answers[0] || answers[2] != answers[0] {
			t.Errorf("answered %q", answers)
		}
	})
}

func TestHandler_FailedFirstDoesNotCount(t *testing.T) {
	inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
		h := handlerOf(t, f.Intake, func(c *config.Input) { c.Repeats = 2 })
		post(h, "kept", "Idempotency-Key", "kept")
		for i := range 5 { // nor does it drive out those that were taken
			post(h, "", "Idempotency-Key", fmt.Sprint("empty", i))
			f.Fail(syscall.ENOSPC)
			if w := post(h, "x", "Idempotency-Key", fmt.Sprint(i)); w.Code != 503 {
				t.Errorf("status %d", w.Code)
			}
		}
		f.Fail(nil)
		time.Sleep(time.Second)
		if w := post(h, "x", "Idempotency-Key", "0"); w.Code != 200 {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
		post(h, "kept", "Idempotency-Key", "kept")
		wantTaken(t, f, "kept", "x")
	})
}

// A first that fails while others wait for it has one of them take its place.
func TestHandler_FailedFirstIsFollowedByTheNext(t *testing.T) {
	inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
		h := handlerOf(t, f.Intake, nil)
		release := f.Hold()
		status := make(chan int, 3)
		for range 3 {
			go func() { status <- post(h, "x", "Idempotency-Key", "k").Code }()
		}
		synctest.Wait()
		f.Fail(syscall.ENOSPC)
		release()
		for range 3 {
			if s := <-status; s != 503 {
				t.Errorf("status %d", s)
			}
		}
		if n := len(h.repeats.known); n > 0 {
			t.Errorf("%d are remembered", n)
		}
	})
}

func TestRepeats_ForgetsWhatWasNotAskedForLongest(t *testing.T) {
	f := relaytest.NewIntake(t)
	var memory Repeats
	h, err := memory.Handler(conf(func(c *config.Input) { c.Repeats = 2 }), f.Intake)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a", "b", "a", "c", "a", "b"} {
		post(h, key, "Idempotency-Key", key)
	}
	wantTaken(t, f, "a", "b", "c", "b")
	// Another handler of the input knows them, and may remember fewer.
	h, err = memory.Handler(conf(func(c *config.Input) { c.Repeats = 1 }), f.Intake)
	if err != nil {
		t.Fatal(err)
	}
	post(h, "b", "Idempotency-Key", "b")
	post(h, "a", "Idempotency-Key", "a")
	wantTaken(t, f, "a", "b", "c", "b", "a")
	if len(memory.known) != 1 || memory.taken.Len() != 1 {
		t.Errorf("%d are remembered, want 1", len(memory.known))
	}
}

// slowly is a body that comes when it is told to, or breaks off.
func slowly() (body io.ReadCloser, come func(string), breakOff func()) {
	r, w := io.Pipe()
	return r, func(s string) { io.WriteString(w, s) }, func() { w.CloseWithError(io.ErrUnexpectedEOF) }
}

func TestHandler_BodiesTakeTheMemoryThatTheyNeed(t *testing.T) {
	inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
		h := handlerOf(t, f.Intake, nil)
		body, come, breakOff := slowly()
		r := httptest.NewRequest("POST", "/in", body)
		r.ContentLength = 16 << 20
		w := httptest.NewRecorder()
		done := make(chan struct{})
		go func() { h.ServeHTTP(w, r); close(done) }()
		synctest.Wait()
		if n := h.reading.Load(); n > 16<<10 {
			t.Errorf("%d bytes for a body of which nothing has come", n)
		}
		if w := post(h, strings.Repeat("x", 1<<20)); w.Code != 200 {
			t.Errorf("another is answered %d: %s", w.Code, w.Body)
		}
		come(strings.Repeat("x\n", 50_000))
		synctest.Wait()
		if n := h.reading.Load(); n < 100_000 || n > 300_000 {
			t.Errorf("%d bytes for 100,000 that have come", n)
		}
		breakOff()
		<-done
		if w.Code != 400 {
			t.Errorf("status %d", w.Code)
		}
		if n := len(f.Messages()); n != 1 {
			t.Errorf("%d messages, want that of the other", n)
		}
		if n := h.reading.Load(); n != 0 {
			t.Errorf("%d bytes are still counted", n)
		}
	})
}

func TestHandler_ManyLargeBodiesAreRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
		h := handlerOf(t, f.Intake, nil)
		var work sync.WaitGroup
		status := make([]int, 40)
		var ends []func()
		for i := range status {
			body, come, breakOff := slowly()
			ends = append(ends, breakOff)
			r := httptest.NewRequest("POST", "/in", body)
			r.ContentLength = -1
			work.Go(func() {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				body.Close()
				status[i] = w.Code
				if w.Code == 503 && w.Header().Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
			})
			go come(strings.Repeat("x", 1<<20))
		}
		synctest.Wait()
		if n := h.reading.Load(); n > maxReading {
			t.Errorf("%d bytes of bodies", n)
		}
		for _, end := range ends {
			end()
		}
		work.Wait()
		refused := 0
		for _, s := range status {
			if s == 503 {
				refused++
			}
		}
		if refused == 0 || refused == len(status) {
			t.Errorf("%d of %d were refused", refused, len(status))
		}
	})
}

func TestHandler_ManySmallMessagesAreBounded(t *testing.T) {
	f := relaytest.NewIntake(t)
	h := handlerOf(t, f.Intake, nil)
	if w := post(h, strings.Repeat("x\n", maxMessages)); w.Code != 413 {
		t.Errorf("status %d", w.Code)
	}
	if w := post(h, strings.Repeat("x\n", maxMessages-1)); w.Code != 200 {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}

// web serves a handler in memory.
func web(t *testing.T, h http.Handler) *hythetest.Conn {
	t.Helper()
	return hythetest.Dial(t, &hythe.Server{Service: &httpd.Server{Handler: h, MaxBodyBytes: -1}})
}

func TestHTTP_CutPostLeavesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
		for _, head := range []string{"Content-Length: 100\r\n\r\none\ntwo\nthr", "Transfer-Encoding: chunked\r\n\r\n8\r\none\ntwo\n\r\n4\r\nth"} {
			c := web(t, handlerOf(t, f.Intake, nil))
			c.Write("POST /in HTTP/1.1\r\nHost: x\r\n" + head)
			synctest.Wait()
			c.Close()
		}
		synctest.Wait()
		wantTaken(t, f)
	})
}

func TestHTTP_SlowPostIsCutAndLeavesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
		h := handlerOf(t, f.Intake, nil)
		for _, pause := range []time.Duration{time.Second, time.Minute} {
			c := hythetest.Dial(t, &hythe.Server{Service: &httpd.Server{Handler: h, MinRate: 100}})
			c.Write("POST /in HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
			start := time.Now()
			for {
				if _, err := io.WriteString(c.Conn(), "x\n"); err != nil {
					break
				}
				if time.Sleep(pause); time.Since(start) > 5*time.Minute {
					t.Fatalf("two bytes every %v are enough", pause)
				}
			}
		}
		synctest.Wait()
		wantTaken(t, f)
		if n := h.reading.Load(); n != 0 {
			t.Errorf("%d bytes are still counted", n)
		}
	})
}

func TestHTTP_TooLargeIsRefusedUnread(t *testing.T) {
	inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
		c := web(t, handlerOf(t, f.Intake, nil))
		c.Write("POST /in HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1000000000\r\n\r\n")
		c.WantLine("HTTP/1.1 413 Request Entity Too Large")
	})
}

func TestHTTP_DrainFinishesThePost(t *testing.T) {
	inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
		s := hythetest.Serve(t, &hythe.Server{Service: &httpd.Server{Handler: handlerOf(t, f.Intake, nil)}})
		c := s.Dial()
		release := f.Hold()
		c.Write("POST /in HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
		synctest.Wait()
		report := s.Drain(time.Minute)
		c.WantNothing(10 * time.Second)
		release()
		c.WantLine("HTTP/1.1 200 OK")
		if r := report(); len(r.Cut) > 0 {
			t.Error(&r)
		}
		wantTaken(t, f, "x")
	})
}

// app serves a handler over FastCGI on a Unix socket.
func app(t *testing.T, h http.Handler) (socket string) {
	t.Helper()
	return listenAndServe(t, &hythe.Server{Service: &fcgi.Server{Handler: h}}, "unix", filepath.Join(t.TempDir(), "s"))
}

// listenAndServe serves until the test ends, and returns the address.
func listenAndServe(t testing.TB, srv *hythe.Server, network, address string) string {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		srv.Close()
		<-served
	})
	return l.Addr().String()
}

func TestFCGI_Post(t *testing.T) {
	f := relaytest.NewIntake(t)
	transport := &fcgi.Transport{Network: "unix", Address: app(t, handlerOf(t, f.Intake, nil))}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport}
	for _, want := range []struct {
		kind, body string
		status     int
	}{{"text/plain", "one\ntwo\n", 200}, {"application/json", "{", 400}, {"application/json", "{}", 200}} {
		resp, err := client.Post("http://localhost/in", want.kind, strings.NewReader(want.body))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want.status {
			t.Errorf("%s: status %d: %s", want.body, resp.StatusCode, body)
		}
	}
	wantTaken(t, f, "one", "two", "{}")
}

func TestFCGI_AbortedPostLeavesNothing(t *testing.T) {
	f := relaytest.NewIntake(t)
	over := make(chan struct{}, 1)
	h := handlerOf(t, f.Intake, nil)
	began := make(chan struct{}, 1)
	socket := app(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began <- struct{}{}
		h.ServeHTTP(w, r)
		over <- struct{}{}
	}))
	transport := &fcgi.Transport{Network: "unix", Address: socket}
	defer transport.CloseIdleConnections()
	body, come, _ := slowly()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "POST", "http://localhost/in", body)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = 100
	go func() {
		come("one\ntwo\nthr")
		<-began
		cancel()
	}()
	if resp, err := (&http.Client{Transport: transport}).Do(r); err == nil {
		t.Errorf("answered %d", resp.StatusCode)
		resp.Body.Close()
	}
	<-over
	wantTaken(t, f)
	if n := h.reading.Load(); n != 0 {
		t.Errorf("%d bytes are still counted", n)
	}
}

func TestHTTP_ManyPostsOnOneConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
		c := web(t, handlerOf(t, f.Intake, nil))
		r := bufio.NewReader(c.Conn())
		var want []string
		for i := range 20 {
			body := strings.Repeat(fmt.Sprintf("%d\n", i), i+1)
			want = append(want, slices.Repeat([]string{fmt.Sprint(i)}, i+1)...)
			c.Write(fmt.Sprintf("POST /in HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != 200 || !strings.Contains(string(b), fmt.Sprintf(`"messages":%d,`, i+1)) {
				t.Fatalf("%d: %s", resp.StatusCode, b)
			}
		}
		wantTaken(t, f, want...)
	})
}

func FuzzHandler_Split(f *testing.F) {
	for _, s := range []string{"", "a", "a\nb\n", "\r\n\n{}\r\n", "{\"a\":\n1}", strings.Repeat("x", 60)} {
		f.Add("text/plain", []byte(s))
		f.Add("application/x-ndjson", []byte(s))
		f.Add("application/json", []byte(s))
		f.Add("application/octet-stream", []byte(s))
	}
	in := relay.NewIntake("in", relay.NewIDs())
	h := handlerOf(f, in, func(c *config.Input) { c.MaxMessage = 50 })
	f.Fuzz(func(t *testing.T, kind string, data []byte) {
		b := &body{buf: slices.Clone(data)}
		r := &http.Request{Header: http.Header{"Content-Type": {kind}}}
		if err := h.split(b, r); err != nil {
			return
		}
		var lines []string // those of package codec's framing
		for line := range strings.SplitSeq(string(data), "\n") {
			if line = strings.TrimRight(line, "\r"); line != "" {
				lines = append(lines, line)
			}
		}
		got := bodiesOf(b.msgs)
		if len(got) == 0 {
			t.Error("no message, and no error")
		}
		if !slices.Equal(got, lines) && !slices.Equal(got, []string{string(data)}) {
			t.Errorf("%q: %q", data, got)
		}
		for _, m := range got {
			if len(m) > 50 || m == "" {
				t.Errorf("%q was let through", m)
			}
			if kind == "application/x-ndjson" && !json.Valid([]byte(m)) {
				t.Errorf("%q is not JSON", m)
			}
		}
	})
}
