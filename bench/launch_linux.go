package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	gofcgi "net/http/fcgi"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/bench/internal/child"
	"github.com/hythe-go/hythe/fcgi"
	"github.com/hythe-go/hythe/httpd"
)

// launch starts the named server on a TCP port of its own and on a Unix socket.
// It serves until the process ends.
func launch(o child.Options) (*child.Server, error) {
	switch o.Name {
	case bytesServer, stringsServer, talkServer, goroutineServer:
		return launchHythe(newHythe(o.Name, o.Nap), o)
	case fcgiServer:
		return launchHythe(&hythe.Server{Service: &fcgi.Server{Handler: http.HandlerFunc(answer)}}, o)
	case httpdServer:
		h := &httpd.Server{Handler: http.HandlerFunc(answer)}
		srv := &hythe.Server{Service: h}
		if o.TLS {
			srv.TLS = h.TLSConfig(nil)
		}
		return launchHythe(srv, o)
	case standardServer:
		return launchLoop(func(c net.Conn) { standardLoop(c, o.Nap) }, o)
	case copyServer:
		return launchLoop(copyLoop, o)
	case goFcgiServer:
		return launchOn(o, func(l net.Listener) error { return gofcgi.Serve(l, http.HandlerFunc(answer)) })
	case netHTTPServer:
		return launchOn(o, (&http.Server{Handler: http.HandlerFunc(answer)}).Serve)
	case clockedServer:
		return launchOn(o, (&http.Server{
			Handler: http.HandlerFunc(answer), ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 10 * time.Minute,
		}).Serve)
	}
	if start := programs[o.Name]; start != nil {
		return start(o)
	}
	return nil, fmt.Errorf("there is no server %q", o.Name)
}

// launchHythe serves with the limits and clocks of the zero Server, but for what
// the options say.
func launchHythe(srv *hythe.Server, o child.Options) (*child.Server, error) {
	if c := o.Clock; c > 0 {
		srv.Timeouts = hythe.Timeouts{Handshake: c, FirstInput: c, Frame: c, WriteStall: c, Linger: c}
	}
	srv.Limits.Conns = o.Conns
	if o.TLS {
		config, err := child.TLSConfig()
		if err != nil {
			return nil, err
		}
		if srv.TLS != nil {
			config.NextProtos = srv.TLS.NextProtos
		}
		srv.TLS = config
	}
	addrs := make(chan net.Addr, 2)
	failed := make(chan error, 1)
	srv.OnListen = func(a net.Addr) { addrs <- a }
	go func() { failed <- srv.ListenAndServe(context.Background(), "tcp://127.0.0.1:0", "unix://"+o.Socket) }()
	s := &child.Server{Unix: o.Socket, DrainNow: func(ctx context.Context) (idle, finished, cut int, err error) {
		r, err := srv.Drain(ctx)
		return len(r.Idle), len(r.Finished), len(r.Cut), err
	}}
	for range cap(addrs) {
		select {
		case a := <-addrs:
			if a.Network() == "tcp" {
				s.TCP = a.String()
			}
		case err := <-failed:
			return nil, fmt.Errorf("%s: %w", o.Name, err)
		}
	}
	return s, nil
}

// launchLoop has handle serve each connection. It does what the example of
// net.Listener does: a connection has a goroutine, and whatever Accept fails
// with ends the program.
func launchLoop(handle func(net.Conn), o child.Options) (*child.Server, error) {
	return launchOn(o, func(l net.Listener) error { return serveOn(l, handle) })
}

// launchOn has serve serve both listeners.
func launchOn(o child.Options, serve func(net.Listener) error) (*child.Server, error) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	unix, err2 := net.Listen("unix", o.Socket)
	if err := errors.Join(err, err2); err != nil {
		return nil, fmt.Errorf("%s: %w", o.Name, err)
	}
	s := &child.Server{TCP: tcp.Addr().String(), Unix: o.Socket}
	if o.TLS {
		config, err := child.TLSConfig()
		if err != nil {
			return nil, err
		}
		tcp = tls.NewListener(tcp, config)
	}
	go func() { log.Fatal(serve(tcp)) }()
	go func() { log.Fatal(serve(unix)) }()
	return s, nil
}
