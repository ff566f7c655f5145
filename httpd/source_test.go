package httpd_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
)

// A slowSource has n bytes, of which up to 100 come each few seconds.
type slowSource struct {
	n    int
	each time.Duration
}

func (s *slowSource) Read(b []byte) (int, error) {
	if s.n == 0 {
		return 0, io.EOF
	}
	time.Sleep(s.each)
	n := copy(b[:min(len(b), s.n)], pieces[:100])
	s.n -= n
	return n, nil
}

// pieces is what slow sources come to, at the most.
var pieces = strings.Repeat("x", 2000)

// The clocks for answers are about the client, who is not at fault when what is
// copied to it comes slowly.
func TestClocks_DoNotMindASlowSource(t *testing.T) {
	for name, copyTo := range map[string]func(w io.Writer, each time.Duration){
		"reader": func(w io.Writer, each time.Duration) { io.Copy(w, &slowSource{len(pieces), each}) },
		"limited": func(w io.Writer, each time.Duration) {
			io.CopyN(w, &slowSource{len(pieces) + 500, each}, int64(len(pieces)))
		},
		"pipe": func(w io.Writer, each time.Duration) {
			r, pw := io.Pipe()
			go func() {
				io.Copy(struct{ io.Writer }{pw}, &slowSource{len(pieces), each})
				pw.Close()
			}()
			io.Copy(w, r)
		},
	} {
		for _, how := range []struct {
			length  bool // with one, net/http has the connection copy
			minRate int64
		}{{true, 0}, {true, 1000}, {false, 0}, {false, 1000}} {
			t.Run(fmt.Sprint(name, " length ", how.length, " MinRate ", how.minRate), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if how.length {
							w.Header().Set("Content-Length", itoa(len(pieces)))
						}
						copyTo(w, 40*time.Second) // longer than WriteStall and RateGrace
					})
					s := &httpd.Server{Handler: h, MinRate: how.minRate}
					c := inMemory(t, &hythe.Server{Service: s})()
					c.nc.SetDeadline(time.Time{})
					for range 2 { // the connection is not ended either
						c.send(getHello)
						c.want(200, pieces)
					}
					c.nc.Close()
				})
			})
		}
	}
}

// The kernel copies what comes from another connection, or a pipe of its own.
func TestClocks_DoNotMindASlowSourceOfTheKernels(t *testing.T) {
	const each, short = 300 * time.Millisecond, time.Second
	text := pieces[:1600] // net/http looks at the first 512 itself
	feed := func(w io.WriteCloser) {
		for i := range len(text) / 200 {
			time.Sleep(each)
			io.WriteString(w, text[i*200:][:200])
		}
		w.Close()
	}
	tcp := func(w io.Writer) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Error(err)
			return
		}
		defer ln.Close()
		go func() {
			if nc, err := ln.Accept(); err == nil {
				feed(nc)
			}
		}()
		nc, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		defer nc.Close()
		io.Copy(w, nc)
	}
	pipe := func(w io.Writer) {
		r, pw, err := os.Pipe()
		if err != nil {
			t.Error(err)
			return
		}
		defer r.Close()
		go feed(pw)
		io.Copy(w, r)
	}
	for name, copyTo := range map[string]func(io.Writer){"TCP": tcp, "pipe": pipe} {
		for _, minRate := range []int64{0, 100_000} {
			t.Run(fmt.Sprint(name, " MinRate ", minRate), func(t *testing.T) {
				t.Parallel()
				h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Length", itoa(len(text)))
					copyTo(w)
				})
				c := dialRaw(t, startServer(t, &hythe.Server{
					Service:  &httpd.Server{Handler: h, MinRate: minRate, RateGrace: short},
					Timeouts: hythe.Timeouts{WriteStall: short},
				}))
				c.send(getHello)
				c.want(200, text)
			})
		}
	}
}

// bigFile returns the name of a file that no socket has room for.
func bigFile(t *testing.T) string {
	name := filepath.Join(t.TempDir(), "big")
	writeFile(t, name, "")
	if err := os.Truncate(name, 256<<20); err != nil { // it takes no room on disk
		t.Fatal(err)
	}
	return name
}

func TestClocks_EndAFileThatNobodyReads(t *testing.T) {
	name := bigFile(t)
	for _, test := range []struct {
		what     string
		minRate  int64
		stall    time.Duration
		read     int64 // by the client, each 10 ms
		observed bool
		err      error
	}{
		{"WriteStall", 0, 300 * time.Millisecond, 0, false, nil},
		{"WriteStall, observed", 0, 300 * time.Millisecond, 0, true, nil},
		{"WriteStall, with MinRate", 1, 300 * time.Millisecond, 0, false, nil},
		{"MinRate", 400 << 20, -1, 8 << 10, false, httpd.ErrSlow},
		{"MinRate, observed", 400 << 20, -1, 8 << 10, true, httpd.ErrSlow},
	} {
		t.Run(test.what, func(t *testing.T) {
			t.Parallel()
			left, reasons, told := make(chan bool, 1), make(chan error, 1), make(chan httpd.Request, 1)
			s := &httpd.Server{MinRate: test.minRate, RateGrace: 100 * time.Millisecond, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				httpd.ConnOf(r.Context()).OnClose(func(why error) { reasons <- why })
				http.ServeFile(w, r, name)
				left <- true
			})}
			if test.observed {
				s.Observer = func(r httpd.Request) { told <- r }
			}
			at := startServer(t, &hythe.Server{Service: s, Timeouts: hythe.Timeouts{WriteStall: test.stall}})
			c := dialRaw(t, at)
			c.send(getHello)
			over := make(chan bool)
			go func() {
				defer close(over)
				for test.read > 0 {
					if _, err := io.CopyN(io.Discard, c.nc, test.read); err != nil {
						return
					}
					time.Sleep(10 * time.Millisecond)
				}
			}()
			wait(t, left, "the handler's return")
			if why := wait(t, reasons, "the end"); !errors.Is(why, hythe.WriteStalled) || test.err != nil && !errors.Is(why, test.err) {
				t.Errorf("ended with %v", why)
			}
			if test.observed {
				if r := next(t, told); !r.Cut || r.Status != 200 || r.Bytes >= 256<<20 {
					t.Errorf("the Observer was told of status %d, %d bytes, cut %v", r.Status, r.Bytes, r.Cut)
				}
			}
			c.nc.Close()
			<-over
		})
	}
}

// A client that reads a file slowly, but reads, keeps it.
func TestClocks_LeaveAFileInPeaceThatIsRead(t *testing.T) {
	const size = 24 << 20
	for _, minRate := range []int64{0, 64 << 10} {
		t.Run(fmt.Sprint("MinRate ", minRate), func(t *testing.T) {
			t.Parallel()
			name := filepath.Join(t.TempDir(), "file")
			writeFile(t, name, "")
			if err := os.Truncate(name, size); err != nil {
				t.Fatal(err)
			}
			c := dialRaw(t, startServer(t, &hythe.Server{
				Service: &httpd.Server{MinRate: minRate, RateGrace: 100 * time.Millisecond, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					http.ServeFile(w, r, name)
				})},
				Timeouts: hythe.Timeouts{WriteStall: time.Second}, // it takes longer than that in all
			}))
			c.send(getHello)
			resp, err := http.ReadResponse(bufio.NewReader(c.nc), nil)
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			for range size >> 20 {
				if _, err := io.CopyN(io.Discard, resp.Body, 1<<20); err != nil {
					t.Fatalf("after %v: %v", time.Since(began), err)
				}
				time.Sleep(60 * time.Millisecond)
			}
		})
	}
}
