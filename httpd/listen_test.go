package httpd_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/hythe-go/hythe/httpd"
)

func TestListenAndServe(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "web")
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- httpd.ListenAndServe(ctx, path, "unix://"+socket) }()
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) { // it binds meanwhile
		resp, err := client.Get("http://localhost/hello")
		if err != nil && time.Now().Before(end) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "/hello" {
			t.Errorf("the answer is %q, %v", b, err)
		}
		resp.Body.Close()
		break
	}
	client.CloseIdleConnections()
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if err := httpd.ListenAndServe(t.Context(), path, "nowhere://x"); err == nil {
		t.Error("an endpoint that is none is served")
	}
}
