package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
)

func TestSend_ToARelay(t *testing.T) {
	dir, web, frames, lines := t.TempDir(), freePort(t), freePort(t), freePort(t)
	token := write(t, dir, "token", "0123456789abcdef\n")
	conf := write(t, dir, "c.toml", fmt.Sprintf(`
data = "d"
admin.listen = "off"
[input.web]
protocol = "http"
listen = ["tcp://%s"]
token_file = %q
[input.frames]
framing = "hythe"
listen = ["tcp://%s"]
[input.lines]
listen = ["tcp://%s"]
[output.out]
to = "stdout:"
[route.all]
to = ["out"]
`, web, token, frames, lines))
	p := serve(t, dir, "run", "-config", conf)

	_, said := hythe(t, "a\n\nb\r\nc", exitOK, "send", "-to", "http://"+web+"/in", "-token-file", token, "-key", "k1")
	if !strings.Contains(said, "hythe: 3 messages acknowledged") {
		t.Error(said)
	}
	many := strings.Repeat("line\n", 1234)
	_, said = hythe(t, many, exitOK, "send", "-to", "tcp://"+frames, "-framing", "hythe", "-key", "k2")
	if !strings.Contains(said, "hythe: 1234 messages acknowledged") {
		t.Error(said)
	}
	file := write(t, dir, "message", "two\nlines")
	_, said = hythe(t, "", exitOK, "send", "-to", "http://"+web+"/in", "-token-file", token, "-whole", file, file)
	if !strings.Contains(said, "hythe: 2 messages acknowledged") {
		t.Error(said)
	}
	_, said = hythe(t, "d\n", exitOK, "send", "-to", "tcp://"+lines)
	if !strings.Contains(said, "hythe: 1 messages sent, and not acknowledged: framing lines does not do that") {
		t.Error(said)
	}
	p.stdout.await(t, `(?m)^d$`, 1)

	_, said = hythe(t, "e\n", exitFailed, "send", "-to", "http://"+web+"/in")
	if !strings.Contains(said, "0 messages acknowledged") || !strings.Contains(said, "401") {
		t.Error(said)
	}
	_, said = hythe(t, "e\n", exitFailed, "send", "-to", "tcp://"+web, "-framing", "hythe", "-timeout", "5s")
	if !strings.Contains(said, "0 messages acknowledged") || !strings.Contains(said, "no acknowledgement") {
		t.Error(said)
	}
	p.stop(exitOK)
	p.stderr.await(t, `messages: 1240 taken, 1240 delivered`, 1)

	out, _ := hythe(t, "", exitOK, "spool", "export", "-data", filepath.Join(dir, "d"), "-format", "ndjson", "all")
	for _, want := range []string{`"key":"k1","body":"a"`, `"key":"k1","body":"c"`, `"source":"hythe send","key":"k2","body":"line"`, `"body":"two\nlines"`} {
		if !strings.Contains(out, want) {
			t.Errorf("%s is not there", want)
		}
	}
}

// A request that failed is made again with the same key; what is wrong is not.
func TestSend_HTTPTriesAgain(t *testing.T) {
	var keys []string
	answers := []int{503, 500, 200}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		keys = append(keys, r.Header.Get("Idempotency-Key"))
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(answers[min(len(keys), len(answers))-1])
	}))
	defer srv.Close()
	_, said := hythe(t, "a\n", exitOK, "send", "-to", srv.URL)
	if len(keys) != 3 || keys[0] == "" || keys[0] != keys[1] || keys[1] != keys[2] || !strings.Contains(said, "1 messages acknowledged") {
		t.Errorf("keys %q; %s", keys, said)
	}
	keys, answers = nil, []int{422}
	hythe(t, "a\n", exitFailed, "send", "-to", srv.URL)
	if len(keys) != 1 {
		t.Errorf("keys %q", keys)
	}
}

// A POST that is redirected would become a GET, whose 200 means nothing.
func TestSend_HTTPTakesNoRedirectForAnAcknowledgement(t *testing.T) {
	var gets atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			gets.Add(1)
			return
		}
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}))
	defer srv.Close()
	_, said := hythe(t, "a\n", exitFailed, "send", "-to", srv.URL)
	if gets.Load() != 0 || !strings.Contains(said, "0 messages acknowledged") || !strings.Contains(said, "302") {
		t.Errorf("%d GETs; %s", gets.Load(), said)
	}
}

// What counts are the acknowledgements that came, and make sense.
func TestSend_CountsWhatWasAcknowledged(t *testing.T) {
	ack := func(n byte) string { return "\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00" + string(n) }
	for _, test := range []struct {
		answer string
		code   int
		want   []string
	}{
		{ack(1) + ack(3), exitOK, []string{"3 messages acknowledged"}},
		{ack(1) + ack(2), exitFailed, []string{"2 messages acknowledged", "no acknowledgement: EOF"}},
		{ack(4), exitFailed, []string{"0 messages acknowledged", "another framing"}},
		{ack(2) + ack(1), exitFailed, []string{"2 messages acknowledged", "another framing"}},
		{"\x00\x00\x00\x09\x00\x00\x00\x00\x00\x00\x00\x03", exitFailed, []string{"0 messages acknowledged", "another framing"}},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan string, 1)
		go func() { got <- receive(l, 3, test.answer) }()
		_, said := hythe(t, "a\nb\nc\n", test.code, "send", "-to", "tcp://"+l.Addr().String(), "-framing", "hythe")
		for _, want := range test.want {
			if !strings.Contains(said, want) {
				t.Errorf("%q is not in %s", want, said)
			}
		}
		l.Close()
		if got := <-got; got != "a true <nil> b true <nil> c true <nil>" {
			t.Error(got)
		}
	}
}

// receive takes a connection and messages from it, and answers. It says what the
// messages were.
func receive(l net.Listener, n int, answer string) string {
	c, err := l.Accept()
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	var bodies []string
	for range n {
		var head [4]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return err.Error()
		}
		b := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(c, b); err != nil {
			return err.Error()
		}
		m, err := relay.Parse(b)
		bodies = append(bodies, fmt.Sprint(string(m.Body), " ", len(m.ID) > 0, " ", err))
	}
	io.WriteString(c, answer)
	return strings.Join(bodies, " ")
}
