package httpd_test

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
)

// startSite serves a handler over real sockets until the test ends. edit, if not
// nil, may change the server before.
func startSite(t testing.TB, h http.Handler, edit func(*httpd.Server)) net.Addr {
	t.Helper()
	s := &httpd.Server{Handler: h}
	if edit != nil {
		edit(s)
	}
	return startServer(t, &hythe.Server{Service: s})
}

// startServer serves on a free port of 127.0.0.1 until the test ends.
func startServer(t testing.TB, srv *hythe.Server) net.Addr {
	t.Helper()
	at, stop := serveUntil(t, srv)
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	return at
}

// serveUntil serves until stop is called, which drains and returns Serve's error.
func serveUntil(t testing.TB, srv *hythe.Server) (at net.Addr, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	listening := make(chan net.Addr, 1)
	srv.OnListen = func(a net.Addr) { listening <- a }
	served := make(chan error, 1)
	go func() { served <- srv.ListenAndServe(ctx, "tcp://127.0.0.1:0") }()
	select {
	case at := <-listening:
		return at, func() error {
			cancel()
			return <-served
		}
	case err := <-served:
		cancel()
		t.Fatalf("ListenAndServe = %v", err)
		return nil, nil
	}
}

// dial connects to a server; what the test does with it must be done within
// patience.
func dial(t testing.TB, at net.Addr) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	return nc
}

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// needTool returns where a program is. Without it the test is skipped, or fails
// where everything must be there.
func needTool(t testing.TB, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing", names[0])
	}
	t.Skipf("%s is missing: this is not tested", names[0])
	return ""
}

func itoa(n int) string { return strconv.Itoa(n) }
