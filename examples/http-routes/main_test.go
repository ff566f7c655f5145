package main

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/hythe-go/hythe/examples/internal/extest"
)

func TestRoutes(t *testing.T) {
	at := "http://" + extest.Start(t, newServer()).String()
	client := &http.Client{Transport: new(http.Transport)}
	defer client.CloseIdleConnections()
	ask := func(method, path, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequest(method, at+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(got)
	}
	want := func(path string, status int, body string) {
		t.Helper()
		if code, got := ask("GET", path, ""); code != status || got != body {
			t.Errorf("%s: %d %q, want %d %q", path, code, got, status, body)
		}
	}

	want("/hello", 200, "hello (GET /hello)\n")
	if code, got := ask("POST", "/routes", "GET /hello good day\n~^/h. something with h\n"); code != 200 {
		t.Errorf("new routes: %d %q", code, got)
	}
	want("/hello", 200, "good day (GET /hello)\n")
	want("/help", 200, "something with h (~^/h.)\n")
	want("/routes", 200, "GET /routes\nPOST /routes\nGET /hello\n~^/h.\n")

	if code, got := ask("POST", "/routes", "/fine yes\n~( no\n"); code != 400 || !strings.Contains(got, `"~("`) {
		t.Errorf("a mistake: %d %q", code, got)
	}
	want("/fine", 404, "404 page not found\n")
	want("/hello", 200, "good day (GET /hello)\n")
}
