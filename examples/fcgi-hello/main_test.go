package main

import (
	"testing"

	"github.com/hythe-go/hythe/examples/internal/extest"
	"github.com/hythe-go/hythe/examples/internal/webserver"
)

func TestHello(t *testing.T) {
	addr := extest.Start(t, newServer())
	got, _ := webserver.Ask(t, addr, webserver.Request{Role: 1, Env: []string{"REQUEST_METHOD", "GET", "REQUEST_URI", "/world?x=y"}}, nil)
	if want := "Status: 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 14\r\n\r\nhello, /world\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
