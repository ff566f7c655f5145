package input

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay/relaytest"
	"github.com/hythe-go/hythe/httpd"
	"github.com/hythe-go/hythe/link"
)

// nowhere is an Output that confirms everything.
type nowhere struct{}

func (nowhere) Link() (s link.Status, ok bool) { return s, false }

func (nowhere) Run(ctx context.Context, lane *relay.Lane) {
	for {
		msgs, err := lane.Next(ctx, 1000, 1<<20, 0)
		if err != nil {
			return
		}
		lane.Confirm(len(msgs))
	}
}

// Lines of 256 bytes over 4 connections, through the spool.
func BenchmarkFrames_Lines(b *testing.B) {
	f := relaytest.NewWith(b, 1, func(int) (relay.Output, error) { return nowhere{}, nil })
	svc, err := NewFrames(&config.Input{Framing: "lines", MaxMessage: 1 << 20, Window: 1024}, f.Intake)
	if err != nil {
		b.Fatal(err)
	}
	srv := &hythe.Server{Service: svc}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- srv.Serve(b.Context(), l) }()
	line := append(bytes.Repeat([]byte("x"), 255), '\n')
	block := bytes.Repeat(line, 200)
	const conns = 4
	b.ReportAllocs()
	b.SetBytes(int64(len(block)))
	b.ResetTimer()
	errs := make(chan error)
	for k := range conns {
		go func() {
			c, err := net.Dial("tcp", l.Addr().String())
			for i := k; i < b.N && err == nil; i += conns {
				_, err = c.Write(block)
			}
			if err == nil {
				c.(*net.TCPConn).CloseWrite()
				_, err = c.Read(make([]byte, 1))
				c.Close()
			}
			if err != nil && err.Error() != "EOF" {
				errs <- err
				return
			}
			errs <- nil
		}()
	}
	for range conns {
		if err := <-errs; err != nil {
			b.Error(err)
		}
	}
	if err := f.WaitSettled(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	if got := f.Delivered(); got != 200*b.N {
		b.Errorf("%d of %d", got, 200*b.N)
	}
	b.ReportMetric(float64(200*b.N)/b.Elapsed().Seconds(), "lines/s")
	srv.Close()
	<-served
}

// Lines of 64 bytes over 64 connections, each of which waits for the
// acknowledgements of 32 before it sends more.
func BenchmarkFrames_Acknowledged(b *testing.B) {
	const conns, window = 64, 32
	f := relaytest.NewWith(b, 1, func(int) (relay.Output, error) { return nowhere{}, nil })
	addr := listenAndServe(b, server(b, conf(func(c *config.Input) { c.Ack = "id" }), f.Intake), "tcp", "127.0.0.1:0")
	block := bytes.Repeat(append(bytes.Repeat([]byte("x"), 63), '\n'), window)
	b.ReportAllocs()
	b.ResetTimer()
	errs := make(chan error)
	for k := range conns {
		go func() {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				errs <- err
				return
			}
			defer c.Close()
			buf := make([]byte, 64<<10)
			for i := k; i < b.N && err == nil; i += conns {
				_, err = c.Write(block)
				for left := window; left > 0 && err == nil; {
					var n int
					n, err = c.Read(buf)
					left -= bytes.Count(buf[:n], []byte("\n"))
				}
			}
			errs <- err
		}()
	}
	for range conns {
		if err := <-errs; err != nil {
			b.Error(err)
		}
	}
	b.ReportMetric(window*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
}

// POSTs of 200 lines of 64 bytes, without the HTTP server around the handler.
func BenchmarkHandler_200(b *testing.B) {
	f := relaytest.NewWith(b, 1, func(int) (relay.Output, error) { return nowhere{}, nil })
	h := handlerOf(b, f.Intake, nil)
	text := strings.Repeat(strings.Repeat("x", 63)+"\n", 200)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r := &http.Request{
				Method: "POST", URL: &url.URL{Path: "/in"}, RemoteAddr: "192.0.2.1:1", Header: http.Header{"Content-Type": {"text/plain"}},
				Body: io.NopCloser(strings.NewReader(text)), ContentLength: int64(len(text)),
			}
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, r); w.Code != 200 {
				b.Error(w.Body)
				return
			}
		}
	})
	b.ReportMetric(200*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

// The same over 16 connections.
func BenchmarkHTTP_200(b *testing.B) {
	const conns = 16
	f := relaytest.NewWith(b, 1, func(int) (relay.Output, error) { return nowhere{}, nil })
	addr := listenAndServe(b, &hythe.Server{Service: &httpd.Server{Handler: handlerOf(b, f.Intake, nil)}}, "tcp", "127.0.0.1:0")
	text := strings.Repeat(strings.Repeat("x", 63)+"\n", 200)
	request := []byte(fmt.Sprintf("POST /in HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", len(text), text))
	b.ReportAllocs()
	b.ResetTimer()
	errs := make(chan error)
	for k := range conns {
		go func() {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				errs <- err
				return
			}
			defer c.Close()
			buf := make([]byte, 4<<10)
			for i := k; i < b.N && err == nil; i += conns {
				if _, err = c.Write(request); err == nil {
					var n int
					if n, err = c.Read(buf); err == nil && !bytes.HasPrefix(buf[:n], []byte("HTTP/1.1 200")) {
						err = fmt.Errorf("%s", buf[:n])
					}
				}
			}
			errs <- err
		}()
	}
	for range conns {
		if err := <-errs; err != nil {
			b.Error(err)
		}
	}
	b.ReportMetric(200*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
