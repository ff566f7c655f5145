//go:build unix

package fcgi_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hythe-go/hythe/fcgi"
)

// Processes that a web server or a process manager starts: section 2.

// TestSpawnedHelper is such a process. It says how it went in a file.
func TestSpawnedHelper(t *testing.T) {
	report := os.Getenv("FCGI_TEST_REPORT")
	if report == "" {
		t.Skip("this is a process of its own, for the tests below")
	}
	s := &fcgi.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/echo": // begins to answer at once
			http.NewResponseController(w).Flush()
			io.Copy(w, r.Body)
		case "/pour":
			io.Copy(w, neverEnding{})
		default:
			fmt.Fprint(w, r.URL.Path, " ", os.Getenv("FCGI_TEST_WORD"))
		}
	})}
	err := s.ServeSpawned(context.Background())
	os.WriteFile(report, fmt.Append(nil, err), 0o666)
	os.Exit(0)
}

// A spawned process has its listening socket on descriptor 0, and 1 and 2 are
// closed.
type spawned struct {
	testing.TB
	addr   net.Addr
	cmd    *exec.Cmd
	report string
}

// spawn starts a process as web servers do.
func spawn(t testing.TB, network string, environ ...string) *spawned {
	t.Helper()
	dir := openDir(t)
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(dir, "s")
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	f, err := ln.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := &spawned{TB: t, addr: ln.Addr(), report: filepath.Join(dir, "report")}
	p.cmd = exec.Command("/bin/sh", "-c", `exec "$0" -test.run='^TestSpawnedHelper$' >&- 2>&-`, os.Args[0])
	p.cmd.Stdin = f
	p.cmd.Env = append(os.Environ(), append(environ, "FCGI_TEST_REPORT="+p.report, "GORACE=atexit_sleep_ms=0")...)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		p.cmd.Wait()
	})
	return p
}

func (p *spawned) dial() *wire {
	p.Helper()
	nc, err := net.Dial(p.addr.Network(), p.addr.String())
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	return &wire{TB: p.TB, Conn: nc, r: bufio.NewReader(nc)}
}

// wantExit waits for the process to end, in peace, and returns what ServeSpawned
// returned.
func (p *spawned) wantExit() string {
	p.Helper()
	kill := time.AfterFunc(20*time.Second, func() { p.cmd.Process.Kill() })
	defer kill.Stop()
	if err := p.cmd.Wait(); err != nil {
		p.Fatalf("the process ended: %v", err)
	}
	b, err := os.ReadFile(p.report)
	if err != nil {
		p.Fatal(err)
	}
	return string(b)
}

// The listening socket on descriptor 0 can be of either family: section 2.2.
func TestSpec_2_2_ListeningSocketOnDescriptor0(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		p := spawn(t, network)
		c := p.dial()
		c.send(getting(1, keep, "/hello"))
		c.wantBody(1, "/hello ")
		p.cmd.Process.Signal(syscall.SIGTERM)
		c.wantEOF() // an idle connection does not hold it up
		if s := p.wantExit(); s != "<nil>" {
			t.Errorf("%s: ServeSpawned = %s", network, s)
		}
	}
}

// Descriptors 1 and 2 are closed when the process starts. No connection gets
// them, or else a client that leaves would kill the process: writes to 1 and 2
// raise SIGPIPE.
func TestSpec_2_2_ClosedDescriptors(t *testing.T) {
	p := spawn(t, "unix")
	var conns []*wire
	for range 5 {
		c := p.dial()
		c.send(getting(1, keep, "/pour"))
		c.record()
		conns = append(conns, c)
	}
	for _, c := range conns {
		c.Close()
	}
	c := p.dial()
	c.send(getting(1, keep, "/alive"))
	c.wantBody(1, "/alive ")
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.wantExit()
}

// SIGTERM, and SIGUSR1 from the process managers of old, let what has begun be
// answered.
func TestSignalsDrain(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGUSR1} {
		t.Run(sig.String(), func(t *testing.T) {
			p := spawn(t, "unix")
			c := p.dial()
			c.send(begin(1, keep), params(1, env("POST", "/echo", "CONTENT_LENGTH", "4")))
			if r := c.record(); r.kind != tStdout || !strings.HasPrefix(r.content, "Status: 200") {
				t.Fatalf("got %+v", r)
			}
			p.cmd.Process.Signal(sig)
			idle := p.dial() // it may be accepted or not, and is not answered
			defer idle.Close()
			time.Sleep(20 * time.Millisecond) // the signal is on its way
			c.send(mk(tStdin, 1, "body"), mk(tStdin, 1, ""))
			if a := c.answer(1); a.out != "body" {
				t.Errorf("got %q", a.out)
			}
			c.wantEOF()
			if s := p.wantExit(); s != "<nil>" {
				t.Errorf("ServeSpawned = %s", s)
			}
		})
	}
}

// Only the web servers on the list may connect: section 3.2.
func TestSpec_3_2_WebServerAddrs(t *testing.T) {
	for _, test := range []struct {
		network, addrs string
		welcome        bool
	}{
		{"tcp", "127.0.0.1", true},
		{"tcp", "192.0.2.1,127.0.0.1", true},
		{"tcp", " 192.0.2.1 , 127.0.0.0/8", true},
		{"tcp", "", true},
		{"unix", "", true},
		{"tcp", "192.0.2.1", false},
		{"tcp", "127.0.0.2,::1", false},
		{"unix", "127.0.0.1", false},
		{"unix", "0.0.0.0/0,::/0", false},
	} {
		p := spawn(t, test.network, "FCGI_WEB_SERVER_ADDRS="+test.addrs)
		c := p.dial()
		c.sendLate(getting(1, keep, "/hello"))
		if test.welcome {
			c.wantBody(1, "/hello ")
		} else {
			c.wantGone()
		}
		p.cmd.Process.Signal(syscall.SIGTERM)
		p.wantExit()
	}
	p := spawn(t, "tcp", "FCGI_WEB_SERVER_ADDRS=127.0.0.1,nonsense")
	if s := p.wantExit(); !strings.Contains(s, "nonsense") {
		t.Errorf("a list that is none: ServeSpawned = %s", s)
	}
}

// Without a listening socket the program is a CGI program, if there is anything
// to answer.
func TestSpec_2_2_CGI(t *testing.T) {
	run := func(environ ...string) (out, report string) {
		file := filepath.Join(t.TempDir(), "report")
		cmd := exec.Command(os.Args[0], "-test.run=^TestSpawnedHelper$")
		cmd.Env = append(os.Environ(), append(environ, "FCGI_TEST_REPORT="+file, "GORACE=atexit_sleep_ms=0")...)
		b, err := cmd.Output()
		if err != nil {
			t.Error(err)
		}
		r, _ := os.ReadFile(file)
		return string(b), string(r)
	}
	out, report := run("REQUEST_METHOD=GET", "SERVER_PROTOCOL=HTTP/1.1", "REQUEST_URI=/cgi", "HTTP_HOST=h")
	if !strings.HasPrefix(out, "Status: 200 OK\r\n") || !strings.HasSuffix(out, "\r\n\r\n/cgi ") || report != "<nil>" {
		t.Errorf("as CGI: %q, ServeSpawned = %s", out, report)
	}
	if out, report = run(); out != "" || !strings.Contains(report, "web server") {
		t.Errorf("by hand: %q, ServeSpawned = %s", out, report)
	}
}

// lighttpd starts the program itself, and ends it.
func TestSpawnedByLighttpd(t *testing.T) {
	f := frontend{
		name: "lighttpd", tool: "lighttpd", site: "lighttpd-spawn.conf", main: "main/lighttpd.conf", socket: "/run/lighttpd/app.sock",
		args: func(dir, main string) []string { return []string{"-D", "-f", main} },
	}
	dir := openDir(t)
	script, report := filepath.Join(dir, "app"), filepath.Join(dir, "report")
	write(t, script, fmt.Sprintf("#!/bin/sh\nGORACE=atexit_sleep_ms=0 FCGI_TEST_REPORT=%s FCGI_TEST_WORD=spawned exec %s -test.run='^TestSpawnedHelper$'\n", report, os.Args[0]))
	if err := os.Chmod(script, 0o755); err != nil {
		t.Fatal(err)
	}
	w := f.run(t, nil, func(conf string) string { return replaceSome(t, conf, "/usr/local/bin/app", script) })
	for range 5 {
		if resp, body := w.get("/hello"); body != "/hello spawned" {
			t.Fatalf("got %s %q", resp.Status, body)
		}
	}
	w.stop()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) { // the program is not our child
		if b, err := os.ReadFile(report); err == nil && len(b) > 0 {
			if string(b) != "<nil>" {
				t.Errorf("ServeSpawned = %s", b)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatal("lighttpd has ended, the program has not")
		}
	}
}
