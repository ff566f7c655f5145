package fcgi_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/fcgi"
)

// Real web servers in front of a Server, with the configurations that
// docs/behind-a-web-server.md shows. The files are in testdata/frontends; those
// in main there are what else the server needs to run in a directory of its own.

// A frontend is a web server.
type frontend struct {
	name string
	tool string // its program
	site string // the configuration shown, in testdata/frontends
	main string // the configuration that includes it; "" if it is put before it
	args func(dir, main string) []string

	port, socket string   // what is replaced in site
	keepAlive    []string // what in site has connections kept, each with what has to be in its place
	stream       string   // where nothing is buffered; "" for everywhere

	scriptName, pathInfo string // of /env/x
	buffers              bool   // it finds out the length of an upload that does not tell, but where it streams
	refuses              bool   // it refuses such uploads, unless they are small
	cancels              bool   // it closes the connection when its client leaves before the response has begun
}

var frontends = []frontend{
	{
		name: "nginx", tool: "nginx", site: "nginx.conf", main: "main/nginx.conf",
		args: func(dir, main string) []string { return []string{"-p", dir, "-c", main, "-e", dir + "/error.log"} },
		port: "listen 80;", socket: "/run/app/app.sock", keepAlive: []string{"fastcgi_keep_conn on;", "", "keepalive 16;", ""}, stream: "/stream",
		scriptName: "/env/x", buffers: true, cancels: true,
	},
	{
		name: "apache", tool: "apache2", site: "apache.conf", main: "main/apache.conf",
		args: func(dir, main string) []string { return []string{"-X", "-f", main} },
		port: "*:80", socket: "/run/app/app.sock", keepAlive: []string{"enablereuse=on", ""},
		scriptName: "/env/x",
	},
	{
		name: "lighttpd", tool: "lighttpd", site: "lighttpd.conf", main: "main/lighttpd.conf",
		args:   func(dir, main string) []string { return []string{"-D", "-f", main} },
		socket: "/run/app/app.sock", pathInfo: "/env/x", buffers: true,
	},
	{
		name: "caddy", tool: "caddy", site: "Caddyfile", main: "main/Caddyfile",
		args: func(dir, main string) []string { return []string{"run", "--adapter", "caddyfile", "--config", main} },
		port: ":80", socket: "/run/app/app.sock", pathInfo: "/env/x",
	},
	{
		name: "haproxy", tool: "haproxy", site: "haproxy.cfg", main: "main/haproxy.cfg",
		args: func(dir, main string) []string { return []string{"-db", "-f", main, "-f", dir + "/site.conf"} },
		port: ":80", socket: "/run/app/app.sock", keepAlive: []string{"option keep-conn", "no option keep-conn"},
		scriptName: "/env/x", refuses: true,
	},
}

// needTool returns where a program is. Without it the test is skipped, or fails
// where everything has to be there.
func needTool(t testing.TB, name string) string {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the configurations are for Linux")
	}
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin") {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed", name)
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// openDir makes a directory for programs that change their user.
func openDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fcgi")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A site is a web server that runs, and an application behind it.
type site struct {
	testing.TB
	url    string
	client *http.Client
	srv    *hythe.Server // nil if the web server starts the application
	stop   func()        // ends the web server
}

// run starts the web server in front of s. edit, if not nil, changes the
// configuration that is shown.
func (f frontend) run(t testing.TB, s *fcgi.Server, edit func(string) string) *site {
	t.Helper()
	tool := needTool(t, f.tool)
	dir := openDir(t)
	socket := filepath.Join(dir, "app.sock")
	w := &site{TB: t}
	if s != nil {
		w.srv = &hythe.Server{Service: s}
		listening := make(chan net.Addr, 1)
		w.srv.OnListen = func(a net.Addr) { listening <- a }
		served := make(chan error, 1)
		ctx, cancel := context.WithCancel(context.Background())
		go func() { served <- w.srv.ListenAndServe(ctx, "unix://"+socket+"?mode=0666") }()
		t.Cleanup(func() {
			cancel()
			w.srv.Close()
			<-served
		})
		select {
		case <-listening:
		case err := <-served:
			t.Fatal(err)
		}
	}
	port := freePort(t)
	replace := func(file string) string {
		b, err := os.ReadFile(filepath.Join("testdata", "frontends", file))
		if err != nil {
			t.Fatal(err)
		}
		conf := string(b)
		if strings.HasPrefix(file, "main/") {
			return strings.NewReplacer("@DIR@", dir, "@PORT@", port).Replace(conf)
		}
		if edit != nil {
			conf = edit(conf)
		}
		if f.port != "" {
			conf = replaceSome(t, conf, f.port, strings.ReplaceAll(strings.ReplaceAll(f.port, "80", port), "listen ", "listen 127.0.0.1:"))
		}
		return replaceSome(t, conf, f.socket, socket)
	}
	write(t, filepath.Join(dir, "site.conf"), replace(f.site))
	main := filepath.Join(dir, "main.conf")
	write(t, main, replace(f.main))
	if f.tool == "nginx" { // relative to its configuration
		b, err := os.ReadFile("/etc/nginx/fastcgi_params")
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "fastcgi_params"), string(b))
	}
	cmd := exec.Command(tool, f.args(dir, main)...)
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	log, err := os.Create(filepath.Join(dir, "output.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	w.stop = startTool(t, cmd)
	t.Cleanup(func() {
		log.Close()
		if t.Failed() {
			for _, name := range []string{"output.log", "error.log"} {
				if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
					t.Logf("%s: %s", name, b)
				}
			}
		}
	})
	awaitPort(t, "127.0.0.1:"+port)
	w.url = "http://127.0.0.1:" + port
	w.client = &http.Client{Transport: &http.Transport{}, Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(w.client.CloseIdleConnections)
	return w
}

// startTool starts a program. It ends by stop, or when the test does.
func startTool(t testing.TB, cmd *exec.Cmd) (stop func()) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		cmd.Wait()
		close(exited)
	}()
	stop = func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(5 * time.Second):
			cmd.Process.Kill()
			<-exited
		}
	}
	t.Cleanup(stop)
	return stop
}

// freePort returns a port that nobody listens on.
func freePort(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
}

// awaitPort waits until somebody listens, which a program tells nobody.
func awaitPort(t testing.TB, address string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		nc, err := net.Dial("tcp", address)
		if err == nil {
			nc.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// replaceSome replaces what must be there.
func replaceSome(t testing.TB, s, old, new string) string {
	t.Helper()
	if !strings.Contains(s, old) {
		t.Fatalf("the configuration lacks %q", old)
	}
	return strings.ReplaceAll(s, old, new)
}

// do makes a request and returns the response with its body read.
func (w *site) do(r *http.Request) (*http.Response, string) {
	w.Helper()
	resp, err := w.client.Do(r)
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Errorf("%s %s: %v after %d bytes", r.Method, r.URL, err, len(b))
	}
	return resp, string(b)
}

func (w *site) request(method, path string, body io.Reader) *http.Request {
	w.Helper()
	r, err := http.NewRequest(method, w.url+path, body)
	if err != nil {
		w.Fatal(err)
	}
	return r
}

func (w *site) get(path string) (*http.Response, string) {
	w.Helper()
	return w.do(w.request("GET", path, nil))
}
