package fcgi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/fcgi"
	"github.com/hythe-go/hythe/memnet"
)

// served serves in memory, asks for /world as a web server would, and prints
// what it gets.
func served(s *fcgi.Server, role byte) {
	var network memnet.Network
	l, err := network.Listen("app")
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	srv := hythe.Server{Service: s}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ctx, l) }()
	c, err := network.Dial(ctx, "app")
	if err != nil {
		log.Fatal(err)
	}
	io.WriteString(c, "\x01\x01\x00\x01\x00\x08\x00\x00\x00"+string(role)+"\x00\x00\x00\x00\x00\x00"+ // BEGIN_REQUEST
		"\x01\x04\x00\x01\x00\x13\x00\x00\x0b\x06REQUEST_URI/world"+"\x01\x04\x00\x01\x00\x00\x00\x00"+ // PARAMS
		"\x01\x05\x00\x01\x00\x00\x00\x00") // STDIN
	b, err := io.ReadAll(c)
	if err != nil {
		log.Fatal(err)
	}
	for len(b) >= 8 {
		n := int(b[4])<<8 | int(b[5])
		if n > 0 && (b[1] == 6 || b[1] == 7) { // STDOUT, STDERR
			fmt.Printf("%s", bytes.ReplaceAll(b[8:8+n], []byte("\r\n"), []byte("\n")))
		}
		b = b[8+n+int(b[6]):]
	}
	c.Close()
	cancel()
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
}

func ExampleServer() {
	served(&fcgi.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "hello, %s\n", r.URL.Path)
		}),
	}, 1)
	// Output:
	// Status: 200 OK
	// Content-Type: text/plain; charset=utf-8
	// Content-Length: 14
	//
	// hello, /world
}

func ExampleSetVariable() {
	served(&fcgi.Server{
		Authorizer: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fcgi.SetVariable(w, "REMOTE_TEAM", "blue") // and the request may pass
		}),
	}, 2)
	// Output:
	// Status: 200 OK
	// Content-Length: 0
	// Variable-REMOTE_TEAM: blue
}

func ExampleStream() {
	served(&fcgi.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			err := fcgi.Stream(w, func(yield func([]byte, error) bool) {
				for _, s := range []string{"one\n", "two\n"} {
					if !yield([]byte(s), nil) {
						return
					}
				}
				yield(nil, errors.New("there is no third"))
			})
			fmt.Fprintln(fcgi.Stderr(r.Context()), err)
		}),
	}, 1)
	// Output:
	// Status: 200 OK
	// Content-Type: text/plain
	//
	// one
	// two
	// there is no third
}

func ExampleParams() {
	served(&fcgi.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for name, value := range fcgi.Params(r) {
				fmt.Fprintf(w, "%s=%s\n", name, value)
			}
		}),
	}, 1)
	// Output:
	// Status: 200 OK
	// Content-Type: text/plain; charset=utf-8
	// Content-Length: 19
	//
	// REQUEST_URI=/world
}
