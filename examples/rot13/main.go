// Rot13 turns each line's letters by thirteen places. It shows a server that
// takes any free port and says which it got, and where else it can be reached.
//
//	go run ./examples/rot13 -listen tcp://127.0.0.1:0 -listen unix:rot13.sock
//	echo Uryyb | nc -N 127.0.0.1 PORT
//	echo Uryyb | nc -N -U rot13.sock
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

type conn = hythe.Conn[string, string]

type session struct{}

func (session) Input(c *conn, line string) error { return c.Send(strings.Map(rot13, line)) }

func rot13(r rune) rune {
	switch {
	case r >= 'a' && r <= 'z':
		return 'a' + (r-'a'+13)%26
	case r >= 'A' && r <= 'Z':
		return 'A' + (r-'A'+13)%26
	}
	return r
}

func newServer() *hythe.Server {
	return &hythe.Server{
		Service: hythe.Sessions(codec.Lines(), func(*conn) session { return session{} }),
	}
}

func main() {
	var endpoints []string
	flag.Func("listen", "where to listen; may be repeated (default tcp://127.0.0.1:0)", func(s string) error {
		endpoints = append(endpoints, s)
		return nil
	})
	flag.Parse()
	if len(endpoints) == 0 {
		endpoints = []string{"tcp://127.0.0.1:0"}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	srv := newServer()
	srv.OnListen = func(a net.Addr) { // a is what was really bound
		log.Print("listening on ", a)
		if tcp, ok := a.(*net.TCPAddr); ok {
			fmt.Println(tcp.Port)
		}
	}
	if err := srv.ListenAndServe(ctx, endpoints...); err != nil {
		log.Fatal(err)
	}
}
