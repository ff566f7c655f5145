package faults

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A disk that is full has messages refused, with a word when to come back, and not
// the delivery of those that are there. It goes on by itself when there is room.
func TestDisk_FullAndFreed(t *testing.T) {
	up := newSink(t)
	up.down()
	d := newDaemon(t, lines(up.addr))
	if err := os.Mkdir(d.data(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", d.data(), "tmpfs", 0, "size=24m"); err != nil {
		if os.Getenv("CI") == "true" && !errors.Is(err, syscall.EPERM) {
			t.Fatal(err)
		}
		t.Skip("a small tmpfs cannot be mounted: ", err)
	}
	t.Cleanup(func() {
		d.kill()
		syscall.Unmount(d.data(), syscall.MNT_DETACH)
	})
	d.start()
	s := &sender{name: strings.Repeat("x", 1000), url: "http://" + d.http + "/in", batch: 500}
	var err error
	for range 200 {
		if err = s.post(t.Context()); err != nil {
			break
		}
	}
	if err == nil || !strings.HasPrefix(err.Error(), "503") {
		t.Fatalf("on a full disk: %v, after %d messages", err, len(s.acked))
	}
	resp, err := http.Post(s.url, "text/plain", strings.NewReader(strings.Repeat("y", 100<<10)))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode == 503 && resp.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	d.ready(http.StatusServiceUnavailable)
	up.up()
	d.settled("up", 20*time.Second)
	for began := time.Now(); s.post(t.Context()) != nil; time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatal("it does not recover")
		}
	}
	d.ready(http.StatusOK)
	d.settled("up", 10*time.Second)
	d.stop()
	if missing, _ := up.missing(s.acked); len(missing) > 0 {
		t.Errorf("%d of %d acknowledged messages lost", len(missing), len(s.acked))
	}
}

// Bits that have changed on the disk cost the messages that they were in, which
// are counted, and no other.
func TestDisk_Damage(t *testing.T) {
	up := newSink(t)
	up.down()
	d := newDaemon(t, lines(up.addr))
	d.start()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	sent := d.load(ctx, 2, 50)()
	d.stop()
	segments, err := filepath.Glob(filepath.Join(d.data(), "routes", "all", "*.seg*"))
	if err != nil || len(segments) == 0 {
		all, _ := os.ReadDir(filepath.Join(d.data(), "routes", "all"))
		t.Fatalf("no segments: %v %v", err, all)
	}
	f, err := os.OpenFile(segments[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, _ := f.Stat()
	for range 20 {
		at := info.Size()/10 + rand.Int64N(info.Size()*8/10)
		b := make([]byte, 1)
		f.ReadAt(b, at)
		b[0] ^= 1 << rand.IntN(8)
		f.WriteAt(b, at)
	}
	f.Close()
	up.up()
	d.start()
	v := d.settled("up", 20*time.Second)
	d.stop()
	missing, _ := up.missing(sent)
	t.Logf("%d messages, %d lost and reported as %d", len(sent), len(missing), v.Lost)
	if v.Lost == 0 || v.Lost > 20 || len(missing) > int(v.Lost) {
		t.Errorf("%d missing, %d reported", len(missing), v.Lost)
	}
}

// Five thousand connections at once are served, and cost little.
func TestStorm_ManyConnections(t *testing.T) {
	up := newSink(t)
	d := newDaemon(t, lines(up.addr)+"[input.lines]\nlisten = [\"unix:///"+t.TempDir()+"/l.sock\"]\n")
	d.start()
	path := d.status().Inputs
	var addr string
	for _, in := range path {
		if in.Name == "lines" {
			addr = strings.TrimPrefix(in.Endpoints[0].Address, "unix://")
		}
	}
	const n = 5000
	var rlimit syscall.Rlimit
	syscall.Getrlimit(syscall.RLIMIT_NOFILE, &rlimit)
	count := min(n, int(rlimit.Cur)/2-100)
	conns := make([]int, 0, count)
	defer func() {
		for _, fd := range conns {
			syscall.Close(fd)
		}
	}()
	began := time.Now()
	for range count {
		fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, fd)
		if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: addr}); err != nil {
			t.Fatal(err)
		}
	}
	var sent []string
	for i, fd := range conns {
		line := "c" + string(rune('a'+i%26)) + time.Duration(i).String()
		sent = append(sent, line)
		if _, err := syscall.Write(fd, []byte(line+"\n")); err != nil {
			t.Fatal(err)
		}
	}
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if missing, _ := up.missing(sent); len(missing) == 0 {
			break
		} else if time.Since(began) > 20*time.Second {
			t.Fatalf("%d of %d are missing", len(missing), count)
		}
	}
	now, peak := d.rss()
	t.Logf("%d connections in %v, %.0f MiB resident, %.0f at the most", count, time.Since(began).Round(time.Millisecond), now, peak)
	if peak > 150 {
		t.Errorf("%.0f MiB resident", peak)
	}
}
