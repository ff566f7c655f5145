package main

import (
	"strings"
	"testing"

	"github.com/hythe-go/hythe/examples/internal/extest"
	"github.com/hythe-go/hythe/examples/internal/webserver"
)

func TestFilter(t *testing.T) {
	addr := extest.Start(t, newServer())
	r := webserver.Request{Role: 3, Env: []string{"FCGI_DATA_LENGTH", "12", "FCGI_DATA_LAST_MOD", "1000000000"}, Data: "one\ntwo\nlast"}
	got, _ := webserver.Ask(t, addr, r, nil)
	if !strings.Contains(got, "Last-Modified: Sun, 09 Sep 2001 01:46:40 GMT\r\n") || !strings.HasSuffix(got, "\r\n\r\n   1  one\n   2  two\n   3  last") {
		t.Errorf("got %q", got)
	}
	r.Data = "one\n"
	if got, _ := webserver.Ask(t, addr, r, nil); !strings.HasPrefix(got, "Status: 500 ") {
		t.Errorf("half a file: got %q", got)
	}
}
