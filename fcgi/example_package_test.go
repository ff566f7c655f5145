package fcgi_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/fcgi"
)

// An application behind a web server, which a Transport stands for.
func Example() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello, %s; you came to %s\n", r.PathValue("name"), fcgi.Param(r, "DOCUMENT_ROOT"))
	})
	bound := make(chan net.Addr)
	srv := hythe.Server{
		Service:  &fcgi.Server{Handler: mux},
		OnListen: func(a net.Addr) { bound <- a },
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	served := make(chan error)
	go func() { served <- srv.ListenAndServe(ctx, "tcp://127.0.0.1:0") }() // or "unix:///run/app.sock?mode=0660"

	client := http.Client{Transport: &fcgi.Transport{Address: (<-bound).String(), Root: "/srv/www"}}
	resp, err := client.Get("http://www.example.com/hello/ann")
	if err != nil {
		fmt.Println(err)
		return
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	fmt.Print(resp.Status, "\n", string(body))
	client.CloseIdleConnections()

	cancel() // drains
	fmt.Println(err, <-served)
	// Output:
	// 200 OK
	// hello, ann; you came to /srv/www
	// <nil> <nil>
}
