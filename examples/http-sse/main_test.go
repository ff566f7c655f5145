package main

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/examples/internal/extest"
	"github.com/hythe-go/hythe/hythetest"
)

var noon = time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)

// nextEvent reads a chunk with an event in it.
func nextEvent(c *extest.Client) string {
	for {
		if now, ok := strings.CutPrefix(c.Line(), "data: "); ok {
			c.Expect("", "")
			return now
		}
	}
}

// A few hundred listen, each hears every tick, and the server's drain ends the
// answers in peace.
func TestClock(t *testing.T) {
	const n = 300
	var clients []*extest.Client
	t.Run("ticks", func(t2 *testing.T) { // the server drains when they are over
		srv, clock := newServer(0)
		at := extest.Start(t2, srv)
		for range n {
			c := extest.Dial(t, at)
			c.Send("GET /clock HTTP/1.1\r\nHost: a\r\n\r")
			c.Expect("HTTP/1.1 200 OK")
			nextEvent(c)
			clients = append(clients, c)
		}
		for i := range 3 {
			now := noon.Add(time.Duration(i) * time.Second)
			clock.tick(now)
			for _, c := range clients {
				if got, want := nextEvent(c), now.Format(time.RFC3339); got != want {
					t2.Fatalf("it is %s, and told was %s", want, got)
				}
			}
		}
	})
	for _, c := range clients {
		c.Expect("0", "")
		c.ExpectEnd()
	}
}

// Whoever does not read holds nobody up, and is forgotten when the server's clock
// has ended the connection.
func TestDeafListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, clock := newServer(0)
		c := hythetest.Dial(t, srv)
		c.Write("GET /clock HTTP/1.1\r\nHost: a\r\n\r\n")
		synctest.Wait()
		for range 10_000 {
			clock.tick(noon)
		}
		if len(clock.outs) != 1 {
			t.Errorf("%d listeners, want 1", len(clock.outs))
		}
		time.Sleep(time.Minute)
		c.WantClosed(hythe.WriteStalled)
		clock.tick(noon)
		if len(clock.outs) != 0 {
			t.Errorf("%d listeners, want none", len(clock.outs))
		}
	})
}

func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("curl is missing: this is not tested")
	}
	srv, clock := newServer(0)
	at := "http://" + extest.Start(t, srv).String()
	for _, version := range []string{"--http1.1", "--http2-prior-knowledge"} {
		cmd := exec.Command(curl, "-sN", version, at+"/clock")
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(stdout)
		for range 2 {
			got := ""
			for range 3 {
				line, _ := r.ReadString('\n')
				got += line
			}
			if !strings.HasPrefix(got, "retry: 5000\ndata: 20") || !strings.HasSuffix(got, "\n\n") {
				t.Errorf("%s: %q", version, got)
			}
			clock.tick(noon)
		}
		cmd.Process.Kill()
		cmd.Wait()
	}
	if page, err := exec.Command(curl, "-s", at+"/").Output(); err != nil || !strings.Contains(string(page), `EventSource("/clock")`) {
		t.Errorf("the page: %q, %v", page, err)
	}
}
