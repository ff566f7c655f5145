package main

import (
	"strings"
	"testing"

	"github.com/hythe-go/hythe/examples/internal/extest"
	"github.com/hythe-go/hythe/examples/internal/webserver"
)

func TestAuthorizer(t *testing.T) {
	addr := extest.Start(t, newServer())
	for _, env := range [][]string{
		{"HTTP_AUTHORIZATION", "Basic Ymx1ZTpzZXNhbWU="},
		{"REMOTE_USER", "blue", "REMOTE_PASSWD", "sesame"},
	} {
		got, _ := webserver.Ask(t, addr, webserver.Request{Role: 2, Env: env}, nil)
		if !strings.HasPrefix(got, "Status: 200 OK\r\n") || !strings.Contains(got, "Variable-REMOTE_TEAM: blue\r\n") {
			t.Errorf("%q: got %q", env, got)
		}
	}
	for _, env := range [][]string{nil, {"REMOTE_USER", "blue", "REMOTE_PASSWD", "sesam"}, {"HTTP_AUTHORIZATION", "Basic x"}} {
		got, _ := webserver.Ask(t, addr, webserver.Request{Role: 2, Env: env}, nil)
		if !strings.HasPrefix(got, "Status: 401 Unauthorized\r\n") || !strings.Contains(got, "Www-Authenticate: ") || strings.Contains(got, "Variable-") {
			t.Errorf("%q: got %q", env, got)
		}
	}
}
