// Starttls is a conversation that begins in clear and goes on in TLS. It shows
// how a session moves its connection: the answer to STLS is the last thing that
// everybody can read, and the session goes on with its state.
//
//	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
//		-subj /CN=example -keyout tls.key -out tls.crt
//	go run ./examples/starttls
//	openssl s_client -connect 127.0.0.1:7000 -starttls pop3 -quiet   # say WHO, QUIT
package main

import (
	"context"
	"crypto/tls"
	"flag"
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

type session struct{ config *tls.Config }

func (s *session) Connected(c *conn) error { return c.Send("+OK hello") }

func (s *session) Input(c *conn, line string) error {
	state, secure := c.TLS()
	switch strings.ToUpper(line) {
	case "STLS":
		if secure {
			return c.Send("-ERR that is done")
		}
		if err := c.Send("+OK go ahead"); err != nil {
			return err
		}
		return c.StartTLS(s.config)
	case "WHO":
		if !secure {
			return c.Send("+OK everybody can read this")
		}
		return c.Send("+OK only we can read this, by " + tls.VersionName(state.Version))
	case "QUIT":
		defer c.Shutdown()
		return c.Send("+OK bye")
	default:
		return c.Send("-ERR say STLS, WHO or QUIT")
	}
}

// newServer makes a server that follows the files.
func newServer(files *hythe.TLSFiles) (*hythe.Server, error) {
	config, err := files.Config()
	if err != nil {
		return nil, err
	}
	return &hythe.Server{
		Service: hythe.Sessions(codec.Lines(), func(*conn) *session { return &session{config} }),
	}, nil
}

func main() {
	endpoint := flag.String("listen", "tcp://127.0.0.1:7000", "where to listen")
	cert := flag.String("cert", "tls.crt", "file of the certificate")
	key := flag.String("key", "tls.key", "file of its key")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	srv, err := newServer(&hythe.TLSFiles{Cert: *cert, Key: *key})
	if err != nil {
		log.Fatal(err)
	}
	srv.OnListen = func(a net.Addr) { log.Print("listening on ", a) }
	if err := srv.ListenAndServe(ctx, *endpoint); err != nil {
		log.Fatal(err)
	}
}
