package httpd_test

import (
	"bytes"
	"context"

	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
	"github.com/hythe-go/hythe/httpd/middleware"
)

// curlSite is what curl is let loose on.
func curlSite(t *testing.T) http.Handler {
	table := newTable(t,
		httpd.Route{Pattern: "GET /hello", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "hello over %s", r.Proto)
		})},
		httpd.Route{Pattern: "GET /trailer", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", "X-Sum")
			io.WriteString(w, "body")
			http.NewResponseController(w).Flush()
			w.Header().Set("X-Sum", "42")
		})},
		httpd.Route{Pattern: "/upload", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprintf(w, "%d bytes, %v, chunked %v", n, err, r.ContentLength < 0)
		})},
		httpd.Route{Pattern: "/refuse", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusExpectationFailed) // without reading the body
		})},
		httpd.Route{Pattern: "GET /file", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "a.txt", time.Unix(1e9, 0), strings.NewReader("0123456789"))
		})},
		httpd.Route{Pattern: "GET /long", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Write(bytes.Repeat([]byte("long "), 10000))
		})},
		httpd.Route{Pattern: "GET /abort", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "half")
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})},
	)
	secret := middleware.BasicAuth{
		Check: func(_ context.Context, user, password string) bool { return user == "ann" && password == "secret" }, FailDelay: -1,
	}
	mux := http.NewServeMux()
	mux.Handle("/", middleware.Compress{}.Wrap(table))
	mux.Handle("/secret", secret.Wrap(table))
	return middleware.Proxy{
		Access: func(*http.Request) bool { return true },
		Reach:  func(to netip.AddrPort) bool { return to.Addr().IsLoopback() },
	}.Wrap(mux)
}

// curl as a client of everything.
func TestCurl(t *testing.T) {
	curl := needTool(t, "curl")
	clear := startSite(t, curlSite(t), nil).String()
	config := httpd.TLSConfig(testTLS(t))
	secure := startServer(t, &hythe.Server{Service: &httpd.Server{Handler: curlSite(t)}, TLS: config}).(*net.TCPAddr).Port
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	writeFile(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: config.Certificates[0].Certificate[0]})))
	big := filepath.Join(dir, "big")
	writeFile(t, big, strings.Repeat("x", 3<<20))
	part := filepath.Join(dir, "part")
	writeFile(t, part, "012345")
	https := fmt.Sprintf("https://good.example:%d", secure)
	tlsArgs := []string{"--cacert", ca, "--resolve", fmt.Sprintf("good.example:%d:127.0.0.1", secure)}
	two := []string{"--http2"}
	prior := []string{"--http2-prior-knowledge"}

	for _, test := range []struct {
		name string
		args []string
		want string // in what it prints; with "$" in the end, all of it
	}{
		{"h1", []string{"http://" + clear + "/hello"}, "hello over HTTP/1.1$"},
		{"1.0", []string{"--http1.0", "http://" + clear + "/hello"}, "hello over HTTP/1.0$"},
		{"h2c by prior knowledge", append(prior, "http://"+clear+"/hello"), "hello over HTTP/2.0$"},
		{"h2c by Upgrade is let be", append(two, "http://"+clear+"/hello"), "hello over HTTP/1.1$"},
		{"h1 over TLS", append([]string{"--http1.1", https + "/hello"}, tlsArgs...), "hello over HTTP/1.1$"},
		{"h2 over TLS", append(append(two, https+"/hello"), tlsArgs...), "hello over HTTP/2.0$"},
		{"two on one connection", []string{"-w", " %{num_connects};", "http://" + clear + "/hello", "http://" + clear + "/hello"}, "hello over HTTP/1.1 1;hello over HTTP/1.1 0;$"},
		{"head", []string{"-I", "http://" + clear + "/hello"}, "Content-Length: 19"},
		{"not found", []string{"-o", os.DevNull, "-w", "%{http_code}", "http://" + clear + "/nothing"}, "404$"},
		{"not allowed", []string{"-i", "-X", "DELETE", "http://" + clear + "/hello"}, "Allow: GET, HEAD"},

		{"trailer", []string{"--raw", "http://" + clear + "/trailer"}, "X-Sum: 42"},
		{"trailer over h2", append(append(prior, "-D", "-", "-o", os.DevNull), "http://"+clear+"/trailer"), "x-sum: 42"},
		{"upload", []string{"-T", big, "http://" + clear + "/upload"}, "3145728 bytes, <nil>, chunked false$"},
		{"upload over h2", append(prior, "-T", big, "http://"+clear+"/upload"), "3145728 bytes, <nil>, chunked false$"},
		{"upload in chunks", []string{"-T", big, "-H", "Transfer-Encoding: chunked", "http://" + clear + "/upload"}, "3145728 bytes, <nil>, chunked true$"},
		{"Expect", []string{"-v", "--stderr", "-", "--expect100-timeout", "20", "-H", "Expect: 100-continue", "--data-binary", "@" + big, "http://" + clear + "/upload"}, "HTTP/1.1 100 Continue"},
		{"Expect refused", []string{"-o", os.DevNull, "-w", "%{http_code} %{size_upload}", "--expect100-timeout", "20", "-H", "Expect: 100-continue", "--data-binary", "@" + big, "http://" + clear + "/refuse"}, "417 0$"},
		{"range", []string{"-r", "2-4", "http://" + clear + "/file"}, "234$"},
		{"range from the end", []string{"-r", "-3", "http://" + clear + "/file"}, "789$"},
		{"ranges", []string{"-r", "0-1,8-9", "http://" + clear + "/file"}, "Content-Range: bytes 8-9/10"},
		{"range out of bounds", []string{"-o", os.DevNull, "-w", "%{http_code}", "-r", "50-60", "http://" + clear + "/file"}, "416$"},
		{"resume", []string{"-C", "-", "-o", part, "-w", "%{http_code} %{size_download}", "http://" + clear + "/file"}, "206 4$"},
		{"not modified", []string{"-o", os.DevNull, "-w", "%{http_code}", "-z", "Mon, 01 Jan 2024 00:00:00 GMT", "http://" + clear + "/file"}, "304$"},
		{"compressed", []string{"--compressed", "-w", " %{size_download}", "-o", os.DevNull, "http://" + clear + "/long"}, " "},
		{"basic auth", []string{"-u", "ann:secret", "-w", " %{http_code}", "http://" + clear + "/secret"}, "404$"},
		{"basic auth refused", []string{"-u", "ann:guess", "-i", "http://" + clear + "/secret"}, "Www-Authenticate: Basic"},
		{"broken off", []string{"-w", "%{exitcode}", "http://" + clear + "/abort"}, "half18$"},
		{"broken off over h2", append(prior, "-w", "%{exitcode}", "http://"+clear+"/abort"), "92$"},

		{"through the proxy", []string{"-x", "http://" + clear, "http://" + clear + "/hello"}, "hello over HTTP/1.1$"},
		{"by CONNECT", []string{"-p", "-x", "http://" + clear, "http://" + clear + "/hello"}, "hello over HTTP/1.1$"},
		{"by CONNECT, TLS and h2", append([]string{"--http2", "-x", "http://" + clear, fmt.Sprintf("https://127.0.0.1:%d/hello", secure)}, "--cacert", ca), "hello over HTTP/2.0$"},
		{"CONNECT to where it may not", []string{"-p", "-x", "http://" + clear, "-w", "%{http_connect}", "http://192.0.2.1:80/"}, "403"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := exec.Command(curl, append([]string{"-sS", "-q", "--noproxy", "", "--max-time", "20"}, test.args...)...)
			cmd.Env = append(os.Environ(), "no_proxy=", "http_proxy=", "https_proxy=")
			out, err := cmd.Output()
			got := strings.ReplaceAll(string(out), "\r\n", "\n")
			if want, whole := strings.CutSuffix(test.want, "$"); whole && !strings.HasSuffix(got, want) || !strings.Contains(got, want) {
				t.Errorf("got %.400q, %v; want %q", got, err, test.want)
			}
		})
	}
	if got, err := os.ReadFile(part); string(got) != "0123456789" {
		t.Errorf("resumed, the file is %q, %v", got, err)
	}
}

func writeFile(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
