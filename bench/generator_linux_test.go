package main

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// The generator must notice whatever a server does wrong.
func TestGenerator_NoticesWrongServers(t *testing.T) {
	for _, tt := range []struct {
		name  string
		serve func(c net.Conn)
		want  string // in the error; empty: none
	}{
		{"right", func(c net.Conn) { io.Copy(c, c) }, ""},
		{"one bit", func(c net.Conn) {
			b := make([]byte, 10000)
			for total := 0; ; {
				n, err := c.Read(b)
				if err != nil {
					return
				}
				if total < 5000 && total+n >= 5000 {
					b[5000-total-1] ^= 1
				}
				total += n
				c.Write(b[:n])
			}
		}, "came back"},
		{"lines exchanged", func(c net.Conn) {
			b := make([]byte, 2*lineBytes)
			for {
				if _, err := io.ReadFull(c, b); err != nil {
					return
				}
				c.Write(append(bytes.Clone(b[lineBytes:]), b[:lineBytes]...))
			}
		}, "came back"},
		{"too much", func(c net.Conn) {
			b := make([]byte, lineBytes)
			io.ReadFull(c, b)
			c.Write(append(b, b...))
			io.Copy(c, c)
		}, "came back"},
		{"hangs up", func(c net.Conn) { c.Read(make([]byte, 1<<20)) }, "closed|reset"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan error, 1)
			go func() {
				served <- serveOn(l, func(c net.Conn) {
					defer c.Close()
					tt.serve(c)
				})
			}()
			t.Cleanup(func() {
				l.Close()
				<-served
			})
			j := &job{Mode: modeEcho, Network: "tcp", Addr: l.Addr().String(), Conns: 3, Depth: 4, Warm: time.Millisecond, Slice: 20 * time.Millisecond}
			var stages []string
			o, err := j.run(func(name string) error { stages = append(stages, name); return nil })
			if tt.want == "" {
				if err != nil || o.Lines == 0 || len(stages) != 3 {
					t.Errorf("run = %+v, %v after stages %v, want lines", o, err, stages)
				}
				return
			}
			if err == nil {
				t.Fatal("no error")
			}
			for want := range strings.SplitSeq(tt.want, "|") {
				if strings.Contains(err.Error(), want) {
					return
				}
			}
			t.Errorf("error %v, want one with %q", err, tt.want)
		})
	}
}

// A paced generator keeps to its rate, and a line that had to wait for the one
// before it counts from when it was due.
func TestGenerator_Paced(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	const stall = 100 * time.Millisecond
	go func() {
		served <- serveOn(l, func(c net.Conn) {
			defer c.Close()
			b := make([]byte, 1<<10)
			for total := 0; ; {
				n, err := c.Read(b)
				if err != nil {
					return
				}
				if total += n; total == 60*lineBytes { // about a fifth through
					time.Sleep(stall)
				}
				c.Write(b[:n])
			}
		})
	}()
	t.Cleanup(func() {
		l.Close()
		<-served
	})
	j := &job{Mode: modeEcho, Network: "tcp", Addr: l.Addr().String(), Conns: 1, Rate: 1000, Slice: 300 * time.Millisecond}
	o, err := j.run(func(string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if o.Lines > 301 {
		t.Errorf("%d lines came back, want 300 at most", o.Lines)
	}
	if o.Max < stall {
		t.Errorf("the longest latency is %v, want at least the stall's %v", o.Max, stall)
	}
	// A third of the lines was due during the stall, and waited half of it on
	// average.
	if o.P99 < stall/2 {
		t.Errorf("p99 = %v, want the lines that the stall kept waiting in it", o.P99)
	}
}
