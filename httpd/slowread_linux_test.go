package httpd_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
)

// A client that reads all the time lives, though it needs longer than the write
// stall clock for what is written at once.
func TestWriteStall_SlowClientsLive(t *testing.T) {
	const stall, pace = time.Second, 25 * time.Millisecond
	file := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(file, make([]byte, 16<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	// With large ones the client's kernel takes much at a time, and seldom.
	small := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 1400)
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 16<<10)
		})
	}}
	handlers := map[string]http.HandlerFunc{
		"file": func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) },
		"writes": func(w http.ResponseWriter, r *http.Request) {
			for b := make([]byte, 1<<20); ; {
				if _, err := w.Write(b); err != nil {
					return
				}
			}
		},
	}
	for name, h := range handlers {
		for _, secure := range []bool{false, true} {
			t.Run(name+map[bool]string{true: " over TLS"}[secure], func(t *testing.T) {
				t.Parallel()
				srv := &hythe.Server{Service: &httpd.Server{Handler: h}, Timeouts: hythe.Timeouts{WriteStall: stall}}
				if secure {
					srv.TLS = httpd.TLSConfig(testTLS(t))
				}
				at := startServer(t, srv)
				read := func() (late time.Duration, err error) { // late: the client, at most
					nc, err := small.Dial(at.Network(), at.String())
					if err != nil {
						return 0, err
					}
					defer nc.Close()
					if secure {
						nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
					}
					io.WriteString(nc, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
					buf := make([]byte, 4<<10)
					for began := time.Now(); time.Since(began) < 4*stall; {
						if _, err := io.ReadFull(nc, buf); err != nil {
							return late, err
						}
						if n := srv.Stats().Ended[hythe.WriteStalled]; n > 0 {
							return late, fmt.Errorf("%d cut %v after it began", n, time.Since(began))
						}
						asleep := time.Now()
						time.Sleep(pace)
						late = max(late, time.Since(asleep)-pace)
					}
					return late, nil
				}
				if late, err := read(); late > stall/5 {
					t.Logf("nothing can be said: the client was late by %v (%v)", late, err)
				} else if err != nil {
					t.Error(err)
				}
			})
		}
	}
}
