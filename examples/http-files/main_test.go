package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hythe-go/hythe/examples/internal/extest"
)

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	text := strings.Repeat("hello, files\n", 1000)
	for name, content := range map[string]string{"hello.txt": text, "big.bin": strings.Repeat("\x00\x01", 1<<20)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}

	var log bytes.Buffer
	t.Run("requests", func(t *testing.T) { // the server has stopped when they are done
		at := "http://" + extest.Start(t, newServer(root, &log)).String()
		client := &http.Client{Transport: new(http.Transport)}
		defer client.CloseIdleConnections()
		for _, test := range []struct {
			path, ranges string
			status, size int
		}{
			{"/hello.txt", "", 200, len(text)}, // compressed on the way
			{"/hello.txt", "bytes=1-4", 206, 4},
			{"/big.bin", "", 200, 2 << 20},
			{"/missing", "", 404, 19},
			{"/link", "", 500, 26}, // leads out
		} {
			req, err := http.NewRequest("GET", at+test.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if test.ranges != "" {
				req.Header.Set("Range", test.ranges)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != test.status || len(body) != test.size {
				t.Errorf("%s: %d, %d bytes, %v; want %d and %d", test.path, resp.StatusCode, len(body), err, test.status, test.size)
			}
		}
	})
	if n := strings.Count(log.String(), "\n"); n != 5 || !strings.Contains(log.String(), `"GET /big.bin HTTP/1.1" 200 2097152 "-" "Go-http-client/1.1"`) {
		t.Errorf("the log is\n%s", &log)
	}
}
