package main

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/examples/internal/extest"
	"github.com/hythe-go/hythe/httpd"
	"github.com/hythe-go/hythe/hythetest"
)

func TestPages(t *testing.T) {
	at := "http://" + extest.Start(t, newServer()).String()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	two := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	defer two.CloseIdleConnections()
	one := &http.Client{Transport: new(http.Transport)}
	defer one.CloseIdleConnections()
	for path, want := range map[string]string{
		"/loop?pieces=3&pause=1ms":               "Hello World 0\nHello World 1\nHello World 2\n",
		"/callback?pieces=3&pause=1ms":           "Hello World 0\nHello World 1\nHello World 2\n",
		"/callback?pieces=3&pause=0s":            "Hello World 0\nHello World 1\nHello World 2\n",
		"/loop?pieces=3&pause=1ms&fail=true":     "Hello World 0\nHello World 1\n",
		"/callback?pieces=3&pause=1ms&fail=true": "Hello World 0\nHello World 1\n",
	} {
		for _, client := range []*http.Client{one, two} {
			resp, err := client.Get(at + path)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(got) != want || (err != nil) != strings.Contains(path, "fail") {
				t.Errorf("%s over %s: %q, %v", path, resp.Proto, got, err)
			}
		}
	}
}

func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("curl is missing: this is not tested")
	}
	at := "http://" + extest.Start(t, newServer()).String()
	// The page goes on for an hour; what there is of it arrives all the same.
	for _, path := range []string{"/loop", "/callback"} {
		cmd := exec.Command(curl, "-sSN", at+path+"?pieces=2&pause=1h")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "Hello World 0\n" {
			t.Errorf("%s: %q, %v", path, line, err)
		}
		cmd.Process.Kill()
		cmd.Wait()
	}
	out, err := exec.Command(curl, "-sSN", at+"/loop?pieces=2&pause=0s&fail=true").CombinedOutput()
	if want := "Hello World 0\ncurl: (18) "; !strings.HasPrefix(string(out), want) || err == nil {
		t.Errorf("a page that was broken off: %q, %v; want %q", out, err, want)
	}
}

// A client that reads nothing has a few pieces made, and no more.
func TestSlowClient(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request, made *atomic.Int32){
		"loop": func(w http.ResponseWriter, r *http.Request, made *atomic.Int32) {
			httpd.Stream(w, r, func(yield func([]byte, error) bool) {
				for yield(make([]byte, 10<<10), nil) {
					made.Add(1)
				}
			})
		},
		"callback": func(w http.ResponseWriter, r *http.Request, made *atomic.Int32) {
			out, err := httpd.Detach(w, r)
			if err != nil {
				panic(err)
			}
			out.OnFlushed(func(out *httpd.Out) {
				made.Add(1)
				out.TryWrite(make([]byte, 10<<10))
			})
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			var made atomic.Int32
			handler := func(w http.ResponseWriter, r *http.Request) { answer(w, r, &made) }
			c := hythetest.Dial(t, &hythe.Server{Service: &httpd.Server{Handler: http.HandlerFunc(handler)}})
			c.Write("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			synctest.Wait()
			if n := made.Load(); n == 0 || n > 10 {
				t.Errorf("%s: %d pieces were made", name, n)
			}
		})
	}
}
