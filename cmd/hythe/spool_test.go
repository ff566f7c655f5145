package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/spool"
)

// fill makes a spool with messages in it, and a cursor that has passed some.
func fill(t testing.TB, dir string, passed int, messages ...relay.Message) {
	t.Helper()
	s, err := spool.Open(dir, spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r, err := s.Reader("out", spool.ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range messages {
		if m.ID == nil {
			m.ID = fmt.Appendf(nil, "id-%d", i)
		}
		m.Received = time.Unix(1_700_000_000, 0)
		if _, err := s.Append(m.Append(nil)); err != nil {
			t.Fatal(err)
		}
	}
	for range passed {
		rec, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r.Ack(rec.ID)
	}
}

func bodies(texts ...string) (list []relay.Message) {
	for _, s := range texts {
		list = append(list, relay.Message{Body: []byte(s)})
	}
	return list
}

func TestTail(t *testing.T) {
	data := t.TempDir()
	fill(t, filepath.Join(data, "routes", "all"), 0, bodies("1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12")...)
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "3 4 5 6 7 8 9 10 11 12"},
		{[]string{"-n", "2"}, "11 12"},
		{[]string{"-n", "0"}, ""},
		{[]string{"-n", "100"}, "1 2 3 4 5 6 7 8 9 10 11 12"},
	} {
		out, _ := hythe(t, "", exitOK, append([]string{"tail", "all", "-data", data}, test.args...)...)
		if got := strings.Join(strings.Fields(out), " "); got != test.want {
			t.Errorf("%q: %s", test.args, got)
		}
	}
	if out, _ := hythe(t, "", exitOK, "tail", "-data", data, "-n", "1"); strings.TrimSpace(out) != "12" {
		t.Errorf("without a route: %q", out)
	}
	fill(t, filepath.Join(data, "routes", "other"), 0, bodies("1")...)
	if _, said := hythe(t, "", exitUsage, "tail", "-data", data); !strings.Contains(said, "there are 2") {
		t.Error(said)
	}
	if _, said := hythe(t, "", exitFailed, "tail", "-data", data, "none"); !strings.Contains(said, "none") {
		t.Error(said)
	}
}

// tail -f reads the spool of a relay that has it open.
func TestTail_Follows(t *testing.T) {
	data := t.TempDir()
	s, err := spool.Open(filepath.Join(data, "routes", "all"), spool.Options{SegmentBytes: 4 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	put := func(text string) {
		m := relay.Message{ID: []byte("x"), Body: []byte(text)}
		if _, err := s.Append(m.Append(nil)); err != nil {
			t.Fatal(err)
		}
	}
	put("before")
	ctx, cancel := context.WithCancel(t.Context())
	var out, errs transcript
	done := make(chan int)
	go func() {
		done <- (&program{stdout: &out, stderr: &errs}).run(ctx, []string{"tail", "-f", "-data", data, "all"})
	}()
	out.await(t, `^before\n$`, 1)
	put("first")
	put("second")
	out.await(t, `^before\nfirst\nsecond\n$`, 1)
	put(strings.Repeat("large", 2000))
	put("in the next segment")
	out.await(t, `^before\nfirst\nsecond\n(large)+\nin the next segment\n$`, 1)
	cancel()
	if code := <-done; code != exitOK {
		t.Errorf("exit status %d: %s", code, &errs)
	}
}

func TestSpool_LS(t *testing.T) {
	data := t.TempDir()
	fill(t, filepath.Join(data, "routes", "all"), 2, bodies("1", "2", "3", "4", "5")...)
	fill(t, filepath.Join(data, "routes", "other"), 0)
	fill(t, filepath.Join(data, "dead", "all", "out"), 0, bodies("x")...)
	running, err := spool.Open(filepath.Join(data, "routes", "running"), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer running.Close()
	if _, err := running.Reader("out", spool.ReaderOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := running.Append([]byte("a"), []byte("b"), []byte("c"), []byte("d")); err != nil {
		t.Fatal(err)
	}
	out, _ := hythe(t, "", exitOK, "spool", "ls", "-data", data)
	var got []string
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		got = append(got, strings.Join(append(f[:1], f[len(f)-2:]...), " "))
	}
	if want := "SPOOL CURSOR BACKLOG, all out 3, all, out 1, other out 0, running out 4"; strings.Join(got, ", ") != want {
		t.Errorf("got %s\n%s", strings.Join(got, ", "), out)
	}
}

func TestSpool_Verify(t *testing.T) {
	data := t.TempDir()
	dir := filepath.Join(data, "routes", "all")
	fill(t, dir, 0, bodies("one", "damaged", "three")...)
	if out, _ := hythe(t, "", exitOK, "spool", "verify", "-data", data); !strings.Contains(out, "all: 3 messages") {
		t.Error(out)
	}
	segments, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	hit := false
	for _, name := range segments {
		b, err := os.ReadFile(name)
		if err == nil && bytes.Contains(b, []byte("damaged")) {
			hit = true
			if err := os.WriteFile(name, bytes.Replace(b, []byte("damaged"), []byte("Damaged"), 1), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !hit {
		t.Fatal("nothing to damage")
	}
	out, said := hythe(t, "", exitFailed, "spool", "verify", "all", "-data", data)
	if !strings.Contains(out, "all: 2 messages") || !strings.Contains(out, "  2 to 2: damaged") || !strings.Contains(said, "messages are missing from 1 spools") {
		t.Errorf("%s%s", out, said)
	}
	out, said = hythe(t, "", exitFailed, "spool", "export", "all", "-data", data)
	if out != "one\nthree\n" || !strings.Contains(said, "messages are missing") {
		t.Errorf("%q, %s", out, said)
	}
	if _, said := hythe(t, "", exitFailed, "spool", "verify", "alll", "-data", data); !strings.Contains(said, `no spool of a route "alll"`) {
		t.Error(said)
	}
}

func TestSpool_Export(t *testing.T) {
	data := t.TempDir()
	fill(t, filepath.Join(data, "routes", "all"), 0,
		relay.Message{Body: []byte("text \"quoted\""), Source: []byte("web 192.0.2.1"), Key: []byte("k")},
		relay.Message{Body: []byte{0xff, 0, '\n'}},
		relay.Message{})
	fill(t, filepath.Join(data, "dead", "all", "out"), 0, relay.Message{Body: []byte("bad"), Cause: []byte("422"), ID: []byte("i")})
	export := func(args ...string) string {
		out, _ := hythe(t, "", exitOK, append([]string{"spool", "export", "-data", data, "all"}, args...)...)
		return out
	}
	if got := export(); got != "text \"quoted\"\n\xff\x00\n\n\n" {
		t.Errorf("%q", got)
	}
	if got := export("-from", "2", "-to", "2"); got != "\xff\x00\n\n" {
		t.Errorf("%q", got)
	}
	want := `{"record":1,"id":"id-0","received":"2023-11-14T22:13:20Z","source":"web 192.0.2.1","key":"k","body":"text \"quoted\""}
{"record":2,"id":"id-1","received":"2023-11-14T22:13:20Z","body_base64":"/wAK"}
{"record":3,"id":"id-2","received":"2023-11-14T22:13:20Z","body":""}
`
	if got := export("-format", "ndjson"); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := export("-format", "ndjson", "-dead", "out"); !strings.Contains(got, `"id":"i"`) || !strings.Contains(got, `"cause":"422","body":"bad"`) {
		t.Error(got)
	}
	b := []byte(export("-format", "envelope"))
	for i := range 3 {
		n := binary.BigEndian.Uint32(b)
		m, err := relay.Parse(b[4 : 4+n])
		if err != nil || string(m.ID) != fmt.Sprintf("id-%d", i) {
			t.Errorf("%d: %v, %v", i, m, err)
		}
		b = b[4+n:]
	}
	hythe(t, "", exitUsage, "spool", "export", "-data", data, "all", "-format", "xml")
	hythe(t, "", exitUsage, "spool", "export", "-data", data)
	hythe(t, "", exitFailed, "spool", "export", "-data", data, "none")
}

func TestSpool_RequeueWhileNothingRuns(t *testing.T) {
	data := t.TempDir()
	fill(t, filepath.Join(data, "routes", "all"), 1, bodies("a")...)
	s, err := spool.Open(filepath.Join(data, "dead", "all", "out"), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Reader("requeue", spool.ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []relay.Message{{ID: []byte("d1"), Body: []byte("x"), Cause: []byte("bad")}, {ID: []byte("d2"), Body: []byte("y"), Cause: []byte("bad")}} {
		if _, err := s.Append(m.Append(nil)); err != nil {
			t.Fatal(err)
		}
	}
	r.Close()
	s.Close()
	if out, _ := hythe(t, "", exitOK, "spool", "requeue", "-data", data, "all", "out"); !strings.HasPrefix(out, "2 dead letters were requeued") {
		t.Error(out)
	}
	out, _ := hythe(t, "", exitOK, "spool", "export", "-data", data, "-format", "ndjson", "-from", "2", "all")
	if !strings.Contains(out, `"id":"d1"`) || !strings.Contains(out, `"only":"out","body":"y"`) || strings.Contains(out, "cause") {
		t.Error(out)
	}
	if out, _ := hythe(t, "", exitOK, "spool", "requeue", "-data", data, "all", "out"); !strings.HasPrefix(out, "0 dead letters") {
		t.Error(out)
	}
	if _, said := hythe(t, "", exitFailed, "spool", "requeue", "-data", data, "all", "typo"); !strings.Contains(said, "all has no dead letters of typo") {
		t.Error(said)
	}
	if _, err := os.Stat(filepath.Join(data, "dead", "all", "typo")); err == nil {
		t.Error("it has made a directory")
	}
}

// While the relay runs requeue goes through its admin address, and forget refuses.
func TestSpool_BesideARelay(t *testing.T) {
	dir, in, admin := t.TempDir(), freePort(t), freePort(t)
	var refusing atomic.Bool
	got := make(chan string, 8)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		b.ReadFrom(r.Body)
		got <- b.String()
		if refusing.Load() {
			http.Error(w, "not this", http.StatusUnprocessableEntity)
		}
	}))
	defer srv.Close()
	refusing.Store(true)
	token := write(t, dir, "token", "0123456789abcdef\n")
	conf := write(t, dir, "c.toml", fmt.Sprintf(`
data = %q
[admin]
listen = "tcp://%s"
token_file = %q
[input.lines]
listen = ["tcp://%s"]
[output.out]
to = %q
[route.all]
to = ["out"]
`, filepath.Join(dir, "d"), admin, token, in, srv.URL))
	p := serve(t, dir, "run", "-config", conf)
	say(t, in, "refused\n")
	<-got
	p.stderr.await(t, "dead letter", 1)
	out, _ := hythe(t, "", exitOK, "top", "-config", conf)
	if !strings.Contains(out, "1 dead letters") {
		t.Error(out)
	}
	if out, _ := hythe(t, "", exitOK, "spool", "export", "-config", conf, "-dead", "out", "-format", "ndjson", "all"); !strings.Contains(out, "not this") {
		t.Error(out)
	}
	hythe(t, "", exitOK, "spool", "verify", "-config", conf)
	if _, said := hythe(t, "", exitFailed, "spool", "forget", "-config", conf, "all", "out"); !strings.Contains(said, "stop the relay first") {
		t.Error(said)
	}
	refusing.Store(false)
	if out, _ := hythe(t, "", exitOK, "spool", "requeue", "-config", conf, "all", "out"); !strings.Contains(out, "1 dead letter was requeued") {
		t.Error(out)
	}
	if body := <-got; !strings.Contains(body, "refused") {
		t.Errorf("%q", body)
	}
	if _, said := hythe(t, "", exitFailed, "spool", "requeue", "-data", filepath.Join(dir, "d"), "-admin", "tcp://"+admin, "all", "out"); !strings.Contains(said, "401") {
		t.Error(said)
	}
	p.stop(exitOK)
	out, _ = hythe(t, "", exitOK, "spool", "forget", "-config", conf, "all", "out")
	if !strings.HasPrefix(out, "out was forgotten, with 0 messages") {
		t.Error(out)
	}
	if _, said := hythe(t, "", exitFailed, "spool", "forget", "-config", conf, "all", "out"); !strings.Contains(said, "out") {
		t.Error(said)
	}
}

func TestShow_WritesJSONThatCanBeRead(t *testing.T) {
	m := relay.Message{ID: []byte("a"), Body: []byte("\u2028<&>\x00")}
	var b bytes.Buffer
	if err := show(&b, spool.Record{ID: 1, Payload: m.Append(nil)}, "ndjson"); err != nil {
		t.Fatal(err)
	}
	var got relay.JSON
	if err := json.Unmarshal(b.Bytes(), &got); err != nil || got.Body == nil || *got.Body != string(m.Body) {
		t.Errorf("%s: %v", &b, err)
	}
}
