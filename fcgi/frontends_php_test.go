package fcgi_test

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hythe-go/hythe/fcgi"
)

// phpFPM returns the php-fpm that is installed: the programs have versions in
// their names.
func phpFPM(t testing.TB) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/sbin/php-fpm[0-9]*")
	if len(found) == 0 {
		return needTool(t, "php-fpm")
	}
	return found[len(found)-1]
}

const phpScript = `<?php
switch ($_SERVER['PATH_INFO'] ?? '') {
case '/sum':
	$data = file_get_contents('php://input');
	echo strlen($data), ' ', crc32($data);
	break;
case '/big':
	for ($i = 0; $i < 160; $i++) echo str_repeat('x', 65536);
	break;
case '/status':
	http_response_code(404);
	header('X-One: 1');
	setcookie('a', '1');
	setcookie('b', '2');
	echo 'gone';
	break;
case '/away':
	header('Location: /there');
	break;
case '/error':
	error_log('php says oh');
	throw new Exception('alas');
case '/sleep':
	echo "asleep\n"; while (ob_get_level()) ob_end_flush(); flush();
	sleep(30);
	break;
default:
	foreach (['REQUEST_METHOD', 'REQUEST_URI', 'SCRIPT_NAME', 'PATH_INFO', 'QUERY_STRING', 'SCRIPT_FILENAME', 'HTTP_X_SENT', 'HTTP_HOST', 'SERVER_NAME'] as $n) echo $n, '=', $_SERVER[$n] ?? '-', "\n";
	echo 'q=', $_GET['q'] ?? '-', ' p=', $_POST['p'] ?? '-', "\n";
}
`

// startFPM starts a php-fpm with a script, and returns a Transport to it.
func startFPM(t testing.TB) (tr *fcgi.Transport, root string) {
	t.Helper()
	tool := phpFPM(t)
	dir := openDir(t)
	write(t, filepath.Join(dir, "index.php"), phpScript)
	socket := filepath.Join(dir, "fpm.sock")
	user := ""
	if os.Getuid() == 0 {
		user = "user = www-data\ngroup = www-data\n"
	}
	conf := filepath.Join(dir, "fpm.conf")
	write(t, conf, fmt.Sprintf("[global]\nerror_log = %[1]s/error.log\ndaemonize = no\n[www]\n%[2]slisten = %[3]s\nlisten.mode = 0666\npm = static\npm.max_children = 4\npm.max_requests = 50\n"+
		"php_admin_value[post_max_size] = 64M\nphp_admin_flag[log_errors] = on\nphp_admin_flag[display_errors] = off\n", dir, user, socket))
	cmd := exec.Command(tool, "-n", "-F", "-y", conf)
	startTool(t, cmd)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		nc, err := net.Dial("unix", socket)
		if err == nil {
			nc.Close()
			break
		}
		if time.Now().After(end) {
			b, _ := os.ReadFile(dir + "/error.log")
			t.Fatalf("%v\n%s", err, b)
		}
	}
	tr = &fcgi.Transport{Network: "unix", Address: socket, Root: dir, Index: "/index.php"}
	t.Cleanup(tr.CloseIdleConnections)
	return tr, dir
}

// php-fpm, through the Transport.
func TestTransportToPHP(t *testing.T) {
	tr, root := startFPM(t)
	client := &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	do := func(r *http.Request) (*http.Response, string) {
		t.Helper()
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Error(err)
		}
		return resp, string(b)
	}
	request := func(method, path string, body io.Reader) *http.Request {
		r, _ := http.NewRequest(method, "http://example.org"+path, body)
		return r
	}
	t.Run("variables", func(t *testing.T) {
		r := request("POST", "/index.php/a%20b?q=1", strings.NewReader("p=2"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("X-Sent", "yes")
		_, body := do(r)
		want := "REQUEST_METHOD=POST\nREQUEST_URI=/index.php/a%20b?q=1\nSCRIPT_NAME=/index.php\nPATH_INFO=/a b\nQUERY_STRING=q=1\nSCRIPT_FILENAME=" + root + "/index.php\n" +
			"HTTP_X_SENT=yes\nHTTP_HOST=example.org\nSERVER_NAME=example.org\nq=1 p=2\n"
		if body != want {
			t.Errorf("got  %q\nwant %q", body, want)
		}
	})
	t.Run("status and headers", func(t *testing.T) {
		resp, body := do(request("GET", "/status", nil))
		if resp.StatusCode != 404 || body != "gone" || resp.Header.Get("X-One") != "1" || len(resp.Header["Set-Cookie"]) != 2 {
			t.Errorf("got %s %q %v", resp.Status, body, resp.Header)
		}
		if resp, _ := do(request("GET", "/away", nil)); resp.StatusCode != 302 || resp.Header.Get("Location") != "/there" {
			t.Errorf("got %s %v", resp.Status, resp.Header)
		}
		if resp, body := do(request("HEAD", "/status", nil)); resp.StatusCode != 404 || body != "" {
			t.Errorf("HEAD: got %s %q", resp.Status, body)
		}
		if resp, _ := do(request("GET", "/none.php", nil)); resp.StatusCode != 404 {
			t.Errorf("a script that is not there: got %s", resp.Status)
		}
	})
	t.Run("uploads", func(t *testing.T) {
		data := strings.Repeat("0123456789abcdef", 4<<20/16)
		want := fmt.Sprint(len(data), " ", crc32.ChecksumIEEE([]byte(data)))
		if _, body := do(request("POST", "/sum", strings.NewReader(data))); body != want {
			t.Errorf("got %q, want %q", body, want)
		}
		short := data[:500_000]
		want = fmt.Sprint(len(short), " ", crc32.ChecksumIEEE([]byte(short)))
		if _, body := do(request("POST", "/sum", struct{ io.Reader }{strings.NewReader(short)})); body != want {
			t.Errorf("without a length: got %q, want %q", body, want)
		}
		if _, err := client.Do(request("POST", "/sum", struct{ io.Reader }{strings.NewReader(data)})); !errors.Is(err, fcgi.ErrBodyLength) {
			t.Errorf("without a length, and large: %v", err)
		}
	})
	t.Run("download", func(t *testing.T) {
		if _, body := do(request("GET", "/big", nil)); len(body) != 160*65536 {
			t.Errorf("got %d bytes", len(body))
		}
	})
	t.Run("many, over workers that come and go", func(t *testing.T) {
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 50 { // pm.max_requests is 50: kept connections are closed on us
					resp, err := client.Get("http://example.org/status")
					if err != nil {
						t.Error(err)
						return
					}
					b, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					if string(b) != "gone" || err != nil {
						t.Errorf("got %q, %v", b, err)
					}
				}
			})
		}
		all.Wait()
	})
	t.Run("errors", func(t *testing.T) {
		var mu sync.Mutex
		var log strings.Builder
		tr2 := &fcgi.Transport{Network: tr.Network, Address: tr.Address, Root: tr.Root, Index: tr.Index, Stderr: func(_ *http.Request, p []byte) {
			mu.Lock()
			defer mu.Unlock()
			log.Write(p)
		}}
		defer tr2.CloseIdleConnections()
		resp, err := tr2.RoundTrip(request("GET", "/error", nil))
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		mu.Lock()
		defer mu.Unlock()
		if resp.StatusCode != 500 || !strings.Contains(log.String(), "php says oh") || !strings.Contains(log.String(), "alas") {
			t.Errorf("got %s, STDERR %q", resp.Status, log.String())
		}
	})
	t.Run("cancel", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		began := time.Now()
		resp, err := client.Do(request("GET", "/sleep", nil).WithContext(ctx))
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 7)
		if _, err := io.ReadFull(resp.Body, b); string(b) != "asleep\n" || err != nil {
			t.Fatalf("got %q, %v: not streamed", b, err)
		}
		cancel()
		if _, err := io.ReadAll(resp.Body); !errors.Is(err, context.Canceled) {
			t.Errorf("reading on: %v", err)
		}
		resp.Body.Close()
		if d := time.Since(began); d > 10*time.Second {
			t.Errorf("it took %v", d)
		}
		if resp, _ := do(request("GET", "/status", nil)); resp.StatusCode != 404 {
			t.Errorf("the next request: %s", resp.Status)
		}
	})
}
