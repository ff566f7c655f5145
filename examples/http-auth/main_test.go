package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/hythe-go/hythe/examples/internal/extest"
)

func TestAuth(t *testing.T) {
	var log bytes.Buffer
	t.Run("requests", func(t *testing.T) { // the server has stopped when they are done
		at := extest.Start(t, newServer(&log))
		for _, test := range []struct{ credentials, status string }{
			{"", "401 Unauthorized"},
			{"Authorization: Basic YW5uOnNlY3JldA==\r\n", "200 OK"}, // ann:secret
			{"Authorization: Basic YW5uOmd1ZXNz\r\n", "401 Unauthorized"},
			{"Authorization: Basic Ym9iOnNlY3JldA==\r\n", "401 Unauthorized"}, // bob:secret
		} {
			c := extest.Dial(t, at)
			c.Send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + test.credentials + "\r")
			c.Expect("HTTP/1.1 " + test.status)
		}
	})
	lines := strings.Split(log.String(), "\n")
	if len(lines) != 5 || !strings.HasPrefix(lines[1], "127.0.0.1 - ann [") || !strings.HasSuffix(lines[1], `] "GET / HTTP/1.1" 200 11`) {
		t.Errorf("the log is\n%s", &log)
	}
	if strings.Contains(log.String(), "bob") {
		t.Errorf("the log has a name that nobody proved\n%s", &log)
	}
}
