package httpd_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hythe-go/hythe/httpd"
)

// startFront runs a proxy in front of a server, from a configuration in testdata,
// and returns the Unix socket it listens at.
func startFront(t *testing.T, config string, upstream net.Addr, args func(config string) []string, tool string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "front") // a short name: the path of a Unix socket has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // the worker is another user
		t.Fatal(err)
	}
	template, err := os.ReadFile(filepath.Join("testdata", config))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, config)
	text := os.Expand(string(template), func(name string) string {
		return map[string]string{"DIR": dir, "UPSTREAM": upstream.String(), "D": "$"}[name]
	})
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.Command(tool, args(file)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { // ends with the process
		cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("%s said %s", tool, &out)
		}
	})
	socket := filepath.Join(dir, "front")
	for range 200 { // it tells nobody when it is ready
		if nc, err := net.Dial("unix", socket); err == nil {
			nc.Close()
			return socket
		}
		select {
		case <-ended:
			t.Fatalf("%s ended: %s", tool, &out)
		case <-time.After(25 * time.Millisecond):
		}
	}
	t.Fatalf("%s does not listen", tool)
	return ""
}

// behindFront answers with the path asked for, and keeps what is wrong: that the
// proxy, which says in X-Front what it takes the request for, takes it for
// another one.
type behindFront struct {
	mu    sync.Mutex
	wrong []string
	seen  int
}

func (b *behindFront) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	front := r.Header["X-Front"]
	b.mu.Lock()
	b.seen++
	if len(front) != 1 || !strings.HasSuffix(front[0], r.RequestURI) && !strings.HasSuffix(r.RequestURI, front[0]) {
		b.wrong = append(b.wrong, fmt.Sprintf("%s %s (%.40q, %v), which the proxy knows as %q", r.Method, r.RequestURI, body, err, front))
	}
	b.mu.Unlock()
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
	}
	io.WriteString(w, r.RequestURI)
}

func (b *behindFront) takeWrong() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() { b.wrong = nil }()
	return b.wrong
}

// Attacks that live on two servers reading one head differently: a proxy passes
// the corpus on over connections that its clients share. Behind it nothing may be
// seen that the proxy did not mean, and another client gets its own answer.
func TestSmugglingThroughFronts(t *testing.T) {
	t.Parallel()
	for _, front := range []struct {
		config, tool string
		args         func(config string) []string
	}{
		{"nginx.conf", "nginx", func(config string) []string {
			return []string{"-p", filepath.Dir(config), "-c", config, "-e", "stderr"}
		}},
		{"haproxy.cfg", "haproxy", func(config string) []string { return []string{"-db", "-q", "-f", config} }},
	} {
		t.Run(front.tool, func(t *testing.T) {
			tool := needTool(t, front.tool, "/usr/sbin/"+front.tool)
			back := new(behindFront)
			at := startSite(t, back, func(s *httpd.Server) { s.MoorAfter = moorAfter })
			socket := startFront(t, front.config, at, front.args, tool)
			cases := slices.Concat(lineCases, hostCases, fieldCases, lengthCases, codingCases, chunkCases, connectionCases, smugglingCases())
			for i, c := range cases {
				if got := throughFront(t, socket, c.raw+goodSecond); got == "hangs" {
					t.Errorf("%s: the proxy waits", c.name)
				}
				victim := fmt.Sprintf("/victim-%d", i)
				got := throughFront(t, socket, "GET "+victim+" HTTP/1.1\r\nHost: victim.example\r\nConnection: close\r\n\r\n")
				resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(got)), nil)
				if err != nil {
					t.Errorf("%s: the next client got %q, %v", c.name, got, err)
				} else if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || string(body) != victim {
					t.Errorf("%s: the next client got %d %q", c.name, resp.StatusCode, body)
				}
				for _, w := range back.takeWrong() {
					t.Errorf("%s: behind the proxy was seen %s", c.name, w)
				}
			}
			t.Logf("%d requests of %d cases came through", back.seen-len(cases), len(cases))
		})
	}
}

// throughFront sends bytes to a proxy and returns what comes back.
func throughFront(t *testing.T, socket, raw string) string {
	t.Helper()
	nc, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(nc, raw)
	nc.(*net.UnixConn).CloseWrite()
	got, err := io.ReadAll(nc)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		return "hangs"
	}
	return string(got)
}

// smugglingCases hide Transfer-Encoding beside Content-Length in the ways that
// proxies have been known to overlook.
func smugglingCases() (cases []headCase) {
	for i, field := range []string{
		"Transfer-Encoding: xchunked", "Transfer-Encoding : chunked", "Transfer-Encoding:\x0bchunked", "Transfer-Encoding:\tchunked",
		" Transfer-Encoding: chunked", "X: y\nTransfer-Encoding: chunked", "X: y\rTransfer-Encoding: chunked", "Transfer-Encoding\r\n : chunked",
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: x", "Transfer-Encoding: x\r\nTransfer-Encoding: chunked", "Transfer-Encoding: x, chunked",
		"Transfer-Encoding: chunked, x", "Transfer-Encoding:\r\n chunked", "Transfer-Encoding: \"chunked\"", "Transfer_Encoding: chunked",
		"TrAnSfEr-EnCoDiNg: ChUnKeD", "Transfer-Encoding: chunked\x00", "Transfer-Encoding: \x85chunked", "Transfer-Encoding:chunked\r\nConnection: Transfer-Encoding",
		"Transfer-Encoding: identity\r\nConnection: keep-alive", "Connection: Content-Length\r\nX: y", "Transfer-Encoding\x00: chunked", "Transfer-\xc4\x90ncoding: chunked",
		"Transfer-Encoding: chunked;", "Transfer-Encoding: ,chunked", "Transfer-Encoding: chunKed\xe2\x84\xaa",
	} {
		cases = append(cases,
			headCase{name: fmt.Sprintf("CL.TE %d %.40q", i, field), raw: post("0\r\n\r\n"+smuggled, "Content-Length: 51", field)},
			headCase{name: fmt.Sprintf("TE.CL %d %.40q", i, field), raw: post("2e\r\n"+smuggled+"\r\n0\r\n\r\n", "Content-Length: 4", field)})
	}
	return cases
}
