package httpd_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
)

// Any handler of net/http's is served, on hythe's connections.
func Example() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello, %s\n", r.PathValue("name"))
	})
	bound := make(chan net.Addr)
	srv := hythe.Server{
		Service:  &httpd.Server{Handler: mux},
		OnListen: func(a net.Addr) { bound <- a },
	}
	ctx, cancel := context.WithCancel(context.Background()) // a daemon has signal.NotifyContext here
	defer cancel()
	served := make(chan error)
	go func() { served <- srv.ListenAndServe(ctx, "tcp://127.0.0.1:0") }()

	resp, err := http.Get("http://" + (<-bound).String() + "/hello/ann")
	if err != nil {
		fmt.Println(err)
		return
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	fmt.Print(resp.Status, "\n", string(body))

	cancel() // drains
	fmt.Println(err, <-served)
	// Output:
	// 200 OK
	// hello, ann
	// <nil> <nil>
}
