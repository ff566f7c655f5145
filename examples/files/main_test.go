package main

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/examples/internal/extest"
	"github.com/hythe-go/hythe/hythetest"
)

// serve serves a new directory.
func serve(t *testing.T) (srv *hythe.Server, dir string) {
	t.Helper()
	dir = t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return newServer(root), dir
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFiles(t *testing.T) {
	srv, dir := serve(t)
	write(t, filepath.Join(dir, "hello.txt"), []byte("hello\n"))
	write(t, filepath.Join(dir, "empty"), nil)
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	at := extest.Start(t, srv)
	for name, want := range map[string]string{
		"hello.txt":           "hello\n",
		"empty":               "",
		"missing":             "error: ",
		".":                   "error: ",
		"../../../etc/passwd": "error: ",
		"/etc/passwd":         "error: ",
		"link":                "error: ",
	} {
		c := extest.Dial(t, at)
		c.Send(name, "hello.txt") // the second request is not looked at
		got, err := io.ReadAll(c)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if want == "error: " {
			got = got[:min(len(got), len(want))]
		}
		if string(got) != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// A big file that is read slowly: the server holds a queue's worth of it.
func TestFiles_SlowReader(t *testing.T) {
	srv, dir := serve(t)
	content := make([]byte, 32<<20)
	rand.NewChaCha8([32]byte{}).Read(content)
	write(t, filepath.Join(dir, "big"), content)
	at := extest.Start(t, srv)
	c := extest.Dial(t, at)
	c.Send("big")

	var peak int64
	got := make([]byte, 0, len(content))
	for {
		// Another client is served meanwhile, so this one is slow.
		other := extest.Dial(t, at)
		other.Send("missing")
		if line := other.Line(); !strings.HasPrefix(line, "error: ") {
			t.Errorf("the other client got %q", line)
		}
		other.Close()
		peak = max(peak, srv.Stats().Memory)
		n, err := io.ReadFull(c, got[len(got):min(len(got)+1<<20, cap(got))])
		got = got[:len(got)+n]
		if n == 0 || err != nil {
			break
		}
	}
	if !bytes.Equal(got, content) {
		t.Errorf("got %d bytes, not the %d of the file", len(got), len(content))
	}
	if peak > 512<<10 {
		t.Errorf("up to %d bytes were queued, want no more than 512 KiB", peak)
	}
	c.ExpectEnd()
}

// A reader that stops, in memory, where nothing is left to chance.
func TestFiles_StoppedReader(t *testing.T) {
	srv, dir := serve(t)
	content := bytes.Repeat([]byte("0123456789abcdef"), 4<<20/16)
	write(t, filepath.Join(dir, "big"), content)
	synctest.Test(t, func(t *testing.T) {
		c := hythetest.Dial(t, srv)
		c.Write("big\n")
		synctest.Wait() // until everybody waits for the reader
		if held := srv.Stats().Memory; held < 128<<10 || held > 512<<10 {
			t.Errorf("%d bytes are queued, want the high mark of 256 KiB or so", held)
		}
		c.WantBytes(content)
		c.WantEOF()
		c.WantClosed(hythe.Finished)
	})
}
