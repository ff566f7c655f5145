package httpd_test

import (
	"bytes"
	"io"
	"net/http"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
)

// The three slow attacks of slowhttptest, 100 connections each: every one of them
// is shed within seconds, and meanwhile others are served. What counts is what
// the server holds: a slow reader notices only much later that it was cut off.
func TestSlowHTTPTest(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some five seconds")
	}
	t.Parallel()
	tool := needTool(t, "slowhttptest")
	content := make([]byte, 8<<20) // more than socket buffers take
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil && r.URL.Path == "/" {
			w.Write(content)
		}
	})
	var all sync.WaitGroup
	for _, attack := range []struct {
		name string
		args []string
	}{
		{"slow header", []string{"-H", "-i", "1"}},
		{"slow body", []string{"-B", "-i", "1", "-s", "8192", "-x", "10"}},
		{"slow read", []string{"-X", "-w", "512", "-y", "1024", "-n", "1", "-z", "32"}},
	} {
		all.Go(func() { slowAttack(t, tool, attack.name, attack.args, page) })
	}
	all.Wait()
}

const slowConnections = 100

func slowAttack(t *testing.T, tool, name string, args []string, page http.Handler) {
	srv := &hythe.Server{
		Service: &httpd.Server{
			Handler:       page,
			HeaderTimeout: 2 * time.Second,
			BodyIdle:      2 * time.Second,
			MinRate:       1000,
			RateGrace:     2 * time.Second,
		},
		Timeouts: hythe.Timeouts{WriteStall: 2 * time.Second},
	}
	at := startServer(t, srv)
	var said bytes.Buffer
	cmd := exec.Command(tool, append(args, "-c", itoa(slowConnections), "-r", itoa(slowConnections), "-l", "60", "-p", "3", "-u", "http://"+at.String()+"/")...)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Error(err)
		return
	}
	var peak int
	var slowest time.Duration
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		start := time.Now()
		if got := ask1(t, at, "GET /other HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); got == "" {
			t.Errorf("%s: another client got no answer", name)
		}
		slowest = max(slowest, time.Since(start))
		stats := srv.Stats()
		peak = max(peak, stats.Live)
		if peak > slowConnections/2 && stats.Live <= 2 { // the tool's own probe, and ours
			t.Logf("%s: at most %d connections; others waited for at most %v; ended: %v", name, peak, slowest, stats.Ended)
			break
		}
		if time.Now().After(end) {
			t.Errorf("%s: %d connections of %d are left: %v", name, stats.Live, peak, stats.Ended)
			break
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	if t.Failed() {
		t.Logf("%s: %s", name, &said)
	}
	if slowest > 2*time.Second {
		t.Errorf("%s: another client waited for %v", name, slowest)
	}
}
