package fcgi_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hythe-go/hythe/fcgi"
)

// tester is the application that is asked through the web servers.
type tester struct {
	entered chan struct{} // /wait has begun
	tick    chan struct{} // /flush goes on
	left    chan error    // why /wait and /pour have ended
}

func newTester() *tester {
	return &tester{entered: make(chan struct{}, 1), tick: make(chan struct{}), left: make(chan error, 100)}
}

func (a *tester) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	switch path := strings.TrimPrefix(r.URL.Path, "/stream"); path {
	case "/hello":
		io.WriteString(w, "hello, world\n")
	case "/env/x":
		env := fcgi.ProcessEnv(r)
		for _, name := range slices.Sorted(maps.Keys(env)) {
			fmt.Fprintf(w, "%s=%s\n", name, env[name])
		}
	case "/headers":
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Add("Set-Cookie", "b=2")
		w.Header().Set("X-Large", strings.Repeat("x", 7000))
		w.WriteHeader(http.StatusTeapot)
	case "/away":
		http.Redirect(w, r, "/there?x=y", http.StatusSeeOther)
	case "/nothing":
		w.WriteHeader(http.StatusNoContent)
	case "/sum":
		h := crc32.NewIEEE()
		n, err := io.Copy(h, r.Body)
		fmt.Fprint(w, r.ContentLength, " ", n, " ", h.Sum32(), " ", err)
	case "/big":
		h := make([]byte, 64<<10)
		for i := range 20 << 20 / len(h) {
			h[0] = byte(i)
			w.Write(h)
		}
	case "/flush":
		for i := range 3 {
			fmt.Fprintf(w, "tick %d\n", i)
			rc.Flush()
			select {
			case <-a.tick:
			case <-r.Context().Done():
			}
		}
	case "/wait":
		a.entered <- struct{}{}
		select {
		case <-r.Context().Done():
			a.left <- context.Cause(r.Context())
		case <-time.After(20 * time.Second):
			a.left <- nil
		}
	case "/pour":
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
			if _, err := w.Write(make([]byte, 8<<10)); err != nil {
				a.left <- err
				return
			}
			rc.Flush()
		}
		a.left <- nil
	default:
		http.NotFound(w, r)
	}
}

// Each web server that is installed passes all of it.
func TestFrontends(t *testing.T) {
	for _, f := range frontends {
		t.Run(f.name, func(t *testing.T) {
			a := newTester()
			w := f.run(t, &fcgi.Server{Handler: a}, nil)
			for name, check := range map[string]func(*site, frontend, *tester){
				"hello": checkHello, "variables": checkVariables, "headers": checkHeaders, "large headers": checkLargeHeaders, "uploads": checkUploads,
				"download": checkDownload, "streaming": checkStreaming, "client gone": checkClientGone, "many at once": checkManyAtOnce, "keep-alive": checkKeepAlive,
			} {
				t.Run(name, func(t *testing.T) {
					of := *w
					of.TB = t
					check(&of, f, a)
				})
			}
		})
	}
}

// The same without kept connections.
func TestFrontendsWithoutKeepAlive(t *testing.T) {
	for _, f := range frontends {
		if f.keepAlive == nil {
			continue // it never keeps them: TestFrontends has seen it
		}
		t.Run(f.name, func(t *testing.T) {
			w := f.run(t, &fcgi.Server{Handler: newTester()}, func(conf string) string {
				for i := 0; i < len(f.keepAlive); i += 2 {
					conf = replaceSome(t, conf, f.keepAlive[i], f.keepAlive[i+1])
				}
				return conf
			})
			checkHello(w, f, nil)
			checkUploads(w, f, nil)
			checkDownload(w, f, nil)
			f.keepAlive = nil
			checkKeepAlive(w, f, nil)
		})
	}
}

// Over TLS the application knows that it is.
func TestFrontendsHTTPS(t *testing.T) {
	issuer := httptest.NewUnstartedServer(nil)
	issuer.StartTLS()
	pair := issuer.TLS.Certificates[0]
	issuer.Close()
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(openDir(t), "pair.pem")
	write(t, file, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}))+string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	for name, change := range map[string][2]string{
		"nginx":   {"listen 80;", "listen 80 ssl; ssl_certificate " + file + "; ssl_certificate_key " + file + ";"},
		"caddy":   {":80 {", "https://127.0.0.1:80 {\n\ttls " + file + " " + file},
		"haproxy": {"bind :80", "bind :80 ssl crt " + file},
	} {
		t.Run(name, func(t *testing.T) {
			f := frontends[slices.IndexFunc(frontends, func(f frontend) bool { return f.name == name })]
			if name == "nginx" {
				f.port = "listen 80 ssl;"
			}
			w := f.run(t, &fcgi.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprint(w, r.URL.Scheme, " ", r.TLS != nil, " ", fcgi.Param(r, "HTTPS"))
			})}, func(conf string) string { return replaceSome(t, conf, change[0], change[1]) })
			w.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
			w.url = strings.Replace(w.url, "http:", "https:", 1)
			if resp, body := w.get("/"); body != "https true on" {
				t.Errorf("got %s %q", resp.Status, body)
			}
		})
	}
}

func checkHello(w *site, f frontend, _ *tester) {
	if resp, body := w.get("/hello"); resp.StatusCode != 200 || body != "hello, world\n" || resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		w.Errorf("got %s %q", resp.Status, body)
	}
	if resp, body := w.do(w.request("HEAD", "/hello", nil)); resp.StatusCode != 200 || body != "" {
		w.Errorf("HEAD: got %s %q", resp.Status, body)
	}
	if resp, _ := w.get("/none"); resp.StatusCode != 404 {
		w.Errorf("got %s, want 404", resp.Status)
	}
	if resp, body := w.get("/nothing"); resp.StatusCode != 204 || body != "" {
		w.Errorf("got %s %q, want 204", resp.Status, body)
	}
}

func checkVariables(w *site, f frontend, _ *tester) {
	_, body := w.get("/env/x?q=1%202&r")
	got := make(map[string]string)
	for line := range strings.Lines(body) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		got[name] = value
	}
	for name, want := range map[string]string{
		"REQUEST_METHOD": "GET", "REQUEST_URI": "/env/x?q=1%202&r", "QUERY_STRING": "q=1%202&r", "SCRIPT_NAME": f.scriptName, "PATH_INFO": f.pathInfo, "REMOTE_ADDR": "127.0.0.1", "HTTPS": "", "SERVER_PROTOCOL": "HTTP/1.1",
	} {
		if got[name] != want {
			w.Errorf("%s = %q, want %q", name, got[name], want)
		}
	}
	if host := got["HTTP_HOST"]; host != "127.0.0.1" && host != strings.TrimPrefix(w.url, "http://") {
		w.Errorf("HTTP_HOST = %q", host)
	}
}

func checkHeaders(w *site, f frontend, _ *tester) {
	resp, _ := w.get("/headers")
	if resp.StatusCode != 418 || len(resp.Header["Set-Cookie"]) != 2 || len(resp.Header.Get("X-Large")) != 7000 {
		w.Errorf("got %s, cookies %q, a large field of %d bytes", resp.Status, resp.Header["Set-Cookie"], len(resp.Header.Get("X-Large")))
	}
	if resp, _ := w.get("/away"); resp.StatusCode != 303 || !strings.HasSuffix(resp.Header.Get("Location"), "/there?x=y") {
		w.Errorf("got %s to %q", resp.Status, resp.Header.Get("Location"))
	}
}

func checkLargeHeaders(w *site, f frontend, _ *tester) {
	r := w.request("GET", "/env/x", nil)
	for i := range 6 {
		r.Header.Set(fmt.Sprint("X-L", i), strings.Repeat("h", 5000))
	}
	if resp, body := w.do(r); strings.Count(body, "h") < 30_000 {
		w.Errorf("got %s and %d bytes", resp.Status, len(body))
	}
}

func checkUploads(w *site, f frontend, _ *tester) {
	data := strings.Repeat("0123456789abcdef", 3<<20/16)
	known := summary(len(data), data)
	unknown := summary(-1, data)
	if f.buffers {
		unknown = known
	}
	chunked := func(path, data string) *http.Request {
		return w.request("POST", path, struct{ io.Reader }{strings.NewReader(data)})
	}
	check := func(path, unknown string) {
		if resp, body := w.do(w.request("POST", path, strings.NewReader(data))); body != known {
			w.Errorf("%s: got %s %q, want %q", path, resp.Status, body, known)
		}
		if f.refuses {
			if resp, err := w.client.Do(chunked(path, data)); err == nil { // an error, if it is refused while it is sent
				if resp.Body.Close(); resp.StatusCode != 400 {
					w.Errorf("%s, without a length: got %s", path, resp.Status)
				}
			}
			if resp, body := w.do(chunked(path, "small")); body != summary(5, "small") {
				w.Errorf("%s, small and without a length: got %s %q", path, resp.Status, body)
			}
			return
		}
		if resp, body := w.do(chunked(path, data)); body != unknown {
			w.Errorf("%s, without a length: got %s %q, want %q", path, resp.Status, body, unknown)
		}
	}
	check("/sum", unknown)
	if f.stream != "" {
		check(f.stream+"/sum", summary(-1, data))
	}
	if _, body := w.do(w.request("POST", "/sum", nil)); body != summary(0, "") {
		w.Errorf("nothing: got %q", body)
	}
}

// summary is what /sum says of a body whose length was told.
func summary(length int, data string) string {
	return fmt.Sprint(length, " ", len(data), " ", crc32.ChecksumIEEE([]byte(data)), " ", nil)
}

func checkDownload(w *site, f frontend, _ *tester) {
	resp, body := w.get("/big")
	if len(body) != 20<<20 || body[19<<20] != byte(19<<20/(64<<10)&0xff) {
		w.Errorf("got %s and %d bytes", resp.Status, len(body))
	}
}

// What the application flushes is there before it goes on.
func checkStreaming(w *site, f frontend, a *tester) {
	resp, err := w.client.Get(w.url + f.stream + "/flush")
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for i := range 3 {
		if !lines.Scan() || lines.Text() != fmt.Sprint("tick ", i) {
			w.Fatalf("got %q, %v, want tick %d", lines.Text(), lines.Err(), i)
		}
		a.tick <- struct{}{}
	}
	if lines.Scan() {
		w.Errorf("got %q as well", lines.Text())
	}
}

// A client that leaves ends the request: at once, if the web server tells, and
// otherwise when it does not take any more of what the application writes.
func checkClientGone(w *site, f frontend, a *tester) {
	paths := []string{"/pour"}
	if f.cancels {
		paths = append(paths, "/wait")
	}
	for _, path := range paths {
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			if path == "/wait" {
				<-a.entered
				cancel()
			}
		}()
		resp, err := w.client.Do(w.request("GET", path, nil).WithContext(ctx))
		if err == nil {
			resp.Body.Read(make([]byte, 1))
			cancel()
			resp.Body.Close()
		}
		select {
		case err := <-a.left:
			if err == nil {
				w.Errorf("%s: the application was not told", path)
			}
		case <-time.After(25 * time.Second):
			w.Errorf("%s: the application is still at it", path)
		}
	}
}

func checkManyAtOnce(w *site, f frontend, _ *tester) {
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			data := strings.Repeat("x", i*1000)
			r := w.request("POST", "/sum", strings.NewReader(data))
			r.Header.Set("Idempotency-Key", "1") // Apache may close an idle connection just then
			resp, err := w.client.Do(r)
			if err != nil {
				w.Error(err)
				return
			}
			defer resp.Body.Close()
			b, _ := io.ReadAll(resp.Body)
			if want := summary(len(data), data); string(b) != want {
				w.Errorf("got %s %q, want %q", resp.Status, b, want)
			}
		})
	}
	all.Wait()
}

// Requests, one after the other, come over few connections, or each over its
// own.
func checkKeepAlive(w *site, f frontend, _ *tester) {
	w.get("/hello")
	before := w.srv.Stats().Opened
	const n = 50
	for range n {
		if resp, body := w.get("/hello"); body != "hello, world\n" {
			w.Fatalf("got %s %q", resp.Status, body)
		}
	}
	conns := w.srv.Stats().Opened - before
	if f.keepAlive != nil && conns > n/5 || f.keepAlive == nil && conns < n {
		w.Errorf("%d connections for %d requests", conns, n)
	}
}

// The documentation shows what is tested here, letter for letter.
func TestFrontendsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../docs/behind-a-web-server.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir("testdata/frontends")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if file.IsDir() {
			continue
		}
		conf, err := os.ReadFile("testdata/frontends/" + file.Name())
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(doc), "\n"+string(conf)+"```\n") {
			t.Errorf("the documentation does not show testdata/frontends/%s as it is", file.Name())
		}
	}
}
