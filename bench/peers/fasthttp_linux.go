package main

import (
	"crypto/tls"
	"log"
	"net"

	"github.com/valyala/fasthttp"

	"github.com/hythe-go/hythe/bench/internal/child"
)

// startFasthttp serves the greeting over HTTP.
func startFasthttp(o child.Options) (*child.Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	srv := &child.Server{TCP: l.Addr().String()}
	if o.TLS {
		config, err := child.TLSConfig()
		if err != nil {
			return nil, err
		}
		l = tls.NewListener(l, config)
	}
	s := &fasthttp.Server{Handler: func(c *fasthttp.RequestCtx) {
		c.SetContentType("text/plain")
		c.WriteString(child.Greeting)
	}}
	go func() { log.Fatal("fasthttp's Serve returned: ", s.Serve(l)) }()
	return srv, nil
}
