package listen

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
)

// childEnv names the function of children that a re-executed test binary runs.
const childEnv = "LISTEN_TEST_CHILD"

// children are what the test binary does instead of testing, by name.
var children = map[string]func() error{}

func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		if err := children[name](); err != nil {
			fmt.Println("child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if code == 0 {
		if left := leaked(); left != "" {
			fmt.Println("goroutines left over:\n" + left)
			code = 1
		}
	}
	os.Exit(code)
}

// leaked returns the stacks of goroutines in this package, once they had time to end.
func leaked() (left string) {
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		left = ""
		buf := make([]byte, 1<<20)
		for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(stack, "hythe/listen") && !strings.Contains(stack, "TestMain") {
				left += stack + "\n\n"
			}
		}
		if left == "" {
			return ""
		}
	}
	return left
}

// child returns a command that runs children[name] in a re-executed test binary.
func child(t testing.TB, name string, env ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(append(os.Environ(), childEnv+"="+name), env...)
	return cmd
}

// mustListen returns the listeners of the endpoints and closes them at the end.
func mustListen(t testing.TB, c *Config, endpoints ...string) []*Listener {
	t.Helper()
	ls, err := c.Listen(t.Context(), endpoints...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(ls) })
	return ls
}

func needIPv6(t testing.TB) {
	t.Helper()
	ln, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skip("no ::1 here:", err)
	}
	ln.Close()
}

func dial(t testing.TB, a net.Addr) net.Conn {
	t.Helper()
	c, err := net.Dial(a.Network(), a.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

type accepted struct {
	c   net.Conn
	err error
}

// startAccept calls Accept and delivers what it returns.
func startAccept(l *Listener) <-chan accepted {
	ch := make(chan accepted, 1)
	go func() {
		c, err := l.Accept()
		ch <- accepted{c, err}
	}()
	return ch
}

func mustAccept(t testing.TB, ch <-chan accepted) {
	t.Helper()
	a := <-ch
	if a.err != nil {
		t.Fatal("accept:", a.err)
	}
	a.c.Close()
}
