// Tls is an echo over TLS. It shows certificates that are renewed while the
// server runs: the next connection gets the new one, a second after it was
// written or at once after a SIGHUP. One that cannot be used is refused, and the
// old one stays.
//
//	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
//		-subj /CN=one -keyout tls.key -out tls.crt
//	go run ./examples/tls
//	openssl s_client -connect 127.0.0.1:7000 -quiet
//
// Make another certificate, with -subj /CN=two, and connect again.
package main

import (
	"context"
	"flag"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

type conn = hythe.Conn[string, string]

type session struct{}

func (session) Input(c *conn, line string) error { return c.Send(line) }

// newServer makes a server that follows the files.
func newServer(files *hythe.TLSFiles) (*hythe.Server, error) {
	config, err := files.Config()
	if err != nil {
		return nil, err
	}
	return &hythe.Server{
		Service: hythe.Sessions(codec.Lines(), func(*conn) session { return session{} }),
		TLS:     config,
	}, nil
}

func main() {
	endpoint := flag.String("listen", "tcp://127.0.0.1:7000", "where to listen")
	cert := flag.String("cert", "tls.crt", "file of the certificate")
	key := flag.String("key", "tls.key", "file of its key")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	files := &hythe.TLSFiles{Cert: *cert, Key: *key}
	files.OnReload = func(err error) {
		if err != nil {
			log.Print("the old certificate stays: ", err)
		} else {
			log.Print("the certificate is good until ", files.NotAfter())
		}
	}
	srv, err := newServer(files)
	if err != nil {
		log.Fatal(err)
	}

	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	go func() { // as long as the program
		for range hup {
			if err := files.Reload(); err != nil {
				log.Print("the old certificate stays: ", err)
			}
		}
	}()

	srv.OnListen = func(a net.Addr) { log.Print("listening on ", a) }
	if err := srv.ListenAndServe(ctx, *endpoint); err != nil {
		log.Fatal(err)
	}
}
