package fcgi_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/fcgi"
	"github.com/hythe-go/hythe/memnet"
)

// An http.Client asks an application. This one is in the same program; php-fpm
// would have a Network and an Address in place of Dial.
func ExampleTransport() {
	var network memnet.Network
	ln, err := network.Listen("app")
	if err != nil {
		log.Fatal(err)
	}
	srv := hythe.Server{Service: &fcgi.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s, for %s\n", fcgi.Param(r, "SCRIPT_FILENAME"), r.URL)
	})}}
	served := make(chan error)
	go func() { served <- srv.Serve(context.Background(), ln) }()

	t := &fcgi.Transport{
		Address: "app",
		Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
			return network.Dial(ctx, address)
		},
		Root:  "/srv/www",
		Index: "/index.php",
	}
	client := http.Client{Transport: t}
	resp, err := client.Get("http://localhost/news?page=2")
	if err != nil {
		log.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	fmt.Println(resp.Status, err)
	fmt.Print(string(body))
	client.CloseIdleConnections()
	srv.Close()
	<-served
	// Output:
	// 200 OK <nil>
	// /srv/www/index.php, for http://localhost/news?page=2
}
