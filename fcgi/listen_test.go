package fcgi_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/hythe-go/hythe/fcgi"
)

func TestListenAndServe(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "app")
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Path) })
		served <- fcgi.ListenAndServe(ctx, h, "unix://"+socket)
	}()
	client := http.Client{Transport: &fcgi.Transport{Network: "unix", Address: socket, Root: "/srv"}}
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
	if err := fcgi.ListenAndServe(t.Context(), nil, "nowhere://x"); err == nil {
		t.Error("an endpoint that is none is served")
	}
}
