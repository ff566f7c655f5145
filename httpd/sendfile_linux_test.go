package httpd_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
)

// readCalls returns how often the process has called read and its like, which
// sendfile is one of and recvfrom is not.
func readCalls(t *testing.T) (calls int) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Skip("system calls are not counted here: ", err)
	}
	_, rest, _ := strings.Cut(string(b), "syscr: ")
	if _, err := fmt.Sscan(rest, &calls); err != nil {
		t.Skipf("system calls are not counted here: %q", b)
	}
	return calls
}

// receive reads n bytes, by calls that readCalls does not see.
func receive(t *testing.T, raw syscall.RawConn, n int) {
	t.Helper()
	b := make([]byte, 1<<20)
	for n > 0 {
		var k int
		var err error
		if e := raw.Read(func(fd uintptr) bool {
			k, _, err = syscall.Recvfrom(int(fd), b[:min(n, len(b))], 0)
			return err != syscall.EAGAIN
		}); e != nil || err != nil || k == 0 {
			t.Fatalf("%d bytes before the end: %v, %v", n, e, err)
		}
		n -= k
	}
}

// A file goes from the disk to the client without coming by: it takes far fewer
// calls than it has pieces of 32 KiB.
func TestSendfile_TakesFewCalls(t *testing.T) {
	const size = 64 << 20
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "big"), "")
	if err := os.Truncate(filepath.Join(dir, "big"), size); err != nil {
		t.Fatal(err)
	}
	served := func(h http.Handler, edit func(*httpd.Server)) int {
		s := &httpd.Server{Handler: h, MoorAfter: -1}
		if edit != nil {
			edit(s)
		}
		c := dialRaw(t, startServer(t, &hythe.Server{Service: s}))
		raw, err := c.nc.(syscall.Conn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		c.send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
		c.r = bufio.NewReaderSize(c.nc, 16)
		for line := ""; line != "\r\n"; {
			if line, err = c.r.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		before := readCalls(t)
		receive(t, raw, size-c.r.Buffered())
		return readCalls(t) - before
	}
	file := filepath.Join(dir, "big")
	serveFile := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) })
	copied := served(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(file)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		w.Header().Set("Content-Length", itoa(size))
		io.Copy(w, struct{ io.Reader }{f})
	}), nil)
	if copied < size/(64<<10) {
		t.Fatalf("%d calls for a file that is copied: the test sees nothing", copied)
	}
	for _, test := range []struct {
		what string
		h    http.Handler
		edit func(*httpd.Server)
	}{
		{"ServeFile", serveFile, nil},
		{"io.Copy", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // it hands the file over in another form
			f, err := os.Open(file)
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			w.Header().Set("Content-Length", itoa(size))
			io.Copy(w, f)
		}), nil},
		{"FileServer", http.FileServer(http.Dir(dir)), nil},
		{"Observer", serveFile, func(s *httpd.Server) { s.Observer = func(httpd.Request) {} }},
		{"MinRate", serveFile, func(s *httpd.Server) { s.MinRate = 1 }},
		{"Observer and MinRate", http.FileServer(http.Dir(dir)), func(s *httpd.Server) { s.Observer, s.MinRate = func(httpd.Request) {}, 1 }},
	} {
		if n := served(test.h, test.edit); n > copied/2 {
			t.Errorf("%s: %d calls, and %d where the file is copied", test.what, n, copied)
		} else {
			t.Logf("%s: %d calls, and %d where the file is copied", test.what, n, copied)
		}
	}
}
