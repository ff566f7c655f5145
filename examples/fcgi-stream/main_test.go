package main

import (
	"strings"
	"testing"
	"time"

	"github.com/hythe-go/hythe/examples/internal/extest"
	"github.com/hythe-go/hythe/examples/internal/webserver"
)

func TestStream(t *testing.T) {
	addr := extest.Start(t, newServer(5*time.Millisecond))
	pieces := 0
	got, errs := webserver.Ask(t, addr, webserver.Request{Role: 1}, func(string) { pieces++ })
	if !strings.HasSuffix(got, "\r\n\r\ntick 0\ntick 1\ntick 2\ntick 3\ntick 4\ntick 5\ntick 6\ntick 7\ntick 8\ntick 9\n") || errs != "" {
		t.Errorf("got %q, %q", got, errs)
	}
	if pieces != 10 {
		t.Errorf("it came in %d pieces, want 10", pieces)
	}
}
