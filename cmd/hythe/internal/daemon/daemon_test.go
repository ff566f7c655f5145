package daemon_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/daemon"
	"github.com/hythe-go/hythe/internal/leaktest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Main(m)) }

// buffer is a writer for many goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// await waits until the buffer has the text.
func (b *buffer) await(t *testing.T, text string) {
	t.Helper()
	for began := time.Now(); !strings.Contains(b.String(), text); time.Sleep(time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("%q has not come:\n%s", text, b)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A running is a daemon in this process.
type running struct {
	t      *testing.T
	stdout buffer
	notes  buffer
	reload chan func() (*config.Config, error)
	ready  chan struct{}
	stop   context.CancelFunc
	done   chan error
}

func start(t *testing.T, cfg *config.Config, stdin io.Reader) *running {
	t.Helper()
	r := &running{t: t, reload: make(chan func() (*config.Config, error)), ready: make(chan struct{}, 8), done: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	r.stop = cancel
	go func() {
		r.done <- daemon.Run(ctx, daemon.Options{
			Config: cfg, Reload: r.reload, Stdin: stdin, Stdout: &r.stdout, Notes: log.New(&r.notes, "", 0),
			Ready: func() { r.ready <- struct{}{} },
		})
	}()
	select {
	case <-r.ready:
	case err := <-r.done:
		t.Fatalf("%v\n%s", err, &r.notes)
	}
	t.Cleanup(cancel)
	return r
}

// drain ends the daemon.
func (r *running) drain() error {
	r.t.Helper()
	r.stop()
	select {
	case err := <-r.done:
		return err
	case <-time.After(20 * time.Second):
		r.t.Fatalf("the daemon does not end:\n%s", &r.notes)
		return nil
	}
}

func (r *running) change(cfg *config.Config) {
	r.t.Helper()
	r.reload <- func() (*config.Config, error) { return cfg, nil }
	<-r.ready
}

// parse reads a configuration whose data is in a directory of the test's.
func parse(t *testing.T, dir, text string) *config.Config {
	t.Helper()
	cfg, err := config.Parse("test.toml", fmt.Appendf(nil, "data = %q\n[admin]\nlisten = \"off\"\n%s", dir, text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func post(t *testing.T, addr, body string) (int, string) {
	t.Helper()
	resp, err := http.Post("http://"+addr+"/in", "text/plain", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

func send(t *testing.T, addr, text string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, text)
	c.(*net.TCPConn).CloseWrite()
	io.Copy(io.Discard, c)
}

const toStdout = "[output.stdout]\nto = \"stdout:\"\n[route.all]\nto = [\"stdout\"]\n"

func TestRun_FromAllInputsToStandardOutput(t *testing.T) {
	lines, web := freePort(t), freePort(t)
	cfg := parse(t, t.TempDir(), fmt.Sprintf("[input.lines]\nlisten = [\"tcp://%s\"]\n[input.web]\nprotocol = \"http\"\nlisten = [\"tcp://%s\"]\n", lines, web)+toStdout)
	r := start(t, cfg, nil)
	send(t, lines, "one\ntwo\n\nthree")
	if code, answer := post(t, web, "four\nfive\n"); code != 200 || !strings.Contains(answer, `"messages":2`) {
		t.Fatalf("%d %s", code, answer)
	}
	if err := r.drain(); err != nil {
		t.Fatalf("%v\n%s", err, &r.notes)
	}
	if got := r.stdout.String(); got != "one\ntwo\nthree\nfour\nfive\n" {
		t.Fatalf("%q", got)
	}
	r.notes.await(t, "messages: 5 taken, 5 delivered")
}

// certificate writes a certificate for 127.0.0.1, and its key, and returns a
// configuration that trusts it.
func certificate(t *testing.T) (cert, key string, trusts *tls.Config) {
	t.Helper()
	s := httptest.NewTLSServer(nil) // which has one
	defer s.Close()
	pair := s.TLS.Certificates[0]
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]},
		key:  {Type: "PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	trusts = &tls.Config{RootCAs: x509.NewCertPool()}
	trusts.RootCAs.AddCert(s.Certificate())
	return cert, key, trusts
}

func TestRun_InputsOverTLS(t *testing.T) {
	lines, strict, web := freePort(t), freePort(t), freePort(t)
	cert, key, trusts := certificate(t)
	files := fmt.Sprintf("tls.cert = %q\ntls.key = %q\n", cert, key)
	cfg := parse(t, t.TempDir(), fmt.Sprintf("[input.lines]\nlisten = [\"tcp://%s\"]\n", lines)+files+
		fmt.Sprintf("[input.strict]\nlisten = [\"tcp://%s\"]\ntls.client_ca = %q\n", strict, cert)+files+
		fmt.Sprintf("[input.web]\nprotocol = \"http\"\nlisten = [\"tcp://%s\"]\n", web)+files+toStdout)
	r := start(t, cfg, nil)
	for addr, text := range map[string]string{strict: "without a certificate\n", lines: "line\n"} {
		c, err := tls.Dial("tcp", addr, trusts)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, text)
		c.CloseWrite()
		if _, err := io.Copy(io.Discard, c); (err != nil) != (addr == strict) {
			t.Errorf("%q: %v", text, err)
		}
		c.Close()
	}
	send(t, lines, "in clear\n")
	client := http.Client{Transport: &http.Transport{TLSClientConfig: trusts}}
	defer client.CloseIdleConnections()
	resp, err := client.Post("https://"+web+"/in", "text/plain", strings.NewReader("post"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("%s", resp.Status)
	}
	if err := r.drain(); err != nil {
		t.Fatalf("%v\n%s", err, &r.notes)
	}
	if got := r.stdout.String(); got != "line\npost\n" {
		t.Fatalf("%q", got)
	}
}

func TestRun_StandardInputEndsIt(t *testing.T) {
	cfg := parse(t, t.TempDir(), "[input.stdin]\nprotocol = \"stdin\"\n"+toStdout)
	r := start(t, cfg, strings.NewReader("a\nb\nc"))
	err := <-r.done
	if !errors.Is(err, daemon.ErrInputEnded) || r.stdout.String() != "a\nb\nc\n" {
		t.Fatalf("%v: %q", err, r.stdout.String())
	}
}

// A listener that stays in the configuration is never closed; connections stay,
// and a configuration that does not work changes nothing.
func TestReload_KeepsListenersAndConnections(t *testing.T) {
	dir, one, two, web := t.TempDir(), freePort(t), freePort(t), freePort(t)
	input := "[input.lines]\nlisten = [\"tcp://%s\"]\nmax_message = \"%d\"\n"
	cfg := parse(t, dir, fmt.Sprintf(input, one, 100)+toStdout)
	r := start(t, cfg, nil)
	old, err := net.Dial("tcp", one)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	io.WriteString(old, "before\n")
	r.stdout.await(t, "before\n")

	r.change(parse(t, dir, fmt.Sprintf(input, one+"\", \"tcp://"+two, 10)+toStdout))
	io.WriteString(old, "on the old connection, longer than ten\n")
	r.stdout.await(t, "on the old connection, longer than ten\n")
	send(t, two, "new door\n")
	r.stdout.await(t, "new door\n")
	send(t, one, "much longer than ten\n")
	send(t, one, "short\n")
	r.stdout.await(t, "short\n")
	if strings.Contains(r.stdout.String(), "much longer") {
		t.Error("the new limit does not hold")
	}

	r.change(parse(t, dir, "[input.lines]\nprotocol = \"http\"\nlisten = [\"tcp://"+one+"\"]\n"+toStdout)) // another protocol, on the same socket
	if code, _ := post(t, one, "by post\n"); code != 200 {
		t.Errorf("status %d", code)
	}
	r.stdout.await(t, "by post\n")
	if c, err := net.Dial("tcp", two); err == nil {
		c.Close()
		t.Error("the second door is still open")
	}

	l, err := net.Listen("tcp", web)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r.change(parse(t, dir, "[input.x]\nlisten = [\"tcp://"+web+"\"]\n"+toStdout)) // in use
	r.notes.await(t, "the configuration was not changed")
	if code, _ := post(t, one, "still here\n"); code != 200 {
		t.Errorf("status %d", code)
	}
	if err := r.drain(); err != nil {
		t.Errorf("%v\n%s", err, &r.notes)
	}
}

func TestRun_OneProcessPerDirectory(t *testing.T) {
	dir := t.TempDir()
	text := "[input.lines]\nlisten = [\"tcp://%s\"]\n" + toStdout
	r := start(t, parse(t, dir, fmt.Sprintf(text, freePort(t))), nil)
	err := daemon.Run(t.Context(), daemon.Options{Config: parse(t, dir, fmt.Sprintf(text, freePort(t))), Stdout: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("%v", err)
	}
	r.drain()
}

// brokenPipe is a standard output that nobody reads any more.
type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestRun_EndsWhenStandardOutputIsClosed(t *testing.T) {
	dir, addr := t.TempDir(), freePort(t)
	cfg := parse(t, dir, "[input.lines]\nlisten = [\"tcp://"+addr+"\"]\n"+toStdout)
	done := make(chan error, 1)
	ready := make(chan struct{}, 1)
	go func() {
		done <- daemon.Run(t.Context(), daemon.Options{Config: cfg, Stdout: brokenPipe{}, Ready: func() { ready <- struct{}{} }})
	}()
	<-ready
	send(t, addr, "lost?\n")
	if err := <-done; !errors.Is(err, daemon.ErrStopped) {
		t.Fatal(err)
	}
	r := start(t, cfg, nil) // no: it is still in the spool
	r.stdout.await(t, "lost?\n")
	r.drain()
}
