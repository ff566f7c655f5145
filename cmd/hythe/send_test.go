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

// What counts are the acknowledgements that came.
func TestSend_CountsWhatWasAcknowledged(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		var bodies []string
		for range 3 {
			var head [4]byte
			io.ReadFull(c, head[:])
			b := make([]byte, binary.BigEndian.Uint32(head[:]))
			io.ReadFull(c, b)
			m, err := relay.Parse(b)
			bodies = append(bodies, fmt.Sprint(string(m.Body), " ", len(m.ID) > 0, " ", err))
		}
		c.Write([]byte{0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1})
		c.Write([]byte{0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2})
		got <- strings.Join(bodies, " ")
	}()
	_, said := hythe(t, "a\nb\nc\n", exitFailed, "send", "-to", "tcp://"+l.Addr().String(), "-framing", "hythe")
	if !strings.Contains(said, "hythe: 2 messages acknowledged\n") || !strings.Contains(said, "no acknowledgement: EOF") {
		t.Error(said)
	}
	if got := <-got; got != "a true <nil> b true <nil> c true <nil>" {
		t.Error(got)
	}
}
