package main

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"net"
	"runtime"
	"sync"
	"time"

	"github.com/cloudwego/netpoll"
	"github.com/lesismal/nbio"
	"github.com/lesismal/nbio/logging"
	"github.com/panjf2000/gnet/v2"

	"github.com/hythe-go/hythe/bench/internal/child"
)

// heed does what a line asks for: sleep, or panic.
func heed(line []byte, nap time.Duration) {
	if len(line) == 0 {
		return
	}
	switch line[0] {
	case child.NapMark:
		time.Sleep(nap)
	case child.PanicMark:
		panic("a handler panics")
	}
}

// appendAnswers appends the answers to the whole lines of in, and returns what is
// left of it.
func appendAnswers(out, in []byte, nap time.Duration) (answers, rest []byte) {
	for {
		i := bytes.IndexByte(in, '\n')
		if i < 0 {
			return out, in
		}
		heed(in[:i], nap)
		out = append(out, in[:i+1]...)
		in = in[i+1:]
	}
}

// buffers are for answers; a buffer belongs to a handler while it runs.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4096); return &b }}

// A gnetServer handles lines on gnet's event loops.
type gnetServer struct {
	gnet.BuiltinEventEngine
	nap    time.Duration
	booted *sync.WaitGroup
}

func (s *gnetServer) OnBoot(gnet.Engine) gnet.Action {
	s.booted.Done()
	return gnet.None
}

func (s *gnetServer) OnTraffic(c gnet.Conn) gnet.Action {
	in, _ := c.Peek(-1)
	p := buffers.Get().(*[]byte)
	out, rest := appendAnswers((*p)[:0], in, s.nap)
	if len(rest) < len(in) { // to discard nothing is to discard all
		c.Discard(len(in) - len(rest))
		c.Write(out)
	}
	*p = out
	buffers.Put(p)
	return gnet.None
}

// An errorLog is a logger of gnet's that says only what has gone wrong.
type errorLog struct{}

func (errorLog) Debugf(string, ...any)        {}
func (errorLog) Infof(string, ...any)         {}
func (errorLog) Warnf(f string, args ...any)  { log.Printf(f, args...) }
func (errorLog) Errorf(f string, args ...any) { log.Printf(f, args...) }
func (errorLog) Fatalf(f string, args ...any) { log.Fatalf(f, args...) }

// startGnet serves on a port that was free a moment ago: gnet does not tell
// which one it was given.
func startGnet(o child.Options) (*child.Server, error) {
	srv := &child.Server{Unix: o.Socket}
	var err error
	if srv.TCP, err = child.FreePort(); err != nil {
		return nil, err
	}
	var booted sync.WaitGroup
	booted.Add(1)
	go func() {
		s := &gnetServer{nap: o.Nap, booted: &booted}
		log.Fatal("gnet.Rotate returned: ", gnet.Rotate(s, []string{"tcp://" + srv.TCP, "unix://" + srv.Unix},
			gnet.WithMulticore(true), gnet.WithLogger(errorLog{})))
	}()
	booted.Wait()
	return srv, nil
}

// startNetpoll serves with netpoll, whose handlers run on its pool of goroutines.
func startNetpoll(o child.Options) (*child.Server, error) {
	handle := func(_ context.Context, c netpoll.Connection) error {
		r, w := c.Reader(), c.Writer()
		for {
			line, err := r.Until('\n')
			if err != nil {
				return err
			}
			heed(line, o.Nap)
			answer, err := w.Malloc(len(line))
			if err != nil {
				return err
			}
			copy(answer, line)
			if r.Len() == 0 {
				r.Release()
				return w.Flush()
			}
		}
	}
	srv := new(child.Server)
	for _, network := range []string{"tcp", "unix"} {
		addr := map[string]string{"tcp": "127.0.0.1:0", "unix": o.Socket}[network]
		l, err := netpoll.CreateListener(network, addr)
		if err != nil {
			return nil, err
		}
		loop, err := netpoll.NewEventLoop(handle)
		if err != nil {
			return nil, err
		}
		go func() { log.Fatal("netpoll's Serve returned: ", loop.Serve(l)) }()
		if network == "tcp" {
			srv.TCP = l.Addr().String()
		} else {
			srv.Unix = o.Socket
		}
	}
	return srv, nil
}

// startNbio serves with nbio, whose handlers run on its pollers.
func startNbio(o child.Options) (*child.Server, error) {
	logging.SetLevel(logging.LevelError)
	handle := func(c *nbio.Conn, in []byte) {
		if part, ok := c.Session().([]byte); ok && len(part) > 0 {
			in = append(part, in...)
			c.SetSession([]byte(nil))
		}
		p := buffers.Get().(*[]byte)
		out, rest := appendAnswers((*p)[:0], in, o.Nap)
		if len(rest) > 0 {
			c.SetSession(bytes.Clone(rest))
		}
		if len(out) > 0 {
			c.Write(out)
		}
		*p = out
		buffers.Put(p)
	}
	srv := new(child.Server)
	for _, network := range []string{"tcp", "unix"} {
		addr := map[string]string{"tcp": "127.0.0.1:0", "unix": o.Socket}[network]
		var bound net.Addr
		engine := nbio.NewEngine(nbio.Config{
			Network: network, Addrs: []string{addr}, NPoller: runtime.GOMAXPROCS(0),
			Listen: func(network, addr string) (net.Listener, error) {
				l, err := net.Listen(network, addr)
				if err == nil {
					bound = l.Addr()
				}
				return l, err
			},
		})
		engine.OnData(handle)
		if err := engine.Start(); err != nil {
			return nil, fmt.Errorf("nbio: %w", err)
		}
		if network == "tcp" {
			srv.TCP = bound.String()
		} else {
			srv.Unix = o.Socket
		}
	}
	return srv, nil
}
