package fcgi

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/hythetest"
)

// This binary is the spawned program too.
const spawnedEnv = "FCGI_TEST_SPAWNED"

func spawnedMain() {
	a := newApp()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/fds": // 1 and 2 must not be sockets
			for _, f := range []*os.File{os.Stdout, os.Stderr} {
				if st, err := f.Stat(); err != nil || st.Mode()&os.ModeDevice == 0 {
					http.Error(w, f.Name(), 500)
				}
			}
		case "/slow":
			w.(http.Flusher).Flush()
			io.Copy(w, r.Body)
		default:
			a.ServeHTTP(w, r)
		}
	})
	var l net.Listener
	if os.Getenv("FCGI_TEST_LISTENER") != "" {
		l, _ = net.FileListener(os.Stdin)
	}
	if err := Serve(l, h); err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(3)
	}
	os.Exit(0)
}

// spawn runs the spawned program with a file as its descriptor 0.
func spawn(t *testing.T, stdin *os.File, env ...string) *exec.Cmd {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("no program is spawned that way on Windows")
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), append(env, spawnedEnv+"=1")...)
	cmd.Stdin = stdin
	t.Cleanup(func() {
		if cmd.Process != nil {
			cmd.Process.Kill()
		}
	})
	return cmd
}

func listenFile(t *testing.T, network, addr string) (net.Addr, *os.File) {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close(); l.Close() })
	return l.Addr(), f
}

func connect(t *testing.T, a net.Addr) *peer {
	t.Helper()
	nc, err := net.Dial(a.Network(), a.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return newPeer(t, nc)
}

// Spawned on descriptor 0, with 1 and 2 closed as section 2.2 allows, it serves
// until it is told to end, and then finishes what has begun.
func TestSpawned_Spec2_2(t *testing.T) {
	for _, sig := range spawnedSignals {
		t.Run(sig.String(), func(t *testing.T) {
			addr, f := listenFile(t, "unix", filepath.Join(t.TempDir(), "socket"))
			cmd := spawn(t, f)
			cmd = exec.Command("sh", "-c", `exec "$0" >&- 2>&-`, cmd.Path)
			cmd.Env, cmd.Stdin = append(os.Environ(), spawnedEnv+"=1"), f
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			p := connect(t, addr)
			p.send(get(1, "/fds"))
			p.wantBody(1, "")
			p.send(begin(1, flagKeepConn, "REQUEST_METHOD", "POST", "REQUEST_URI", "/slow", "CONTENT_LENGTH", "4"))
			p.wantOut(1, "\r\n\r\n")
			cmd.Process.Signal(sig)
			if nc, err := net.Dial(addr.Network(), addr.String()); err == nil {
				nc.Close()
			}
			p.send(rec(typeStdin, 1, "body"))
			p.wantBody(1, "body")
			p.wantEOF()
			p.Close()
			if err := cmd.Wait(); err != nil {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}

func TestWebServerAddrs_Spec3_2(t *testing.T) {
	for addrs, welcome := range map[string]bool{"127.0.0.1": true, "192.0.2.1, 127.0.0.0/8": true, "192.0.2.1": false} {
		addr, f := listenFile(t, "tcp", "127.0.0.1:0")
		cmd := spawn(t, f, "FCGI_WEB_SERVER_ADDRS="+addrs)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		p := connect(t, addr)
		if welcome {
			p.send(get(1, "/hello"))
			p.wantBody(1, "hello")
		} else if n, err := p.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Errorf("%s: got %d bytes, %v; want the connection closed", addrs, n, err)
		}
		cmd.Process.Signal(syscall.SIGTERM)
		p.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("it ended with %v", err)
		}
	}
}

func TestStartedAsCGI(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	cmd := spawn(t, null, "REQUEST_METHOD=GET", "SERVER_PROTOCOL=HTTP/1.1", "REQUEST_URI=/hello", "HTTP_HOST=x")
	out, err := cmd.Output()
	if err != nil || !strings.HasSuffix(string(out), "\r\n\r\nhello") {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestStartedByHand(t *testing.T) {
	cmd := spawn(t, nil)
	out, err := cmd.CombinedOutput()
	if exit, is := errors.AsType[*exec.ExitError](err); !is || exit.ExitCode() != 3 || !strings.Contains(string(out), "a web server has to start it") {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestWebServers(t *testing.T) {
	for _, list := range []string{"", "localhost", "1.2.3.4,", "1.2.3.4/33"} {
		if _, err := WebServers(list); err == nil {
			t.Errorf("%q is accepted", list)
		}
	}
	let, err := WebServers("192.0.2.1,2001:db8::/32 , 10.1.2.3/8")
	if err != nil {
		t.Fatal(err)
	}
	for peer, want := range map[string]bool{
		"192.0.2.1:80": true, "192.0.2.2:80": false, "[2001:db8:1::1]:80": true, "[2001:db9::]:80": false, "10.200.0.1:9": true, "[::ffff:192.0.2.1]:80": true,
	} {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		nc, err := let(context.Background(), addrConn{a, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(peer))})
		if (err == nil) != want || (nc != nil) != want {
			t.Errorf("%s: %v, want %v", peer, err, want)
		}
	}
	if _, err := let(context.Background(), addrConn{nil, &net.UnixAddr{Net: "unix"}}); err == nil {
		t.Error("a Unix socket is on the list")
	}
	c := hythetest.Serve(t, &hythe.Server{Service: newApp().server(), PreConnect: let}).DialFrom("192.0.2.9:1")
	c.WantEOF()
	c.WantClosed(hythe.Denied)
}

type addrConn struct {
	net.Conn
	addr net.Addr
}

func (c addrConn) RemoteAddr() net.Addr { return c.addr }

// A listener of one's own does as well.
func TestServe(t *testing.T) {
	addr, f := listenFile(t, "unix", filepath.Join(t.TempDir(), "socket"))
	cmd := spawn(t, f, "FCGI_TEST_LISTENER=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	p := connect(t, addr)
	p.send(get(1, "/hello"))
	p.wantBody(1, "hello")
}
