package input

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay/relaytest"
	"github.com/hythe-go/hythe/httpd"
)

func needTool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is missing", name)
		}
		t.Skipf("%s is missing", name)
	}
	return path
}

// run runs a command with standard input and returns what it prints.
func run(t *testing.T, stdin string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), needTool(t, name), args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, stderr.String())
	}
	return string(out)
}

func TestSocat_SendsLinesAndReadsAcknowledgements(t *testing.T) {
	f := relaytest.NewIntake(t)
	addr := listenAndServe(t, server(t, conf(func(c *config.Input) { c.Ack, c.Window = "message", 100 }), f.Intake), "tcp", "127.0.0.1:0")
	var text strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&text, "line %d\n", i)
	}
	// Half-closed by socat, which then waits for the rest.
	if got := run(t, text.String(), "socat", "-t", "10", "-", "TCP:"+addr); got != text.String() {
		t.Errorf("%d bytes of acknowledgements, want %d", len(got), text.Len())
	}
	wantTaken(t, f, strings.Split(strings.TrimSpace(text.String()), "\n")...)
}

func TestSocat_SendsLinesAndLeaves(t *testing.T) {
	f := relaytest.NewIntake(t)
	socket := filepath.Join(t.TempDir(), "s")
	listenAndServe(t, server(t, conf(nil), f.Intake), "unix", socket)
	run(t, "one\ntwo", "socat", "-u", "-", "UNIX-CONNECT:"+socket)
	for len(f.Messages()) < 2 && t.Context().Err() == nil { // nobody is told
	}
	wantTaken(t, f, "one", "two")
	if source := string(f.Messages()[0].Source); source != "in local" {
		t.Errorf("source %q", source)
	}
}

func TestCurl_Posts(t *testing.T) {
	f := relaytest.NewIntake(t)
	url := "http://" + listenAndServe(t, &hythe.Server{Service: &httpd.Server{Handler: handlerOf(t, f.Intake, nil)}}, "tcp", "127.0.0.1:0") + "/in"
	curl := func(stdin string, args ...string) string {
		return run(t, stdin, "curl", append([]string{"-sS", "-w", " %{http_code}", "--max-time", "20", url}, args...)...)
	}
	for _, test := range []struct {
		stdin, want string
		args        []string
	}{
		{"", `"messages":1,`, []string{"-d", "hello"}},
		{"one\ntwo\n", `"messages":2,`, []string{"--data-binary", "@-"}},
		{"{}\n[]\n", `"messages":2,`, []string{"--data-binary", "@-", "-H", "Content-Type: application/x-ndjson"}},
		{strings.Repeat("x", 100_000) + "\nlast", `"messages":2,`, []string{"-T", "-", "-X", "POST", "-H", "Transfer-Encoding: chunked"}},
		{"", "messages are sent by POST", nil},
	} {
		status := " 200"
		if test.args == nil {
			status = " 405"
		}
		if got := curl(test.stdin, test.args...); !strings.Contains(got, test.want) || !strings.HasSuffix(got, status) {
			t.Errorf("%q: %s", test.args, got)
		}
	}
	wantTaken(t, f, "hello", "one", "two", "{}", "[]", strings.Repeat("x", 100_000), "last")
}

func TestNginx_PassesPostsOn(t *testing.T) {
	nginx, dir := needTool(t, "nginx"), t.TempDir()
	f := relaytest.NewIntake(t)
	l, err := net.Listen("tcp", "127.0.0.1:0") // a port that nobody has
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	conf := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log;
events {}
http {
	access_log off; client_max_body_size 32m;
	client_body_temp_path %[1]s/body; fastcgi_temp_path %[1]s/fcgi; proxy_temp_path %[1]s/proxy; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
	server {
		listen %[2]s;
		location /in {
			fastcgi_pass unix:%[3]s;
			fastcgi_param REQUEST_METHOD $request_method; fastcgi_param REQUEST_URI $request_uri;
			fastcgi_param CONTENT_TYPE $content_type; fastcgi_param CONTENT_LENGTH $content_length;
			fastcgi_param REMOTE_ADDR $remote_addr; fastcgi_param SERVER_PROTOCOL $server_protocol;
		}
	}
}
`, dir, addr, app(t, handlerOf(t, f.Intake, nil)))
	if err := os.WriteFile(filepath.Join(dir, "conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(nginx, "-p", dir, "-c", filepath.Join(dir, "conf"), "-e", filepath.Join(dir, "error.log"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	big := strings.Repeat(strings.Repeat("x", 1000)+"\n", 2000)
	for i, test := range []struct {
		body, want string
		args       []string
	}{
		{"one\ntwo\n", `"messages":2,`, nil},
		{big, `"messages":2000,`, nil},
		{"{", "is not JSON", []string{"-H", "Content-Type: application/json"}},
		{"three", `{"messages":1,"first":"k","last":"k"}`, []string{"-H", "Idempotency-Key: k"}},
		{"three", `{"messages":1,"first":"k","last":"k"}`, []string{"-H", "Idempotency-Key: k"}},
	} {
		args := append([]string{"-sS", "--max-time", "20", "--retry", "20", "--retry-connrefused", "--retry-delay", "1", "--data-binary", "@-", "http://" + addr + "/in"}, test.args...)
		if got := run(t, test.body, "curl", args...); !strings.Contains(got, test.want) {
			t.Errorf("%d: %s, want %s", i, got, test.want)
		}
	}
	got := bodiesOf(f.Messages())
	if len(got) != 2003 || got[0] != "one" || got[2002] != "three" {
		t.Errorf("%d messages", len(got))
	}
	if source := string(f.Messages()[0].Source); source != "in 127.0.0.1" {
		t.Errorf("source %q", source)
	}
}

// Whoever waits for acknowledgements and breaks the connection is owed nothing.
// Whoever does not may have left because all was sent.
func TestFrames_SenderLeavesWhileTheDiskIsFull(t *testing.T) {
	for ack, want := range map[string][]string{"id": nil, "none": {"1", "2"}} {
		f := relaytest.NewIntake(t)
		f.Fail(syscall.ENOSPC)
		srv := server(t, conf(func(c *config.Input) { c.Ack = ack }), f.Intake)
		svc := srv.Service
		streams := make(chan *hythe.Stream, 1)
		srv.Service = hythe.ServiceFunc(func(st *hythe.Stream) (hythe.Protocol, error) {
			streams <- st
			return svc.Open(st)
		})
		ended := make(chan struct{})
		srv.Observer = func(ev hythe.Event) {
			if ev.Kind == hythe.ConnEnded {
				close(ended)
			}
		}
		c, err := net.Dial("tcp", listenAndServe(t, srv, "tcp", "127.0.0.1:0"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("1\n2\n")); err != nil {
			t.Fatal(err)
		}
		room, taken := &svc.(*frames).room, 0
		for taken == 0 {
			room.mu.Lock()
			taken = room.taken
			room.mu.Unlock()
		}
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
		<-(<-streams).Context().Done()
		if ack != "none" {
			<-ended
		}
		f.Fail(nil)
		<-ended
		wantTaken(t, f, want...)
	}
}

// With no room, nothing is read: neither from those that were there, nor from those
// that come.
func TestFrames_NothingIsReadWithoutRoom(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("elsewhere each connection has read before it is told to wait")
	}
	f := relaytest.NewIntake(t)
	srv := server(t, conf(func(c *config.Input) { c.Ack = "message" }), f.Intake)
	room := &srv.Service.(*frames).room
	addr := listenAndServe(t, srv, "tcp", "127.0.0.1:0")
	var conns []net.Conn
	dial := func(n int) {
		for range n {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			conns = append(conns, c)
		}
		for known := 0; known < len(conns); {
			room.mu.Lock()
			known = len(room.reading)
			room.mu.Unlock()
		}
	}
	read := func() (n uint64) {
		for st := range srv.Conns() {
			n += st.Stats().BytesIn
		}
		return n
	}
	dial(50)
	var work sync.WaitGroup
	room.enter(nil, maxInFlight)
	dial(50)
	block := bytes.Repeat([]byte("a line\n"), 1000)
	const blocks = 20
	for _, c := range conns {
		work.Go(func() {
			for range blocks {
				if _, err := c.Write(block); err != nil {
					t.Error(err)
				}
			}
		})
		work.Go(func() {
			if _, err := io.ReadFull(c, make([]byte, blocks*len(block))); err != nil {
				t.Error(err)
			}
		})
	}
	time.Sleep(100 * time.Millisecond) // for what must not happen
	if n := read(); n > 0 {
		t.Errorf("%d bytes were read", n)
	}
	room.give(maxInFlight)
	work.Wait()
	if n := read(); n != uint64(len(conns)*blocks*len(block)) {
		t.Errorf("%d bytes were read in the end", n)
	}
}
