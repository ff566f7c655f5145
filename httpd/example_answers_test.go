package httpd_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
	"github.com/hythe-go/hythe/memnet"
)

// answered serves in memory, and prints what a client is answered.
func answered(handle http.HandlerFunc) {
	var network memnet.Network
	ln, err := network.Listen("example.com:80")
	if err != nil {
		log.Fatal(err)
	}
	srv := hythe.Server{Service: &httpd.Server{Handler: handle}}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- srv.Serve(ctx, ln) }()

	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) { return network.Dial(ctx, address) },
	}}
	resp, err := client.Get("http://example.com/")
	if err != nil {
		log.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	fmt.Print(string(body))
	if err != nil {
		fmt.Println(err)
	}
	resp.Body.Close()
	client.CloseIdleConnections()
	cancel()
	if err := <-served; err != nil {
		fmt.Println(err)
	}
}

// An answer is made as fast as the client takes it. One that breaks off does not
// look whole.
func ExampleStream() {
	answered(func(w http.ResponseWriter, r *http.Request) {
		httpd.Stream(w, r, func(yield func([]byte, error) bool) {
			for i := range 3 {
				if !yield(fmt.Appendln(nil, "line", i), nil) {
					return // the client has left
				}
			}
			yield(nil, io.ErrNoProgress)
		})
	})
	// Output:
	// line 0
	// line 1
	// line 2
	// unexpected EOF
}

func ExampleEvents() {
	answered(func(w http.ResponseWriter, r *http.Request) {
		httpd.Events(w, r, func(yield func(httpd.Event, error) bool) {
			_ = yield(httpd.Event{ID: "7", Type: "chat", Data: "hello,\nworld"}, nil) &&
				yield(httpd.Event{Data: "bye"}, nil)
		})
	})
	// Output:
	// id: 7
	// event: chat
	// data: hello,
	// data: world
	//
	// data: bye
	//
}

// The handler returns, and the answer goes on without a goroutine.
func ExampleDetach() {
	answered(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		out, err := httpd.Detach(w, r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		go func() { // or whoever has news, for all who wait for them
			io.Copy(out, strings.NewReader("late news\n"))
			out.Close(nil)
		}()
	})
	// Output: late news
}

// The connection of a request outlives it.
func ExampleConnOf() {
	answered(func(w http.ResponseWriter, r *http.Request) {
		c := httpd.ConnOf(r.Context())
		c.OnClose(func(reason error) { fmt.Println("connection", c.ID(), "has ended") })
		fmt.Fprintln(w, "request", c.Info().Requests, "on connection", c.ID())
	})
	// Output:
	// request 1 on connection 1
	// connection 1 has ended
}
