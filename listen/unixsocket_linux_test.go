package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stale leaves a socket file behind as a crashed process does.
func stale(t testing.TB, path string) {
	t.Helper()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// What may be at the path, and whether it may be replaced.
func TestUnixPathMatrix(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(t *testing.T, path string)
		ok   bool
	}{
		{"nothing", func(*testing.T, string) {}, true},
		{"stale", func(t *testing.T, path string) { stale(t, path) }, true},
		{"live", func(t *testing.T, path string) { mustListen(t, nil, "unix://"+path) }, false},
		{"live, backlog full", func(t *testing.T, path string) {
			mustListen(t, nil, "unix://"+path+"?backlog=1")
			for range 2 { // a Unix socket queues one more than its backlog
				dial(t, &net.UnixAddr{Name: path, Net: "unix"})
			}
		}, false},
		{"live datagram", func(t *testing.T, path string) {
			c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
		}, false},
		{"file", func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"directory", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"symlink to stale", func(t *testing.T, path string) {
			stale(t, path+".real")
			if err := os.Symlink(path+".real", path); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			tt.make(t, path)
			before, _ := os.Lstat(path)
			ls, err := Listen(t.Context(), "unix://"+path)
			if !tt.ok {
				if !errors.Is(err, syscall.EADDRINUSE) {
					t.Errorf("error %v; want EADDRINUSE", err)
				}
				if now, err := os.Lstat(path); err != nil || !os.SameFile(before, now) {
					t.Errorf("it was touched: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			ch := startAccept(ls[0])
			dial(t, ls[0].Addr())
			mustAccept(t, ch)
			if err := ls[0].Close(); err != nil || exists(path) {
				t.Errorf("close: %v, path there: %v", err, exists(path))
			}
		})
	}
}

func TestUnixUnlink(t *testing.T) {
	t.Run("replaced by another", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s")
		l := mustListen(t, nil, "unix://"+path)[0]
		os.Remove(path)
		stale(t, path)
		l.Close()
		if !exists(path) {
			t.Error("another's path was removed")
		}
	})
	t.Run("refused", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s")
		l := mustListen(t, nil, "unix://"+path)[0]
		l.SetUnlinkOnClose(false)
		l.Close()
		if !exists(path) {
			t.Error("the path was removed")
		}
	})
	t.Run("relative", func(t *testing.T) {
		dir := t.TempDir()
		t.Chdir(dir)
		l := mustListen(t, nil, "unix:s")[0]
		t.Chdir("/")
		l.Close()
		if exists(filepath.Join(dir, "s")) {
			t.Error("the path is still there")
		}
	})
	t.Run("wrapped", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s")
		ln, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		l := Wrap(ln)
		l.SetUnlinkOnClose(false)
		l.Close()
		if !exists(path) {
			t.Error("the path was removed")
		}
	})
}

func TestUnixModeAndOwner(t *testing.T) {
	defer unix.Umask(unix.Umask(0o077))
	path := filepath.Join(t.TempDir(), "s")
	owner := fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())
	if os.Getuid() == 0 {
		owner = "12345:23456"
	}
	// Before listen, when nobody can connect, the file must be as asked already.
	var seen fs.FileMode
	c := &Config{fault: func(op string, _ net.Addr) error {
		if op == "listen" {
			fi, err := os.Stat(path)
			if err != nil {
				return err
			}
			seen = fi.Mode().Perm()
		}
		return nil
	}}
	mustListen(t, c, "unix://"+path+"?mode=0666&owner="+owner)
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%d:%d", st.Uid, st.Gid); got != owner || st.Mode&0o777 != 0o666 || seen != 0o666 {
		t.Errorf("owner %s, mode %o, %o before listen; want %s and 666", got, st.Mode&0o777, seen, owner)
	}
}

// The mode is never wider than asked, not even between bind and chmod.
func TestUnixModeNeverWider(t *testing.T) {
	defer unix.Umask(unix.Umask(0))
	path := filepath.Join(t.TempDir(), "s")
	var modes []fs.FileMode
	c := &Config{fault: func(string, net.Addr) error {
		if fi, err := os.Lstat(path); err == nil {
			modes = append(modes, fi.Mode().Perm())
		}
		return nil
	}}
	mustListen(t, c, "unix://"+path+"?mode=0600")
	for _, m := range modes {
		if m != 0o600 {
			t.Errorf("modes on the way: %v", modes)
		}
	}
	if len(modes) == 0 {
		t.Error("nothing observed")
	}
}

func TestUnixFailureCleansUp(t *testing.T) {
	for _, op := range []string{"socket", "chmod", "bind", "chown", "listen"} {
		path := filepath.Join(t.TempDir(), "s")
		before := openFDs(t)
		c := &Config{fault: func(o string, _ net.Addr) error {
			if o == op && (op != "chmod" || exists(path)) {
				return syscall.EPERM
			}
			return nil
		}}
		_, err := c.Listen(t.Context(), fmt.Sprintf("unix://%s?mode=0600&owner=%d", path, os.Getuid()))
		var e *Error
		if !errors.As(err, &e) || e.Op != op || !errors.Is(err, syscall.EPERM) {
			t.Errorf("%s fails: %v", op, err)
		}
		if exists(path) || openFDs(t) != before {
			t.Errorf("%s fails: path there: %v, descriptors %d, before %d", op, exists(path), openFDs(t), before)
		}
	}
	if _, err := Listen(t.Context(), "unix://"+t.TempDir()+"/s?owner=no-such-user"); err == nil || !strings.Contains(err.Error(), "no-such-user") {
		t.Errorf("unknown owner: %v", err)
	}
}

func TestUnixPathTooLong(t *testing.T) {
	_, err := Listen(t.Context(), "unix://"+t.TempDir()+"/"+strings.Repeat("x", 108))
	if !errors.Is(err, syscall.ENAMETOOLONG) {
		t.Errorf("%v; want ENAMETOOLONG", err)
	}
}

func TestUnixAbstract(t *testing.T) {
	e := fmt.Sprintf("unix://@hythe-listen-test-%d", os.Getpid())
	l := mustListen(t, nil, e)[0]
	ch := startAccept(l)
	dial(t, l.Addr())
	mustAccept(t, ch)
	if _, err := Listen(t.Context(), e); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("again: %v; want EADDRINUSE", err)
	}
}

// Of many who start at once over a stale path, one wins.
func TestUnixStartersRace(t *testing.T) {
	for range 20 {
		path := filepath.Join(t.TempDir(), "s")
		stale(t, path)
		const starters = 8
		got := make(chan []*Listener, starters)
		begin := make(chan struct{})
		var wg sync.WaitGroup
		for range starters {
			wg.Go(func() {
				<-begin
				ls, err := Listen(t.Context(), "unix://"+path)
				if err != nil && !errors.Is(err, syscall.EADDRINUSE) {
					t.Error(err)
				}
				got <- ls
			})
		}
		close(begin)
		wg.Wait()
		close(got)
		var won []*Listener
		for ls := range got {
			won = append(won, ls...)
		}
		if len(won) != 1 {
			t.Fatalf("%d starters won; want 1", len(won))
		}
		won[0].SetUnlinkOnClose(true)
		dial(t, won[0].Addr()).Close()
		won[0].Close()
	}
}

// Waiting for the lock ends with the context.
func TestUnixLockBusy(t *testing.T) {
	dir := t.TempDir()
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err = Listen(ctx, "unix://"+dir+"/s")
	var e *Error
	if !errors.As(err, &e) || e.Op != "flock" || !errors.Is(err, syscall.EWOULDBLOCK) {
		t.Errorf("%v; want flock's EWOULDBLOCK", err)
	}
}

// The real thing: a process that is killed leaves its path, and the next starts.
func TestUnixCrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	cmd := child(t, "unix-server", "LISTEN_TEST_PATH="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out.Read(make([]byte, 1)) // it listens
	if _, err := Listen(t.Context(), "unix://"+path); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("while it lives: %v; want EADDRINUSE", err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if !exists(path) {
		t.Fatal("the path went with the process")
	}
	mustListen(t, nil, "unix://"+path)
}

func init() {
	children["unix-server"] = func() error {
		ls, err := Listen(context.Background(), "unix://"+os.Getenv("LISTEN_TEST_PATH"))
		if err != nil {
			return err
		}
		fmt.Println("up")
		_, err = ls[0].Accept()
		for err == nil {
			_, err = ls[0].Accept()
		}
		return err
	}
}
